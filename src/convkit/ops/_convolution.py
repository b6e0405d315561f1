"""Which kernel computes a convolution."""

from types import ModuleType

import numpy as np

from .._dispatch import kernel, tile_shape
from .._shapes import Shape


def convolution_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the forward and the backward-input pass for weights (K, C/groups, R, S)."""
    return kernel("grouped_conv2d" if _shares_vectors(dtype, groups, weight_shape) else "conv2d", dtype)


def weight_gradient_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the backward-weight pass for weights (K, C/groups, R, S)."""
    return kernel("grouped_conv2d" if _shares_vectors(dtype, groups, weight_shape) else "conv2d_backward_weight", dtype)


def _shares_vectors(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> bool:
    """Tell whether whole groups share vectors, or each group has its own.

    They do where a group's inputs and outputs are both fewer than half of a vector's lanes: with half of the lanes
    the two are about as fast.
    """
    outputs, channels = weight_shape[0] // groups, weight_shape[1]
    return groups > 1 and min(outputs, channels) > 0 and 2 * max(outputs, channels) < tile_shape(dtype)[1]
