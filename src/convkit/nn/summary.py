"""What a network is made of, layer by layer: shapes, parameters, work, receptive fields and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _shapes
from ..autograd import Tensor, enable_grad
from ._geometry import multiply_adds
from ._receptive import ReceptiveFields
from .hooks import is_leaf, watched
from .modes import evaluating
from .parameter import Parameter

if TYPE_CHECKING:
    from .module import Module

_HEADINGS = ("layer", "output shape", "neurons", "parameters", "multiply-adds", "field", "memory")


class LayerSummary(NamedTuple):
    """One layer of a `Summary`, each time that it was called.

    Parameters
    ----------
    name : str
        Its path in the network, such as ``features.0``; empty for the network itself.
    kind : str
        Its class.
    output_shape : tuple of int
        What it gave.
    parameters : int
        Numbers that it owns, unless an earlier row has them already.
    multiply_adds : int
        Multiplications with weights, each with its addition. Functions that it calls by itself are not seen.
    receptive_field : pair of int, or None
        Height and width of the part of the image that one output sees; None if that cannot be told.
    memory : int
        Bytes of the output.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, int] | None
    memory: int

    @property
    def neurons(self) -> int:
        """Width times height times channels: the outputs for one image."""
        return math.prod(self.output_shape[1:])


@dataclass(frozen=True, repr=False)
class Summary:
    """A network's layers in the order in which they were called, and their sums; printed, a table.

    Parameters
    ----------
    layers : tuple of LayerSummary
        A row for each call of a layer, and of a module with parameters of its own.
    input_shape : tuple of int
        What was put in.
    parameters, trained : int
        Numbers in all parameters, and in those that learn.
    parameter_memory : int
        Bytes of all parameters.
    """

    layers: tuple[LayerSummary, ...]
    input_shape: tuple[int, ...]
    parameters: int
    trained: int
    parameter_memory: int

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def memory(self) -> int:
        """Bytes of all outputs together."""
        return sum(layer.memory for layer in self.layers)

    def __repr__(self) -> str:
        rows = [_HEADINGS, *(_cells(layer) for layer in self.layers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    def _totals(self) -> list[str]:
        frozen = self.parameters - self.trained
        return [
            f"input {self.input_shape}",
            f"{self.parameters:,} parameters" + (f", {frozen:,} of them frozen" if frozen else ""),
            f"{self.multiply_adds:,} multiply-adds",
            f"{_size(self.parameter_memory)} of parameters, {_size(self.memory)} of outputs",
        ]


def summarize(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """Run `model` once, out of training, on zeros of shape `input_shape`, and tell of what was called.

    `Module.summary` is the way in.
    """
    if not isinstance(input_shape, tuple | list) or not input_shape:
        raise TypeError(f"summary: input_shape={input_shape!r} must be a tuple of integers, such as (1, 3, 32, 32)")
    shape = tuple([_shapes.integer("summary", "input_shape", size, 1) for size in input_shape])
    parameters = list(model.parameters())
    image = Tensor(np.zeros(shape, parameters[0].dtype if parameters else np.float32), requires_grad=True)
    observer = _Observer(image)
    layers = ((name, module) for name, module in model.named_modules() if _is_layer(module))
    with evaluating(model), enable_grad(), watched(layers, observer.observe):
        model(image)
    return Summary(
        tuple(observer.layers),
        shape,
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        sum(parameter.data.nbytes for parameter in parameters),
    )


class _Observer:
    """Collects a row for each call of a layer."""

    def __init__(self, image: Tensor) -> None:
        self.layers: list[LayerSummary] = []
        self._fields = ReceptiveFields(image)
        self._counted: set[Parameter] = set()

    def observe(self, name: str, module: Module, args: tuple[Any, ...], output: Any) -> None:
        inputs = [arg for arg in args if isinstance(arg, Tensor)]
        if not isinstance(output, Tensor) or not inputs:
            return
        own = [value for value in vars(module).values() if isinstance(value, Parameter)]
        new = set(own) - self._counted
        self._counted |= new
        self.layers.append(
            LayerSummary(
                name,
                type(module).__name__,
                output.shape,
                sum(parameter.numel() for parameter in new),
                multiply_adds(module, inputs[0].shape, output.shape),
                self._fields.behind(module, inputs[0], output),
                output.data.nbytes,
            )
        )


def _is_layer(module: Module) -> bool:
    """Whether a module has a row of its own: if it is made of no others, or owns parameters."""
    return is_leaf(module) or any(isinstance(value, Parameter) for value in vars(module).values())


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    field = layer.receptive_field
    return (
        f"{layer.name} ({layer.kind})" if layer.name else layer.kind,
        str(layer.output_shape),
        f"{layer.neurons:,}",
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        f"{field[0]}x{field[1]}" if field else "?",
        _size(layer.memory),
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Names and shapes to the left, numbers to the right."""
    texts = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    return texts[:2] + numbers[2:]


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
