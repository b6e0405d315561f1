"""Winograd's tiles with their products by AMX, called past the rule that chooses them."""

import itertools

import numpy as np
import pytest
import reference
from cases import LAYOUTS, SETTLED, THREADS, assert_exact, assert_same_bits, reals, rms
from forced import by_products, split_tiles_everywhere
from test_ops_winograd import DIRECT, PASSES, integer_arrays, real_arrays, through

import convkit as ck
from convkit import nn, ops
from convkit._threads import num_threads

pytestmark = pytest.mark.skipif(
    ck.config()["isa"] != "amx", reason="needs a processor with AMX, or a build with CONVKIT_EMULATE_AMX"
)

PROMISED = {3: 5e-7, 2: 1e-5, 1: 5e-3}  # by the number of parts
OF_PARTS = {parts: through("amx_winograd_conv2d", parts) for parts in PROMISED}


def check(shape, outputs, padding, taps=(3, 3), seed=0, groups=1):
    """Exactly with three parts, to what is promised with fewer."""
    arrays = integer_arrays(shape, outputs, padding, taps, seed, groups)
    how = {"padding": padding, "groups": groups}
    for name, run in PASSES.items():
        answer, typed = run(reference, *arrays, **how), [a.astype(np.float32) for a in arrays]
        for (parts, api), threads in itertools.product(OF_PARTS.items(), THREADS):
            label = f"{name} {shape} to {outputs}, {taps}, {how}, {parts} parts, threads={threads}"
            result = run(api, *typed, **how, threads=threads)
            if parts == 3:
                assert_exact(result, answer, np.float32, label)
            else:
                magnitude = max(1, np.abs(answer).max())
                np.testing.assert_allclose(result, answer, rtol=0, atol=4 * PROMISED[parts] * magnitude, err_msg=label)


@pytest.mark.parametrize("number", range(60))
def test_any_shape(number):
    rng = np.random.default_rng(number)
    padding = tuple(int(p) for p in rng.choice([0, 1, 1, 1, 2, 3], 2))
    taps = (3, 3) if number % 2 else tuple(int(n) for n in rng.choice([3, 4, 5, 5, 5], 2))
    rows, cols = (int(rng.integers(max(1, n - 2 * p), 16)) for p, n in zip(padding, taps, strict=True))
    channels, outputs = (int(n) for n in rng.choice([1, 3, 15, 16, 17, 31, 32, 33, 40, 64, 70], 2))
    check((int(rng.integers(1, 4)), channels, rows, cols), outputs, padding, taps, number)


@pytest.mark.parametrize(
    ("shape", "outputs", "padding", "taps"),
    [
        ((1, 800, 5, 6), 40, 1, 3),
        ((1, 2, 5, 6), 1100, 1, 3),
        ((40, 5, 7, 7), 33, 1, 3),  # tiles of a unit from several images
        ((2, 48, 33, 30), 50, 1, 3),  # several units
        ((2, 48, 23, 20), 50, 2, 5),
        ((1, 16, 1, 40), 16, 1, 3),
        ((1, 16, 40, 1), 16, 1, 3),
        ((2, 16, 4, 5), 16, 9, 3),  # an image smaller than its padding
    ],
    ids=str,
)
def test_large_and_long(shape, outputs, padding, taps):
    check(shape, outputs, padding, (taps, taps))


@pytest.mark.parametrize("taps", [(3, 3), (5, 5)], ids=str)
@pytest.mark.parametrize(("groups", "channels", "outputs"), [(2, 5, 16), (3, 16, 17), (2, 33, 40)], ids=str)
def test_groups(groups, channels, outputs, taps):
    """`channels` and `outputs` of each."""
    check((3, groups * channels, 9, 12), groups * outputs, (1, 2), taps, 0, groups)


@pytest.mark.parametrize("taps", [(3, 3), (5, 5)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_in_every_memory_order(layout, taps):
    x, w, b, g = (a.astype(np.float32) for a in integer_arrays((2, 20, 6, 7), 37, 1, taps))
    for name, run in PASSES.items():
        answer = run(reference, *(a.astype(np.float64) for a in (x, w, b, g)), padding=1)
        assert_exact(run(OF_PARTS[3], x, LAYOUTS[layout](w), b, g, padding=1), answer, np.float32, f"{name} {layout}")


@pytest.mark.parametrize("scale", [1, 1e-9, 1e15])
@pytest.mark.parametrize(("channels", "taps"), [(32, 3), (64, 3), (160, 3), (512, 3), (16, 5), (64, 5)])
@pytest.mark.parametrize("name", PASSES)
def test_errors(name, channels, taps, scale):
    """Three parts have less error than a direct sum in float32, fewer parts what is promised."""
    arrays = [a * np.float32(scale) for a in real_arrays((2, channels, 14, 13), channels, 1, np.float32, (taps, taps))]
    arrays[2] *= np.float32(scale)  # the bias, as large as the products
    run = PASSES[name]
    answer = run(reference, *arrays, padding=1)
    error = {parts: rms(run(api, *arrays, padding=1), answer) for parts, api in OF_PARTS.items()}
    assert error[3] <= rms(run(DIRECT, *arrays, padding=1), answer)
    assert all(error[parts] <= promised for parts, promised in PROMISED.items())


@pytest.mark.parametrize("channels", [32, 64, 128, 512])
@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_errors_are_at_most_those_of_pytorch(channels, layout):
    torch = pytest.importorskip("torch")
    x, w, b, _ = real_arrays((2, channels, 14, 14), channels, 1, np.float32)
    answer = reference.conv2d(x, w, b, padding=1)
    images, filters = (torch.from_numpy(a).contiguous(memory_format=getattr(torch, layout)) for a in (x, w))
    theirs = torch.nn.functional.conv2d(images, filters, torch.from_numpy(b), padding=1)
    assert rms(OF_PARTS[3].conv2d(x, w, b, padding=1), answer) <= rms(theirs.numpy(), answer)


@pytest.mark.parametrize("parts", OF_PARTS)
@pytest.mark.parametrize(
    ("shape", "outputs", "taps", "groups"),
    [((15, 33, 9, 11), 47, 3, 1), ((1, 64, 6, 6), 80, 3, 1), ((3, 40, 30, 31), 33, 3, 1), ((5, 99, 9, 11), 60, 5, 3)],
    ids=str,
)
def test_same_bits_for_any_number_of_threads(shape, outputs, taps, groups, parts):
    arrays = real_arrays(shape, outputs, 1, np.float32, (taps, taps), groups)
    api = OF_PARTS[parts]
    results = {
        f"threads={threads}": [run(api, *arrays, padding=1, groups=groups, threads=threads) for run in PASSES.values()]
        for threads in SETTLED
    }
    assert_same_bits(results, f"{shape} {outputs}")


EDGES = {
    "Inf": np.inf,
    "NaN": np.nan,
    "the largest number": np.finfo(np.float32).max,
    "a sum near overflow": 2.5e38,
    "low parts that underflow": 1e-33,
    "a transform whose low parts underflow": 1e-25,
    "a denormal": 1e-40,
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("place", [(0, 0), (3, 2), (8, 9)], ids=str)
def test_edges_of_one_image(edge, place):
    """That image comes out as in float32, and no other image knows of it."""
    x, w, _, _ = real_arrays((3, 40, 9, 10), 36, 1, np.float32)
    marred = x.copy()
    marred[(1, 17, *place)] = EDGES[edge]
    with by_products():
        plain = ops.conv2d(marred, w, padding=1)
    for precision in ("highest", "high"):
        with split_tiles_everywhere(), ck.float32_precision(precision):
            assert ops.conv2d_plan(x.shape, w.shape, padding=1).name == "split winograd F(2x2, 3x3)"
            clean, result = ops.conv2d(x, w, padding=1), ops.conv2d(marred, w, padding=1)
        np.testing.assert_array_equal(result[1], plain[1])
        np.testing.assert_array_equal(np.delete(result, 1, 0), np.delete(clean, 1, 0))


@pytest.mark.parametrize("edge", EDGES)
def test_edges_of_weights(edge):
    x, w, _, g = real_arrays((2, 33, 6, 7), 17, 1, np.float32)
    w[3, 4, 1, 1] = EDGES[edge]
    with by_products():
        plain = ops.conv2d(x, w, padding=1), ops.conv2d_backward_input(x.shape, w, g, padding=1)
    with split_tiles_everywhere():
        result = ops.conv2d(x, w, padding=1), ops.conv2d_backward_input(x.shape, w, g, padding=1)
    for ours, answer in zip(result, plain, strict=True):
        if abs(EDGES[edge]) < 1:  # sums with the neighbours have parts
            np.testing.assert_allclose(ours, answer, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(ours, answer)


@pytest.mark.parametrize("factors", [(1e30, 1e20), (3e37, 16), (1e-20, 1e-13), (1e-18, 1e-16)], ids=str)
def test_products_out_of_range(factors):
    """Each factor has parts, but products overflow, or their low parts underflow."""
    x, w, _, _ = real_arrays((2, 32, 6, 7), 24, 1, np.float32)
    x, w = x * np.float32(factors[0]), w * np.float32(factors[1])
    with by_products(), np.errstate(over="ignore"):
        plain = ops.conv2d(x, w)
    with split_tiles_everywhere(), np.errstate(over="ignore"):
        np.testing.assert_array_equal(ops.conv2d(x, w), plain)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_compiled_networks_pack_the_weights_once(precision):
    """The bits are those of the operation; weights without parts are noticed when they are packed."""
    rng = np.random.default_rng(0)
    for weight in (0.5, np.inf):
        model = nn.Sequential(nn.Conv2d(33, 40, 3, padding=1), nn.ReLU()).eval()
        model[0].weight.detach().numpy()[3, 4, 1, 1] = weight
        x = reals(rng, (5, 33, 8, 9), np.float32)
        with split_tiles_everywhere(), ck.float32_precision(precision), num_threads(2), np.errstate(invalid="ignore"):
            w, b = (p.detach().numpy() for p in (model[0].weight, model[0].bias))
            expected = ops.relu(ops.conv2d(x, w, b, padding=1))
            result = ck.compile(model, x)(x)
        np.testing.assert_array_equal(result, expected)
