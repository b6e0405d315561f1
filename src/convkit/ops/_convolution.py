"""Which kernel computes a convolution."""

from types import ModuleType

import numpy as np

from .._dispatch import kernel, tile_shape
from .._shapes import Shape


def forward_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the forward pass for weights (K, C/groups, R, S)."""
    return kernel(_correlation(dtype, groups, weight_shape, weight_shape[0] // groups), dtype)


def input_gradient_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the backward-input pass for weights (K, C/groups, R, S)."""
    return kernel(_correlation(dtype, groups, weight_shape, weight_shape[1]), dtype)


def weight_gradient_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel of the backward-weight pass for weights (K, C/groups, R, S)."""
    return kernel(_weight_gradient(dtype, groups, weight_shape), dtype)


def _correlation(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape, outputs: int) -> str:
    """Name the kernel that sums `outputs` channels for each group."""
    lanes = tile_shape(dtype)[1]
    if _is_depthwise(groups, weight_shape, lanes):
        return "depthwise_conv2d"
    if groups > 1 and 0 < outputs <= lanes and weight_shape[1] > 0:
        return "grouped_conv2d"
    return "conv2d"


def _weight_gradient(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> str:
    lanes = tile_shape(dtype)[1]
    if _is_depthwise(groups, weight_shape, lanes):
        return "depthwise_conv2d"
    if groups > 1 and 0 < weight_shape[0] // groups <= lanes and weight_shape[1] > 0:
        return "grouped_conv2d_backward_weight"
    return "conv2d_backward_weight"


def _is_depthwise(groups: int, weight_shape: Shape, lanes: int) -> bool:
    """Whether groups of one channel fill a vector: then nothing needs staging."""
    return weight_shape[0] == groups and weight_shape[1] == 1 and groups >= lanes
