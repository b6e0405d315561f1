"""lp_pool2d and its backward pass, against float64 answers."""

import itertools

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
    denormals,
    integers,
    is_channels_last,
    keeps_denormals,
    refuses,
    whole_buffer,
)
from gradients import assert_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import functional as F
from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads

NORMS = (1, 2, 3, 2.5, 0.5)
LANES = set().union(*(around(tile_shape(dtype)[1], (1, 4)) for dtype in DTYPES))


def positive(rng, shape):
    """Between 0.5 and 2, where every power is a number."""
    return np.exp2(rng.uniform(-1, 1, shape))


def pool_and_back(x, g, norm_type, *window):
    output = ops.lp_pool2d(x, norm_type, *window)
    return output, ops.lp_pool2d_backward(g, x, output, norm_type, *window)


def check(shape, norm_type, *window, seed=0):
    rng = np.random.default_rng(seed)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        x = positive(rng, shape).astype(dtype)
        answer = reference.lp_pool2d(x, norm_type, *window)
        g = integers(rng, answer.shape).astype(dtype)
        with num_threads(threads):
            output, grad = pool_and_back(x, g, norm_type, *window)
        label = f"{shape} norm {norm_type} {window} {dtype.__name__} threads={threads}"
        close = {"rtol": 64 * np.finfo(dtype).eps, "err_msg": label}
        assert output.dtype == grad.dtype == dtype
        np.testing.assert_allclose(output, answer, **close)
        grad_answer = reference.lp_pool2d_backward(g, x, output, norm_type, *window)
        np.testing.assert_allclose(grad, grad_answer, atol=np.abs(g).max(initial=1) * close["rtol"], **close)


@pytest.mark.parametrize("channels", sorted(LANES))
def test_channels(channels):
    for norm_type in (1, 2, 3):
        check((2, channels, 5, 6), norm_type, (2, 3), 2)


@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize(
    "window", [(1,), (2,), (3, 1), ((3, 2), (2, 3)), (3, 2, True), ((2, 5), (5, 2), True)], ids=str
)
def test_windows(window, norm_type):
    check((2, 3, 7, 8), norm_type, *window)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(4, 9), st.integers(4, 9)),
    st.sampled_from(NORMS),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.booleans(),
    st.integers(0, 99),
)
def test_any(shape, norm_type, kernel_size, stride, ceil_mode, seed):
    check(shape, norm_type, kernel_size, stride, ceil_mode, seed=seed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_one_is_the_sum_and_exact(dtype):
    """Signs stay: there is no absolute value in PyTorch's norm either."""
    rng = np.random.default_rng(0)
    x = integers(rng, (2, 5, 6, 6))
    answer = 4 * reference.avg_pool2d(x, 2)
    assert_exact(ops.lp_pool2d(x.astype(dtype), 1, 2), answer, dtype, "norm 1")


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_of_other_norms(dtype):
    x = np.array([[[[-3, 4], [0, 0]], [[-2, 0], [0, 0]], [[-1, 0], [0, 3]]]], dtype)
    np.testing.assert_allclose(ops.lp_pool2d(x, 2, 2).ravel(), [5, 2, np.sqrt(10)], rtol=1e-6)
    np.testing.assert_allclose(ops.lp_pool2d(x, 3, 2).ravel(), [37 ** (1 / 3), np.nan, 26 ** (1 / 3)], rtol=1e-6)
    np.testing.assert_array_equal(ops.lp_pool2d(x, 2.5, 2).ravel(), np.full(3, np.nan))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_type", [1, 2, 3])
def test_nan_and_inf_stay_in_their_windows(norm_type, dtype):
    x = np.ones((1, 1, 2, 6), dtype)
    x[..., 0, 0], x[..., 0, 2] = np.nan, np.inf
    found = ops.lp_pool2d(x, norm_type, 2).ravel()
    np.testing.assert_allclose(found, [np.nan, np.inf, 4 ** (1 / norm_type)], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_type", [1, 2, 3])
def test_a_norm_of_zero_has_no_gradient(norm_type, dtype):
    x = np.zeros((1, 20, 2, 2), dtype)
    output, grad = pool_and_back(x, np.ones((1, 20, 1, 1), dtype), norm_type, 2)
    assert not output.any()
    assert_exact(grad, np.zeros(x.shape), dtype, "gradient")


@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": 2, "ceil_mode": True}], ids=str)
def test_gradients(norm_type, options):
    x = positive(np.random.default_rng(0), (2, 3, 6, 7))
    assert_gradients(lambda x: F.lp_pool2d(x, norm_type, (3, 2), **options), x)
    if norm_type == 2:
        assert_gradients(lambda x: F.lp_pool2d(x, norm_type, (3, 2), **options), -x)


@pytest.mark.parametrize("norm_type", [1, 2, 3, 0.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_pytorch(norm_type, dtype):
    torch = pytest.importorskip("torch")
    x = positive(np.random.default_rng(0), (2, 20, 7, 8)).astype(dtype)
    leaf = torch.tensor(x, requires_grad=True)
    answer = torch.nn.functional.lp_pool2d(leaf, norm_type, (2, 3), 2, True)
    answer.sum().backward()
    output, grad = pool_and_back(x, np.ones(answer.shape, dtype), norm_type, (2, 3), 2, True)
    close = {"rtol": 64 * np.finfo(dtype).eps}
    np.testing.assert_allclose(output, answer.detach().numpy(), **close)
    np.testing.assert_allclose(grad, leaf.grad.numpy(), **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_orders(layout, dtype):
    rng = np.random.default_rng(0)
    x, g = integers(rng, (2, 5, 6, 4)).astype(dtype), integers(rng, (2, 5, 3, 2)).astype(dtype)
    answers = pool_and_back(x, g, 2, 2)
    x, g = LAYOUTS[layout](x), LAYOUTS[layout](g)
    before = [whole_buffer(a) for a in (x, g)]
    for result, answer in zip(pool_and_back(x, g, 2, 2), answers, strict=True):
        assert result.tobytes() == answer.tobytes()
        assert is_channels_last(result)
        assert not any(np.shares_memory(result, a) for a in (x, g))
    assert [whole_buffer(a) for a in (x, g)] == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    x = positive(rng, (8, 33, 40, 41)).astype(dtype)
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            output, grad = pool_and_back(x, x[:, :, 1::2, 1::2], 2, 3, 2, True)
            results[f"threads={threads}{again}"] = [output, grad]
    assert_same_bits(results, dtype.__name__)


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_mode_stays_the_callers(dtype):
    x = denormals((2, 5, 4, 4), dtype)
    for norm_type in (1, 2, 3):
        pool_and_back(x, np.ones((2, 5, 2, 2), dtype), norm_type, 2)
    assert keeps_denormals(x)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_norms_that_are_none(value):
    x = np.ones((1, 1, 4, 4), np.float32)
    refuses(ValueError, rf"^lp_pool2d: norm_type={value}", ops.lp_pool2d, x, value, 2)
    y = ops.lp_pool2d(x, 2, 2)
    refuses(ValueError, rf"^lp_pool2d_backward: norm_type={value}", ops.lp_pool2d_backward, y, x, y, value, 2)


def test_what_is_no_norm_or_no_output():
    x = np.ones((1, 1, 4, 4), np.float32)
    y = ops.lp_pool2d(x, 2, 2)
    for value in ("2", None, True):
        refuses(TypeError, rf"^lp_pool2d: norm_type={value!r}", ops.lp_pool2d, x, value, 2)
    refuses(ValueError, r"^lp_pool2d_backward: output .*\(1, 1, 4, 4\)", ops.lp_pool2d_backward, y, x, x, 2, 2)
    refuses(ValueError, r"^lp_pool2d: .*kernel.* 5 .* 4 ", ops.lp_pool2d, x, 2, 5)
