"""From a graph to the lists of calls that kernels run: weights packed, memory planned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._dispatch import kernel
from .._precision import float32_precision
from ..ops._convolution import Plan, geometry_of, linear_plan, plan
from .arena import Place, place_values
from .geometry import KINDS, convolution, image, pooling
from .graph import INPUT, Graph, Node

Array = NDArray[Any]
Call = dict[str, Any]

_NONE = -1  # no rectifier

# A call whose arguments are those that its operation does not have.
_BLANK: Call = {
    "residual": None,
    "weight": None,
    "packed": None,
    "bias": None,
    "scale": None,
    "shift": None,
    "geometry": (1, 1, 0, 0, 1, 1, 1),
    "compute": None,
    "by_products": None,
    "extra": 0,
    "together": 1,
    "pooled": False,
    "spacing": ((1, 1, 1, 0, 1), (1, 1, 1, 0, 1)),
    "count_include_pad": False,
    "kind": _NONE,
    "p": 0.0,
    "q": 0.0,
}


class Program(NamedTuple):
    """What the kernel of programs made of a graph, for so many images at a time."""

    handle: Any
    images: int
    arena: int  # elements


class Programs:
    """Makes the programs of a graph, all of which share its constants."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._kernel = kernel("program", graph.dtype)
        self.run = self._kernel.run
        with float32_precision(graph.precision):
            self._constants = {node.output: _constants(graph, node) for node in graph.nodes}

    @property
    def weight_size(self) -> int:
        """Elements of all constants."""
        return sum(array.size for node in self.graph.nodes for array in node.arrays.values())

    def program(self, images: int, in_c_order: bool) -> Program:
        """Write down the calls for `images` images at a time; those in C order are turned to channels-last first."""
        graph = _turned(self.graph) if in_c_order else self.graph
        arena = place_values(graph, images)
        calls = [
            self._complete(node, call) for node in graph.nodes for call in _calls(graph, node, images, arena.places)
        ]
        sizes = images * math.prod(graph.input_shape), images * math.prod(graph.output_shape), arena.size
        return Program(self._kernel.program(calls, *sizes), images, arena.size)

    def _complete(self, node: Node, call: Call) -> Call:
        complete = {**_BLANK, **self._constants.get(node.output, {}), **call}
        name, capsule = complete["run"]
        return {**complete, "run": getattr(kernel(name, self.graph.dtype), capsule)}


def _turned(graph: Graph) -> Graph:
    turned = max(node.output for node in graph.nodes) + 1
    first = Node("channels_last", (INPUT,), turned, graph.input_shape)
    return replace(graph, nodes=(first, *(node.reading(INPUT, turned) for node in graph.nodes)))


# ---------------------------------------------------------------------------------------------------------------------
# Constants, once for all programs


def _constants(graph: Graph, node: Node) -> Call:
    """Return what all calls of an operation share: so it is the same kernel for any number of images."""
    if node.op == "scale":
        return {name: np.ascontiguousarray(node.arrays[name]) for name in ("scale", "shift")}
    if node.op == "linear":
        weight = node.arrays["weight"][:, :, None, None]
        return _packed(linear_plan("forward", graph.dtype, graph.images, weight.shape[:2], packed=True), node, weight)
    if node.op == "conv2d":
        sizes = convolution(node, graph.shape(node.inputs[0]), graph.images)
        return _packed(plan("forward", graph.dtype, sizes, packed=True), node, node.arrays["weight"])
    return {}


def _packed(planned: Plan, node: Node, weight: Array) -> Call:
    module, passes = kernel(planned.algorithm.kernel, weight.dtype), kernel("passes", weight.dtype)
    packed, extra, groups = None, planned.algorithm.extra, planned.layer.groups
    if hasattr(module, "PACKING"):
        pack, size = module.PACKING
        packed = _aligned(passes.packed_size(size, weight, groups, extra), weight.dtype)
        passes.pack(pack, weight, packed, groups, extra)
    return {
        "run": ("program", "CONVOLVE"),
        "compute": planned.computing[0],
        "by_products": planned.by_products[0],
        "weight": weight,
        "packed": packed,
        "bias": np.ascontiguousarray(node.arrays["bias"]),
        "extra": extra,
        "together": planned.algorithm.rows,
    }


def _aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Allocate a vector that begins with a cache line."""
    room = np.zeros(size + 64 // dtype.itemsize, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size]


# ---------------------------------------------------------------------------------------------------------------------
# Calls

Places = dict[int, Place]


def _calls(graph: Graph, node: Node, images: int, places: Places) -> list[Call]:
    """Return the calls of one operation."""
    read = graph.shape(node.inputs[0])
    if node.op == "linear":
        read = (math.prod(read),)
    call: Call = {
        "x": places[node.inputs[0]],
        "out": places[node.output],
        "input": (images, *_pixels(read)),
        "output": (images, *_pixels(node.shape)),
        "p": node.slope,
    }
    if node.residual is not None:
        call["residual"] = places[node.residual]
    if node.rectifier is not None:
        call["kind"] = KINDS[node.rectifier]
    if node.op == "conv2d":
        call["pooled"] = graph.is_pooled(node)
    if node.op == "cat":
        return _put(graph, node, call, places)
    return [{**call, **_CALLS[node.op](node, read, places)}]


def _pixels(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (rows, columns, channels)."""
    channels, rows, cols = image(shape)
    return rows, cols, channels


def _put(graph: Graph, node: Node, call: Call, places: Places) -> list[Call]:
    """Return the calls that put images side by side, channel behind channel."""
    calls, (memory, offset) = [], call["out"]
    for value in node.inputs:
        part = (call["output"][0], *_pixels(graph.shape(value)))
        calls.append({**call, "x": places[value], "input": part, "out": (memory, offset), "run": ("program", "PUT")})
        offset += part[-1]
    return calls


def _conv2d(node: Node, read: tuple[int, ...], places: Places) -> Call:
    sizes = convolution(node, read)
    return {"geometry": geometry_of(sizes)}


def _linear(node: Node, read: tuple[int, ...], places: Places) -> Call:
    return {}


def _scale(node: Node, read: tuple[int, ...], places: Places) -> Call:
    return {"run": ("program", "SCALE")}


def _add(node: Node, read: tuple[int, ...], places: Places) -> Call:
    return {"residual": places[node.inputs[1]], "run": ("program", "ADD")}


def _activation(node: Node, read: tuple[int, ...], places: Places) -> Call:
    kind, p, q = node.options["kind"], node.options["p"], node.options["q"]
    return {"kind": KINDS[kind], "p": p, "q": q, "run": ("activation", "CALL")}


def _pool(node: Node, read: tuple[int, ...], places: Places) -> Call:
    pool, counts = pooling(node, read), node.options.get("count_include_pad", False)
    name = node.op.removeprefix("adaptive_")
    return {"spacing": (pool.rows, pool.cols), "count_include_pad": counts, "run": (name, "CALL")}


def _softmax(node: Node, read: tuple[int, ...], places: Places) -> Call:
    return {"kind": int(node.options["logarithm"]), "run": ("softmax", "CALL")}


def _flatten(node: Node, read: tuple[int, ...], places: Places) -> Call:
    return {"run": ("layout", "FIRST")}


def _channels_last(node: Node, read: tuple[int, ...], places: Places) -> Call:
    return {"run": ("layout", "LAST")}


_CALLS: dict[str, Callable[[Node, tuple[int, ...], Places], Call]] = {
    "activation": _activation,
    "adaptive_avg_pool2d": _pool,
    "adaptive_max_pool2d": _pool,
    "add": _add,
    "avg_pool2d": _pool,
    "channels_last": _channels_last,
    "conv2d": _conv2d,
    "flatten": _flatten,
    "linear": _linear,
    "max_pool2d": _pool,
    "scale": _scale,
    "softmax": _softmax,
}
