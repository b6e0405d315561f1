"""Fewer operations for the same result: what follows a convolution is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .geometry import RECTIFIERS
from .graph import Graph, Node

_SUMS = ("conv2d", "linear", "scale")


def fuse(graph: Graph) -> Graph:
    """Return the graph with all fused that can be, and its constants in the dtype that it computes in."""
    for step in (_fold_scales, _fold_flattening, _add_residuals, _rectify, _round):
        graph = step(graph)
    return graph


def _each(graph: Graph, op: str) -> Iterator[int]:
    """Give the values that an operation makes."""
    yield from [node.output for node in graph.nodes if node.op == op]


def _sum_before(graph: Graph, node: Node, value: int) -> Node | None:
    """Return the sum that makes `value` for `node` alone."""
    before = graph.maker(value)
    if before is None or before.op not in _SUMS or graph.only_reader(value) is not node or len(before.reads) > 1:
        return None
    return before


def _fold_scales(graph: Graph) -> Graph:
    """Multiply what follows a sum channel by channel, such as batch norm, into its weights: in float64."""
    for value in _each(graph, "scale"):
        scale = graph[value]
        before = _sum_before(graph, scale, scale.inputs[0])
        if before is not None:
            folded = replace(before, output=value, shape=scale.shape, arrays=_scaled(before, scale))
            graph = graph.with_nodes({before.output: None, value: folded})
    return graph


def _scaled(before: Node, scale: Node) -> dict[str, np.ndarray]:
    factor, shift = scale.arrays["scale"], scale.arrays["shift"]
    if before.op == "scale":
        return {"scale": before.arrays["scale"] * factor, "shift": before.arrays["shift"] * factor + shift}
    weight, bias = before.arrays["weight"], before.arrays["bias"]
    return {"weight": weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), "bias": bias * factor + shift}


def _fold_flattening(graph: Graph) -> Graph:
    """Put the columns of linear layers into the order in which pixels lie: their images are then flat already."""
    for value in _each(graph, "flatten"):
        readers = graph.readers(value)
        if value == graph.output or any(node.op != "linear" or node.residual == value for node in readers):
            continue
        image = graph.shape(graph[value].inputs[0])
        graph = graph.with_nodes({node.output: _of_pixels(node, image) for node in readers}).without(graph[value])
    return graph


def _of_pixels(linear: Node, image: tuple[int, ...]) -> Node:
    weight = linear.arrays["weight"]
    pixels = weight.reshape(-1, *image).transpose(0, 2, 3, 1).reshape(weight.shape)
    return replace(linear, arrays={**linear.arrays, "weight": pixels})


def _add_residuals(graph: Graph) -> Graph:
    """Let the later of two values that are added add the other one as it is made."""
    for value in _each(graph, "add"):
        addition = graph[value]
        for later, other in (sorted(addition.inputs, reverse=True), sorted(addition.inputs)):
            before = _sum_before(graph, addition, later) if later != other else None
            if before is not None:
                fused = replace(before, output=value, residual=other)
                graph = graph.with_nodes({before.output: None, value: fused})
                break
    return graph


def _rectify(graph: Graph) -> Graph:
    """Let what makes a value rectify it."""
    for value in _each(graph, "activation"):
        kind, source = graph[value].options["kind"], graph[value].inputs[0]
        before = graph.maker(source)
        if kind not in RECTIFIERS or before is None or before.op not in (*_SUMS, "add"):
            continue
        if before.rectifier is None and graph.only_reader(source) is graph[value]:
            fused = replace(before, output=value, rectifier=kind, slope=graph[value].options["p"])
            graph = graph.with_nodes({source: None, value: fused})
    return graph


def _round(graph: Graph) -> Graph:
    """Round the constants, once."""
    return graph.with_nodes(
        {
            node.output: replace(node, arrays={name: array.astype(graph.dtype) for name, array in node.arrays.items()})
            for node in graph.nodes
        }
    )
