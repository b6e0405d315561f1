"""Tensors, and the tape that carries gradients back through what was computed from them.

Every differentiable operation ends in `record`: the tensor it returns points to a `Node`, and the node knows,
for each input that requires a gradient, where that gradient goes on to and how to compute it::

    x ─── conv2d ─── relu ─── mean ─── loss          forward: values, left to right
    x.grad ◄── node ◄── node ◄── node ◄── 1          backward: gradients, right to left

``recording.py`` says how to write an operation, ``tape.py`` has the nodes and the walk back along them,
``tensors.py`` the tensors, ``pending.py`` what they hold before anybody reads it, ``grad_mode.py`` the switch. Each of
the other modules has the operations of one subject, which are PyTorch's in name, arguments and meaning; `Tensor` has
them for methods, and the package for functions.
"""

# First: tensors have the operations for methods, so these modules have to be complete before the class is.
from .tensors import Tensor, tensor

# isort: split
from .arithmetic import add, div, maximum, minimum, mul, neg, pow, sub
from .comparison import eq, ge, gt, le, lt, ne
from .conversion import clone
from .elementwise import abs, clamp, cos, exp, expm1, log, log1p, rsqrt, sin, sqrt, square, tan, where
from .extremes import amax, amin, argmax, argmin, max, min
from .grad_mode import enable_grad, is_grad_enabled, no_grad
from .joining import cat, stack
from .matrices import matmul
from .pending import Pending, unseen
from .pending_gradients import ActivatedGradient, NormalisedGradient, OwnGradient, PooledGradient, own, settled
from .recording import arrays, borrowed, pending_of, record, record_joint
from .reductions import logsumexp, mean, prod, std, sum, var
from .shapes import broadcast_to, flatten, permute, reshape, squeeze, transpose, unsqueeze
from .tape import Node

__all__ = [
    "ActivatedGradient",
    "Node",
    "NormalisedGradient",
    "OwnGradient",
    "Pending",
    "PooledGradient",
    "Tensor",
    "abs",
    "add",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "arrays",
    "borrowed",
    "broadcast_to",
    "cat",
    "clamp",
    "clone",
    "cos",
    "div",
    "enable_grad",
    "eq",
    "exp",
    "expm1",
    "flatten",
    "ge",
    "gt",
    "is_grad_enabled",
    "le",
    "log",
    "log1p",
    "logsumexp",
    "lt",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mul",
    "ne",
    "neg",
    "no_grad",
    "own",
    "pending_of",
    "permute",
    "pow",
    "prod",
    "record",
    "record_joint",
    "reshape",
    "rsqrt",
    "settled",
    "sin",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "tan",
    "tensor",
    "transpose",
    "unseen",
    "unsqueeze",
    "var",
    "where",
]
