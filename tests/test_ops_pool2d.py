"""max_pool2d, avg_pool2d and their backward passes, against float64 answers."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from cases import (
    DTYPES,
    EXACT,
    LAYOUTS,
    PEAK,
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
    whole_buffer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads


@dataclass(frozen=True)
class Pool:
    shape: tuple
    kernel_size: int | tuple
    stride: int | tuple | None = None
    padding: int | tuple = 0
    dilation: int | tuple = 1
    ceil_mode: bool = False
    count_include_pad: bool = True
    seed: int = 0

    @property
    def window(self):
        return {name: getattr(self, name) for name in ("kernel_size", "stride", "padding")}

    @property
    def max_options(self):
        return {**self.window, "dilation": self.dilation, "ceil_mode": self.ceil_mode}

    @property
    def avg_options(self):
        return {**self.window, "ceil_mode": self.ceil_mode, "count_include_pad": self.count_include_pad}


def max_pool_and_back(case, x, g):
    output, indices = ops.max_pool2d(x, **case.max_options)
    back = {**case.window, "dilation": case.dilation}
    return output, ops.max_pool2d_backward(g, indices, x.shape, **back)


def avg_pool_and_back(case, x, g):
    return ops.avg_pool2d(x, **case.avg_options), ops.avg_pool2d_backward(g, x.shape, **case.avg_options)


def max_answers(case, x, g):
    options = case.max_options
    return reference.max_pool2d(x, **options), reference.max_pool2d_backward(g, x, **options)


def avg_answers(case, x, g):
    options = case.avg_options
    return reference.avg_pool2d(x, **options), reference.avg_pool2d_backward(g, x.shape, **options)


def check_max(case, x=None):
    """Few different values, so that most windows hold ties."""
    rng = np.random.default_rng(case.seed)
    x = rng.integers(-4, 5, case.shape).astype(float) if x is None else x
    g = integers(rng, reference.max_pool2d(x, **case.max_options).shape)
    answer, grad_answer = max_answers(case, x, g)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        with num_threads(threads):
            output, grad = max_pool_and_back(case, x.astype(dtype), g.astype(dtype))
        label = f"{case} {dtype.__name__} threads={threads}"
        assert_exact(output, answer, dtype, f"max_pool2d {label}")
        assert_exact(grad, grad_answer, dtype, f"max_pool2d_backward {label}")


def check_avg(case):
    """Multiples of every possible divisor, so that averages are integers."""
    rng = np.random.default_rng(case.seed)
    kernel = reference.pair(case.kernel_size)
    common = int(np.lcm.reduce([r * s for r in range(1, kernel[0] + 1) for s in range(1, kernel[1] + 1)]))
    x = common * integers(rng, case.shape)
    g = common * integers(rng, reference.avg_pool2d(x, **case.avg_options).shape)
    answer, grad_answer = avg_answers(case, x, g)
    exact = common * PEAK * np.prod(kernel) < EXACT
    for dtype, threads in itertools.product(DTYPES, THREADS):
        with num_threads(threads):
            output, grad = avg_pool_and_back(case, x.astype(dtype), g.astype(dtype))
        label = f"{case} {dtype.__name__} threads={threads}"
        agree = assert_exact if exact else assert_rms
        agree(output, answer, dtype, f"avg_pool2d {label}")
        agree(grad, grad_answer, dtype, f"avg_pool2d_backward {label}")


LANES = sorted(set().union(*(around(tile_shape(dtype)[1], (1, 2, 4)) for dtype in DTYPES)))
CHANNELS = (1, 3, 15, 16, 17, 33)

WINDOWS = [
    (2, None, 0),
    (3, 2, 1),
    (3, None, 0),
    (2, 1, 1),
    (1, 1, 0),
    (1, 3, 0),
    (2, 3, 1),
    ((3, 2), (1, 3), (1, 0)),
    ((1, 4), (2, 2), (0, 2)),
    (5, 2, 2),
    (8, 4, 4),
    ((9, 10), None, 0),
]


@pytest.mark.parametrize("channels", sorted({*CHANNELS, *LANES}))
def test_channels(channels):
    case = Pool((2, channels, 6, 7), 3, 2, 1)
    check_max(case)
    check_avg(case)


@pytest.mark.parametrize("shape", [(4, 40, 33, 31), (1, 3, 200, 190), (1, 400, 20, 21)], ids=str)
def test_large(shape):
    """Work enough for several threads."""
    case = Pool(shape, 3, 2, 1)
    check_max(case)
    check_avg(case)


@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), WINDOWS)
def test_max_windows(kernel_size, stride, padding, ceil_mode, dilation):
    shape = (2, 3, 9, 10) if dilation == 1 else (2, 3, 20, 30)
    check_max(Pool(shape, kernel_size, stride, padding, dilation, ceil_mode))


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 8, 13, 16])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), WINDOWS)
def test_max_windows_of_few_channels(kernel_size, stride, padding, ceil_mode, channels):
    """In rows long enough for pixels to share vectors."""
    check_max(Pool((2, channels, 9, 41), kernel_size, stride, padding, 1, ceil_mode))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), WINDOWS)
def test_avg_windows(kernel_size, stride, padding, ceil_mode, count_include_pad):
    check_avg(Pool((2, 3, 9, 10), kernel_size, stride, padding, 1, ceil_mode, count_include_pad))


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 3, 1), (3, 4, 0)])
def test_ceil_mode_drops_windows_that_start_beyond_the_image(size, kernel_size, stride, padding):
    if size + 2 * padding < kernel_size:
        size = kernel_size
    case = Pool((1, 2, size, 12), kernel_size, stride, padding, ceil_mode=True)
    check_max(case)
    check_avg(case)


def test_max_window_that_reads_the_padding_alone():
    """A dilated window may step over a small image: it holds -inf, and its gradient goes nowhere."""
    check_max(Pool((1, 2, 3, 3), 2, 1, 1, dilation=4))


@pytest.mark.parametrize("shape", [(0, 3, 6, 7), (1, 1, 1, 1), (1, 1, 2, 50)], ids=str)
def test_empty_and_small(shape):
    kernel_size = (min(2, shape[2]), min(2, shape[3]))
    check_max(Pool(shape, kernel_size))
    check_avg(Pool(shape, kernel_size))


numbers = st.integers(1, 4)
pairs = numbers | st.tuples(numbers, numbers)


@st.composite
def pools(draw, dilated):
    kernel, stride = draw(pairs), draw(pairs | st.none())
    dilation = draw(pairs) if dilated else 1
    padding = tuple(draw(st.integers(0, k // 2)) for k in reference.pair(kernel))
    axes = zip(reference.pair(kernel), reference.pair(dilation), padding, strict=True)
    image = [max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 9)) for k, d, p in axes]
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 20)), *image)
    ceil_mode, count_include_pad, seed = draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 99))
    return Pool(shape, kernel, stride, padding, dilation, ceil_mode, count_include_pad, seed)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(pools(dilated=True))
def test_any_max_pool(case):
    check_max(case)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(pools(dilated=False))
def test_any_avg_pool(case):
    check_avg(case)


def test_first_maximum_takes_the_gradient():
    """In reading order, wherever the tie lies in the window: every position of a 2x2 window in turn."""
    x = np.zeros((1, 1, 2, 32))
    for window in range(16):
        for tap in range(4):
            x[0, 0, tap // 2, 2 * window + tap % 2] = window >> tap & 1
    check_max(Pool(x.shape, 2), x)


def test_nan_is_the_maximum_of_its_window():
    case = Pool((2, 17, 8, 8), 3, 2, 1)
    rng = np.random.default_rng(3)
    x = rng.integers(-4, 5, case.shape).astype(float)
    for c in range(case.shape[1]):  # one a channel, so that no window holds two
        x[c % 2, c, c % 8, c // 3] = np.nan
    x[0, 1, 0, 0], x[1, 2, 7, 7] = np.inf, -np.inf
    x[0, 16] = -np.inf
    check_max(case, x)


def test_nan_and_inf_where_pixels_share_vectors():
    """The first of equals, the last NaN, whichever lanes they lie in; taps in the padding are read again."""
    rng = np.random.default_rng(3)
    for window in (Pool((2, 3, 9, 40), 3, 2, 1), Pool((3, 6, 8, 28), 2), Pool((2, 1, 7, 50), 2, 1, 1)):
        x = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0], window.shape)
        x[0, 0] = -np.inf
        check_max(window, x)


def test_last_of_several_nans_takes_the_gradient():
    """As in PyTorch, where a NaN is greater than whatever stands before it."""
    rng = np.random.default_rng(3)
    case = Pool((2, 17, 9, 8), 3, 2, 1)
    x = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0], case.shape)
    check_max(case, x)


def test_avg_pool_passes_nan_and_inf_on():
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    x[0, 0, 0, 0], x[0, 0, 3, 3], x[0, 1, 1, 2] = np.nan, np.inf, -np.inf
    assert_exact(ops.avg_pool2d(x, 2), reference.avg_pool2d(x, 2), np.float32, "avg_pool2d")


POOLINGS = [(max_pool_and_back, max_answers), (avg_pool_and_back, avg_answers)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("run", "answer"), POOLINGS)
@pytest.mark.parametrize("case", [Pool((3, 20, 15, 15), 3, 2, 1), Pool((2, 7, 20, 20), 5, 1, 2)], ids=str)
def test_reals(case, run, answer, dtype):
    rng = np.random.default_rng(case.seed)
    x = reals(rng, case.shape, dtype)
    g = reals(rng, reference.avg_pool2d(x, **case.avg_options).shape, dtype)
    for result, expected in zip(run(case, x, g), answer(case, x, g), strict=True):
        assert_rms(result, expected, dtype, f"{case} {run.__name__} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("run", "answer"), POOLINGS)
def test_memory_orders(run, answer, layout, dtype):
    """Any strides in, channels-last out, and neither the inputs nor their neighbours are written."""
    case = Pool((2, 5, 6, 8), 2)
    rng = np.random.default_rng(case.seed)
    x, g = 4 * integers(rng, case.shape).astype(dtype), 4 * integers(rng, (2, 5, 3, 4)).astype(dtype)
    x, g = (LAYOUTS[layout](a) for a in (x, g))
    before = [whole_buffer(a) for a in (x, g)]
    for result, expected in zip(run(case, x, g), answer(case, x, g), strict=True):
        assert_exact(result, expected, dtype, f"{case} {run.__name__} {dtype.__name__} {layout}")
        assert is_channels_last(result), f"strides {result.strides}"
        assert not np.shares_memory(result, x)
        assert not np.shares_memory(result, g)
    assert [whole_buffer(a) for a in (x, g)] == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype):
    case = Pool((5, 35, 21, 23), 3, 1, 1)
    rng = np.random.default_rng(case.seed)
    x, g = reals(rng, case.shape, dtype), reals(rng, case.shape, dtype)
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            arrays = [*max_pool_and_back(case, x, g), *avg_pool_and_back(case, x, g)]
        results[f"threads={threads}{again}"] = arrays
    assert_same_bits(results, f"{case} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_mode_stays_the_callers(dtype):
    case = Pool((1, 3, 6, 6), 2)
    x, g = denormals(case.shape, dtype), denormals((1, 3, 3, 3), dtype)
    for run in (max_pool_and_back, avg_pool_and_back):
        run(case, x, g)
        assert keeps_denormals(x)


# -------------------------------------------------------------------------------------------------------- adaptive


def check_adaptive(shape, output_size, x=None):
    """Ties for the maximum; for the average multiples of every window's size."""
    rng = np.random.default_rng(0)
    ties = rng.integers(-4, 5, shape).astype(float) if x is None else x
    answer = reference.adaptive_max_pool2d(ties, output_size)
    sizes = [reference.adaptive_windows(*axis) for axis in zip(shape[2:], answer.shape[2:], strict=True)]
    common = int(np.lcm.reduce([(b - a) * (d - c) for a, b in sizes[0] for c, d in sizes[1]]))
    widest = max(b - a for a, b in sizes[0]) * max(d - c for c, d in sizes[1])
    x, g = common * integers(rng, shape), common * integers(rng, answer.shape)
    exact = common * PEAK * widest < EXACT
    average = reference.adaptive_avg_pool2d(x, output_size)
    answers = answer, reference.adaptive_max_pool2d_backward(g, ties)
    averages = average, reference.adaptive_avg_pool2d_backward(g, shape)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        label = f"adaptive {shape} to {output_size} {dtype.__name__} threads={threads}"
        with num_threads(threads):
            output, indices = ops.adaptive_max_pool2d(ties.astype(dtype), output_size)
            maximum = output, ops.adaptive_max_pool2d_backward(g.astype(dtype), indices, shape)
            mean = (
                ops.adaptive_avg_pool2d(x.astype(dtype), output_size),
                ops.adaptive_avg_pool2d_backward(g.astype(dtype), shape),
            )
        assert indices.dtype == (np.uint8 if widest <= 256 else np.int32), label
        for actual, expected in zip(maximum, answers, strict=True):
            assert_exact(actual, expected, dtype, f"max {label}")
        for actual, expected in zip(mean, averages, strict=True):
            (assert_exact if exact else assert_rms)(actual, expected, dtype, f"avg {label}")


@pytest.mark.parametrize("channels", sorted({*CHANNELS, *LANES}))
def test_adaptive_channels(channels):
    check_adaptive((2, channels, 5, 7), (2, 3))


@pytest.mark.parametrize(
    ("size", "output_size"),
    [
        ((7, 7), 1),
        ((8, 8), 2),
        ((10, 7), (3, 7)),
        ((10, 7), (None, 2)),
        ((3, 4), (5, 9)),
        ((17, 16), 16),
        ((1, 1), (1, 3)),
        ((13, 5), None),
        ((6, 9), (4, 6)),
    ],
    ids=str,
)
def test_adaptive_windows(size, output_size):
    check_adaptive((2, 3, *size), output_size if isinstance(output_size, tuple) else (output_size, output_size))
    x = np.ones((1, 2, *size), np.float32)
    pair = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    assert ops.adaptive_avg_pool2d(x, output_size).tobytes() == ops.adaptive_avg_pool2d(x, pair).tobytes()


def test_global_pooling_of_large_images():
    """More than 256 places take an index of 32 bits; many images, work enough for several threads."""
    check_adaptive((3, 5, 40, 30), 1)
    check_adaptive((40, 130, 16, 16), 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 20), *[st.tuples(st.integers(1, 12), st.integers(1, 14) | st.none())] * 2)
def test_any_adaptive_pool(channels, rows, cols):
    check_adaptive((2, channels, rows[0], cols[0]), (rows[1], cols[1]))


def test_adaptive_nan_and_inf():
    rng = np.random.default_rng(3)
    x = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0], (2, 17, 7, 8))
    x[0, 0] = -np.inf
    answer, label = reference.adaptive_max_pool2d(x, (3, 5)), "adaptive_max_pool2d"
    g = integers(rng, answer.shape)
    output, indices = ops.adaptive_max_pool2d(x, (3, 5))
    assert_exact(output, answer, np.float64, label)
    grad = ops.adaptive_max_pool2d_backward(g, indices, x.shape)
    assert_exact(grad, reference.adaptive_max_pool2d_backward(g, x), np.float64, label)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adaptive_pooling_has_the_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    x, g = reals(rng, (5, 35, 31, 33), dtype), reals(rng, (5, 35, 7, 11), dtype)
    results = {}
    for threads in SETTLED:
        with num_threads(threads):
            output, indices = ops.adaptive_max_pool2d(x, (7, 11))
            results[f"threads={threads}"] = [
                output,
                indices,
                ops.adaptive_max_pool2d_backward(g, indices, x.shape),
                ops.adaptive_avg_pool2d(x, (7, 11)),
                ops.adaptive_avg_pool2d_backward(g, x.shape),
                ops.adaptive_avg_pool2d(x, 1),
            ]
    assert_same_bits(results, f"adaptive {dtype.__name__}")


@pytest.mark.parametrize("channels", [16, 19])
def test_results_beyond_the_caches(channels):
    """Large gradients are stored past the caches, whole vectors of them; the others are not."""
    rng = np.random.default_rng(0)
    shape = (2, channels, 420, 420)
    x = rng.integers(-4, 5, shape).astype(np.float32)
    g = integers(rng, (2, channels, 210, 210)).astype(np.float32)
    output, indices = ops.max_pool2d(x, 2)
    blocks = x.reshape(2, channels, 210, 2, 210, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, channels, 210, 210, 4)
    assert np.array_equal(indices, blocks.argmax(axis=-1))
    chosen = np.arange(4) == blocks.argmax(axis=-1)[..., None]
    answer = np.where(chosen, g[..., None], 0).reshape(2, channels, 210, 210, 2, 2).transpose(0, 1, 2, 4, 3, 5)
    assert np.array_equal(output, blocks.max(axis=-1))
    assert np.array_equal(ops.max_pool2d_backward(g, indices, shape, 2), answer.reshape(shape))
    quarters = np.repeat(np.repeat(g / 4, 2, axis=2), 2, axis=3)
    assert np.array_equal(ops.avg_pool2d_backward(g, shape, 2), quarters)


# --------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("max_pool2d", (3, 2, 1)),
        ("max_pool2d", (2, 2, 0, 3)),
        ("max_pool2d", ((2, 3), (1, 2), (1, 0), 1, True)),
        ("avg_pool2d", (3, 2, 1, True, False)),
        ("avg_pool2d", (3, 1, 1)),
        ("adaptive_max_pool2d", ((4, 3),)),
        ("adaptive_avg_pool2d", ((4, None),)),
        ("adaptive_avg_pool2d", (1,)),
    ],
)
def test_as_pytorch(name, arguments):
    torch = pytest.importorskip("torch")
    from convkit import functional
    from convkit.autograd import Tensor

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 19, 11, 10), np.float32)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    output = getattr(functional, name)(ours, *arguments)
    expected = getattr(torch.nn.functional, name)(theirs, *arguments)
    g = rng.standard_normal(output.shape, np.float32)
    output.backward(g)
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(output.data, expected.detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-6, atol=1e-6)
