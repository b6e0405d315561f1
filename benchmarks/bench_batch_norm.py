"""Batch normalisation and sums over channels: work whose limit is memory."""

import numpy as np

import convkit
from benchmarks.moved import Moved as _Moved  # a name without underscore would be a benchmark of its own
from benchmarks.moved import images as _images
from convkit import ops

_SHAPES = ["(32, 64, 56, 56)", "(100, 16, 28, 28)", "(32, 3, 100, 100)", "(64, 512, 7, 7)"]
#: How often each reads or writes an array of the input's size.
_PASSES = {"statistics": 1, "normalise": 2, "backward": 5, "channel sum": 1}


class BatchNorm(_Moved):
    """Statistics, normalisation, gradients, and the gradient of a bias, on one thread and on two."""

    params = (_SHAPES, list(_PASSES), [1, 2])
    param_names = ("shape", "pass", "threads")

    def setup(self, shape: str, which: str, threads: int) -> None:
        """Prepare operands, and warm up."""
        convkit.set_num_threads(threads)
        sizes = tuple(map(int, shape.strip("()").split(",")))
        x, grad = _images(0, sizes), _images(1, sizes)
        mean, var = ops.batch_norm_stats(x)
        weight, bias = np.ones_like(mean), np.zeros_like(mean)
        self.call = {
            "statistics": lambda: ops.batch_norm_stats(x),
            "normalise": lambda: ops.batch_norm(x, mean, var, weight, bias),
            "backward": lambda: ops.batch_norm_backward(grad, x, mean, var, weight),
            "channel sum": lambda: ops.conv2d_backward_bias(grad),
        }[which]
        self.bytes = _PASSES[which] * x.nbytes
        self.call()
