"""What denormal operands cost: the time of a call, over that of the same call on normal numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

import convkit
from convkit import ops
from convkit.bench.machine import fastest

SHAPE = (16, 64, 28, 28)
WEIGHT = (64, 64, 3, 3)
_HOW = {"padding": 1}

# Each op's call, for arrays of SHAPE (x, g), of WEIGHT (w) and of a value for each channel (v).
CALLS: dict[str, Callable[..., Any]] = {
    "conv2d": lambda x, g, w, v: ops.conv2d(x, w, v, **_HOW),
    "conv2d_backward_input": lambda x, g, w, v: ops.conv2d_backward_input(SHAPE, w, g, **_HOW),
    "conv2d_backward_weight": lambda x, g, w, v: ops.conv2d_backward_weight(x, WEIGHT, g, **_HOW),
    "conv2d_backward_bias": lambda x, g, w, v: ops.conv2d_backward_bias(g),
    "batch_norm_stats": lambda x, g, w, v: ops.batch_norm_stats(x),
    "batch_norm": lambda x, g, w, v: ops.batch_norm(x, v, np.ones_like(v), v, v),
    "batch_norm_backward": lambda x, g, w, v: ops.batch_norm_backward(g, x, v, np.ones_like(v), v),
    "max_pool2d": lambda x, g, w, v: ops.max_pool2d(x, 2),
    "max_pool2d_backward": lambda x, g, w, v: ops.max_pool2d_backward(
        g[:, :, ::2, ::2], np.zeros((16, 64, 14, 14), np.uint8), SHAPE, 2
    ),
    "avg_pool2d": lambda x, g, w, v: ops.avg_pool2d(x, 2),
    "avg_pool2d_backward": lambda x, g, w, v: ops.avg_pool2d_backward(g[:, :, ::2, ::2], SHAPE, 2),
    "relu": lambda x, g, w, v: ops.relu(x),
    "relu_backward": lambda x, g, w, v: ops.relu_backward(g, x),
    "sigmoid": lambda x, g, w, v: ops.sigmoid(x),
    "silu_backward": lambda x, g, w, v: ops.silu_backward(g, x),
    "softmax": lambda x, g, w, v: ops.softmax(x, 1),
}


def _operands(denormal: str) -> list[np.ndarray]:
    """Return images, their gradient, weights and a vector; those that `denormal` names are 2^-130 times as large."""
    rng = np.random.default_rng(0)

    def numbers(name: str, *shape: int) -> np.ndarray:
        values = rng.uniform(0.5, 1, shape) * rng.choice([-1, 1], shape)
        return (values * (2.0**-130 if name in denormal else 1)).astype(np.float32)

    images, channels, rows, cols = SHAPE
    x, g = (numbers("images", images, rows, cols, channels).transpose(0, 3, 1, 2) for _ in range(2))
    return [x, g, numbers("weights", *WEIGHT), numbers("weights", channels)]


class Denormals:
    """At most 1.2 times is promised."""

    params = (list(CALLS), ["images", "weights", "images and weights"])
    param_names = ("op", "denormal")

    def track_ratio(self, op: str, denormal: str) -> float:
        """Seconds of the fastest call on denormals, over those of the fastest on normal numbers, on one thread."""
        convkit.set_num_threads(1)
        call = CALLS[op]
        normal, small = _operands(""), _operands(denormal)
        return fastest(lambda: call(*small), 0.2) / fastest(lambda: call(*normal), 0.2)

    track_ratio.unit = "x"
