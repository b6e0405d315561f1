"""Comparisons, element by element, with broadcasting: tensors of bools, which have no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import recording
from ._arrays import computed
from ._operands import operands

if TYPE_CHECKING:
    from ._operands import Operand
    from .tensors import Tensor


def eq(input: Operand, other: Operand) -> Tensor:
    """Tell where ``input == other``.

    Parameters
    ----------
    input, other : Tensor, ndarray or number
        Of shapes that broadcast.

    Returns
    -------
    Tensor of bools

    Raises
    ------
    TypeError, ValueError
        If an operand is something else, or shapes do not broadcast.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.eq(ck.tensor([1, 2, 3]), 2)
    tensor([False,  True, False])
    """
    return _compared("eq", np.equal, input, other)


def ne(input: Operand, other: Operand) -> Tensor:
    """Tell where ``input != other``; arguments as for `eq`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.ne(ck.tensor([1, 2, 3]), 2)
    tensor([ True, False,  True])
    """
    return _compared("ne", np.not_equal, input, other)


def lt(input: Operand, other: Operand) -> Tensor:
    """Tell where ``input < other``; arguments as for `eq`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.lt(ck.tensor([1, 2, 3]), 2)
    tensor([ True, False, False])
    """
    return _compared("lt", np.less, input, other)


def le(input: Operand, other: Operand) -> Tensor:
    """Tell where ``input <= other``; arguments as for `eq`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.le(ck.tensor([1, 2, 3]), 2)
    tensor([ True,  True, False])
    """
    return _compared("le", np.less_equal, input, other)


def gt(input: Operand, other: Operand) -> Tensor:
    """Tell where ``input > other``; arguments as for `eq`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.gt(ck.tensor([1, 2, 3]), 2)
    tensor([False, False,  True])
    """
    return _compared("gt", np.greater, input, other)


def ge(input: Operand, other: Operand) -> Tensor:
    """Tell where ``input >= other``; arguments as for `eq`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.ge(ck.tensor([1, 2, 3]), 2)
    tensor([False,  True,  True])
    """
    return _compared("ge", np.greater_equal, input, other)


def _compared(op: str, ufunc: np.ufunc, input: Operand, other: Operand) -> Tensor:
    a, b = operands(op, input, other)
    return recording.result_tensor(computed(op, ufunc, a, b))
