"""The rectifier, and its gradient."""

import numpy as np

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array
from .._threads import get_num_threads
from ._arrays import aligned, empty_like


def _in_memory_order(x: Array) -> Array:
    """Return `x`, or a copy, whose elements fill one stretch of memory in some order of its axes."""
    x = aligned(x)
    return x if np.empty_like(x).strides == x.strides else x.copy(order="K")


def _flat(x: Array) -> Array:
    """Return the elements of an array without gaps as a vector, in the order in which they lie."""
    return x.transpose(np.argsort([-stride for stride in x.strides], kind="stable")).reshape(-1)


def relu(input: Array) -> Array:
    """Replace what is negative by zero.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array.

    Notes
    -----
    ``output = max(input, 0)``; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.float32([-1, 0, 2]))
    array([0., 0., 2.], dtype=float32)
    """
    _shapes.array("relu", "input", input)
    input = _in_memory_order(input)
    out = empty_like(input)
    kernel("relu", input.dtype).forward(_flat(input), _flat(out), get_num_threads())
    return out


def relu_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `relu`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray of any shape, float32 or float64
        The output of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        `grad_output` where the output is not zero, else 0: at 0 the derivative is taken as 0. In memory ordered as
        `output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> relu_backward(np.float32([5, 6, 7]), relu(np.float32([-1, 0, 2])))
    array([0., 0., 7.], dtype=float32)
    """
    op = "relu_backward"
    _shapes.array(op, "output", output)
    _shapes.array(op, "grad_output", grad_output, None, output, "output")
    _shapes.same_shape(op, "grad_output", grad_output.shape, output.shape)
    output = _in_memory_order(output)
    grad_input = empty_like(output)
    if grad_output.strides != output.strides or not grad_output.flags.aligned:
        ordered = empty_like(output)
        ordered[...] = grad_output
        grad_output = ordered
    kernel("relu", output.dtype).backward(_flat(grad_output), _flat(output), _flat(grad_input), get_num_threads())
    return grad_input
