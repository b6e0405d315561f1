"""A network as a list of operations on values, whose arguments are all known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The value that a network gets.
INPUT = 0


@dataclass(frozen=True)
class Node:
    """An operation: what it reads, and the one value that it makes."""

    #: One of the names that `program` has a kernel for.
    op: str
    #: The values that it reads.
    inputs: tuple[int, ...]
    #: The value that it makes.
    output: int
    #: Shape of that, for one image: (C, H, W), or (F,).
    shape: tuple[int, ...]
    #: Its arguments: anything that JSON can hold.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Its constants, in float64 until all that can be folded into them is.
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    #: A value of the same shape that is added to the result.
    residual: int | None = None
    #: The rectifier that the sum then goes through, and its slope.
    rectifier: str | None = None
    slope: float = 0.0

    @property
    def reads(self) -> tuple[int, ...]:
        """All values that it reads."""
        return self.inputs if self.residual is None else (*self.inputs, self.residual)

    def reading(self, old: int, new: int) -> Node:
        """Return the same operation on another value."""
        inputs = tuple([new if value == old else value for value in self.inputs])
        return replace(self, inputs=inputs, residual=new if self.residual == old else self.residual)


@dataclass(frozen=True)
class Graph:
    """A network for images of one size, any number of them at a time."""

    dtype: np.dtype[Any]
    #: How precisely float32 is computed.
    precision: str
    #: How many images at a time kernels are chosen for.
    images: int
    #: Shape of one image: (C, H, W), or (F,).
    input_shape: tuple[int, ...]
    #: In an order in which they can be computed.
    nodes: tuple[Node, ...]
    #: The value that comes out, and its shape for one image.
    output: int
    output_shape: tuple[int, ...]

    def maker(self, value: int) -> Node | None:
        """Return the operation that makes a value; None if none does."""
        return next((node for node in self.nodes if node.output == value), None)

    def __getitem__(self, value: int) -> Node:
        """Return the operation that makes a value."""
        return next(node for node in self.nodes if node.output == value)

    def shape(self, value: int) -> tuple[int, ...]:
        """Return the shape of a value for one image."""
        return self.input_shape if value == INPUT else self[value].shape

    def readers(self, value: int) -> list[Node]:
        """Return the operations that read a value."""
        return [node for node in self.nodes if value in node.reads]

    def only_reader(self, value: int) -> Node | None:
        """Return the operation that a value is made for; None if there are several, or it comes out."""
        readers = self.readers(value)
        return readers[0] if len(readers) == 1 and value != self.output else None

    def is_pooled(self, node: Node) -> bool:
        """Tell whether the next operation takes maxima of a convolution's output, which nothing else reads.

        Then a program computes both together, band by band.
        """
        reader = self.only_reader(node.output)
        following = dict(itertools.pairwise([other.output for other in self.nodes])).get(node.output)
        maxima = reader is not None and reader.op == "max_pool2d" and reader.output == following
        return maxima and node.op == "conv2d" and node.residual is None

    def with_nodes(self, changed: Mapping[int, Node | None]) -> Graph:
        """Return the graph with the operations that make some values replaced, or left out."""
        nodes = [changed.get(node.output, node) for node in self.nodes]
        return replace(self, nodes=tuple([node for node in nodes if node is not None]))

    def without(self, node: Node) -> Graph:
        """Return the graph with the input of `node` in the place of its output."""
        (source,) = node.inputs
        nodes = [other.reading(node.output, source) for other in self.nodes if other is not node]
        return replace(self, nodes=tuple(nodes), output=source if self.output == node.output else self.output)
