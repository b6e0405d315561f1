"""Activation layers."""

from .gates import GELU, Hardswish, SiLU
from .rectifiers import ELU, LeakyReLU, ReLU, ReLU6, Softplus
from .sigmoids import Hardsigmoid, Sigmoid, Tanh
from .softmax import LogSoftmax, Softmax

__all__ = [
    "ELU",
    "GELU",
    "Hardsigmoid",
    "Hardswish",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
