"""Which kernel computes a convolution."""

from types import ModuleType

import numpy as np

from .._dispatch import kernel, tile_shape
from .._shapes import Shape


def convolution_kernel(dtype: np.dtype[np.floating], groups: int, weight_shape: Shape) -> ModuleType:
    """Return the kernel for weights (K, C/groups, R, S).

    Where a group's inputs and outputs are both fewer than half of a vector's lanes, whole groups share vectors; else
    each group has its own. With half of the lanes the two are about as fast.
    """
    outputs, channels = weight_shape[0] // groups, weight_shape[1]
    narrow = groups > 1 and min(outputs, channels) > 0 and 2 * max(outputs, channels) < tile_shape(dtype)[1]
    return kernel("grouped_conv2d" if narrow else "conv2d", dtype)
