"""Activations: functions of one element, and the softmax with its logarithm."""

from .gates import gelu, hardswish, silu
from .rectifiers import elu, leaky_relu, relu, relu6, softplus
from .sigmoids import hardsigmoid, sigmoid, tanh
from .softmax import log_softmax, softmax

__all__ = [
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "log_softmax",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
