"""Values that wait until somebody needs them, so that several operations become one pass over memory.

A tensor holds an array, or a `Pending`: an array that nobody has seen, or what is to be made of one. Operations that
know of these go on from there::

    conv2d ──► Pending(x)                              nobody has seen x: nobody can change it
    batch_norm ──► Pending(x, map)                     its statistics are computed, its result is not
    relu ──► Pending(x, map, "relu")
    max_pool2d, conv2d                                 scan x, and apply map and activation on the way
    whoever reads ``tensor.data``, or anything else    computes the values, in one pass, once

Backward mirrors it (see `pending_gradients`). Every operation has its node on the tape, so branches, and reading values
in between, need no rule of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .. import ops
from .._fusion import get_fusion
from .._memory import empty_like
from ..ops import _affine
from ..ops._affine import Mapped
from ..ops._convolution import maps_input
from .grad_mode import is_grad_enabled
from .pending_gradients import ActivatedGradient, PooledGradient

if TYPE_CHECKING:
    import numpy as np

    from .._shapes import Conv2d, Pool2d
    from ..ops._affine import Pooled
    from .pending_gradients import PendingGradient
    from .tape import Array


class Pending:
    """``activation(map(base) + other_map(other))``, to be computed; or an array that nobody has seen.

    Parameters
    ----------
    base : ndarray
        What nobody else can change.
    map : ndarray, shape (3, C), optional
        What batch norm makes of it; see `ops._affine`.
    other, other_map : ndarray, optional
        What is added, and a map for it, if `base` has one too.
    activation : str
        ``relu``, ``relu6`` or ``leaky_relu``, or nothing.
    slope : float
        That of ``leaky_relu``, at least 0.
    """

    __slots__ = ("_lent", "_value", "activation", "base", "map", "other", "other_map", "slope")

    def __init__(
        self,
        base: Array,
        map: Array | None = None,
        other: Array | None = None,
        other_map: Array | None = None,
        activation: str = "",
        slope: float = 0.0,
    ) -> None:
        self.base, self.map = base, map
        self.other, self.other_map = other, other_map
        self.activation, self.slope = activation, slope
        self._value: Array | None = base if self.is_sum and map is None and other is None else None
        self._lent = False

    # What tensors tell without values.

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return self.base.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.base.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.base.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.base.size

    # The values.

    @property
    def is_computed(self) -> bool:
        """Whether the values are in memory."""
        return self._value is not None

    @property
    def is_sum(self) -> bool:
        """Whether there is no activation yet."""
        return not self.activation

    def is_activation_of(self, map: Array) -> bool:
        """Whether these are the activation of what a map gives, and nothing else."""
        return self.map is map and self.other is None

    def value(self) -> Array:
        """Return the values, for an operation that neither changes them nor hands them out."""
        if self._value is None:
            self._value = self._computed()
            if self.activation:  # nothing is made of what was before
                self.base = self._value
        return self._value

    def lend(self) -> Array:
        """Return the values for what is computed later: who sees them from now on gets a copy, and may change that."""
        self._lent = True
        return self.value()

    def show(self) -> Array:
        """Return the values for everyone to see, and to change."""
        value = self.value()
        if self._lent:
            copy = empty_like(value)
            copy[...] = value
            return copy
        return value

    def _computed(self) -> Array:
        if self.map is None and self.other is None:
            return _activated(self.base, self.activation, self.slope)
        return _affine.affine(self.base, self.map, self.other, self.other_map, self.activation, self.slope)

    # What becomes of them.

    def mapped(self, map: Array) -> Pending:
        """Return what a map, a batch norm's, makes of the values."""
        return Pending(self.lend(), map)

    def activated(self, activation: str, slope: float = 0.0) -> Pending:
        """Return the activation of a sum."""
        if self.map is None and self.other is None:
            self._lent = True
        return Pending(self.base, self.map, self.other, self.other_map, activation, slope)

    def added(self, other: Pending) -> Pending:
        """Return the sum of both. Where one has a map, it is that of the first."""
        (x, a), (y, b) = self._term(), other._term()
        return Pending(y, b, x) if a is None else Pending(x, a, y, b)

    def _term(self) -> tuple[Array, Array | None]:
        if self.is_sum and self.other is None and not self.is_computed:
            return self.base, self.map
        return self.lend(), None

    def convolved_in(self, geometry: Conv2d) -> Array | Mapped:
        """Return the values for a convolution; or what it makes them of itself, where it can and that pays."""
        batch_norm = self.map is not None and self.other is None and self.activation != "leaky_relu"
        if self.is_computed or not batch_norm or not maps_input(self.dtype, geometry):
            return self.value()
        return Mapped(self.base, cast("Array", self.map), self.activation)

    def pooled(self, pool: Pool2d) -> tuple[Array, Pooled]:
        """Return the maxima of windows, and what their gradient needs."""
        return _affine.affine_max_pool2d(self.base, self.map, self.activation, pool, learns=is_grad_enabled())

    def can_be_pooled(self, pool: Pool2d) -> bool:
        """Whether `pooled` can do it, and saves a pass."""
        return (
            not self.is_computed
            and self.other is None
            and self.activation != "leaky_relu"
            and pool.kernel[0] * pool.kernel[1] <= _affine.MOST_TAPS
            and pool.rows.dilation == pool.cols.dilation == 1
        )

    def gradient(self, incoming: Array | PendingGradient) -> PendingGradient:
        """Return the gradient of the activation's input; behind `pooled` it has passed the activation already."""
        return incoming if isinstance(incoming, PooledGradient) else ActivatedGradient(incoming, self)


def unseen(output: Array) -> Array | Pending:
    """Return a result that an operation has just allocated as one that nobody has seen; as it is, without fusion."""
    return Pending(output) if get_fusion() else output


def _activated(x: Array, activation: str, slope: float) -> Array:
    if activation == "leaky_relu":
        return ops.leaky_relu(x, slope)
    return ops.relu6(x) if activation == "relu6" else ops.relu(x)
