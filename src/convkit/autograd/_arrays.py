"""What tensors ask of their arrays: dtypes that convkit has, mixed as PyTorch mixes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._memory import empty_like

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from .tape import Array


def checked_array(data: Any, dtype: DTypeLike | None) -> Array:
    """Return `data` as an ndarray of a dtype that tensors can have, without a copy where possible."""
    array = np.asarray(data)
    if dtype is None and array.dtype == np.float64 and isinstance(data, float | list | tuple):
        dtype = None if isinstance(data, np.float64) else np.float32  # Python's floats say nothing about precision
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array = np.asarray(array, dtype)
    if array.dtype.kind not in "iub" and array.dtype.type not in (np.float32, np.float64):
        raise TypeError(f"Tensor: dtype must be float32, float64, an integer type or bool, got {array.dtype}")
    return array


def promoted(a: Array, b: Any) -> tuple[Array, Array]:
    """Bring both sides of an operator to one dtype.

    Numbers adapt to the tensor, and integers to floats: float32 stays float32, as in PyTorch.
    """
    if isinstance(b, float) and a.dtype.kind != "f":
        b = np.asarray(b, np.float32)
    elif isinstance(b, int | float):
        b = np.asarray(b, None if a.dtype.kind == "b" else a.dtype)
    if a.dtype.kind == "f" and b.dtype.kind != "f":
        b = b.astype(a.dtype)
    elif b.dtype.kind == "f" and a.dtype.kind != "f":
        a = a.astype(b.dtype)
    return a, b


def floats(a: Array, b: Array) -> tuple[Array, Array]:
    """Make float32 of integers, as a division needs them."""
    return (a, b) if a.dtype.kind == "f" else (a.astype(np.float32), b.astype(np.float32))


def added(a: Array, b: Array) -> Array:
    """Return ``a + b``, of arrays that are alike, as those of a network's branches are, in recycled memory."""
    alike = (a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides)
    total: Array = np.add(a, b, out=empty_like(a) if alike else None)
    return total


def base_slope(base: Array, exponent: Array) -> Array:
    """Differentiate ``base ** exponent`` by the base: 0 where the exponent is 0, even at base 0."""
    slope: Array = exponent * base ** np.where(exponent == 0, 0, exponent - 1).astype(base.dtype)
    return slope


def exponent_slope(base: Array, power: Array) -> Array:
    """Differentiate ``power = base ** exponent`` by the exponent: 0 at base 0."""
    slope: Array = power * np.log(np.where(base == 0, 1, base))
    return slope
