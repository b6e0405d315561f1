"""Gradients that wait until somebody needs them as arrays.

What computed its output late gets such gradients as they are, and can pass them on or take them along; that of batch
norm computes everything in two passes. All others get arrays: the tape sees to it::

    x.grad ◄── batch_norm ◄── PooledGradient ◄── relu ◄── PooledGradient ◄── max_pool2d ◄── array
    x.grad ◄── batch_norm ◄── ActivatedGradient ◄── relu ◄── array
    arrays ◄── add ◄── ActivatedGradient ◄── relu ◄── SummedGradient ◄── two operations that used its output
    weight.grad ◄── conv2d ◄── NormalisedGradient ◄── batch_norm        rows of it, as they are read

An `OwnGradient` does not wait, but may be written over: what is made of it, element by element, takes its place, and no
other memory has to come near::

    conv2d ◄── array ◄── batch_norm ◄── ActivatedGradient ◄── relu ◄── OwnGradient ◄── conv2d
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._memory import LEAST
from ..ops import _affine
from ..ops._arrays import dense
from ..ops.activation._elementwise import gradient as activation_gradient
from ._arrays import applied

if TYPE_CHECKING:
    from ..ops._affine import Pooled
    from .pending import Pending
    from .tape import Array


class PendingGradient:
    """A gradient to be computed, at most once."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: Array | None = None

    @property
    def is_computed(self) -> bool:
        """Whether the gradient is in memory."""
        return self._value is not None

    def value(self) -> Array:
        """Return the gradient as an array."""
        if self._value is None:
            self._value = self._computed()
        return self._value

    def _computed(self) -> Array:
        raise NotImplementedError


class OwnGradient(PendingGradient):
    """One in an array that an operation has made for it, and kept for nobody else: who gets it may write over it."""

    __slots__ = ()

    def __init__(self, value: Array) -> None:
        super().__init__()
        self._value = value


class NormalisedGradient(OwnGradient):
    """That of a batch norm's input, which a convolution may compute as it reads it.

    Where it is `centred`, its sum over each channel is zero, but for rounding: in training, a batch norm has taken the
    means from it. A bias of channels, which these means take along, has nothing to learn from it.
    """

    __slots__ = ("centred", "source")

    def __init__(self, source: _affine.UnwrittenGradient, centred: bool) -> None:
        PendingGradient.__init__(self)
        self.source, self.centred = source, centred

    def _computed(self) -> Array:
        return self.source.value()


class PooledGradient(PendingGradient):
    """That of a pending value that was pooled, past its activation."""

    __slots__ = ("_shape", "grad", "pooled")

    def __init__(self, grad: Array, pooled: Pooled, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.grad, self.pooled, self._shape = grad, pooled, shape

    def _computed(self) -> Array:
        return _affine.affine_max_pool2d_backward(self.grad, self.pooled, self._shape)


class SummedGradient(PendingGradient):
    """The sum of what came from two operations."""

    __slots__ = ("a", "b", "spare")

    def __init__(self, a: Array | PendingGradient, b: Array | PendingGradient) -> None:
        super().__init__()
        self.a, self.b = settled(a), settled(b)
        self.spare = own(b) if own(a) is None else own(a)

    def _computed(self) -> Array:
        if in_step(self.a, self.b):
            return _affine.add(self.a, self.b, self.spare)
        return applied(np.add, self.a, self.b)


class ActivatedGradient(PendingGradient):
    """That of an activation's input."""

    __slots__ = ("grad", "output")

    def __init__(self, grad: Array | PendingGradient, output: Pending) -> None:
        super().__init__()
        self.grad, self.output = grad, output

    def _computed(self) -> Array:
        """Use the output: of each of these activations it tells what its input would."""
        grad, output = self.grad, self.output.value()
        activation, slope = self.output.activation, self.output.slope
        if isinstance(grad, SummedGradient) and in_step(grad.a, grad.b, output):
            return _affine.activation_backward_of_sum(grad.a, grad.b, output, activation, slope, grad.spare)
        return activation_gradient(activation, settled(grad), "output", output, slope, overwrite=own(grad) is not None)


def settled(gradient: Any) -> Any:
    """Return a gradient as an array."""
    return gradient.value() if isinstance(gradient, PendingGradient) else gradient


def own(gradient: Any) -> Array | None:
    """Return the array of a gradient that may be written over."""
    return gradient.value() if isinstance(gradient, OwnGradient) else None


def shared(gradient: Any) -> Any:
    """Return a gradient that is passed on, perhaps to several: none of them may write over anything of it."""
    if isinstance(gradient, SummedGradient):
        gradient.spare = None
    return gradient.value() if isinstance(gradient, OwnGradient) else gradient


def in_step(*arrays: Array) -> bool:
    """Whether arrays of one shape and dtype, large ones of floats, lie in memory in one order and without gaps."""
    first = arrays[0]
    return (
        first.nbytes >= LEAST
        and first.dtype.kind == "f"
        and all(array.strides == first.strides and dense(array) is array for array in arrays)
    )
