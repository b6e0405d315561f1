"""The activations: relu, softmax, log_softmax and their backward passes, against float64 answers."""

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
    reals,
    whole_buffer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads

LANES = set().union(*(around(tile_shape(dtype)[1], (1, 2, 4)) for dtype in DTYPES))
SHAPES = [
    *((n,) for n in sorted(LANES)),
    (),
    (0,),
    (3, 0, 2),
    (2, 3),
    (2, 17, 5, 6),
    (3, 4, 5),
    (2, 3, 4, 5, 6),
]
SOFTMAXES = ["softmax", "log_softmax"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu(shape):
    rng = np.random.default_rng(0)
    x, g = rng.integers(-3, 4, shape).astype(float), integers(rng, shape)
    output = reference.relu(x)
    grad = reference.relu_backward(g, output)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        label = f"shape={shape} {dtype.__name__} threads={threads}"
        with num_threads(threads):
            assert_exact(ops.relu(x.astype(dtype)), output, dtype, f"relu {label}")
            result = ops.relu_backward(g.astype(dtype), output.astype(dtype))
        assert_exact(result, grad, dtype, f"relu_backward {label}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_of_special_values(dtype):
    """A NaN stays one and passes its gradient, within whole vectors as in the rest."""
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], dtype)
    for x in (special, np.resize(special, 500)):
        assert_exact(ops.relu(x), reference.relu(x), dtype, "relu")
        output = reference.relu(x).astype(dtype)
        for g in (np.arange(1, x.size + 1).astype(dtype), np.full(x.size, np.inf, dtype)):
            answer = reference.relu_backward(g, output)
            assert_exact(ops.relu_backward(g, output), answer, dtype, "relu_backward")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 4, 3), (3, 4, 5)], ids=str)
def test_memory_orders_of_relu(shape, layout, dtype):
    """Any strides in; channels-last stays so, and neither the inputs nor their neighbours are written."""
    rng = np.random.default_rng(0)
    x, g = (LAYOUTS[layout](integers(rng, shape).astype(dtype)) for _ in range(2))
    output = LAYOUTS["channels-last"](reference.relu(x).astype(dtype))
    before = [whole_buffer(a) for a in (x, g, output)]
    for result, answer in (
        (ops.relu(x), output),
        (ops.relu_backward(g, output), reference.relu_backward(g, output)),
    ):
        assert_exact(result, answer, dtype, f"relu {shape} {layout} {dtype.__name__}")
        assert layout != "channels-last" or is_channels_last(result), f"strides {result.strides}"
        assert not any(np.shares_memory(result, a) for a in (x, g, output))
    assert [whole_buffer(a) for a in (x, g, output)] == before


def softmax_and_back(api, name, x, g, dim):
    output = getattr(api, name)(x, dim)
    return output, getattr(api, f"{name}_backward")(g, output, dim)


def check_softmax(name, shape, dim, dtype, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    x, g = dtype(scale) * reals(rng, shape, dtype), reals(rng, shape, dtype)
    label = f"{name} shape={shape} dim={dim} {dtype.__name__} scale={scale} seed={seed}"
    output = getattr(ops, name)(x, dim)
    assert output.dtype == dtype
    limit = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        output, getattr(reference, name)(x, dim), rtol=limit * max(scale, 1), atol=limit, err_msg=label
    )
    grad = getattr(ops, f"{name}_backward")(g, output, dim)
    answer = getattr(reference, f"{name}_backward")(g, output, dim)
    assert grad.dtype == dtype
    np.testing.assert_allclose(grad, answer, rtol=limit, atol=limit * np.abs(g).max(), err_msg=label)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("shape", [(5, 10, 3), (1, 17, 1), (16, 1, 33)], ids=str)
def test_softmax(name, shape, dim, dtype):
    check_softmax(name, shape, dim, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e3])
def test_softmax_of_small_and_large_values(name, scale, dtype):
    check_softmax(name, (7, 10), 1, dtype, scale)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(SOFTMAXES),
    st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
    st.data(),
)
def test_any_softmax(name, shape, dtype, seed, data):
    check_softmax(name, shape, data.draw(st.integers(-len(shape), len(shape) - 1)), dtype, seed=seed)


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("shape", [(0, 5), (5, 0)], ids=str)
def test_empty_softmax(name, shape):
    x = np.empty(shape, np.float32)
    for result in softmax_and_back(ops, name, x, x, 1):
        assert result.shape == shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmax_of_special_values(name, dtype):
    """The impossible stays so, what is certain too; NaN, Inf and rows of nothing but -Inf give NaN."""
    inf, nan = np.inf, np.nan
    x = np.array([[0, -inf, 0], [-inf, 5, -inf], [1e30, 0, -1e30], [nan, 0, 0], [inf, 0, 0], [-inf] * 3], dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        answer = getattr(reference, name)(x, 1)
    np.testing.assert_allclose(getattr(ops, name)(x, 1), answer, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SOFTMAXES)
def test_memory_orders_of_softmax(name, layout, dtype):
    rng = np.random.default_rng(0)
    x, g = (LAYOUTS[layout](reals(rng, (3, 5, 4), dtype)) for _ in range(2))
    before = [whole_buffer(a) for a in (x, g)]
    for dim in range(3):
        answers = softmax_and_back(reference, name, x, g, dim)
        for result, answer in zip(softmax_and_back(ops, name, x, g, dim), answers, strict=True):
            np.testing.assert_allclose(result, answer, rtol=0, atol=64 * np.finfo(dtype).eps)
            assert not np.shares_memory(result, x)
            assert not np.shares_memory(result, g)
    assert [whole_buffer(a) for a in (x, g)] == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    x, g = reals(rng, (64, 40, 300), dtype), reals(rng, (64, 40, 300), dtype)
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            arrays = [ops.relu(x), ops.relu_backward(g, np.abs(x) + x)]
            for name, dim in itertools.product(SOFTMAXES, (0, 1, 2)):
                arrays += softmax_and_back(ops, name, x, g, dim)
        results[f"threads={threads}{again}"] = arrays
    assert_same_bits(results, dtype.__name__)


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_mode_stays_the_callers(dtype):
    x = denormals((5, 7), dtype)
    ops.relu(x)
    ops.relu_backward(x, np.ones_like(x))
    for name in SOFTMAXES:
        softmax_and_back(ops, name, x, x, 1)
    assert keeps_denormals(x)
