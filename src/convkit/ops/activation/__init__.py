"""Activations: functions of one element, and their gradients.

A gradient takes the forward pass's output where that tells all that it needs, else its input: the argument says which.
"""

from .gates import gelu, gelu_backward, hardswish, hardswish_backward, silu, silu_backward
from .rectifiers import (
    elu,
    elu_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu6,
    relu6_backward,
    relu_backward,
    softplus,
    softplus_backward,
)
from .sigmoids import hardsigmoid, hardsigmoid_backward, sigmoid, sigmoid_backward, tanh, tanh_backward

__all__ = [
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "relu",
    "relu6",
    "relu6_backward",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
]
