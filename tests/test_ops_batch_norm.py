"""batch_norm_stats, batch_norm and batch_norm_backward, against float64 answers."""

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

LANES = set().union(*(around(tile_shape(dtype)[1]) for dtype in DTYPES))
CHANNELS = sorted({1, 3, 15, 16, 17, 33, *LANES})


def exact_input(rng, shape):
    """Integers with deviations of 1 and 3 to both sides: the variance is 3, and 4 with eps = 1."""
    offsets = rng.integers(-9, 10, shape[1])
    count = int(np.prod(shape)) // shape[1]
    deviations = np.tile(np.resize([3, -3, 1, -1, 1, -1, 1, -1], count), (shape[1], 1))
    rows = offsets[:, None] + rng.permuted(deviations, axis=1)
    return np.moveaxis(rows.reshape(shape[1], shape[0], *shape[2:]), 0, 1).astype(float), offsets


def check_exact(shape):
    """Sums over a power of two of small integers, a standard deviation of 2: nothing is rounded."""
    rng = np.random.default_rng(len(shape))
    x, offsets = exact_input(rng, shape)
    g, weight, bias = integers(rng, shape), integers(rng, shape[1]), integers(rng, shape[1])
    mean, var = offsets.astype(float), np.full(shape[1], 3.0)
    output = reference.batch_norm(x, mean, var, weight, bias, eps=1)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        label = f"shape={shape} {dtype.__name__} threads={threads}"
        typed = [a.astype(dtype) for a in (x, mean, var, weight, bias)]
        with num_threads(threads):
            stats = ops.batch_norm_stats(typed[0])
            result = ops.batch_norm(*typed, eps=1)
        for actual, answer in zip(stats, (mean, var), strict=True):
            assert_exact(actual, answer, dtype, f"batch_norm_stats {label}")
        assert_exact(result, output, dtype, f"batch_norm {label}")
        for training in (True, False):
            answers = reference.batch_norm_backward(g, x, mean, var, weight, eps=1, training=training)
            with num_threads(threads):
                grads = ops.batch_norm_backward(g.astype(dtype), *typed[:4], eps=1, training=training)
            for actual, answer in zip(grads, answers, strict=True):
                assert_exact(actual, answer, dtype, f"batch_norm_backward training={training} {label}")


@pytest.mark.parametrize("channels", CHANNELS)
def test_exact_channels(channels):
    check_exact((2, channels, 4, 8))


@pytest.mark.parametrize(
    "shape",
    [
        (8, 5),
        (64, 17),
        (4, 3, 8),
        (2, 3, 4, 4),
        (4, 3, 2, 4, 8),
        (16, 3, 16, 16),
        (1, 2, 64, 64),
        (8, 33, 32, 32),
        (1024, 300),
    ],
    ids=str,
)
def test_exact_ranks_and_sizes(shape):
    check_exact(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(50, 7), (5, 33, 9, 7), (3, 4, 5, 6, 7), (9, 16, 11)], ids=str)
def test_reals(shape, affine, dtype):
    rng = np.random.default_rng(0)
    x, g = reals(rng, shape, dtype), reals(rng, shape, dtype)
    weight, bias = (reals(rng, shape[1:2], dtype) for _ in range(2)) if affine else (None, None)
    label = f"shape={shape} {dtype.__name__} affine={affine}"
    mean, var = ops.batch_norm_stats(x)
    answer_mean, answer_var = reference.batch_norm_stats(x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(mean, answer_mean, rtol=4 * eps, atol=4 * eps, err_msg=label)
    np.testing.assert_allclose(var, answer_var, rtol=64 * eps, err_msg=label)
    output = ops.batch_norm(x, mean, var, weight, bias, eps=1e-3)
    answer = reference.batch_norm(x, mean, var, weight, bias, eps=1e-3)
    assert_rms(output, answer, dtype, f"batch_norm {label}")
    for training in (True, False):
        grads = ops.batch_norm_backward(g, x, mean, var, weight, eps=1e-3, training=training)
        answers = reference.batch_norm_backward(g, x, mean, var, weight, eps=1e-3, training=training)
        for name, actual, expected in zip(("input", "weight", "bias"), grads, answers, strict=True):
            assert_rms(actual, expected, dtype, f"batch_norm_backward grad_{name} training={training} {label}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_variance_survives_a_large_mean(dtype):
    """The sum of squares less the square of the sum would have lost three digits of float32 here."""
    rng = np.random.default_rng(0)
    x = reals(rng, (8, 17, 12, 12), dtype) + dtype(100)
    mean, var = ops.batch_norm_stats(x)
    answer_mean, answer_var = reference.batch_norm_stats(x)
    assert_rms(mean, answer_mean, dtype, "mean", limit=np.finfo(dtype).eps)
    assert_rms(var, answer_var, dtype, "var", limit=np.finfo(dtype).eps * 64)


@pytest.mark.parametrize("channels", [1, 3, 16, 64, 65, 130])
def test_statistics_of_a_large_mean_are_exact_to_the_last_bits(channels):
    """A mean of 1000 with a deviation of 1, many times over: no error grows with the number of values."""
    rng = np.random.default_rng(0)
    x = (1000 + rng.standard_normal((16, channels, 60, 50))).astype(np.float32)
    mean, var = ops.batch_norm_stats(x)
    answer_mean, answer_var = reference.batch_norm_stats(x)
    np.testing.assert_allclose(mean, answer_mean, rtol=np.finfo(np.float32).eps)
    np.testing.assert_allclose(var, answer_var, rtol=np.finfo(np.float32).eps)
    g = rng.standard_normal(x.shape).astype(np.float32)
    grads = ops.batch_norm_backward(g, x, mean, var)
    # Of the mean that was given, which is a float32.
    answers = reference.batch_norm_backward(g, x, mean, var)
    for name, actual, expected in zip(("input", "weight", "bias"), grads, answers, strict=True):
        assert_rms(actual, expected, np.float32, f"grad_{name} of {channels} channels")


@pytest.mark.parametrize("shape", [(8, 64, 100, 100), (9, 35, 150, 100)], ids=str)
def test_results_beyond_the_caches(shape):
    """Large results are stored past the caches."""
    rng = np.random.default_rng(0)
    x, g = (rng.integers(-8, 9, shape).astype(np.float32) for _ in range(2))
    mean, var = np.zeros(shape[1], np.float32), np.full(shape[1], 4, np.float32)
    assert np.array_equal(ops.batch_norm(x, mean, var, eps=0), x / 2)
    assert np.array_equal(ops.batch_norm_backward(g, x, mean, var, eps=0, training=False)[0], g / 2)
    answer = reference.batch_norm_backward(g, x, mean, var, eps=0)[0]
    assert_rms(ops.batch_norm_backward(g, x, mean, var, eps=0)[0], answer, np.float32, f"grad_input of {shape}")


def test_as_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((6, 19, 7, 5), np.float32) for _ in range(2))
    weight, bias = rng.standard_normal((2, 19), np.float32)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    expected = torch.nn.functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
    expected.backward(torch.tensor(g))
    mean, var = ops.batch_norm_stats(x)
    np.testing.assert_allclose(
        ops.batch_norm(x, mean, var, weight, bias), expected.detach().numpy(), rtol=1e-4, atol=1e-5
    )
    for actual, leaf in zip(ops.batch_norm_backward(g, x, mean, var, weight), leaves, strict=True):
        np.testing.assert_allclose(actual, leaf.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_constant_channels_have_no_variance():
    x = np.full((3, 5, 4, 7), np.float32(0.1))
    mean, var = ops.batch_norm_stats(x)
    assert np.allclose(mean, 0.1, rtol=1e-6, atol=0)
    assert np.all(var >= 0)
    assert np.all(var <= 1e-14)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(2, 9), st.integers(1, 40)),
    st.lists(st.integers(1, 9), max_size=3),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_shape(front, back, dtype, affine, seed):
    shape = (*front, *back)
    rng = np.random.default_rng(seed)
    x = integers(rng, shape).astype(dtype)
    mean, var = ops.batch_norm_stats(x)
    answer_mean, answer_var = reference.batch_norm_stats(x)
    np.testing.assert_allclose(mean, answer_mean, rtol=0, atol=64 * np.finfo(dtype).eps)
    np.testing.assert_allclose(var, answer_var, rtol=0, atol=4096 * np.finfo(dtype).eps)
    weight, bias = (integers(rng, shape[1]).astype(dtype) for _ in range(2)) if affine else (None, None)
    mean, var = reals(rng, shape[1], dtype), np.abs(reals(rng, shape[1], dtype)) + dtype(0.5)
    answer = reference.batch_norm(x, mean, var, weight, bias)
    assert_rms(ops.batch_norm(x, mean, var, weight, bias), answer, dtype, f"shape={shape} seed={seed}")


def test_no_images():
    x = np.empty((0, 3, 4, 4), np.float32)
    ones = np.ones(3, np.float32)
    assert ops.batch_norm(x, ones, ones).shape == x.shape
    grad_input, grad_weight, grad_bias = ops.batch_norm_backward(x, x, ones, ones, training=False)
    assert grad_input.shape == x.shape
    assert np.array_equal(grad_weight, np.zeros(3))
    assert np.array_equal(grad_bias, np.zeros(3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(8, 5), (2, 5, 4, 8), (2, 5, 16)], ids=str)
def test_memory_orders(shape, layout, dtype):
    """Any strides in, channels-last out, and neither the inputs nor their neighbours are written."""
    rng = np.random.default_rng(0)
    x, offsets = exact_input(rng, shape)
    g, vectors = integers(rng, shape), [offsets, np.full(5, 3), *integers(rng, (2, 5))]
    x, g = (LAYOUTS[layout](a.astype(dtype)) for a in (x, g))
    mean, var, weight, bias = (LAYOUTS["every second, reversed"](v.astype(dtype)) for v in vectors)
    arrays = (x, g, mean, var, weight, bias)
    before = [whole_buffer(a) for a in arrays]
    label = f"shape={shape} {layout} {dtype.__name__}"

    for actual, answer in zip(ops.batch_norm_stats(x), (mean, var), strict=True):
        assert_exact(actual, answer, dtype, f"batch_norm_stats {label}")
    output = ops.batch_norm(x, mean, var, weight, bias, eps=1)
    assert_exact(output, reference.batch_norm(x, mean, var, weight, bias, eps=1), dtype, f"batch_norm {label}")
    grads = ops.batch_norm_backward(g, x, mean, var, weight, eps=1)
    answers = reference.batch_norm_backward(g, x, mean, var, weight, eps=1)
    for actual, answer in zip(grads, answers, strict=True):
        assert_exact(actual, answer, dtype, f"batch_norm_backward {label}")
    for result in (output, grads[0]):
        assert is_channels_last(result), f"strides {result.strides}"
        assert not any(np.shares_memory(result, a) for a in arrays)
    assert [whole_buffer(a) for a in arrays] == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 33, 57, 59), (5000, 130), (1, 3, 500, 500)], ids=str)
def test_same_bits_for_any_number_of_threads(shape, dtype):
    rng = np.random.default_rng(0)
    x, g = reals(rng, shape, dtype), reals(rng, shape, dtype)
    weight, bias = reals(rng, (2, shape[1]), dtype)
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            mean, var = ops.batch_norm_stats(x)
            output = ops.batch_norm(x, mean, var, weight, bias)
            grads = ops.batch_norm_backward(g, x, mean, var, weight)
        results[f"threads={threads}{again}"] = [mean, var, output, *grads]
    assert_same_bits(results, f"shape={shape} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_spoil_their_own_channel_only(dtype):
    rng = np.random.default_rng(0)
    x = reals(rng, (3, 20, 4, 5), dtype)
    x[1, 4, 2, 2], x[2, 7, 0, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        answers = reference.batch_norm_stats(x)
        output = reference.batch_norm(x, *answers)
    mean, var = ops.batch_norm_stats(x)
    assert np.isnan(mean[4])
    assert mean[7] == np.inf
    assert np.isnan(var[[4, 7]]).all()
    assert np.isfinite(np.delete(mean, [4, 7])).all()
    assert np.isfinite(np.delete(var, [4, 7])).all()
    np.testing.assert_allclose(ops.batch_norm(x, mean, var), output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_mode_stays_the_callers(dtype):
    x, ones = denormals((2, 3, 4, 5), dtype), np.ones(3, dtype)
    ops.batch_norm_stats(x)
    ops.batch_norm(x, ones, ones)
    ops.batch_norm_backward(x, x, ones, ones)
    assert keeps_denormals(x)
