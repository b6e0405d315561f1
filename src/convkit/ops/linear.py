"""The fully connected layer, and its gradients: a 1x1 convolution over images of one pixel."""

import math

import numpy as np

from .. import _shapes
from .._shapes import Array, Shape
from ._arrays import aligned, contiguous, empty
from ._convolution import linear_plan
from .channel_sum import channel_sum


def _vectors(x: Array) -> Array:
    """Return an array (..., features) as a contiguous matrix (vectors, features)."""
    return contiguous(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _pixels(x: Array) -> Array:
    """Return an array (..., features) as images (vectors, 1, 1, features)."""
    return _vectors(x)[:, None, None, :]


def _filters(weight: Array) -> Array:
    """Return a matrix (out_features, in_features) as filters (out_features, in_features, 1, 1)."""
    return aligned(weight)[:, :, None, None]


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """Apply a linear map to the last axis.

    Parameters
    ----------
    input : ndarray, shape (..., in_features), float32 or float64
        Any number of vectors.
    weight : ndarray, shape (out_features, in_features), dtype of `input`
        The map's matrix.
    bias : ndarray, shape (out_features,), dtype of `input`, optional
        Added to each result.

    Returns
    -------
    ndarray, shape (..., out_features), dtype of `input`

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not fit.

    Notes
    -----
    ``output = input @ weight.T + bias``.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.float32([[1, 2]]), np.float32([[3, 4], [5, 6]]), np.float32([1, 1]))
    array([[12., 18.]], dtype=float32)
    """
    _shapes.array("linear", "input", input)
    _shapes.array("linear", "weight", weight, 2, input)
    shape = _shapes.linear("linear", input.shape, weight.shape)
    _shapes.vector("linear", "bias", bias, weight.shape[0], f"weight {weight.shape}", input)
    out = empty(shape, input.dtype)
    vectors = _pixels(input)
    linear_plan("forward", input.dtype, len(vectors), weight.shape).carry_out(
        "linear",
        vectors,
        _filters(weight),
        np.empty(0, input.dtype) if bias is None else contiguous(bias),
        _pixels(out),
    )
    return out


def linear_backward_input(input_shape: Shape, weight: Array, grad_output: Array) -> Array:
    """Gradient of `linear` with respect to its input.

    Parameters
    ----------
    input_shape : tuple of int
        (..., in_features) of the input.
    weight : ndarray, shape (out_features, in_features), float32 or float64
        The map's matrix.
    grad_output : ndarray, shape (..., out_features), dtype of `weight`
        Gradient with respect to the output.

    Returns
    -------
    ndarray, shape (..., in_features), dtype of `weight`
        ``grad_output @ weight``.

    Raises
    ------
    TypeError, ValueError
        As `linear`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> linear_backward_input((1, 2), np.float32([[3, 4], [5, 6]]), np.float32([[1, 1]]))
    array([[ 8., 10.]], dtype=float32)
    """
    op = "linear_backward_input"
    _shapes.array(op, "weight", weight, 2)
    _shapes.array(op, "grad_output", grad_output, None, weight, "weight")
    input_shape = _shapes.shape(op, "input_shape", input_shape, grad_output.ndim)
    _shapes.same_shape(op, "grad_output", grad_output.shape, _shapes.linear(op, input_shape, weight.shape))
    grad_input = empty(input_shape, weight.dtype)
    vectors = _pixels(grad_output)
    linear_plan("backward_input", weight.dtype, len(vectors), weight.shape).carry_out(
        op, vectors, _filters(weight), _pixels(grad_input)
    )
    return grad_input


def linear_backward_weight(input: Array, weight_shape: Shape, grad_output: Array) -> Array:
    """Gradient of `linear` with respect to its weight.

    Parameters
    ----------
    input : ndarray, shape (..., in_features), float32 or float64
        The input of the forward pass.
    weight_shape : tuple of int
        (out_features, in_features) of the weight.
    grad_output : ndarray, shape (..., out_features), dtype of `input`
        Gradient with respect to the output.

    Returns
    -------
    ndarray, shape (out_features, in_features), dtype of `input`
        ``grad_output.T @ input`` over all vectors, the same bits for any number of threads.

    Raises
    ------
    TypeError, ValueError
        As `linear`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> linear_backward_weight(np.float32([[1, 2]]), (2, 2), np.float32([[1, 3]]))
    array([[1., 2.],
           [3., 6.]], dtype=float32)
    """
    op = "linear_backward_weight"
    _shapes.array(op, "input", input)
    weight_shape = _shapes.shape(op, "weight_shape", weight_shape, 2)
    _shapes.array(op, "grad_output", grad_output, None, input)
    _shapes.same_shape(op, "grad_output", grad_output.shape, _shapes.linear(op, input.shape, weight_shape))
    grad_weight = empty(weight_shape, input.dtype)
    vectors = _pixels(input)
    linear_plan("backward_weight", input.dtype, len(vectors), weight_shape).carry_out(
        op, vectors, _pixels(grad_output), _filters(grad_weight)
    )
    return grad_weight


def linear_backward_bias(grad_output: Array) -> Array:
    """Gradient of `linear` with respect to its bias.

    Parameters
    ----------
    grad_output : ndarray, shape (..., out_features), float32 or float64
        Gradient with respect to the output.

    Returns
    -------
    ndarray, shape (out_features,), dtype of `grad_output`
        The sum over all vectors, taken in double in a fixed order.

    Raises
    ------
    TypeError, ValueError
        If `grad_output` is not a float32 or float64 array with at least one axis.

    Examples
    --------
    >>> import numpy as np
    >>> linear_backward_bias(np.float32([[1, 2], [3, 4]]))
    array([4., 6.], dtype=float32)
    """
    op = "linear_backward_bias"
    _shapes.array(op, "grad_output", grad_output)
    if grad_output.ndim == 0:
        raise ValueError(f"{op}: grad_output has shape (), but must have at least 1 axis")
    return channel_sum(op, _vectors(grad_output))
