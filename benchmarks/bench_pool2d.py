"""Pooling over fixed and adaptive windows: work whose limit is memory."""

import convkit
from benchmarks.moved import Moved as _Moved  # a name without underscore would be a benchmark of its own
from benchmarks.moved import images as _images
from convkit import ops

_LARGE = (32, 64, 56, 56)
#: Shape of the input, op, and its arguments.
_POOLINGS = {
    "max 2": (_LARGE, "max_pool2d", (2,)),
    "max 3, stride 2, padding 1": (_LARGE, "max_pool2d", (3, 2, 1)),
    "average 2": (_LARGE, "avg_pool2d", (2,)),
    "average 3, stride 1, padding 1": (_LARGE, "avg_pool2d", (3, 1, 1)),
    "max 2, 16 channels": ((100, 16, 28, 28), "max_pool2d", (2,)),
    "global average": ((32, 2048, 7, 7), "adaptive_avg_pool2d", (1,)),
    "global max": ((32, 2048, 7, 7), "adaptive_max_pool2d", (1,)),
    "adaptive average 7": ((32, 256, 15, 15), "adaptive_avg_pool2d", (7,)),
}


class LPPool2d(_Moved):
    """The norms of windows, forward and backward, on one thread and on two."""

    params = ([1, 2, 3], ["forward", "backward"], [1, 2])
    param_names = ("norm", "pass", "threads")

    def setup(self, norm: int, which: str, threads: int) -> None:
        """Prepare operands, and warm up."""
        convkit.set_num_threads(threads)
        x = _images(0, _LARGE)
        output = ops.lp_pool2d(x, norm, 2)
        grad = _images(1, output.shape)
        if which == "forward":
            self.call = lambda: ops.lp_pool2d(x, norm, 2)
        else:
            self.call = lambda: ops.lp_pool2d_backward(grad, x, output, norm, 2)
        self.bytes = (1 if which == "forward" else 2) * (x.nbytes + output.nbytes)
        self.call()


class Pool2d(_Moved):
    """Each pooling, forward and backward, on one thread and on two."""

    params = (list(_POOLINGS), ["forward", "backward"], [1, 2])
    param_names = ("pooling", "pass", "threads")

    def setup(self, pooling: str, which: str, threads: int) -> None:
        """Prepare operands, and warm up."""
        convkit.set_num_threads(threads)
        shape, name, arguments = _POOLINGS[pooling]
        forward, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
        x = _images(0, shape)
        result = forward(x, *arguments)
        output, *indices = result if isinstance(result, tuple) else (result,)
        grad = _images(1, output.shape)
        window = () if name.startswith("adaptive") else arguments  # the shapes tell adaptive windows
        if which == "forward":
            self.call = lambda: forward(x, *arguments)
        else:
            self.call = lambda: backward(grad, *indices, x.shape, *window)
        self.bytes = x.nbytes + output.nbytes + sum(index.nbytes for index in indices)
        self.call()
