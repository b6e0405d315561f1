"""What a call costs beyond its work: operands too small to take time, in the order of memory that kernels read."""

from collections.abc import Callable
from typing import Any

import numpy as np

from convkit import Tensor, ops
from convkit import functional as F
from convkit.bench.machine import fastest


def _images(channels: int) -> np.ndarray:
    return np.ones((1, 4, 4, channels), np.float32).transpose(0, 3, 1, 2)


_X, _V = _images(3), np.ones(3, np.float32)
_W = np.ones((3, 3, 1, 1), np.float32)
_P, _INDICES = ops.max_pool2d(_X, 2)
_ROWS, _MATRIX = np.ones((2, 3), np.float32), np.ones((3, 3), np.float32)
_LABELS = np.array([0, 1])

CALLS: dict[str, Callable[[], Any]] = {
    "conv2d": lambda: ops.conv2d(_X, _W, _V),
    "conv2d_backward_input": lambda: ops.conv2d_backward_input(_X.shape, _W, _X),
    "conv2d_backward_weight": lambda: ops.conv2d_backward_weight(_X, _W.shape, _X),
    "conv2d_backward_bias": lambda: ops.conv2d_backward_bias(_X),
    "linear": lambda: ops.linear(_ROWS, _MATRIX, _V),
    "linear_backward_input": lambda: ops.linear_backward_input(_ROWS.shape, _MATRIX, _ROWS),
    "linear_backward_weight": lambda: ops.linear_backward_weight(_ROWS, _MATRIX.shape, _ROWS),
    "linear_backward_bias": lambda: ops.linear_backward_bias(_ROWS),
    "max_pool2d": lambda: ops.max_pool2d(_X, 2),
    "max_pool2d_backward": lambda: ops.max_pool2d_backward(_P, _INDICES, _X.shape, 2),
    "avg_pool2d": lambda: ops.avg_pool2d(_X, 2),
    "avg_pool2d_backward": lambda: ops.avg_pool2d_backward(_P, _X.shape, 2),
    "batch_norm_stats": lambda: ops.batch_norm_stats(_X),
    "batch_norm": lambda: ops.batch_norm(_X, _V, _V, _V, _V),
    "batch_norm_backward": lambda: ops.batch_norm_backward(_X, _X, _V, _V, _V),
    "relu": lambda: ops.relu(_X),
    "relu_backward": lambda: ops.relu_backward(_X, _X),
    "softmax": lambda: ops.softmax(_ROWS, 1),
    "log_softmax": lambda: ops.log_softmax(_ROWS, 1),
}


class Overhead:
    """At most 10 microseconds is promised."""

    params = (list(CALLS),)
    param_names = ("op",)

    def track_microseconds(self, op: str) -> float:
        """Microseconds of the fastest of many calls."""
        return fastest(CALLS[op]) * 1e6

    track_microseconds.unit = "us"


#: Of a function of tensors: the call, its operands, and the ops that its forward and its backward pass call.
FUNCTIONS: dict[str, tuple[Callable[..., Tensor], tuple[np.ndarray, ...], tuple[str, ...], tuple[str, ...]]] = {
    "add": (lambda a, b: a + b, (_X, _X), (), ()),
    "relu": (F.relu, (_X,), ("relu",), ("relu_backward",)),
    "conv2d": (
        F.conv2d,
        (_X, _W, _V),
        ("conv2d",),
        ("conv2d_backward_input", "conv2d_backward_weight", "conv2d_backward_bias"),
    ),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), (_X,), ("max_pool2d",), ("max_pool2d_backward",)),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        (_X, _V, _V),
        ("batch_norm_stats", "batch_norm"),
        ("batch_norm_backward",),
    ),
    "linear": (
        F.linear,
        (_ROWS, _MATRIX, _V),
        ("linear",),
        ("linear_backward_input", "linear_backward_weight", "linear_backward_bias"),
    ),
    "cross_entropy": (lambda x: F.cross_entropy(x, _LABELS), (_ROWS,), ("log_softmax",), ("softmax",)),
}


class Tape:
    """What tensors add to the ops they call, forward and backward together: at most 10 microseconds is promised."""

    params = (list(FUNCTIONS),)
    param_names = ("function",)

    def track_microseconds_over_ops(self, function: str) -> float:
        """Microseconds of the fastest of many calls, less those of the fastest calls of the ops."""
        call, arrays, *op_names = FUNCTIONS[function]
        operands = [Tensor(array, requires_grad=True) for array in arrays]
        output = call(*operands)
        gradient = np.ones_like(output.data)

        def backward() -> None:
            for operand in operands:
                operand.grad = None
            output.backward(gradient, retain_graph=True)

        in_ops = sum(fastest(CALLS[name]) for names in op_names for name in names)
        return (fastest(lambda: call(*operands)) + fastest(backward) - in_ops) * 1e6

    track_microseconds_over_ops.unit = "us"
