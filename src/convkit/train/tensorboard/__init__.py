"""What TensorBoard shows: the graph of a computation, the curves of a training run, filters and feature maps.

``graph.py`` walks the tape, ``protos.py`` puts what it found into TensorBoard's words, ``pictures.py`` draws,
``callback.py`` has the `TensorBoard` that writes all of it.
"""

from .callback import TensorBoard
from .graph import GraphNode, model_graph, tensor_graph

__all__ = ["GraphNode", "TensorBoard", "model_graph", "tensor_graph"]
