"""Winograd's convolution, called past the rule that chooses it: shapes that the rule leaves to others come here too."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import reference
from cases import (
    DTYPES,
    LAYOUTS,
    SETTLED,
    THREADS,
    around,
    assert_exact,
    assert_same_bits,
    integers,
    keeps_denormals,
    reals,
    refuse_unless_telling,
    rms,
)
from forced import compute, never_split

from convkit import float32_precision, num_threads, ops
from convkit._dispatch import tile_shape
from convkit.ops._arrays import aligned, empty_nhwc, nchw, nhwc

HIGH = 1e-5  # what precision "high" promises


def through(name, extra=0):
    """conv2d and its input's gradient as `ops` has them, always through kernel `name`."""

    def conv2d(x, w, b=None, padding=0, groups=1, threads=1):
        down, across = reference.pair(padding)
        rows, cols = (n - taps + 1 for n, taps in zip(x.shape[2:], w.shape[2:], strict=True))
        out = empty_nhwc((len(x), len(w), rows + 2 * down, cols + 2 * across), x.dtype)
        arrays = nhwc(x), aligned(w), np.empty(0, x.dtype) if b is None else b, out
        how = {"padding": (down, across), "groups": groups, "extra": extra, "threads": threads}
        compute(name, "forward", *arrays, **how)
        return nchw(out)

    def conv2d_backward_input(shape, w, g, padding=0, groups=1, threads=1):
        out = empty_nhwc(shape, w.dtype)
        how = {"padding": reference.pair(padding), "groups": groups, "extra": extra, "threads": threads}
        compute(name, "backward_input", nhwc(g), aligned(w), out, **how)
        return nchw(out)

    return SimpleNamespace(conv2d=conv2d, conv2d_backward_input=conv2d_backward_input)


DIRECT, OF_TWO, OF_FOUR = through("conv2d"), through("winograd_conv2d", 2), through("winograd_conv2d", 4)
PASSES = {
    "conv2d": lambda api, x, w, b, g, **how: api.conv2d(x, w, b, **how),
    "conv2d_backward_input": lambda api, x, w, b, g, **how: api.conv2d_backward_input(x.shape, w, g, **how),
}


def shapes_of(shape, outputs, padding, taps, groups=1):
    """Of input, weight, bias and the output's gradient."""
    rows, cols = (n + 2 * p - r + 1 for n, p, r in zip(shape[2:], reference.pair(padding), taps, strict=True))
    return shape, (outputs, shape[1] // groups, *taps), (outputs,), (shape[0], outputs, rows, cols)


def integer_arrays(shape, outputs, padding, taps=(3, 3), seed=0, groups=1):
    rng = np.random.default_rng(seed)
    # Transforms of either operand are larger than it is, and have quarters.
    terms = 36 * math.prod(taps) * max(shape[1], outputs) // groups
    return [integers(rng, s, terms) for s in shapes_of(shape, outputs, padding, taps, groups)]


def real_arrays(shape, outputs, padding, dtype, taps=(3, 3), groups=1):
    rng = np.random.default_rng(0)
    return [reals(rng, s, dtype) for s in shapes_of(shape, outputs, padding, taps, groups)]


def check(shape, outputs, padding, taps=(3, 3), seed=0, groups=1):
    """Tiles of two exactly, tiles of four to what they promise."""
    arrays = integer_arrays(shape, outputs, padding, taps, seed, groups)
    magnitudes, how = [np.abs(a) for a in arrays], {"padding": padding, "groups": groups}
    for name, run in PASSES.items():
        answer = run(reference, *arrays, **how)
        refuse_unless_telling(answer, run(reference, *magnitudes, **how), name)
        for dtype, threads in itertools.product(DTYPES, THREADS):
            label = f"{name} {shape} to {outputs}, {taps}, {how}, {dtype.__name__}, threads={threads}"
            typed = [a.astype(dtype) for a in arrays]
            assert_exact(run(OF_TWO, *typed, **how, threads=threads), answer, dtype, label)
            rough = run(OF_FOUR, *typed, **how, threads=threads)
            np.testing.assert_allclose(rough, answer, rtol=0, atol=HIGH * max(1, abs(answer).max()), err_msg=label)


CHANNELS = sorted({1, 3, 40} | set().union(*(around(tile_shape(dtype)[1]) for dtype in DTYPES)))


@pytest.mark.parametrize("number", range(80))
def test_any_shape(number):
    rng = np.random.default_rng(number)
    padding = tuple(int(p) for p in rng.choice([0, 1, 1, 1, 2, 3], 2))
    taps = (3, 3) if number % 2 else tuple(int(n) for n in rng.choice([3, 4, 5, 5, 5], 2))
    rows, cols = (int(rng.integers(max(1, n - 2 * p), 16)) for p, n in zip(padding, taps, strict=True))
    channels, outputs = (int(n) for n in rng.choice(CHANNELS, 2))
    check((int(rng.integers(1, 4)), channels, rows, cols), outputs, padding, taps, number)


@pytest.mark.parametrize(
    ("shape", "outputs", "padding", "taps"),
    [
        ((1, 800, 5, 6), 40, 1, 3),  # more channels than a chain of sums holds
        ((1, 90, 5, 6), 40, 2, 5),
        ((1, 2, 5, 6), 1100, 1, 3),  # more outputs than a unit of work has
        ((40, 5, 7, 7), 33, 1, 3),  # tiles of a unit from several images
        ((2, 48, 33, 30), 50, 1, 3),
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
@pytest.mark.parametrize(
    ("groups", "channels", "outputs"), [(2, 5, 16), (3, 16, 17), (32, 1, 2), (2, 33, 40), (2, 130, 9)], ids=str
)
def test_groups(groups, channels, outputs, taps):
    """`channels` and `outputs` of each."""
    check((3, groups * channels, 9, 12), groups * outputs, (1, 2), taps, 0, groups)


@pytest.mark.parametrize("taps", [(3, 3), (5, 5)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_in_every_memory_order(layout, taps):
    x, w, b, g = integer_arrays((2, 20, 6, 7), 37, 1, taps)
    for dtype in DTYPES:
        typed = [x.astype(dtype), LAYOUTS[layout](w.astype(dtype)), b.astype(dtype), g.astype(dtype)]
        for name, run in PASSES.items():
            answer = run(reference, x, w, b, g, padding=1)
            assert_exact(run(OF_TWO, *typed, padding=1), answer, dtype, f"{name} {layout}")


@pytest.mark.parametrize(("channels", "taps"), [(32, 3), (64, 3), (160, 3), (512, 3), (16, 5), (64, 5), (192, 5)])
@pytest.mark.parametrize("name", PASSES)
def test_errors(name, channels, taps):
    """Tiles of two have less error than a direct sum in float32, tiles of four what is promised."""
    arrays = real_arrays((2, channels, 14, 13), channels, 1, np.float32, (taps, taps))
    run = PASSES[name]
    answer = run(reference, *arrays, padding=1)
    direct, two, four = (rms(run(api, *arrays, padding=1), answer) for api in (DIRECT, OF_TWO, OF_FOUR))
    assert two <= direct
    assert four <= HIGH / 4
    doubles = [a.astype(np.float64) for a in arrays]
    assert rms(run(OF_TWO, *doubles, padding=1), answer) <= 2e-15


@pytest.mark.parametrize("name", PASSES)
def test_errors_of_groups(name):
    arrays = real_arrays((2, 96, 14, 13), 128, 1, np.float32, groups=4)
    answer, direct, two = (PASSES[name](api, *arrays, padding=1, groups=4) for api in (reference, DIRECT, OF_TWO))
    assert rms(two, answer) <= rms(direct, answer)


@pytest.mark.parametrize("channels", [32, 128, 512])
def test_errors_are_at_most_those_of_pytorch(channels):
    """In the layout in which it is faster."""
    torch = pytest.importorskip("torch")
    x, w, b, _ = real_arrays((2, channels, 14, 14), channels, 1, np.float32)
    answer = reference.conv2d(x, w, b, padding=1)
    images, filters = (torch.from_numpy(a).contiguous(memory_format=torch.channels_last) for a in (x, w))
    theirs = torch.nn.functional.conv2d(images, filters, torch.from_numpy(b), padding=1)
    assert rms(OF_TWO.conv2d(x, w, b, padding=1), answer) <= rms(theirs.numpy(), answer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("api", [OF_TWO, OF_FOUR], ids=["2", "4"])
@pytest.mark.parametrize(
    ("shape", "outputs", "taps", "groups"),
    [
        ((15, 33, 9, 11), 47, 3, 1), ((1, 64, 6, 6), 80, 3, 1), ((3, 40, 30, 31), 33, 3, 1),
        ((15, 33, 9, 11), 47, 5, 1), ((1, 80, 9, 9), 70, 3, 1), ((5, 99, 9, 11), 60, 3, 3),
    ],
)  # fmt: skip
def test_same_bits_for_any_number_of_threads(shape, outputs, taps, groups, api, dtype):
    arrays = real_arrays(shape, outputs, 1, dtype, (taps, taps), groups)
    results = {
        f"threads={threads}": [run(api, *arrays, padding=1, groups=groups, threads=threads) for run in PASSES.values()]
        for threads in SETTLED
    }
    assert_same_bits(results, f"{shape} {outputs}")


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_infinity_and_nan_go_where_they_go_in_float64(precision, bad):
    """In their images; others have the same bits as without."""
    clean = x, w, b, g = integer_arrays((16, 33, 28, 28), 40, 1)
    x, g, spoiled = x.copy(), g.copy(), [1, 4]
    x[1, 3, 5, 6] = g[1, 3, 27, 0] = bad
    x[4, 3, 27, 27], g[4, 5, 27, 1] = -bad, -bad
    for name, run in PASSES.items():
        with np.errstate(invalid="ignore"):
            answer = run(reference, x[spoiled], w, b, g[spoiled], padding=1)
        assert not np.isfinite(answer).all()
        for dtype, threads in itertools.product(DTYPES, (1, 2)):
            with float32_precision(precision), num_threads(threads):
                result = run(ops, *(a.astype(dtype) for a in (x, w, b, g)), padding=1)
                usual = run(ops, *(a.astype(dtype) for a in clean), padding=1)
            assert_exact(result[spoiled], answer, dtype, name)
            usual[spoiled] = result[spoiled]
            np.testing.assert_array_equal(result, usual, name)


@pytest.mark.parametrize("m", [2, 4])
def test_what_is_not_finite_is_told(m):
    """Of a number in any corner, in any of the images and channels: else there would be NaN for an infinity."""
    x, w = np.zeros((3, 37, 9, 10), np.float32), np.ones((40, 37, 3, 3), np.float32)
    transformed = through("winograd_conv2d", m)
    for n, row, col, channel in itertools.product((0, 1, 2), (0, 8), (0, 4, 9), (0, 36)):
        x[n, channel, row, col] = np.inf
        np.testing.assert_array_equal(transformed.conv2d(x, w, padding=1), DIRECT.conv2d(x, w, padding=1))
        x[n, channel, row, col] = 0


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("api", [OF_TWO, OF_FOUR], ids=["2", "4"])
def test_infinite_and_nan_weights(api, bad):
    """Padding times infinity is whatever the direct kernel makes of it."""
    x, w, b, g = integer_arrays((2, 20, 6, 7), 37, 1)
    w[3, 5, 0, 0], w[4, 6, 1, 2], b[7] = bad, -bad, bad
    typed = [a.astype(np.float32) for a in (x, w, b, g)]
    for name, run in PASSES.items():
        answer = run(DIRECT, *typed, padding=1)
        assert not np.isfinite(answer).all()
        assert_exact(run(api, *typed, padding=1), answer, np.float32, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("api", [OF_TWO, OF_FOUR], ids=["2", "4"])
def test_sums_near_overflow(api, dtype):
    """Transforms leave the range of numbers where the sums do not; and sums that do are infinite."""
    x, w, b, g = (np.zeros(s) for s in shapes_of((2, 3, 6, 7), 5, 1, (3, 3)))
    largest = float(np.finfo(dtype).max)
    x[...], g[...], w[:, :, 1, 1] = largest, largest, 0.125
    w[0, 0] *= 16
    for run in PASSES.values():
        with np.errstate(over="ignore"):
            answer = run(reference, x, w, b, g, padding=1).astype(dtype)
        result = run(api, *(a.astype(dtype) for a in (x, w, b, g)), padding=1)
        assert np.isinf(answer).any()
        assert np.isfinite(answer).any()
        np.testing.assert_allclose(result, answer, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("api", [OF_TWO, OF_FOUR], ids=["2", "4"])
def test_denormals_count_as_zero_or_as_themselves(api, dtype):
    """Of an argument, among other numbers or alone; and of products."""
    arrays = integer_arrays((3, 20, 9, 8), 37, 1)
    tiny = float(np.finfo(dtype).tiny)
    half = 2.0 ** (int(np.log2(tiny)) // 2)
    every_third = np.arange(arrays[0].size).reshape(arrays[0].shape) % 3 == 0
    x, w, b, g = arrays
    terms = 37 * 36 * 36 * 15  # of transforms and products, and the largest integer
    for scaled, answer_of in [
        ((x * tiny / 256, w, 0 * b, g * tiny / 256), (0 * x, w, 0 * b, 0 * g)),
        ((x * half, w * half, 0 * b, g * half), (0 * x, w, 0 * b, 0 * g)),
        ((np.where(every_third, tiny / 4, x), w, b, g), (np.where(every_third, 0, x), w, b, g)),
    ]:
        for run in PASSES.values():
            result = run(api, *(a.astype(dtype) for a in scaled), padding=1, threads=2)
            answer = run(reference, *answer_of, padding=1)
            relative = 0 if api is OF_TWO else HIGH
            assert np.all(np.abs(result - answer) <= terms * tiny + relative * np.abs(answer).max())
    assert keeps_denormals(np.full(3, tiny / 4, dtype))


# ---------------------------------------------------------------------------------------------------------------------
# The rule


@pytest.fixture
def chosen_without_amx():
    """AMX tiles take most of these layers, where there are any."""
    with never_split():
        yield


def names(*shapes, **options):
    return [ops.conv2d_plan(*shapes, gradient=gradient, **options).name for gradient in (None, "input")]


NETWORKS = [(64, 56, 64), (128, 28, 128), (256, 14, 256), (512, 7, 512), (64, 112, 128), (512, 28, 512), (192, 13, 384)]


@pytest.mark.usefixtures("chosen_without_amx")
@pytest.mark.parametrize(("channels", "size", "outputs"), NETWORKS)
def test_layers_of_networks_are_computed_in_tiles(channels, size, outputs):
    shapes = (16, channels, size, size), (outputs, channels, 3, 3)
    assert names(*shapes, padding=1) == ["winograd F(2x2, 3x3)"] * 2
    with float32_precision("high"):
        assert set(names(*shapes, padding=1)) <= {"winograd F(2x2, 3x3)", "winograd F(4x4, 3x3)"}
        assert names(*shapes, padding=1, dtype=np.float64) == ["winograd F(2x2, 3x3)"] * 2
    plan = ops.conv2d_plan(*shapes, padding=1)
    assert plan.multiplies == 16 * ((size + 1) // 2) ** 2 * 16 * channels * outputs


@pytest.mark.usefixtures("chosen_without_amx")
@pytest.mark.parametrize(("taps", "points"), [((5, 5), 49), ((3, 5), 28), ((5, 3), 28)], ids=str)
def test_filters_of_five_taps_take_seven_points(taps, points):
    shapes, padding = ((100, 16, 14, 14), (32, 16, *taps)), tuple(n // 2 for n in taps)
    plan = ops.conv2d_plan(*shapes, padding=padding)
    assert plan.name == f"winograd F(2x2, {taps[0]}x{taps[1]})"
    assert plan.multiplies == 100 * 7**2 * points * 16 * 32


@pytest.mark.usefixtures("chosen_without_amx")
def test_tiles_of_four_where_they_fit():
    with float32_precision("high"):
        plan = ops.conv2d_plan((16, 64, 56, 56), (64, 64, 3, 3), padding=1)
    assert plan.name == "winograd F(4x4, 3x3)"
    assert plan.multiplies == 16 * 14**2 * 36 * 64 * 64


@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((16, 64, 56, 56), (64, 64, 3, 3), {"stride": 2}),
        ((16, 64, 56, 56), (64, 64, 3, 3), {"dilation": (1, 2)}),
        ((16, 64, 56, 56), (64, 8, 3, 3), {"groups": 8}),
        ((16, 64, 56, 56), (64, 64, 3, 7), {}),
        ((16, 64, 56, 56), (64, 64, 3, 1), {}),
        ((16, 64, 56, 56), (64, 64, 1, 1), {}),
        ((16, 3, 56, 56), (64, 3, 3, 3), {"padding": 1}),  # transforms cost more than all products
        ((1, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),  # few tiles for so many weights
        ((16, 64, 3, 3), (64, 64, 3, 3), {}),  # a tile for one output
        ((0, 64, 9, 9), (64, 64, 3, 3), {}),
    ],
    ids=str,
)
def test_layers_that_are_left_to_others(shape, weight, options):
    with float32_precision("high"):
        assert not any(name.startswith("winograd") for name in names(shape, weight, **options))


@pytest.mark.usefixtures("chosen_without_amx")
def test_ops_run_what_the_rule_says():
    x, w, b, g = real_arrays((16, 48, 28, 28), 64, 1, np.float32)
    for precision, api in (("highest", OF_TWO), ("high", OF_FOUR)):
        with float32_precision(precision):
            assert (
                names(x.shape, w.shape, padding=1)
                == ["winograd F(2x2, 3x3)" if api is OF_TWO else "winograd F(4x4, 3x3)"] * 2
            )
            forward, backward = ops.conv2d(x, w, b, padding=1), ops.conv2d_backward_input(x.shape, w, g, padding=1)
        assert np.array_equal(forward, api.conv2d(x, w, b, padding=1))
        assert np.array_equal(backward, api.conv2d_backward_input(x.shape, w, g, padding=1))
