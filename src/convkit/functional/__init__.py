"""Differentiable operations on tensors, with the names and arguments of ``torch.nn.functional``.

Each calls its namesake in `convkit.ops` and records how the gradient comes back. Inputs may be tensors or
ndarrays; an ndarray is a constant.
"""

from ..autograd import flatten
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
from .binary_cross_entropy import binary_cross_entropy, binary_cross_entropy_with_logits
from .conv import conv2d, conv_transpose2d
from .cross_entropy import cross_entropy, nll_loss
from .dropout import dropout
from .linear import linear
from .loss import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from .pad import pad
from .pooling import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, lp_pool2d, max_pool2d, weighted_pool2d

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "lp_pool2d",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
    "weighted_pool2d",
]
