"""Which kernel computes a convolution."""

from types import ModuleType

import numpy as np

from .._dispatch import kernel, tile_shape
from .._shapes import Shape


def convolution_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the forward and the backward-input pass for weights (K, C/groups, R, S)."""
    return kernel(_narrow_kernel(dtype, groups, weight_shape) or "conv2d", dtype)


def weight_gradient_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the backward-weight pass for weights (K, C/groups, R, S)."""
    return kernel(_narrow_kernel(dtype, groups, weight_shape) or "conv2d_backward_weight", dtype)


def _narrow_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> str | None:
    """Return the name of the kernel for groups that share vectors, or None if each group has its own.

    They share them where a group's inputs and outputs are both at most half of a vector's lanes: with half of them
    sharing is still a fifth faster. Groups of one channel that fill a vector need no staging.
    """
    outputs, channels, lanes = weight_shape[0] // groups, weight_shape[1], tile_shape(dtype)[1]
    if outputs == channels == 1 and groups >= lanes:
        return "depthwise_conv2d"
    if groups > 1 and min(outputs, channels) > 0 and 2 * max(outputs, channels) <= lanes:
        return "grouped_conv2d"
    return None
