"""Activations, softmax and changes of layout: work whose limit is memory."""

import inspect

import numpy as np

import convkit
from benchmarks.moved import Moved as _Moved  # a name without underscore would be a benchmark of its own
from benchmarks.moved import images as _images
from convkit import ops
from convkit.ops import _arrays

ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "softplus", "gelu"
)  # fmt: skip


class Activation(_Moved):
    """Each function of one element, forward and backward, on one thread and on two."""

    params = (list(ACTIVATIONS), ["forward", "backward"], [1, 2])
    param_names = ("function", "pass", "threads")

    def setup(self, name: str, which: str, threads: int) -> None:
        """Prepare operands, and warm up."""
        convkit.set_num_threads(threads)
        x, grad = _images(0), _images(1)
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        v = x if "input" in inspect.signature(backward).parameters else forward(x)
        self.call = (lambda: forward(x)) if which == "forward" else (lambda: backward(grad, v))
        self.bytes = (2 if which == "forward" else 3) * x.nbytes
        self.call()


class Softmax(_Moved):
    """Few and many classes, along the last axis and over the channels of images."""

    params = (["softmax", "log_softmax"], ["(128, 10)", "(256, 1000)", "(8, 21, 128, 128)"], [1, 2])
    param_names = ("function", "shape", "threads")

    def setup(self, name: str, shape: str, threads: int) -> None:
        """Prepare scores, and warm up."""
        convkit.set_num_threads(threads)
        sizes = tuple(map(int, shape.strip("()").split(",")))
        x = _images(0, sizes) if len(sizes) == 4 else np.random.default_rng(0).standard_normal(sizes, dtype=np.float32)
        function = getattr(ops, name)
        self.call = lambda: function(x, 1)
        self.bytes = 2 * x.nbytes
        self.call()


class Layout(_Moved):
    """Images in C order to channels-last, and back."""

    params = (["(32, 64, 56, 56)", "(16, 3, 224, 224)", "(64, 512, 7, 7)"], ["channels-last", "C order"], [1, 2])
    param_names = ("shape", "to", "threads")

    def setup(self, shape: str, to: str, threads: int) -> None:
        """Prepare images, and warm up."""
        convkit.set_num_threads(threads)
        last = _images(0, tuple(map(int, shape.strip("()").split(","))))
        first = np.ascontiguousarray(last)
        self.call = (lambda: _arrays.nhwc(first)) if to == "channels-last" else (lambda: _arrays.channels_first(last))
        self.bytes = 2 * first.nbytes
        self.call()
