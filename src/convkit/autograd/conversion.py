"""Copies of tensors, in the same dtype or another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import recording
from ._arrays import checked_array
from ._operands import array_of

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from .tape import Array
    from .tensors import Tensor


def clone(input: Tensor | Array) -> Tensor:
    """Copy a tensor; the gradient of the copy flows through to it.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.clone(ck.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return recording.record("clone", array_of("clone", input).copy(order="K"), (input, recording.passed_on))


def to(input: Tensor, dtype: DTypeLike) -> Tensor:
    """Convert a tensor to another dtype; in that dtype already, it is returned as it is.

    Parameters
    ----------
    input : Tensor of any shape
    dtype : dtype
        float32, float64, an integer type or bool; the latter two have no gradient.

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    TypeError
        If `dtype` is another.

    Examples
    --------
    >>> import convkit as ck
    >>> right = ck.tensor([1, 2, 3]) == ck.tensor([1, 2, 0])
    >>> right.float().mean()
    tensor(0.6666667)
    """
    converted = checked_array(input.data, dtype)
    if converted is input.data:
        return input
    if converted.dtype.kind != "f":
        return recording.result_tensor(converted)
    return recording.record("to", converted, (input, recording.passed_on))


def float(input: Tensor) -> Tensor:
    """Convert a tensor to float32."""
    return to(input, np.float32)


def double(input: Tensor) -> Tensor:
    """Convert a tensor to float64."""
    return to(input, np.float64)
