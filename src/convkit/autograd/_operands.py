"""What operations take: tensors, ndarrays and numbers, as arrays of dtypes that fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

# Tensors have operations for methods, and operations tell tensors from arrays: a circle, so each looks the other's
# names up when it is called.
from . import tensors
from ._arrays import checked_array

if TYPE_CHECKING:
    from .tape import Array
    from .tensors import Tensor

    Input: TypeAlias = Tensor | Array
    Operand: TypeAlias = Tensor | Array | float

_NUMBERS = (int, float)
_KIND = {"b": "bool", "i": "integer", "u": "integer", "f": "float"}


def array_of(op: str, input: object) -> Array:
    """Return the array of a tensor, or an ndarray."""
    if isinstance(input, tensors.Tensor):
        return input.data
    if not isinstance(input, np.ndarray | np.generic):
        raise TypeError(f"{op}: input must be a Tensor or numpy.ndarray, not {type(input).__name__}")
    return checked_array(input, None)


def floats_of(op: str, input: object) -> Array:
    """Return the array of a tensor, or an ndarray; float32 of integers, as functions of real numbers need it."""
    array = array_of(op, input)
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def operands(op: str, input: object, other: object) -> tuple[Array, Array]:
    """Return the arrays of both sides of an operation, in dtypes that PyTorch would give them.

    Integers adapt to floats, and numbers and arrays without dimensions to those that have dimensions and are of
    their kind: float32 stays float32.
    """
    if isinstance(input, _NUMBERS) and not isinstance(other, _NUMBERS):
        b, a = operands(op, other, input)
        return a, b
    a = _side(op, input)
    b = _number_beside(a, other) if isinstance(other, _NUMBERS) else _side(op, other)
    return (a, b) if a.dtype == b.dtype else _promoted(a, b)


def is_operand(value: object) -> bool:
    """Tell whether operations take `value` for one of their sides."""
    return isinstance(value, (tensors.Tensor, np.ndarray, np.generic, *_NUMBERS))


def _side(op: str, value: Any) -> Array:
    if isinstance(value, tensors.Tensor):
        return value.data
    if not is_operand(value):
        raise TypeError(f"{op}: a Tensor meets tensors, ndarrays and numbers, not {type(value).__name__}")
    return checked_array(value, None)


def _number_beside(a: Array, number: float) -> Array:
    kind = _KIND[a.dtype.kind]
    if isinstance(number, float) and kind != "float":
        return np.asarray(number, np.float32)
    return np.asarray(number, None if kind == "bool" else a.dtype)


def _promoted(a: Array, b: Array) -> tuple[Array, Array]:
    if _gives_way(b, a):
        return a, b.astype(a.dtype)
    if _gives_way(a, b):
        return a.astype(b.dtype), b
    return a, b


def _gives_way(a: Array, b: Array) -> bool:
    """Tell whether `a` takes on the dtype of `b`, which is another."""
    mine, its = _KIND[a.dtype.kind], _KIND[b.dtype.kind]
    return its == "float" if mine != its else b.ndim > a.ndim == 0
