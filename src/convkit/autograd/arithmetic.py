"""Arithmetic with two operands, element by element, with broadcasting; the operators of `Tensor` are these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import recording
from ._arrays import applied, computed
from ._operands import array_of, operands

if TYPE_CHECKING:
    from ._operands import Input, Operand
    from .tape import Array
    from .tensors import Tensor


def add(input: Operand, other: Operand) -> Tensor:
    """Add: ``input + other``.

    Parameters
    ----------
    input, other : Tensor, ndarray or number
        Of shapes that broadcast. A number takes on the dtype of what it meets, integers become floats beside
        floats.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If an operand is something else, or shapes do not broadcast.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.add(ck.tensor([[1.0], [2.0]]), ck.tensor([10.0, 20.0]))
    tensor([[11., 21.],
            [12., 22.]])
    """
    edges = (input, recording.passed_on), (other, recording.passed_on)
    x, y = recording.pending_of(input), recording.pending_of(other)
    if x is not None and y is not None and x.shape == y.shape and x.dtype == y.dtype and x.ndim > 1:
        return recording.record("add", x.added(y), *edges)
    a, b = operands("add", input, other)
    return recording.record("add", computed("add", np.add, a, b), *edges)


def sub(input: Operand, other: Operand) -> Tensor:
    """Subtract: ``input - other``; arguments as for `add`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.sub(3, ck.tensor([1.0, 2.0]))
    tensor([2., 1.])
    """
    a, b = operands("sub", input, other)
    return recording.record(
        "sub", computed("sub", np.subtract, a, b), (input, recording.passed_on), (other, np.negative)
    )


def mul(input: Operand, other: Operand) -> Tensor:
    """Multiply: ``input * other``; arguments as for `add`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.mul(ck.tensor([1.0, 2.0]), 3)
    tensor([3., 6.])
    """
    a, b = operands("mul", input, other)
    return recording.record(
        "mul",
        computed("mul", np.multiply, a, b),
        (input, lambda grad: applied(np.multiply, grad, b)),
        (other, lambda grad: applied(np.multiply, grad, a)),
    )


def div(input: Operand, other: Operand) -> Tensor:
    """Divide: ``input / other``; arguments as for `add`. Integers become float32.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.div(ck.tensor([1.0, 3.0]), 2)
    tensor([0.5, 1.5])
    """
    a, b = _floats(*operands("div", input, other))
    return recording.record(
        "div",
        computed("div", np.divide, a, b),
        (input, lambda grad: applied(np.divide, grad, b)),
        (other, lambda grad: -grad * (a / b / b)),
    )


def pow(input: Operand, exponent: Operand) -> Tensor:
    """Raise to a power: ``input ** exponent``; arguments as for `add`.

    Notes
    -----
    The derivative by the base is 0 where the exponent is 0, and that by the exponent where base and power are 0.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.pow(ck.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    a, b = operands("pow", input, exponent)
    power = computed("pow", np.power, a, b)
    return recording.record(
        "pow",
        power,
        (input, lambda grad: grad * _base_slope(a, b)),
        (exponent, lambda grad: grad * _exponent_slope(a, b, power)),
    )


def maximum(input: Operand, other: Operand) -> Tensor:
    """Take the larger of two elements; arguments as for `add`. A NaN is larger than everything.

    Notes
    -----
    Where both are equal, each gets half of the gradient.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.maximum(ck.tensor([1.0, 5.0]), ck.tensor([3.0, 2.0]))
    tensor([3., 5.])
    """
    return _chosen("maximum", np.maximum, np.less, input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """Take the smaller of two elements; arguments as for `add`. A NaN is smaller than everything.

    Notes
    -----
    Where both are equal, each gets half of the gradient.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.minimum(ck.tensor([1.0, 5.0]), ck.tensor([3.0, 2.0]))
    tensor([1., 2.])
    """
    return _chosen("minimum", np.minimum, np.greater, input, other)


def neg(input: Input) -> Tensor:
    """Negate: ``-input``.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.neg(ck.tensor([1.0, -2.0]))
    tensor([-1.,  2.])
    """
    return recording.record("neg", computed("neg", np.negative, array_of("neg", input)), (input, np.negative))


def _floats(a: Array, b: Array) -> tuple[Array, Array]:
    """Make float32 of integers, as a division needs them."""
    return (a, b) if a.dtype.kind == "f" else (a.astype(np.float32), b.astype(np.float32))


def _base_slope(base: Array, exponent: Array) -> Array:
    slope: Array = exponent * base ** np.where(exponent == 0, 0, exponent - 1).astype(base.dtype)
    return slope


def _exponent_slope(base: Array, exponent: Array, power: Array) -> Array:
    slope: Array = power * np.log(np.where((base == 0) & (exponent >= 0), 1, base))
    return slope


def _chosen(op: str, choose: np.ufunc, loses: np.ufunc, input: Operand, other: Operand) -> Tensor:
    a, b = operands(op, input, other)
    return recording.record(
        op,
        computed(op, choose, a, b),
        (input, lambda grad: np.where(loses(a, b), 0, np.where(a == b, 0.5 * grad, grad))),
        (other, lambda grad: np.where(loses(b, a), 0, np.where(a == b, 0.5 * grad, grad))),
    )
