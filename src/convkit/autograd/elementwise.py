"""Functions of one element, and the choice between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _shapes
from . import recording
from ._arrays import applied, computed
from ._operands import array_of, floats_of, operands

if TYPE_CHECKING:
    from ._operands import Input, Operand
    from .tensors import Tensor


def abs(input: Input) -> Tensor:
    """Take the absolute value: ``|input|``; its gradient is 0 at 0.

    Parameters
    ----------
    input : Tensor or ndarray of any shape

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is neither a tensor nor an array.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.abs(ck.tensor([-1.5, 2.0]))
    tensor([1.5, 2. ])
    """
    x = array_of("abs", input)
    return recording.record("abs", computed("abs", np.abs, x), (input, lambda grad: grad * np.sign(x)))


def exp(input: Input) -> Tensor:
    """Raise e to the power of each element.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
        Integers are taken for float32.

    Returns
    -------
    Tensor, shape of `input`

    Raises
    ------
    TypeError
        If `input` is neither a tensor nor an array.

    Notes
    -----
    So it is for each of these functions: Inf and NaN come out where IEEE has them, without a warning, and what the
    gradient needs is kept, here the output.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.exp(ck.tensor([0.0, 1000.0]))
    tensor([ 1., inf])
    """
    output = computed("exp", np.exp, floats_of("exp", input))
    return recording.record("exp", output, (input, lambda grad: applied(np.multiply, grad, output)))


def expm1(input: Input) -> Tensor:
    """Compute ``exp(input) - 1``, exactly where `input` is close to 0; as `exp` else.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.expm1(ck.tensor([0.0, 1e-10]))
    tensor([0.e+00, 1.e-10])
    """
    output = computed("expm1", np.expm1, floats_of("expm1", input))
    return recording.record("expm1", output, (input, lambda grad: grad * (output + 1)))


def log(input: Input) -> Tensor:
    """Take the natural logarithm; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.log(ck.tensor([1.0, 0.0]))
    tensor([  0., -inf])
    """
    x = floats_of("log", input)
    return recording.record("log", computed("log", np.log, x), (input, lambda grad: applied(np.divide, grad, x)))


def log1p(input: Input) -> Tensor:
    """Compute ``log(1 + input)``, exactly where `input` is close to 0; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.log1p(ck.tensor([0.0, 1e-10]))
    tensor([0.e+00, 1.e-10])
    """
    x = floats_of("log1p", input)
    return recording.record("log1p", computed("log1p", np.log1p, x), (input, lambda grad: grad / (x + 1)))


def sqrt(input: Input) -> Tensor:
    """Take the square root; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.sqrt(ck.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """
    output = computed("sqrt", np.sqrt, floats_of("sqrt", input))
    return recording.record("sqrt", output, (input, lambda grad: grad / (2 * output)))


def rsqrt(input: Input) -> Tensor:
    """Take the reciprocal of the square root; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.rsqrt(ck.tensor([4.0, 0.0]))
    tensor([0.5, inf])
    """
    root = computed("rsqrt", np.sqrt, floats_of("rsqrt", input))
    output = computed("rsqrt", np.reciprocal, root)
    return recording.record("rsqrt", output, (input, lambda grad: grad * (-0.5 * output**3)))


def square(input: Input) -> Tensor:
    """Multiply each element with itself; arguments as for `abs`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.square(ck.tensor([2.0, -3.0]))
    tensor([4., 9.])
    """
    x = array_of("square", input)
    return recording.record("square", computed("square", np.square, x), (input, lambda grad: grad * (2 * x)))


def sin(input: Input) -> Tensor:
    """Take the sine of angles in radians; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.sin(ck.tensor([0.0]))
    tensor([0.])
    """
    x = floats_of("sin", input)
    return recording.record("sin", computed("sin", np.sin, x), (input, lambda grad: grad * np.cos(x)))


def cos(input: Input) -> Tensor:
    """Take the cosine of angles in radians; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.cos(ck.tensor([0.0]))
    tensor([1.])
    """
    x = floats_of("cos", input)
    return recording.record("cos", computed("cos", np.cos, x), (input, lambda grad: grad * -np.sin(x)))


def tan(input: Input) -> Tensor:
    """Take the tangent of angles in radians; arguments as for `exp`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.tan(ck.tensor([0.0]))
    tensor([0.])
    """
    output = computed("tan", np.tan, floats_of("tan", input))
    return recording.record("tan", output, (input, lambda grad: grad * (1 + output * output)))


def clamp(input: Input, min: float | None = None, max: float | None = None) -> Tensor:
    """Bring each element into the range from `min` to `max`.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    min, max : number, optional
        The bounds; a tensor bounds by `maximum` and `minimum`.

    Returns
    -------
    Tensor, shape of `input`
        A NaN stays a NaN. If `min` is larger than `max`, every element is `max`.

    Raises
    ------
    TypeError
        If a bound is no number.
    ValueError
        If there is no bound.

    Notes
    -----
    The gradient passes where the element is in the range, bounds included.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.clamp(ck.tensor([-2.0, 0.5, 3.0]), min=0, max=1)
    tensor([0. , 0.5, 1. ])
    """
    x = array_of("clamp", input)
    if min is None and max is None:
        raise ValueError("clamp: min and max are both None: at least one must be a number")
    output, inside = x, np.ones((), np.bool_)
    if min is not None:
        x, low = operands("clamp", x, _number("min", min))
        output, inside = computed("clamp", np.maximum, x, low), x >= low
    if max is not None:
        output, high = operands("clamp", output, _number("max", max))
        output, inside = computed("clamp", np.minimum, output, high), inside & (x <= high)
    return recording.record("clamp", output, (input, lambda grad: applied(np.multiply, grad, inside)))


def where(condition: Input, input: Operand, other: Operand) -> Tensor:
    """Take elements of `input` where `condition` holds, and of `other` where not.

    Parameters
    ----------
    condition : Tensor or ndarray of bools
    input, other : Tensor, ndarray or number
        Of shapes that broadcast with that of `condition`.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If `condition` is not of bools, an operand is something else, or shapes do not broadcast.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([-1.0, 2.0])
    >>> ck.where(x > 0, x, 0.1 * x)
    tensor([-0.1,  2. ])
    """
    chosen = array_of("where", condition)
    if chosen.dtype.kind != "b":
        raise TypeError(f"where: condition has dtype {chosen.dtype}, but must be bool")
    a, b = operands("where", input, other)
    _shapes.broadcast("where", chosen.shape, a.shape, b.shape)
    return recording.record(
        "where",
        np.where(chosen, a, b),
        (input, lambda grad: np.where(chosen, grad, 0)),
        (other, lambda grad: np.where(chosen, 0, grad)),
    )


def _number(name: str, value: object) -> float:
    """Check a bound; integers stay integers, so that they do not make floats of a tensor of integers."""
    number = _shapes.number("clamp", name, value)
    return int(number) if isinstance(value, (int, np.integer)) else number
