"""Softmax and its logarithm, and their gradients.

In NumPy: classes are few, and all of a batch's scores fit in cache. Sums run along one axis on one thread, in an
order that the shape decides.
"""

import numpy as np

from .. import _shapes
from .._shapes import Array


def softmax(input: Array, dim: int) -> Array:
    """Turn scores into probabilities along an axis.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
        Scores (logits).
    dim : int
        Axis along which the probabilities sum to one.

    Returns
    -------
    ndarray, shape and dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If `input` is not a float32 or float64 array, or `dim` not one of its axes.

    Notes
    -----
    ``output = exp(input - m)/sum(exp(input - m))`` with m the largest score, so that nothing overflows.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.float32([0, 0]), 0)
    array([0.5, 0.5], dtype=float32)
    """
    dim = _check("softmax", input, dim)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = _shifted(input, dim)
        np.exp(out, out=out)
        out /= out.sum(axis=dim, keepdims=True)
    return out


def softmax_backward(grad_output: Array, output: Array, dim: int) -> Array:
    """Gradient of `softmax`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray, float32 or float64
        The output of the forward pass.
    dim : int
        As in the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        ``output*(grad_output - sum(grad_output*output))``.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes differ, or `dim` is not an axis.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_backward(np.float32([1, 0]), np.float32([0.5, 0.5]), 0)
    array([ 0.25, -0.25], dtype=float32)
    """
    dim = _check_gradient("softmax_backward", grad_output, output, dim)
    inner: Array = (grad_output * output).sum(axis=dim, keepdims=True)
    return output * (grad_output - inner)


def log_softmax(input: Array, dim: int) -> Array:
    """Turn scores into logarithms of probabilities along an axis.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
        Scores (logits).
    dim : int
        Axis along which the probabilities sum to one.

    Returns
    -------
    ndarray, shape and dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If `input` is not a float32 or float64 array, or `dim` not one of its axes.

    Notes
    -----
    ``output = input - m - log(sum(exp(input - m)))`` with m the largest score: exact where `softmax` underflows to 0.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.float32([0, -200]), 0)
    array([   0., -200.], dtype=float32)
    """
    dim = _check("log_softmax", input, dim)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = _shifted(input, dim)
        out -= np.log(np.exp(out).sum(axis=dim, keepdims=True))
    return out


def log_softmax_backward(grad_output: Array, output: Array, dim: int) -> Array:
    """Gradient of `log_softmax`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray, float32 or float64
        The output of the forward pass.
    dim : int
        As in the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        ``grad_output - exp(output)*sum(grad_output)``.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes differ, or `dim` is not an axis.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax_backward(np.float32([1, 0]), log_softmax(np.float32([0, 0]), 0), 0)
    array([ 0.5, -0.5], dtype=float32)
    """
    dim = _check_gradient("log_softmax_backward", grad_output, output, dim)
    total: Array = grad_output.sum(axis=dim, keepdims=True)
    return grad_output - np.exp(output) * total


def _shifted(input: Array, dim: int) -> Array:
    """Return `input` less its largest value along `dim`."""
    if input.shape[dim] == 0:
        return input.copy()
    shifted: Array = input - input.max(axis=dim, keepdims=True)
    return shifted


def _check(op: str, input: Array, dim: int) -> int:
    _shapes.array(op, "input", input)
    return _shapes.axis(op, "dim", dim, input.ndim)


def _check_gradient(op: str, grad_output: Array, output: Array, dim: int) -> int:
    _shapes.array(op, "output", output)
    _shapes.array(op, "grad_output", grad_output, None, output, "output")
    _shapes.same_shape(op, "grad_output", grad_output.shape, output.shape)
    return _shapes.axis(op, "dim", dim, output.ndim)
