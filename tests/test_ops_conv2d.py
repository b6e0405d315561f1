"""conv2d and its three backward passes, against float64 answers: to the bit on integers."""

import itertools
from dataclasses import dataclass

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
    assert_rms,
    assert_same_bits,
    denormals,
    integers,
    is_channels_last,
    keeps_denormals,
    reals,
    refuse_unless_telling,
    whole_buffer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads


@dataclass(frozen=True)
class Conv:
    shape: tuple
    weight: tuple
    stride: int | tuple = 1
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    groups: int = 1
    bias: bool = True
    seed: int = 0

    @property
    def options(self):
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}


# Each is called with `ops` or with `reference`, which share their signatures.
PASSES = {
    "conv2d": lambda api, x, w, b, g, options: api.conv2d(x, w, b, **options),
    "conv2d_backward_input": lambda api, x, w, b, g, options: api.conv2d_backward_input(x.shape, w, g, **options),
    "conv2d_backward_weight": lambda api, x, w, b, g, options: api.conv2d_backward_weight(x, w.shape, g, **options),
    "conv2d_backward_bias": lambda api, x, w, b, g, options: api.conv2d_backward_bias(g),
}


def output_shape(case):
    x, w = np.broadcast_to(0.0, case.shape), np.broadcast_to(0.0, case.weight)
    return reference.conv2d(x, w, **case.options).shape


def integer_arrays(case):
    rng = np.random.default_rng(case.seed)
    out = output_shape(case)
    fan_in, positions = np.prod(case.weight[1:]), out[0] * out[2] * out[3]
    fan_out = case.weight[0] // case.groups * np.prod(case.weight[2:])
    terms = max(fan_in, fan_out, positions)
    x, w, g = (integers(rng, shape, terms) for shape in (case.shape, case.weight, out))
    return x, w, integers(rng, case.weight[:1]) if case.bias else None, g


def cast(arrays, dtype):
    return [None if a is None else a.astype(dtype) for a in arrays]


def answers_of(case, arrays):
    """The answers of all passes, for inputs that make them exact in float32."""
    magnitudes = [None if a is None else np.abs(a) for a in arrays]
    answers = {}
    for name, run in PASSES.items():
        answers[name] = run(reference, *arrays, case.options)
        refuse_unless_telling(answers[name], run(reference, *magnitudes, case.options), f"{case} {name}")
    return answers


def check_exact(case):
    arrays = integer_arrays(case)
    answers = answers_of(case, arrays)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        typed = cast(arrays, dtype)
        for name, run in PASSES.items():
            with num_threads(threads):
                result = run(ops, *typed, case.options)
            label = f"{case} {name} {dtype.__name__} threads={threads}"
            assert_exact(result, answers[name], dtype, label)


ROWS = sorted(set().union(*(around(tile_shape(dtype)[0]) for dtype in DTYPES), around(12)))
LANES = sorted(set().union(*(around(tile_shape(dtype)[1]) for dtype in DTYPES)))
CHANNELS = (1, 3, 15, 16, 17, 33)


@pytest.mark.parametrize("width", ROWS)
def test_output_width_from_the_tile(width):
    check_exact(Conv((2, 3, 4, width), (17, 3, 3, 3), padding=1))
    check_exact(Conv((1, 4, 2, width), (3, 4, 1, 1)))


@pytest.mark.parametrize("lanes", LANES)
def test_channels_from_the_tile(lanes):
    check_exact(Conv((1, 3, 5, 7), (lanes, 3, 3, 3), padding=1))
    check_exact(Conv((1, lanes, 5, 7), (3, lanes, 3, 3), padding=1))
    check_exact(Conv((2, lanes, 4, 5), (lanes, lanes, 1, 1)))


@pytest.mark.parametrize("k", CHANNELS)
@pytest.mark.parametrize("c", CHANNELS)
def test_channels(c, k):
    check_exact(Conv((2, c, 5, 6), (k, c, 3, 2), padding=1))


@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, 2, 5, (0, 3), (4, 1), "valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2), (3, 1)])
def test_stride_padding_dilation(stride, padding, dilation):
    if padding == "same" and stride != 1:
        stride = (1, 1)
    check_exact(Conv((2, 3, 8, 9), (5, 3, 3, 2), stride=stride, padding=padding, dilation=dilation))


@pytest.mark.parametrize("kernel", [(1, 1), (1, 5), (5, 1), (2, 2), (4, 3), (5, 5), (7, 7), (8, 9), (1, 9)], ids=str)
def test_kernel_sizes(kernel):
    check_exact(Conv((2, 3, 8, 9), (5, 3, *kernel)))
    check_exact(Conv((1, 2, 8, 9), (3, 2, *kernel), stride=2, padding=3))
    check_exact(Conv((1, 2, 8, 9), (3, 2, *kernel), padding="same"))


@pytest.mark.parametrize("stride", [2, 3, 4, (2, 5)])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_strides_that_skip_input(stride, padding):
    check_exact(Conv((2, 3, 9, 10), (4, 3, 1, 1), stride=stride, padding=padding))
    check_exact(Conv((1, 3, 9, 10), (4, 3, 2, 1), stride=stride, padding=padding, dilation=2))


@pytest.mark.parametrize("stride", [2, 3, (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_what_is_skipped_has_no_gradient_in_memory_that_held_something(stride, padding, groups):
    case = Conv((3, 80, 9, 10), (12, 80 // groups, 1, 1), stride=stride, padding=padding, groups=groups)
    arrays, run = integer_arrays(case), PASSES["conv2d_backward_input"]
    answer = run(reference, *arrays, case.options)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        typed = cast(arrays, dtype)
        with num_threads(threads):
            run(ops, *typed, case.options)[...] = np.nan
            result = run(ops, *typed, case.options)
        assert_exact(result, answer, dtype, f"{case} {dtype.__name__} threads={threads}")


@pytest.mark.parametrize("groups", [2, 3, 6])
@pytest.mark.parametrize("stride", [1, 2])
def test_groups(groups, stride):
    check_exact(Conv((2, 6, 7, 8), (12, 6 // groups, 3, 3), stride=stride, padding=1, groups=groups))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise(channels, multiplier):
    check_exact(Conv((2, channels, 6, 7), (channels * multiplier, 1, 3, 3), padding=1, groups=channels))
    check_exact(Conv((1, channels, 7, 6), (channels * multiplier, 1, 2, 3), stride=2, dilation=2, groups=channels))


@pytest.mark.parametrize("kernel", [2, 4, 5, 7, 9, (1, 8), (8, 1)], ids=str)
@pytest.mark.parametrize("how", [{}, {"stride": 2}, {"dilation": 2}, {"stride": (3, 2), "dilation": (2, 3)}], ids=str)
def test_depthwise_kernels(kernel, how):
    """Runs of taps of every length, in one plane of the stride or in several."""
    rows, cols = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (rows // 2, cols // 2)
    check_exact(Conv((2, 19, 11 + 2 * rows, 10 + 2 * cols), (19, 1, rows, cols), padding=padding, groups=19, **how))


@pytest.mark.parametrize("each", [(1, 2), (2, 1), (2, 2), (3, 3), (3, 5), (5, 3), (7, 7), (1, 7), (7, 1)], ids=str)
@pytest.mark.parametrize("groups", [2, 5, 16, 17])
def test_narrow_groups(groups, each):
    """Whole groups on a vector, with lanes to spare or not; sources in one vector or in two."""
    outer, inner = each
    shape = (groups * outer, inner, 3, 3)
    check_exact(Conv((2, groups * inner, 5, 6), shape, padding=1, groups=groups))
    check_exact(Conv((1, groups * inner, 7, 6), shape, padding=1, stride=2, groups=groups))


@pytest.mark.parametrize("width", ROWS)
def test_depthwise_width_from_the_tile(width):
    check_exact(Conv((1, 33, 3, width), (33, 1, 3, 3), padding=1, groups=33))


def test_a_depthwise_kernel_longer_than_a_chain():
    check_exact(Conv((1, 3, 35, 36), (3, 1, 29, 31), padding=(14, 15), groups=3))


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_lines_longer_than_a_chain(stride):
    check_exact(Conv((1, 17, 3, 1601), (17, 1, 3, 3), padding=1, stride=stride, groups=17))


@pytest.mark.parametrize(
    ("image", "kernel"), [((3, 3), 9), ((3, 4), 9), ((4, 4), 5), ((5, 3), 7), ((2, 9), 6)], ids=str
)
def test_depthwise_kernels_wider_than_the_image(image, kernel):
    """Columns of taps of which only some meet the image: those of its first, or of its last outputs."""
    for padding in (kernel // 2, kernel // 2 + 1, kernel - 1):
        for stride in (1, 2):
            check_exact(
                Conv((2, 17, *image), (17, 1, kernel, kernel), padding=padding, stride=stride, groups=17, seed=kernel)
            )


def test_depthwise_images_of_many_blocks():
    check_exact(Conv((5, 40, 31, 33), (40, 1, 3, 3), padding=1, groups=40))
    check_exact(Conv((3, 33, 31, 34), (33, 1, 5, 5), padding=2, stride=2, groups=33))


@pytest.mark.parametrize("lanes", LANES)
def test_groups_as_wide_as_the_tile(lanes):
    check_exact(Conv((1, 2 * lanes, 4, 5), (2 * lanes, lanes, 3, 3), padding=1, groups=2))


@pytest.mark.parametrize("image", [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1), (3, 3)], ids=str)
def test_small_and_narrow_images(image):
    check_exact(Conv((2, 3, *image), (5, 3, 1, 1)))
    check_exact(Conv((3, 3, *image), (5, 3, 3, 3), padding=1))
    check_exact(Conv((1, 3, *image), (5, 3, 3, 3), padding=3, stride=2))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 3])
def test_no_images(kernel, groups):
    """A batch of none: an empty output, and weight gradients of zero."""
    check_exact(Conv((0, 3, 5, 5), (6, 3 // groups, kernel, kernel), padding=1, groups=groups))


@pytest.mark.parametrize("shape", [(2, 0, 5, 5), (2, 3, 0, 5), (2, 3, 5, 0), (0, 0, 0, 0)], ids=str)
@pytest.mark.parametrize("outputs", [0, 4])
def test_no_pixels_or_channels(shape, outputs):
    """Sums of nothing: the bias, or zero."""
    check_exact(Conv(shape, (outputs, shape[1], 1, 2), padding=1))


def test_without_bias():
    check_exact(Conv((2, 3, 6, 7), (5, 3, 3, 3), bias=False))


@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 1, 100, 420), (2, 1, 3, 3), padding=1),
        Conv((16, 2, 56, 56), (3, 2, 1, 1)),
        Conv((1, 700, 5, 5), (40, 700, 5, 5), padding=2),
    ],
    ids=str,
)
def test_long_sums(case):
    check_exact(case)


@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 64, 30, 33), (20, 64, 3, 3), padding=1),
        Conv((1, 128, 20, 61), (35, 128, 3, 3), padding=1, stride=2),
        Conv((1, 40, 50, 50), (8, 40, 5, 5), padding=2, dilation=2),
        Conv((1, 300, 3, 90), (4, 300, 3, 3), padding=1),
        Conv((4, 64, 31, 29), (64, 1, 3, 3), padding=1, groups=64),
        Conv((2, 96, 24, 23), (64, 24, 3, 3), padding=1, groups=4),
        Conv((2, 64, 27, 29), (48, 64, 1, 1), stride=2),
        Conv((2, 1000, 9, 9), (33, 1000, 1, 1)),
        Conv((1, 900, 6, 7), (40, 900, 3, 3), padding=1),
        Conv((2, 128, 7, 7), (130, 128, 3, 3), padding=1),
        Conv((1, 256, 5, 5), (512, 256, 3, 3), padding=1),
        Conv((128, 1, 14, 14), (16, 1, 5, 5), padding=2),
        Conv((2, 96, 56, 57), (96, 1, 7, 7), padding=3, groups=96),
        Conv((1, 5, 9, 900), (5, 1, 3, 3), padding=1, groups=5),
        Conv((1, 512, 6, 260), (512, 1, 3, 3), padding=1, stride=2, groups=512),
        Conv((1, 45, 30, 41), (45, 3, 5, 5), padding=2, groups=15),
    ],
    ids=str,
)
def test_large(case):
    """Too large for one strip in the cache, one run of the sum, or one thread."""
    check_exact(case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "outputs"), [(3, 1, 64), (1, 1, 32), (3, 2, 48), (1, 2, 36)])
def test_large_results_have_the_bits_of_their_parts(kernel, stride, outputs, dtype):
    """Whole vectors of large results are stored past the caches; those of each image alone are not."""
    rng = np.random.default_rng(kernel * stride)
    x = rng.standard_normal((9, 3, 230, 230)).astype(dtype)
    w = rng.standard_normal((outputs, 3, kernel, kernel)).astype(dtype)
    how = {"stride": stride, "padding": kernel // 2}
    whole = ops.conv2d(x, w, **how)
    parts = [ops.conv2d(x[i : i + 1], w, **how) for i in range(len(x))]
    assert np.array_equal(whole, np.concatenate(parts))
    wide = rng.standard_normal((3, outputs, kernel, kernel)).astype(dtype)
    shape = (9, outputs, 230, 230)
    grad = rng.standard_normal((9, 3, *ops.conv2d_output_shape(shape, wide.shape, **how)[2:])).astype(dtype)
    whole = ops.conv2d_backward_input(shape, wide, grad, **how)
    for i in range(len(x)):
        assert np.array_equal(
            whole[i : i + 1], ops.conv2d_backward_input((1, *shape[1:]), wide, grad[i : i + 1], **how)
        )


def test_integers_thin_out_where_sums_are_long():
    values = integers(np.random.default_rng(0), (300, 300), terms=10**7)
    assert 0.02 < np.count_nonzero(values) / values.size < 0.2


pairs = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inner, outer = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation = draw(pairs), draw(pairs)
    padding = draw(
        st.integers(0, 4) | st.tuples(st.integers(0, 4), st.integers(0, 4)) | st.sampled_from(["valid", "same"])
    )
    if padding == "same":
        stride = 1
    sides = reference.padding_sides(padding, kernel, reference.pair(dilation))
    least = [
        max(1, d * (k - 1) + 1 - sum(side)) for k, d, side in zip(kernel, reference.pair(dilation), sides, strict=True)
    ]
    image = [n + draw(st.integers(0, 9)) for n in least]
    return Conv(
        (draw(st.integers(1, 3)), inner * groups, *image),
        (outer * groups, inner, *kernel),
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        draw(st.integers(0, 99)),
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(convolutions())
def test_any_convolution(case):
    assert ops.conv2d_output_shape(case.shape, case.weight, **case.options) == output_shape(case)
    check_exact(case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 64, 14, 14), (64, 64, 3, 3), padding=1),
        Conv((16, 16, 14, 14), (32, 16, 5, 5), padding=2),
        Conv((8, 3, 28, 28), (16, 3, 7, 7), padding=3, stride=2),
        Conv((4, 256, 7, 7), (64, 256, 1, 1)),
        Conv((1, 512, 7, 7), (512, 512, 3, 3), padding=1),
        Conv((4, 32, 14, 14), (32, 1, 3, 3), padding=1, groups=32),
        Conv((16, 24, 28, 28), (24, 3, 3, 3), padding=1, groups=8),
        Conv((1, 4, 40, 40), (4, 1, 31, 31), padding=15, groups=4),
        Conv((4, 8, 14, 14), (12, 4, 3, 3), padding=2, dilation=2, groups=2),
    ],
    ids=str,
)
def test_reals(case, dtype):
    rng = np.random.default_rng(case.seed)
    shapes = case.shape, case.weight, case.weight[:1], output_shape(case)
    arrays = [reals(rng, shape, dtype) for shape in shapes]
    for name, run in PASSES.items():
        answer = run(reference, *arrays, case.options)
        assert_rms(run(ops, *arrays, case.options), answer, dtype, f"{case} {name} {dtype.__name__}")


LAYOUT_CASES = [
    Conv((2, 5, 6, 7), (4, 5, 3, 3), padding=1),
    Conv((2, 6, 7, 6), (4, 3, 2, 3), stride=2, padding=1, groups=2),
    Conv((2, 5, 4, 3), (7, 5, 1, 1)),
    Conv((2, 5, 6, 7), (5, 1, 3, 3), groups=5),
    Conv((2, 40, 6, 7), (36, 40, 3, 3), padding=1),
    Conv((2, 40, 7, 6), (36, 40, 3, 3), stride=2, padding=1),
    Conv((2, 18, 7, 6), (33, 18, 5, 4)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", LAYOUT_CASES, ids=str)
def test_memory_orders(case, layout, dtype):
    """Any strides in, channels-last out, and neither the inputs nor their neighbours are written."""
    arrays = integer_arrays(case)
    answers = answers_of(case, arrays)
    x, w, b, g = cast(arrays, dtype)
    laid = [LAYOUTS[layout](a) for a in (x, w)]
    laid += [LAYOUTS["every second"](b), LAYOUTS[layout](g)]
    before = [whole_buffer(a) for a in laid]
    for name, run in PASSES.items():
        result = run(ops, *laid, case.options)
        assert_exact(result, answers[name], dtype, f"{case} {name} {dtype.__name__} {layout}")
        if name in ("conv2d", "conv2d_backward_input"):
            assert is_channels_last(result), f"{name}: strides {result.strides}"
        assert [whole_buffer(a) for a in laid] == before, f"{name} wrote to its input"
        assert not any(np.shares_memory(result, a) for a in laid)


def test_broadcast_arrays():
    """A stride of zero, as numpy.broadcast_to makes; as many outputs as fill a vector."""
    x = np.broadcast_to(np.float32(3), (2, 3, 5, 5))
    w = np.broadcast_to(np.arange(16, dtype=np.float32)[:, None, None, None], (16, 3, 3, 3))
    g = np.broadcast_to(np.float32(2), (2, 16, 3, 3))
    for name, run in PASSES.items():
        assert_exact(run(ops, x, w, None, g, {}), run(reference, x, w, None, g, {}), np.float32, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Conv((15, 17, 30, 33), (47, 17, 3, 3), padding=1),
        Conv((1, 3, 65, 64), (16, 3, 5, 5), stride=2, padding=2),
        Conv((9, 64, 7, 7), (33, 64, 1, 1)),
        Conv((3, 24, 15, 15), (24, 1, 3, 3), padding=1, groups=24),
        Conv((2, 70, 33, 15), (70, 1, 5, 5), padding=2, stride=2, groups=70),
        Conv((3, 24, 15, 15), (24, 3, 3, 3), padding=1, groups=8),
        Conv((3, 24, 15, 15), (48, 8, 3, 3), padding=2, dilation=2, groups=3),
    ],
    ids=str,
)
def test_same_bits_for_any_number_of_threads(case, dtype):
    rng = np.random.default_rng(case.seed)
    shapes = case.shape, case.weight, case.weight[:1], output_shape(case)
    arrays = [reals(rng, shape, dtype) for shape in shapes]
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            results[f"threads={threads}{again}"] = [run(ops, *arrays, case.options) for run in PASSES.values()]
    assert_same_bits(results, f"{case} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 3, 9, 9), (20, 3, 3, 3)),
        Conv((2, 3, 9, 9), (5, 3, 3, 3)),
        Conv((1, 6, 8, 9), (6, 1, 3, 2), stride=2, groups=6),
    ],
    ids=str,
)
def test_nan_and_inf_go_where_they_go_in_float64(case, dtype):
    rng = np.random.default_rng(case.seed)
    out = output_shape(case)
    x, w, b, g = (integers(rng, shape) for shape in (case.shape, case.weight, case.weight[:1], out))
    x[0, 0, 2, 3], x[0, 1, 6, 6], x[0, 2, 0, 0] = np.inf, -np.inf, np.nan
    g[0, 0, 1, 2], g[0, 1, 0, 0], g[0, 2, 2, 2] = -np.inf, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        answers = {name: run(reference, x, w, b, g, case.options) for name, run in PASSES.items()}
    arrays = cast((x, w, b, g), dtype)
    for name, run in PASSES.items():
        answer = answers[name]
        assert not np.isfinite(answer).all()
        assert_exact(run(ops, *arrays, case.options), answer, dtype, f"{case} {name} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", THREADS)
def test_denormals_are_harmless_and_stay_the_callers(dtype, threads):
    """Kernels may flush denormals, and give the thread back in the mode in which they found it."""
    arrays = [denormals(shape, dtype) for shape in ((2, 3, 8, 9), (5, 3, 3, 3), (5,), (2, 5, 6, 7))]
    with num_threads(threads):
        for name, run in PASSES.items():
            run(ops, *arrays, {})
            assert keeps_denormals(arrays[0]), f"{name} left the caller flushing denormals"
