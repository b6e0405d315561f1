"""The weight gradient by Winograd's tiles with their products by AMX, called past the rule that chooses it."""

import itertools

import numpy as np
import pytest
import reference
from cases import SETTLED, THREADS, assert_exact, assert_same_bits, integers, reals, refuse_unless_telling, rms
from forced import by_products, compute, split_tiles_everywhere
from test_ops_winograd_weight import channels_last, output_size

import convkit as ck
from convkit import ops

pytestmark = pytest.mark.skipif(
    ck.config()["isa"] != "amx", reason="needs a processor with AMX, or a build with CONVKIT_EMULATE_AMX"
)

NAME = "split winograd F(3x3, 2x2)"
KERNEL = "amx_winograd_conv2d_backward_weight"
PROMISED = {3: 5e-7, 2: 1e-5, 1: 5e-3}  # by the number of parts
ORDERS = ((2, 3, 1, 0), (0, 2, 3, 1), (0, 1, 2, 3))  # of K, C, R, S in memory: lanes, channels or taps lie together


def gradient(images, grads, padding=(1, 1), parts=3, threads=1, groups=1, order=ORDERS[0], kernel=KERNEL):
    shape = grads.shape[1], images.shape[1] // groups, 3, 3
    result = np.full([shape[axis] for axis in order], np.nan, np.float32).transpose(np.argsort(order))
    arrays = channels_last(images, np.float32), channels_last(grads, np.float32), result
    compute(kernel, "backward_weight", *arrays, padding=padding, groups=groups, extra=parts, threads=threads)
    return result


def check(shape, outputs, padding=(1, 1), groups=1, orders=ORDERS[:1]):
    """Exactly with three parts, to what is promised with fewer."""
    rng = np.random.default_rng(outputs)
    images, channels, *size = shape
    grad_shape = (images, outputs, *map(output_size, size, padding, (3, 3)))
    # Transformed patches and gradients are four times as large as what they are made of.
    terms = 16 * images * grad_shape[2] * grad_shape[3]
    x, g = integers(rng, shape, terms), integers(rng, grad_shape, terms)
    weight_shape, options = (outputs, channels // groups, 3, 3), {"padding": padding, "groups": groups}
    answer = reference.conv2d_backward_weight(x, weight_shape, g, **options)
    magnitude = reference.conv2d_backward_weight(np.abs(x), weight_shape, np.abs(g), **options)
    refuse_unless_telling(answer, 16 * magnitude, f"{shape} {outputs}")
    for parts, threads, order in itertools.product(PROMISED, THREADS, orders):
        label = f"{shape} to {outputs}, {options}, {parts} parts, threads={threads}, {order}"
        result = gradient(x, g, padding, parts, threads, groups, order)
        if parts == 3:
            assert_exact(result, answer, np.float32, label)
        else:
            limit = 4 * PROMISED[parts] * max(1, magnitude.max())
            np.testing.assert_allclose(result, answer, rtol=0, atol=limit, err_msg=label)


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 32, 33, 70])
@pytest.mark.parametrize("outputs", [1, 16, 17, 31, 33, 64])
def test_channels_and_outputs(channels, outputs):
    check((2, channels, 5, 6), outputs)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 40), (40, 3), (15, 17), (1, 300)], ids=str)
@pytest.mark.parametrize("padding", [(1, 1), (2, 1), (1, 0), (4, 3)], ids=str)
def test_sizes_and_padding(size, padding):
    if min(map(output_size, size, padding, (3, 3))) > 0:
        check((2, 5, *size), 20, padding)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_results_in_every_memory_order(order):
    check((3, 37, 7, 8), 50, orders=[order])


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((3, 300, 5, 6), 40),  # several shares of the channels,
        ((3, 20, 5, 6), 530),  # and of the outputs
        ((2, 5, 90, 91), 7),  # several strips and chunks
        ((3, 130, 26, 27), 140),
        ((40, 5, 7, 7), 33),  # strips of tiles from several images
    ],
    ids=str,
)
def test_shares_strips_and_chunks(shape, outputs):
    check(shape, outputs)


@pytest.mark.parametrize(
    ("groups", "channels", "outputs"), [(2, 5, 16), (3, 16, 17), (2, 70, 66), (2, 300, 33)], ids=str
)
def test_groups(groups, channels, outputs):
    """`channels` and `outputs` of each."""
    check((3, groups * channels, 9, 12), groups * outputs, (1, 2), groups)


@pytest.mark.parametrize("scale", [1, 1e-9, 1e15])
@pytest.mark.parametrize("shape", [(16, 32, 28, 28), (8, 128, 14, 14), (16, 256, 7, 7)], ids=str)
def test_errors(shape, scale):
    """Three parts have less error than a direct sum in float32, fewer parts what is promised."""
    rng = np.random.default_rng(0)
    x, g = (reals(rng, shape, np.float32) * np.float32(scale) for _ in range(2))
    answer = ops.conv2d_backward_weight(x.astype(float), (shape[1], shape[1], 3, 3), g.astype(float), padding=1)
    error = {parts: rms(gradient(x, g, parts=parts), answer) for parts in PROMISED}
    assert error[3] <= rms(gradient(x, g, kernel="conv2d_backward_weight", parts=0), answer)
    assert all(error[parts] <= promised for parts, promised in PROMISED.items())


@pytest.mark.parametrize(("channels", "size"), [(64, 56), (128, 28), (256, 14), (512, 7)])
def test_errors_are_at_most_those_of_pytorch(channels, size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, g = (reals(rng, (16, channels, size, size), np.float32) for _ in range(2))
    shape = channels, channels, 3, 3

    def theirs(dtype):
        images, grads = (torch.from_numpy(a).to(dtype, memory_format=torch.channels_last) for a in (x, g))
        return torch.nn.grad.conv2d_weight(images, shape, grads, padding=1).numpy()

    answer = theirs(torch.float64)
    assert rms(gradient(x, g), answer) <= rms(theirs(torch.float32), answer)


@pytest.mark.parametrize("parts", PROMISED)
@pytest.mark.parametrize(
    ("shape", "outputs", "groups"),
    [((15, 33, 19, 21), 47, 1), ((3, 300, 6, 6), 80, 1), ((16, 130, 14, 15), 128, 1), ((5, 99, 9, 11), 60, 3)],
    ids=str,
)
def test_same_bits_for_any_number_of_threads(shape, outputs, groups, parts):
    rng = np.random.default_rng(1)
    x, g = reals(rng, shape, np.float32), reals(rng, (shape[0], outputs, *shape[2:]), np.float32)
    results = {threads: [gradient(x, g, parts=parts, threads=threads, groups=groups)] for threads in SETTLED}
    assert_same_bits(results, f"{shape} {outputs}")


EDGES = {
    "Inf": np.inf,
    "NaN": np.nan,
    "a NaN of ones alone": np.uint32(0xFFFFFFFF).view(np.float32),  # that rounding as integers do would make zero
    "the largest number": np.finfo(np.float32).max,
    "low parts that underflow": 1e-33,
    "a denormal": 1e-40,
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("place", [(0, 0), (3, 2), (8, 9)], ids=str)
@pytest.mark.parametrize("marred", [0, 1], ids=["input", "grad_output"])
def test_edges(edge, place, marred):
    """What is not finite is where a sum of products has it; what is small has larger neighbours in a tile."""
    rng = np.random.default_rng(2)
    arrays = [reals(rng, (3, n, 9, 10), np.float32) for n in (40, 36)]
    arrays[marred][(1, 17, *place)] = EDGES[edge]
    x, g = arrays
    shape = 36, 40, 3, 3
    with by_products(), np.errstate(all="ignore"):
        plain = ops.conv2d_backward_weight(x, shape, g, padding=1)
    for precision, promised in (("highest", 1e-5), ("high", 1e-4)):
        with split_tiles_everywhere(), ck.float32_precision(precision):
            assert ops.conv2d_plan(x.shape, shape, padding=1, gradient="weight").name == NAME
            result = ops.conv2d_backward_weight(x, shape, g, padding=1)
        if abs(EDGES[edge]) < 1:
            np.testing.assert_allclose(result, plain, rtol=promised, atol=promised * np.abs(plain).max())
        else:
            np.testing.assert_array_equal(result, plain)


@pytest.mark.parametrize("factors", [(1e30, 1e20), (5e37, 1), (1e-33, 1e20), (1e20, 1e-33), (1e-18, 1e-16)], ids=str)
def test_numbers_and_products_out_of_range(factors):
    """Low parts underflow, transforms overflow, or products do either."""
    rng = np.random.default_rng(3)
    x, g = (reals(rng, (2, n, 6, 7), np.float32) * np.float32(f) for n, f in zip((32, 24), factors, strict=True))
    with by_products(), np.errstate(over="ignore"):
        plain = ops.conv2d_backward_weight(x, (24, 32, 3, 3), g, padding=1)
    for precision in ("highest", "high"):
        with split_tiles_everywhere(), ck.float32_precision(precision), np.errstate(over="ignore"):
            result = ops.conv2d_backward_weight(x, (24, 32, 3, 3), g, padding=1)
        np.testing.assert_array_equal(result, plain)


def test_plan():
    """Six products of parts for each of Winograd's, and bounded scratch however large the layer is."""
    plan = ops.conv2d_plan((16, 256, 14, 14), (256, 256, 3, 3), padding=1, gradient="weight")
    assert (plan.name, plan.multiplies) == (NAME, 6 * 16 * 7 * 7 * 16 * 256 * 256)
    with ck.num_threads(2):
        large = ops.conv2d_plan((64, 1024, 28, 28), (1024, 1024, 3, 3), padding=1, gradient="weight")
    assert large.name == NAME
    assert large.scratch <= (4 + 2) * 2**20
