"""Receptive fields, followed from layer to layer along the tape."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

from ..autograd import Node, Tensor
from ._geometry import Window, window

if TYPE_CHECKING:
    from .module import Module

# Operations whose windows the tape does not tell: as layers they would.
_WINDOWED = {"conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "lp_pool2d", "weighted_pool2d"}
_WINDOWED |= {"adaptive_max_pool2d", "adaptive_avg_pool2d"}
# Those whose results see all of their input; reductions do so unless height and width stay.
_PRODUCTS = {"linear", "matmul"}
_REDUCTIONS = {"sum", "mean", "max", "min"}


class Field(NamedTuple):
    """What one element of a tensor sees of the image, in height and width: 0 is nothing, infinity unknown."""

    size: tuple[float, float]
    step: tuple[float, float]  # between the fields of neighbouring elements


_NOTHING = Field((0, 0), (0, 0))
_UNKNOWN = Field((math.inf, math.inf), (1, 1))


class ReceptiveFields:
    """The fields of tensors that were computed from an image.

    Layers with a window enlarge the field of what they are given. Whatever else lies between two layers is on the
    tape, and has the largest field of its inputs.

    Parameters
    ----------
    image : Tensor, shape (N, C, H, W)
        What the network is given. With another number of axes there are no fields.
    """

    def __init__(self, image: Tensor) -> None:
        pictured = image.ndim == 4
        self._image = image.shape[2:] if pictured else (0, 0)
        self._known: dict[Node | Tensor, Field] = {image: Field((1, 1), (1, 1)) if pictured else _NOTHING}

    def behind(self, layer: Module, input: Tensor, output: Tensor) -> tuple[int, int] | None:
        """Return height and width of the field of what `layer` made of `input`, at most the image; None if unknown."""
        seen = window(layer, input.shape)
        if seen is not None:
            self._known[_place(output)] = _enlarged(self._of(_place(input)), seen)
        rows, cols = self._of(_place(output)).size
        if not 0 < rows < math.inf:
            return None
        return min(math.ceil(rows), self._image[0]), min(math.ceil(cols), self._image[1])

    def _of(self, place: Node | Tensor) -> Field:
        """Return the field at a place on the tape, and remember those on the way to it."""
        waiting, new = [place], set()
        while waiting:
            here = waiting.pop()
            if here in self._known or here in new:
                continue
            if isinstance(here, Node):
                new.add(here)
                waiting += [target for target in here.targets if target is not None]
            else:
                self._known[here] = _NOTHING  # a parameter
        for node in sorted(new, key=lambda node: node.number):
            self._known[node] = self._through(node)
        return self._known[place]

    def _through(self, node: Node) -> Field:
        """Return the field of an operation's result, whose inputs' fields are known."""
        inputs = [target for target in node.targets if target is not None]
        largest = functools.reduce(_larger, [self._known[target] for target in inputs], _NOTHING)
        if largest == _NOTHING:
            return _NOTHING
        if node.name in _WINDOWED:
            return _UNKNOWN
        stays = len(node.shape) == 4 and all(node.shape[2:] == target.shape[2:] for target in inputs)
        if node.name in _PRODUCTS or (node.name in _REDUCTIONS and not stays):
            return Field((self._image[0], self._image[1]), (0, 0))
        return largest


def _larger(one: Field, other: Field) -> Field:
    rows, cols = map(max, one.size, other.size)
    down, across = map(max, one.step, other.step)
    return Field((rows, cols), (down, across))


def _place(tensor: Tensor) -> Node | Tensor:
    return tensor if tensor.grad_fn is None else tensor.grad_fn


def _enlarged(field: Field, seen: Window) -> Field:
    rows, cols = (
        size + (reach - 1) * step for size, step, reach in zip(field.size, field.step, seen.reach, strict=True)
    )
    return Field((rows, cols), (field.step[0] * seen.step[0], field.step[1] * seen.step[1]))
