"""Pooling by a fixed window of weights, and its gradient: a convolution of each channel with the same filter."""

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._shapes import Array, Pair, Shape
from .conv2d import conv2d, conv2d_backward_input


def distance_weights(kernel_size: Pair, dtype: npt.DTypeLike | None = None) -> Array:
    """Make weights for `weighted_pool2d` that fall with the distance from the central pixel.

    Parameters
    ----------
    kernel_size : int or pair of int
        Height and width of the window, in pixels.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (height, width)
        They sum to 1: a pooling with them is a weighted average.

    Raises
    ------
    TypeError, ValueError
        If `kernel_size` is no size, or `dtype` neither of the two.

    Notes
    -----
    Proportional to ``1/(1 + d)``, with d the Euclidean distance from the centre of the window, in pixels.

    Examples
    --------
    >>> distance_weights(3).round(3)
    array([[0.089, 0.107, 0.089],
           [0.107, 0.215, 0.107],
           [0.089, 0.107, 0.089]], dtype=float32)
    """
    dtype = _shapes.floating("distance_weights", dtype)
    down, across = (
        np.arange(size) - (size - 1) / 2 for size in _shapes.pair("distance_weights", "kernel_size", kernel_size, 1)
    )
    weights = 1 / (1 + np.hypot(down[:, np.newaxis], across))
    average: Array = (weights / weights.sum()).astype(dtype)
    return average


def weighted_pool2d(input: Array, weights: Array, stride: Pair | None = None, padding: Pair = 0) -> Array:
    """Sum each window, weighted: with weights that sum to 1, a weighted average.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images, of any strides.
    weights : ndarray, shape (R, S), dtype of `input`
        The window, the same for every channel.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; the window's size if not given.
    padding : int or pair of int, default 0
        Zeros on each edge, in pixels; at most half of the window.

    Returns
    -------
    ndarray, shape (N, C, P, Q), dtype of `input`
        Channels-last in memory.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ, or a size is not an integer.
    ValueError
        If sizes do not fit; the message names the argument, its value and the rule.

    See Also
    --------
    distance_weights : weights by the distance from the central pixel.

    Notes
    -----
    ``output[n, c, p, q] = sum over r, s of weights[r, s]*input[n, c, p*stride + r - padding, q*stride + s - padding]``:
    a depthwise convolution.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.float32([[[[2, 4, 3], [1, 5, 6], [8, 2, 9]]]])
    >>> round(weighted_pool2d(image, distance_weights(3)).item(), 3)
    4.426
    """
    op = "weighted_pool2d"
    _shapes.array(op, "input", input, 4)
    _shapes.array(op, "weights", weights, 2, input)
    pool = _shapes.weighted_pool2d(op, input.shape, weights.shape, stride, padding)
    filters, groups = _filters(weights, input.shape[1])
    return conv2d(input, filters, None, _stride(pool), _padding(pool), 1, groups)


def weighted_pool2d_backward(
    grad_output: Array, input_shape: Shape, weights: Array, stride: Pair | None = None, padding: Pair = 0
) -> Array:
    """Gradient of `weighted_pool2d` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, P, Q), dtype of `weights`
        Gradient with respect to the output.
    input_shape : tuple of int
        (N, C, H, W) of the input.
    weights : ndarray, shape (R, S), float32 or float64
        As in the forward pass.
    stride, padding
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `weights`
        Each window's gradient, shared among its pixels by weight. Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `weighted_pool2d`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), (1, 1, 2, 2), np.float32([[1, 2], [3, 4]]))[0, 0]
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    op = "weighted_pool2d_backward"
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    _shapes.array(op, "weights", weights, 2)
    _shapes.array(op, "grad_output", grad_output, 4, weights, "weights")
    pool = _shapes.weighted_pool2d(op, input_shape, weights.shape, stride, padding)
    _shapes.same_shape(op, "grad_output", grad_output.shape, pool.output_shape)
    filters, groups = _filters(weights, input_shape[1])
    return conv2d_backward_input(input_shape, filters, grad_output, _stride(pool), _padding(pool), 1, groups)


def _filters(weights: Array, channels: int) -> tuple[Array, int]:
    """Return the window as the filter of every channel, each a group of its own; of no channels, no filters."""
    return np.broadcast_to(weights, (channels, min(channels, 1), *weights.shape)), max(channels, 1)


def _stride(pool: _shapes.Pool2d) -> tuple[int, int]:
    return pool.rows.stride, pool.cols.stride


def _padding(pool: _shapes.Pool2d) -> tuple[int, int]:
    return pool.rows.padding, pool.cols.padding
