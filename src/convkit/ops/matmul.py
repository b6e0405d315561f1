"""Products of matrices, and their gradients: one `linear` for each matrix that differs on the right."""

import numpy as np

from .. import _shapes
from .._shapes import Array, Shape
from ._arrays import empty
from .linear import linear, linear_backward_weight


def matmul(input: Array, other: Array) -> Array:
    """Multiply matrices, vectors, or stacks of matrices.

    Parameters
    ----------
    input : ndarray, shape (..., rows, inner) or (inner,), float32 or float64
        Matrices, or a vector, which stands for one row.
    other : ndarray, shape (..., inner, columns) or (inner,), dtype of `input`
        Matrices, or a vector, which stands for one column. Leading axes broadcast.

    Returns
    -------
    ndarray, shape (..., rows, columns), dtype of `input`
        Without the axis that a vector does not have.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ.
    ValueError
        If shapes do not fit.

    Notes
    -----
    ``output[..., i, j] = sum over k of input[..., i, k]*other[..., k, j]``, to the same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> matmul(np.float32([[1, 2], [3, 4]]), np.float32([1, 1]))
    array([3., 7.], dtype=float32)
    """
    _shapes.array("matmul", "input", input)
    _shapes.array("matmul", "other", other, None, input)
    shape = _shapes.matmul("matmul", input.shape, other.shape)
    return _product(_rows(input), _columns(other)).reshape(shape)


def matmul_backward_input(input_shape: Shape, other: Array, grad_output: Array) -> Array:
    """Gradient of `matmul` with respect to its input.

    Parameters
    ----------
    input_shape : tuple of int
        (..., rows, inner) or (inner,) of the input.
    other : ndarray, shape (..., inner, columns) or (inner,), float32 or float64
        As in the forward pass.
    grad_output : ndarray, shape (..., rows, columns), dtype of `other`
        Gradient with respect to the output.

    Returns
    -------
    ndarray, shape `input_shape`, dtype of `other`
        ``grad_output @ other.mT``, added up along axes that were broadcast.

    Raises
    ------
    TypeError, ValueError
        As `matmul`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> matmul_backward_input((1, 2), np.float32([[3, 4], [5, 6]]), np.float32([[1, 1]]))
    array([[ 7., 11.]], dtype=float32)
    """
    op = "matmul_backward_input"
    _shapes.array(op, "other", other)
    _shapes.array(op, "grad_output", grad_output, None, other, "other")
    input_shape = _shapes.shape(op, "input_shape", input_shape, None)
    rows = _with_both_axes(op, input_shape, other.shape, grad_output)
    return _summed(_product(rows, _columns(other).swapaxes(-1, -2)), input_shape)


def matmul_backward_other(input: Array, other_shape: Shape, grad_output: Array) -> Array:
    """Gradient of `matmul` with respect to the second operand.

    Parameters
    ----------
    input : ndarray, shape (..., rows, inner) or (inner,), float32 or float64
        As in the forward pass.
    other_shape : tuple of int
        (..., inner, columns) or (inner,) of the second operand.
    grad_output : ndarray, shape (..., rows, columns), dtype of `input`
        Gradient with respect to the output.

    Returns
    -------
    ndarray, shape `other_shape`, dtype of `input`
        ``input.mT @ grad_output``, added up along axes that were broadcast.

    Raises
    ------
    TypeError, ValueError
        As `matmul`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> matmul_backward_other(np.float32([[1, 2]]), (2, 2), np.float32([[1, 1]]))
    array([[1., 1.],
           [2., 2.]], dtype=float32)
    """
    op = "matmul_backward_other"
    _shapes.array(op, "input", input)
    _shapes.array(op, "grad_output", grad_output, None, input)
    other_shape = _shapes.shape(op, "other_shape", other_shape, None)
    rows = _with_both_axes(op, input.shape, other_shape, grad_output)
    if len(other_shape) > 2:
        return _summed(_product(_rows(input).swapaxes(-1, -2), rows), other_shape)
    transposed = (rows.shape[-1], input.shape[-1])
    return linear_backward_weight(_rows(input), transposed, rows).T.reshape(other_shape)


def _rows(x: Array) -> Array:
    return x if x.ndim > 1 else x[None]


def _columns(x: Array) -> Array:
    return x if x.ndim > 1 else x[:, None]


def _product(a: Array, b: Array) -> Array:
    """Multiply stacks of matrices."""
    if b.ndim == 2:
        return linear(a, b.T)
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = empty((*stack, a.shape[-2], b.shape[-1]), a.dtype)
    lefts = np.broadcast_to(a, (*stack, *a.shape[-2:]))
    rights = np.broadcast_to(b, (*stack, *b.shape[-2:]))
    for place in np.ndindex(*stack):
        out[place] = linear(lefts[place], rights[place].T)
    return out


def _with_both_axes(op: str, input_shape: Shape, other_shape: Shape, grad_output: Array) -> Array:
    """Check shapes against each other, and return the gradient with both axes of a matrix."""
    shape = _shapes.matmul(op, input_shape, other_shape)
    _shapes.same_shape(op, "grad_output", grad_output.shape, shape)
    rows = input_shape[-2] if len(input_shape) > 1 else 1
    columns = other_shape[-1] if len(other_shape) > 1 else 1
    stack = np.broadcast_shapes(input_shape[:-2], other_shape[:-2])
    return grad_output.reshape((*stack, rows, columns))


def _summed(gradient: Array, shape: Shape) -> Array:
    """Add up a gradient along the stacks of matrices along which an operand of this shape was broadcast."""
    matrix = shape if len(shape) > 1 else (1, *shape)
    new = gradient.ndim - len(matrix)
    stretched = [new + axis for axis, size in enumerate(matrix) if size != gradient.shape[new + axis]]
    if new or stretched:
        gradient = gradient.sum(axis=(*range(new), *stretched))
    return gradient.reshape(shape)
