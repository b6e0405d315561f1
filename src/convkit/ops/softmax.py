"""Softmax and its logarithm, and their gradients."""

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array
from .._threads import get_num_threads
from ._arrays import dense, empty_like, flat, ordered_like


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
        In memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If `input` is not a float32 or float64 array, or `dim` not one of its axes.

    Notes
    -----
    ``output = exp(input - m)/sum(exp(input - m))`` with m the largest score, so that nothing overflows. At most 4 ulp
    from the exact result: what the difference loses in rounding is added again, and the sum is compensated.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.float32([0, 0]), 0)
    array([0.5, 0.5], dtype=float32)
    """
    return _value("softmax", input, dim)


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
    return _gradient("softmax_backward", grad_output, output, dim)


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
        In memory ordered as `input`.

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
    return _value("log_softmax", input, dim)


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
    return _gradient("log_softmax_backward", grad_output, output, dim)


def _lines(x: Array, dim: int) -> Array:
    """Return a dense array as it lies in memory: (outer, classes, inner), with axis `dim` in the middle."""
    classes = x.shape[dim]
    inner = x.strides[dim] // x.itemsize if classes > 1 else 1
    return flat(x).reshape(x.size // max(classes * inner, 1), classes, inner)


def _value(op: str, input: Array, dim: int) -> Array:
    _shapes.array(op, "input", input)
    dim = _shapes.axis(op, "dim", dim, input.ndim)
    input = dense(input)
    output = empty_like(input)
    if output.size:
        lines = _lines(input, dim), _lines(output, dim)
        kernel("softmax", input.dtype).forward(*lines, op == "log_softmax", get_num_threads())
    return output


def _gradient(op: str, grad_output: Array, output: Array, dim: int) -> Array:
    _shapes.array(op, "output", output)
    _shapes.array(op, "grad_output", grad_output, None, output, "output")
    _shapes.same_shape(op, "grad_output", grad_output.shape, output.shape)
    dim = _shapes.axis(op, "dim", dim, output.ndim)
    output = dense(output)
    grad_input = empty_like(output)
    if output.size:
        lines = (_lines(x, dim) for x in (ordered_like(grad_output, output), output, grad_input))
        kernel("softmax", output.dtype).backward(*lines, op == "log_softmax_backward", get_num_threads())
    return grad_input
