"""Which kernel computes a convolution."""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from .._dispatch import kernel, tile_shape
from .._shapes import Shape

Pair = tuple[int, int]


def forward_kernel(dtype: np.dtype[np.floating], weight_shape: Shape, stride: Pair, groups: int) -> ModuleType:
    """Return the kernel of the forward pass for weights (K, C/groups, R, S)."""
    layer = _Layer(tile_shape(dtype)[1], groups, weight_shape[0] // groups, weight_shape[1], weight_shape[3], stride[1])
    return kernel(_correlation(layer), dtype)


def input_gradient_kernel(dtype: np.dtype[np.floating], weight_shape: Shape, groups: int) -> ModuleType:
    """Return the kernel of the backward-input pass for weights (K, C/groups, R, S): all phases of the stride as one."""
    layer = _Layer(tile_shape(dtype)[1], groups, weight_shape[1], weight_shape[0] // groups, weight_shape[3], 1)
    return kernel(_correlation(layer), dtype)


def weight_gradient_kernel(dtype: np.dtype[np.floating], weight_shape: Shape, stride: Pair, groups: int) -> ModuleType:
    """Return the kernel of the backward-weight pass for weights (K, C/groups, R, S)."""
    layer = _Layer(tile_shape(dtype)[1], groups, weight_shape[0] // groups, weight_shape[1], weight_shape[3], stride[1])
    if layer.is_depthwise:
        return kernel("depthwise_conv2d", dtype)
    # Dense, a line of taps and channels this short would leave most rows of a tile empty.
    if layer.is_narrow or 1 < layer.width * layer.channels <= layer.lanes:
        return kernel("narrow_conv2d_backward_weight", dtype)
    return kernel("conv2d_backward_weight", dtype)


class _Layer(NamedTuple):
    """What the choice depends on: a vector's lanes, and of a group its outputs, the channels that they sum, ..."""

    lanes: int
    groups: int
    outputs: int
    channels: int
    width: int
    step: int

    @property
    def is_depthwise(self) -> bool:
        """Whether groups of one channel fill a vector: then nothing needs staging."""
        return self.outputs == self.channels == 1 and self.groups >= self.lanes

    @property
    def is_narrow(self) -> bool:
        """Whether groups share vectors, or the only one fills most of one and its taps can share what they read."""
        if self.groups > 1:
            return self.channels > 0 and 0 < self.outputs <= self.lanes
        return (
            self.width > 1 and self.step == 1 and self.channels > 0 and self.lanes < 2 * self.outputs <= 2 * self.lanes
        )


def _correlation(layer: _Layer) -> str:
    if layer.is_depthwise:
        return "depthwise_conv2d"
    return "narrow_conv2d" if layer.is_narrow else "conv2d"
