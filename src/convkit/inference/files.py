"""Compiled networks in safetensors files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._precision import PRECISIONS
from ..train.tensor_file import read_tensors, write_tensors
from .geometry import shape_of
from .graph import INPUT, Graph, Node

_KIND = "compiled model"


def save(path: str | os.PathLike[str], graph: Graph) -> None:
    """Write a graph: its constants as tensors, everything else as JSON."""
    arrays = {f"{node.output}.{name}": array for node in graph.nodes for name, array in node.arrays.items()}
    nodes = [
        {
            "op": node.op,
            "inputs": node.inputs,
            "output": node.output,
            "options": dict(node.options),
            "arrays": sorted(node.arrays),
            "residual": node.residual,
            "rectifier": node.rectifier,
            "slope": node.slope,
        }
        for node in graph.nodes
    ]
    about = {
        "dtype": graph.dtype.name,
        "precision": graph.precision,
        "images": graph.images,
        "input_shape": graph.input_shape,
        "nodes": nodes,
        "output": graph.output,
        "output_shape": graph.output_shape,
    }
    write_tensors(path, _KIND, arrays, about)


def load(path: str | os.PathLike[str]) -> Graph:
    """Read a graph, and check all of it: a ValueError names the file."""
    arrays, about = read_tensors(path, _KIND)
    try:
        return _graph(arrays, about)
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _graph(arrays: Mapping[str, NDArray[Any]], about: dict[str, Any]) -> Graph:
    if about["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype {about['dtype']!r} must be float32 or float64")
    dtype, input_shape, output_shape = (
        np.dtype(about["dtype"]),
        _shape(about["input_shape"]),
        _shape(about["output_shape"]),
    )
    if len(input_shape) not in (1, 3):
        raise ValueError(f"input_shape {input_shape} must be (C, H, W) or (F,)")
    shapes = {INPUT: input_shape}
    nodes = []
    for entry in about["nodes"]:
        node = _node(entry, arrays, shapes, dtype)
        shapes[node.output] = node.shape
        nodes.append(node)
    output = about["output"]
    made = shapes.get(output) if output != INPUT else None
    if made is None or (*made, 1, 1)[:3] != (*output_shape, 1, 1)[:3]:
        raise ValueError(f"value {output} of shape {made} cannot be the output, of shape {output_shape}")
    return Graph(
        dtype, _precision(about["precision"]), _images(about["images"]), input_shape, tuple(nodes), output, output_shape
    )


def _node(
    entry: dict[str, Any], arrays: Mapping[str, NDArray[Any]], shapes: dict[int, tuple[int, ...]], dtype: np.dtype[Any]
) -> Node:
    output, residual = entry["output"], entry["residual"]
    constants = {name: arrays[f"{output}.{name}"] for name in entry["arrays"]}
    if any(array.dtype != dtype for array in constants.values()):
        raise ValueError(f"constants of {entry['op']} are not all {dtype}")
    node = Node(
        entry["op"],
        tuple(entry["inputs"]),
        output,
        (),
        {name: tuple(value) if isinstance(value, list) else value for name, value in entry["options"].items()},
        constants,
        residual,
        entry["rectifier"],
        float(entry["slope"]),
    )
    if not isinstance(output, int) or output in shapes or any(value not in shapes for value in node.reads):
        raise ValueError(f"{node.op} makes value {output} of {node.reads}, but there are only {list(shapes)}")
    return Node(**{**vars(node), "shape": shape_of(node, [shapes[value] for value in node.reads])})


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or any(type(size) is not int or size < 1 for size in sizes):
        raise ValueError(f"shape {sizes} must be a list of sizes")
    return tuple(sizes)


def _precision(name: Any) -> str:
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")
    return str(name)


def _images(count: Any) -> int:
    if type(count) is not int or count < 1:
        raise ValueError(f"images {count!r} must be how many there are")
    return count
