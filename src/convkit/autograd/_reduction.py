"""What reductions have in common: the dimensions they reduce, and the way back from the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .. import _shapes
from ._arrays import reduced

if TYPE_CHECKING:
    from .tape import Array

    Dim: TypeAlias = int | tuple[int, ...] | None


class Reduction:
    """The dimensions that a reduction reduces, what it does with them, and the way back to the shape of its input."""

    __slots__ = ("_before", "_with_ones", "axes", "shape")

    def __init__(self, op: str, x: Array, dim: Dim, keepdim: bool) -> None:
        self.axes = _shapes.axes(op, "dim", dim, x.ndim)
        self._before = x.shape
        self._with_ones = tuple([1 if axis in self.axes else size for axis, size in enumerate(x.shape)])
        rest = tuple([size for axis, size in enumerate(x.shape) if axis not in self.axes])
        self.shape = self._with_ones if keepdim else rest

    @property
    def count(self) -> int:
        """How many elements become one."""
        return math.prod([self._before[axis] for axis in self.axes])

    @np.errstate(all="ignore")
    def reduce(self, ufunc: Any, x: Array) -> Array:
        """Reduce, with the dimensions that are reduced kept as 1; sums and products of integers are int64."""
        widened = np.int64 if x.dtype.kind != "f" and ufunc in (np.add, np.multiply) else None
        return reduced(ufunc, x, self.axes, widened)

    def spread(self, result: Array) -> Array:
        """Return a result, of the final shape or with ones, as often as there were elements: a view."""
        return np.broadcast_to(result.reshape(self._with_ones), self._before)
