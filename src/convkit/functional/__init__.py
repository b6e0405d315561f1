"""Differentiable operations on tensors, with the names and arguments of ``torch.nn.functional``.

Each calls its namesake in `convkit.ops` and records how the gradient comes back. Inputs may be tensors or
ndarrays; an ndarray is a constant.
"""

from .activation import (
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    leaky_relu,
    log_softmax,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from .batch_norm import batch_norm
from .conv import conv2d, conv_transpose2d
from .dropout import dropout
from .flatten import flatten
from .linear import linear
from .loss import cross_entropy
from .pooling import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, lp_pool2d, max_pool2d, weighted_pool2d

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "linear",
    "log_softmax",
    "lp_pool2d",
    "max_pool2d",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
    "weighted_pool2d",
]
