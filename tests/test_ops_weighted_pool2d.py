"""weighted_pool2d and its backward pass, against float64 answers; the weights by distance."""

import itertools

import numpy as np
import pytest
import reference
from cases import DTYPES, LAYOUTS, THREADS, around, assert_exact, integers, is_channels_last, refuses, whole_buffer
from gradients import assert_gradients

from convkit import functional as F
from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads

LANES = set().union(*(around(tile_shape(dtype)[1]) for dtype in DTYPES))


def check(shape, window, *options):
    rng = np.random.default_rng(0)
    x, weights = integers(rng, shape), integers(rng, window)
    answer = reference.weighted_pool2d(x, weights, *options)
    g = integers(rng, answer.shape)
    grad_answer = reference.weighted_pool2d_backward(g, shape, weights, *options)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        label = f"{shape} {window} {options} {dtype.__name__} threads={threads}"
        with num_threads(threads):
            output = ops.weighted_pool2d(x.astype(dtype), weights.astype(dtype), *options)
            grad = ops.weighted_pool2d_backward(g.astype(dtype), shape, weights.astype(dtype), *options)
        assert_exact(output, answer, dtype, label)
        assert_exact(grad, grad_answer, dtype, f"{label}, backward")


@pytest.mark.parametrize("channels", sorted({0, 3} | LANES))
def test_channels(channels):
    check((2, channels, 6, 7), (3, 2), 2, 1)


@pytest.mark.parametrize("options", [(), (1,), ((1, 3), (1, 0)), (2, 1)], ids=str)
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 3), (2, 5)], ids=str)
def test_windows(window, options):
    if window != (1, 1) or len(options) < 2:
        check((2, 3, 7, 8), window, *options)


def test_no_images():
    check((0, 3, 6, 6), (2, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_orders(layout, dtype):
    rng = np.random.default_rng(0)
    x, weights = integers(rng, (2, 5, 6, 4)), integers(rng, (2, 3))
    answer = reference.weighted_pool2d(x, weights)
    x, weights = LAYOUTS[layout](x.astype(dtype)), LAYOUTS[layout](weights.astype(dtype))
    before = [whole_buffer(a) for a in (x, weights)]
    result = ops.weighted_pool2d(x, weights)
    assert_exact(result, answer, dtype, layout)
    assert is_channels_last(result)
    assert [whole_buffer(a) for a in (x, weights)] == before


@pytest.mark.parametrize("options", [{}, {"stride": 1, "padding": 1}], ids=str)
def test_gradients(options):
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((3, 2))
    assert_gradients(lambda x: F.weighted_pool2d(x, weights, **options), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel_size", [1, 2, 3, (2, 5)], ids=str)
def test_weights_by_distance(kernel_size, dtype):
    weights = ops.distance_weights(kernel_size, dtype)
    height, width = reference.pair(kernel_size)
    assert (weights.shape, weights.dtype) == ((height, width), dtype)
    answer = np.array(
        [
            [1 / (1 + ((r - (height - 1) / 2) ** 2 + (s - (width - 1) / 2) ** 2) ** 0.5) for s in range(width)]
            for r in range(height)
        ]
    )
    np.testing.assert_allclose(weights, answer / answer.sum(), rtol=4 * np.finfo(dtype).eps)
    flat = np.full((1, 1, height, width), 7, dtype)
    np.testing.assert_allclose(ops.weighted_pool2d(flat, weights), [[[[7]]]], rtol=8 * np.finfo(dtype).eps)


def test_equal_weights_are_an_average():
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 8))
    weights = np.full((3, 2), 1 / 6)
    np.testing.assert_allclose(
        ops.weighted_pool2d(x, weights, 2, 1), ops.avg_pool2d(x, (3, 2), 2, 1), rtol=1e-13, atol=1e-14
    )


def test_weights_that_are_none():
    x = np.ones((1, 2, 4, 4), np.float32)
    for call in (ops.weighted_pool2d, lambda x, w: ops.weighted_pool2d_backward(x, x.shape, w)):
        refuses(ValueError, r"^weighted_pool2d.*: weights .*\(2,\)", call, x, x[0, 0, 0, :2])
        refuses(ValueError, r"^weighted_pool2d.*: weights \(0, 2\)", call, x, x[0, 0, :0, :2])
        refuses(TypeError, r"^weighted_pool2d.*float32.*float64|float64.*float32", call, x, np.ones((2, 2)))
    refuses(ValueError, r"^weighted_pool2d: padding=.*2", ops.weighted_pool2d, x, x[0, 0, :3, :3], 1, 2)
    refuses(ValueError, r"^weighted_pool2d: stride=0", ops.weighted_pool2d, x, x[0, 0, :3, :3], 0)
    refuses(ValueError, r"^weighted_pool2d: .*kernel.* 5 .* 4 ", ops.weighted_pool2d, x, np.ones((5, 1), np.float32))
    refuses(TypeError, r"^distance_weights: dtype=int32", ops.distance_weights, 3, np.int32)
    refuses(ValueError, r"^distance_weights: kernel_size=0", ops.distance_weights, 0)
