"""Tensors, and the tape that carries gradients back through what was computed from them.

Every differentiable operation ends in `record`: the tensor it returns points to a `Node`, and the node knows,
for each input that requires a gradient, where that gradient goes on to and how to compute it::

    x ─── conv2d ─── relu ─── mean ─── loss          forward: values, left to right
    x.grad ◄── node ◄── node ◄── node ◄── 1          backward: gradients, right to left

``recording.py`` says how to write an operation, ``tape.py`` has the nodes and the walk back along them,
``tensors.py`` the tensors with their operators, ``grad_mode.py`` the switch.
"""

from .grad_mode import enable_grad, is_grad_enabled, no_grad
from .recording import arrays, record, record_joint
from .tape import Node
from .tensors import Tensor, tensor

__all__ = [
    "Node",
    "Tensor",
    "arrays",
    "enable_grad",
    "is_grad_enabled",
    "no_grad",
    "record",
    "record_joint",
    "tensor",
]
