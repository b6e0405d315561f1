"""A graph in TensorBoard's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..._extras import require
from .graph import GraphNode


def graph_event(nodes: Iterable[GraphNode]) -> Any:
    """Return the ``Event`` that shows a graph."""
    graph = _proto("graph").GraphDef(node=[_node(node) for node in nodes])
    return _proto("event").Event(graph_def=graph.SerializeToString())


def _node(node: GraphNode) -> Any:
    shapes, attributes = _proto("tensor_shape"), _proto("attr_value")
    shape = shapes.TensorShapeProto(dim=[shapes.TensorShapeProto.Dim(size=size) for size in node.shape])
    dtype = _proto("types").DataType.Value({"float32": "DT_FLOAT", "float64": "DT_DOUBLE"}[node.dtype])
    return _proto("node_def").NodeDef(
        name=node.name,
        op=node.op,
        input=node.inputs,
        attr={
            "_output_shapes": attributes.AttrValue(list=attributes.AttrValue.ListValue(shape=[shape])),
            "dtype": attributes.AttrValue(type=dtype),
        },
    )


def _proto(name: str) -> Any:
    return require(f"tensorboardX.proto.{name}_pb2", "writing for TensorBoard")
