"""Every rule about sizes, and the text of every error about them.

Each function takes the name of the op and argument that it speaks for, so that a message always names them:
``conv2d: stride=0 must be at least 1``.
"""

from .arguments import (
    MOST,
    MOST_BYTES,
    Array,
    OutputSize,
    Padding,
    Pair,
    Shape,
    approximation,
    array,
    epsilon,
    floating,
    integer,
    norm_type,
    number,
    pair,
    same_shape,
    shape,
    vector,
)
from .convolution import Conv2d, conv2d, conv2d_bias, conv_transpose2d, output_padding
from .layout import axes, axis, broadcast, channels, linear, matmul, pad
from .pooling import Pool2d, Spacing, adaptive_pool2d, adaptive_pool2d_backward, output_size, pool2d, weighted_pool2d

__all__ = [
    "MOST",
    "MOST_BYTES",
    "Array",
    "Conv2d",
    "OutputSize",
    "Padding",
    "Pair",
    "Pool2d",
    "Shape",
    "Spacing",
    "adaptive_pool2d",
    "adaptive_pool2d_backward",
    "approximation",
    "array",
    "axes",
    "axis",
    "broadcast",
    "channels",
    "conv2d",
    "conv2d_bias",
    "conv_transpose2d",
    "epsilon",
    "floating",
    "integer",
    "linear",
    "matmul",
    "norm_type",
    "number",
    "output_padding",
    "output_size",
    "pad",
    "pair",
    "pool2d",
    "same_shape",
    "shape",
    "vector",
    "weighted_pool2d",
]
