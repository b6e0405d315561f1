"""Which kernel computes a convolution."""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from .._dispatch import kernel, tile_shape
from .._shapes import Shape

Pair = tuple[int, int]


def forward_kernel(dtype: np.dtype[np.floating], weight_shape: Shape, stride: Pair, groups: int) -> ModuleType:
    """Return the kernel of the forward pass for weights (K, C/groups, R, S)."""
    outputs, channels, *kernel_size = weight_shape
    return kernel(_correlation(_layer(dtype, groups, outputs // groups, channels, kernel_size, stride)), dtype)


def input_gradient_kernel(dtype: np.dtype[np.floating], weight_shape: Shape, groups: int) -> ModuleType:
    """Return the kernel of the backward-input pass for weights (K, C/groups, R, S): a correlation of stride 1."""
    channels, outputs, *kernel_size = weight_shape
    return kernel(_correlation(_layer(dtype, groups, outputs, channels // groups, kernel_size, (1, 1))), dtype)


def weight_gradient_kernel(dtype: np.dtype[np.floating], weight_shape: Shape, stride: Pair, groups: int) -> ModuleType:
    """Return the kernel of the backward-weight pass for weights (K, C/groups, R, S)."""
    outputs, channels, *kernel_size = weight_shape
    layer = _layer(dtype, groups, outputs // groups, channels, kernel_size, stride)
    if layer.is_depthwise:
        return kernel("depthwise_conv2d", dtype)
    if (layer.is_narrow and (groups > 1 or layer.length <= _CACHED_SUMS)) or layer.is_thin:
        return kernel("narrow_conv2d_backward_weight", dtype)
    return kernel("conv2d_backward_weight", dtype)


# So many sums of a vector's lanes stay in the second-level cache, with a few copies for threads to add to.
_CACHED_SUMS = 8192


class _Layer(NamedTuple):
    """What the choice depends on."""

    lanes: int  # of a vector
    groups: int
    outputs: int  # of a group
    channels: int  # that each output sums over
    height: int
    width: int
    step: int  # columns from one output's input to the next one's

    @property
    def length(self) -> int:
        """How many products each output sums."""
        return self.channels * self.height * self.width

    @property
    def is_depthwise(self) -> bool:
        """Whether groups of one channel fill a vector: then nothing needs staging."""
        return self.outputs == self.channels == 1 and self.groups >= self.lanes

    @property
    def is_narrow(self) -> bool:
        """Whether groups share vectors, or the only one fills most of one and its taps can share what they read."""
        if self.channels == 0:
            return False
        if self.groups > 1:
            return 0 < self.outputs <= self.lanes
        return self.width > 1 and self.step == 1 and self.lanes < 2 * self.outputs <= 2 * self.lanes

    @property
    def is_thin(self) -> bool:
        """Whether a line of taps and channels is so short that it would leave most rows of a dense tile empty."""
        return self.outputs > 0 and 1 < self.width * self.channels <= self.lanes

    @property
    def is_planar(self) -> bool:
        """Whether outputs are so few that columns fill vectors better, and sums so long that transposing pays."""
        few = 0 < 8 * self.outputs <= 3 * self.lanes
        return self.groups == 1 and few and self.channels >= 8 and self.height * self.width >= 4


def _layer(
    dtype: np.dtype[np.floating], groups: int, outputs: int, channels: int, kernel_size: list[int], stride: Pair
) -> _Layer:
    return _Layer(tile_shape(dtype)[1], groups, outputs, channels, kernel_size[0], kernel_size[1], stride[1])


def _correlation(layer: _Layer) -> str:
    if layer.is_depthwise:
        return "depthwise_conv2d"
    if layer.is_planar:
        return "planar_conv2d"
    return "narrow_conv2d" if layer.is_narrow else "conv2d"
