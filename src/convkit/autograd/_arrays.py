"""What tensors ask of their arrays: dtypes that convkit has, and results in recycled memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _shapes
from .._memory import LEAST, empty_like

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
        hint = ": bfloat16 is for the arrays of convkit.ops" if _shapes.is_bfloat16(array) else ""
        raise TypeError(f"Tensor: dtype must be float32, float64, an integer type or bool, got {array.dtype}{hint}")
    return array


def applied(ufunc: np.ufunc, *inputs: Array) -> Array:
    """Apply a ufunc; large results are made of recycled memory."""
    result: Array = ufunc(*inputs, out=_room(ufunc, inputs))
    return result


@np.errstate(all="ignore")
def computed(op: str, ufunc: np.ufunc, *inputs: Array) -> Array:
    """Do what `applied` does for the values of an operation: Inf and NaN come without a warning, as in PyTorch.

    Gradients need not ask for that: the walk back along the tape asks once for all of them.
    """
    try:
        return applied(ufunc, *inputs)
    except ValueError:
        _shapes.broadcast(op, *[x.shape for x in inputs])  # raises, if this is what is wrong
        raise


def reduced(ufunc: Any, x: Array, axes: tuple[int, ...], dtype: DTypeLike | None = None) -> Array:
    """Reduce along axes, which are kept with size 1.

    NumPy adds pairwise along the axis whose elements are next to each other in memory, and one after the other along
    the rest. Where that axis stays, each of the others is therefore reduced by itself: no sum of channels-last images
    over images, rows and columns then has more terms in a row than one of these is long.
    """
    if len(axes) < 2 or min(range(x.ndim), key=lambda axis: abs(x.strides[axis])) in axes:
        steps: list[Any] = [axes]
    else:
        steps = sorted(axes, key=lambda axis: abs(x.strides[axis]))
    for step in steps:
        x = ufunc.reduce(x, axis=step, keepdims=True, dtype=dtype)
    return x


def _room(ufunc: np.ufunc, inputs: tuple[Array, ...]) -> Array | None:
    """Allocate a large result that is like one of the inputs; NumPy sees to the others."""
    like = inputs[0] if len(inputs) == 1 else max(inputs, key=_bytes)
    if like.nbytes < LEAST or np.broadcast_shapes(*[x.shape for x in inputs]) != like.shape:
        return None
    dtype = ufunc.resolve_dtypes((*[x.dtype for x in inputs], None))[-1]
    return empty_like(like) if dtype == like.dtype else None


def _bytes(x: Array) -> int:
    return x.nbytes
