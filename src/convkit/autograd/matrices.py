"""The product of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _shapes, ops
from . import recording
from ._operands import array_of

if TYPE_CHECKING:
    from ._operands import Input
    from .tensors import Tensor


def matmul(input: Input, other: Input) -> Tensor:
    """Multiply matrices, vectors, or stacks of matrices: ``input @ other``.

    Parameters
    ----------
    input : Tensor or ndarray, shape (..., rows, inner) or (inner,)
    other : Tensor or ndarray, shape (..., inner, columns) or (inner,), dtype of `input`
        Leading dimensions broadcast.

    Returns
    -------
    Tensor, shape (..., rows, columns)
        Without the dimension that a vector does not have.

    Raises
    ------
    TypeError, ValueError
        If dtypes differ, or shapes do not fit.

    See Also
    --------
    convkit.ops.matmul : the same on arrays.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.matmul(ck.tensor([[1.0, 2.0], [3.0, 4.0]]), ck.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    a, b = array_of("matmul", input), array_of("matmul", other)
    if a.dtype.kind != "f" and a.dtype == b.dtype:
        _shapes.matmul("matmul", a.shape, b.shape)
        return recording.result_tensor(np.matmul(a, b))
    input_shape, other_shape = a.shape, b.shape
    return recording.record(
        "matmul",
        ops.matmul(a, b),
        (input, lambda grad: ops.matmul_backward_input(input_shape, b, grad)),
        (other, lambda grad: ops.matmul_backward_other(a, other_shape, grad)),
    )
