"""Which pixels the layers combine into one, and how many multiplications that takes."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import NamedTuple

from .. import _shapes
from .._shapes import Pair, Shape
from .conv import Conv2d, ConvTranspose2d
from .linear import Linear
from .module import Module
from .pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, LPPool2d, MaxPool2d, WeightedPool2d


class Window(NamedTuple):
    """What one output of a layer sees of its input, in height and width."""

    reach: tuple[int, int]  # from the first pixel to the last, both counted
    step: tuple[float, float]  # between the windows of neighbouring outputs


@singledispatch
def window(layer: Module, input_shape: Shape) -> Window | None:
    """Return the window of a layer that has one."""
    return None


@window.register
def _(layer: Conv2d, input_shape: Shape) -> Window:
    return _window(layer.kernel_size, layer.stride, layer.dilation)


@window.register
def _(layer: ConvTranspose2d, input_shape: Shape) -> Window:
    # An output sees the inputs whose filters reach it: they lie `stride` outputs apart.
    axes = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    rows, cols = (math.ceil((dilation * (taps - 1) + 1) / stride) for taps, stride, dilation in axes)
    return Window((rows, cols), (1 / layer.stride[0], 1 / layer.stride[1]))


@window.register
def _(layer: MaxPool2d, input_shape: Shape) -> Window:
    return _window(layer.kernel_size, layer.stride, layer.dilation)


@window.register
def _(layer: AvgPool2d | LPPool2d, input_shape: Shape) -> Window:
    return _window(layer.kernel_size, layer.stride, 1)


@window.register
def _(layer: WeightedPool2d, input_shape: Shape) -> Window:
    height, width = layer.weights.shape
    return _window((height, width), layer.stride, 1)


@window.register
def _(layer: AdaptiveAvgPool2d | AdaptiveMaxPool2d, input_shape: Shape) -> Window:
    pool = _shapes.adaptive_pool2d(type(layer).__name__, input_shape, layer.output_size)
    return Window(pool.kernel, (pool.rows.stride / pool.rows.per, pool.cols.stride / pool.cols.per))


def _window(kernel_size: Pair, stride: Pair, dilation: Pair) -> Window:
    kernel, step, apart = (_shapes.pair("window", "size", size, 1) for size in (kernel_size, stride, dilation))
    reach = (apart[0] * (kernel[0] - 1) + 1, apart[1] * (kernel[1] - 1) + 1)
    return Window(reach, step)


@singledispatch
def multiply_adds(layer: Module, input_shape: Shape, output_shape: Shape) -> int:
    """Return how often a layer multiplies with a weight and adds: layers without such sums have none."""
    return 0


@multiply_adds.register
def _(layer: Conv2d, input_shape: Shape, output_shape: Shape) -> int:
    return math.prod(output_shape) * math.prod(layer.weight.shape[1:])


@multiply_adds.register
def _(layer: ConvTranspose2d, input_shape: Shape, output_shape: Shape) -> int:
    return math.prod(input_shape) * math.prod(layer.weight.shape[1:])


@multiply_adds.register
def _(layer: WeightedPool2d, input_shape: Shape, output_shape: Shape) -> int:
    return math.prod(output_shape) * layer.weights.numel()


@multiply_adds.register
def _(layer: Linear, input_shape: Shape, output_shape: Shape) -> int:
    return math.prod(output_shape) * layer.weight.shape[1]
