"""Convolutions and transposed convolutions."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .arguments import MOST_BYTES, Array, Padding, Pair, Shape, array, integer, pair, vector
from .windows import window_count


class Conv2d(NamedTuple):
    """A convolution whose arguments fit each other."""

    input_shape: Shape
    weight_shape: Shape
    stride: tuple[int, int]
    padding: tuple[int, int]  # of the top and left edge
    dilation: tuple[int, int]
    groups: int
    output_shape: Shape


def conv2d(
    op: str, input_shape: Shape, weight_shape: Shape, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Conv2d:
    """Check the arguments of a convolution and compute what follows from them."""
    if not isinstance(padding, str):
        padding = pair(op, "padding", padding, 0)
    return _conv2d(op, input_shape, weight_shape, pair(op, "stride", stride, 1), padding,
                   pair(op, "dilation", dilation, 1), integer(op, "groups", groups, 1))  # fmt: skip


def conv2d_bias(op: str, bias: Array | None, geometry: Conv2d, of: str, like: Array) -> None:
    """Check an optional bias: a number for each channel, or, with three axes, one for each of their positions."""
    if not isinstance(bias, np.ndarray) or bias.ndim != 3:
        vector(op, "bias", bias, geometry.output_shape[1], of, like)
        return
    array(op, "bias", bias, 3, like)
    if bias.shape != geometry.output_shape[1:]:
        raise ValueError(
            f"{op}: bias has shape {bias.shape} but the output's channels, height and width are "
            f"{geometry.output_shape[1:]}"
        )


@lru_cache(maxsize=4096)
def _conv2d(
    op: str,
    input_shape: Shape,
    weight_shape: Shape,
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: tuple[int, int],
    groups: int,
) -> Conv2d:
    images, channels, *size = input_shape
    outputs, group_channels, *kernel = weight_shape
    if min(kernel) < 1:
        raise ValueError(f"{op}: weight {weight_shape} has an empty kernel: height and width must be at least 1")
    if outputs % groups:
        raise ValueError(
            f"{op}: weight {weight_shape} has {outputs} output channels, which groups={groups} does not divide"
        )
    if channels != group_channels * groups:
        raise ValueError(f"{op}: input has {channels} channels but weight {weight_shape} with groups={groups} "
                         f"expects {group_channels * groups}")  # fmt: skip
    before, total = _edges(op, padding, kernel, stride, dilation)
    if channels * (size[0] + total[0]) * (size[1] + total[1]) * 8 > MOST_BYTES:
        raise ValueError(f"{op}: padding={padding} makes images of {input_shape} larger than {MOST_BYTES} bytes")
    out = tuple(
        window_count(op, *axis) for axis in zip(("height", "width"), size, kernel, stride, total, dilation, strict=True)
    )
    return Conv2d(input_shape, weight_shape, stride, before, dilation, groups, (images, outputs, *out))


def _edges(
    op: str, padding: tuple[int, int] | str, kernel: list[int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding before each axis, and that on both its ends together."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"{op}: padding='same' needs stride=1, but stride={stride}")
        total = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
        return (total[0] // 2, total[1] // 2), total
    if isinstance(padding, str):
        raise ValueError(f"{op}: padding={padding!r} must be 'valid', 'same', an integer or a pair of integers")
    return padding, (2 * padding[0], 2 * padding[1])


def conv_transpose2d(
    op: str,
    input_shape: Shape,
    weight_shape: Shape,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> Conv2d:
    """Check the arguments of a transposed convolution and return the convolution that it is the gradient of.

    The images that one of them takes, the other gives.
    """
    return _conv_transpose2d(op, input_shape, weight_shape, pair(op, "stride", stride, 1),
                             pair(op, "padding", padding, 0), pair(op, "output_padding", output_padding, 0),
                             integer(op, "groups", groups, 1), pair(op, "dilation", dilation, 1))  # fmt: skip


@lru_cache(maxsize=4096)
def _conv_transpose2d(
    op: str,
    input_shape: Shape,
    weight_shape: Shape,
    stride: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    groups: int,
    dilation: tuple[int, int],
) -> Conv2d:
    images, channels, *size = input_shape
    inputs, group_outputs, *kernel = weight_shape
    if min(kernel) < 1:
        raise ValueError(f"{op}: weight {weight_shape} has an empty kernel: height and width must be at least 1")
    if inputs % groups:
        raise ValueError(
            f"{op}: weight {weight_shape} has {inputs} input channels, which groups={groups} does not divide"
        )
    if channels != inputs:
        raise ValueError(f"{op}: input has {channels} channels but weight {weight_shape} expects {inputs}")
    out = tuple(
        _transposed_size(op, *axis) + extra
        for *axis, extra in zip(
            ("height", "width"), size, kernel, stride, padding, dilation, output_padding, strict=True
        )
    )
    for name, length, extra, step, apart in zip(
        ("height", "width"), out, output_padding, stride, dilation, strict=True
    ):
        if extra >= max(step, apart):
            raise ValueError(
                f"{op}: output_padding={output_padding} must be smaller than stride={stride} or dilation={dilation}"
            )
        if length < 1:
            raise ValueError(
                f"{op}: the output's {name} would be {length}, but must be at least 1: "
                f"input {input_shape}, weight {weight_shape}, padding={padding}"
            )
    if group_outputs * groups * (out[0] + 2 * padding[0]) * (out[1] + 2 * padding[1]) * 8 > MOST_BYTES:
        raise ValueError(f"{op}: input {input_shape} makes images larger than {MOST_BYTES} bytes")
    outputs = (images, group_outputs * groups, *out)
    return Conv2d(outputs, weight_shape, stride, padding, dilation, groups, input_shape)


def _transposed_size(op: str, axis: str, size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """(size - 1)*stride - 2*padding + dilation*(kernel - 1) + 1: the smallest image that has `size` windows."""
    if size < 1:
        raise ValueError(f"{op}: the input's {axis} {size} must be at least 1")
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1


def output_padding(
    op: str,
    input_size: Shape,
    output_size: object,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:
    """Return the `output_padding` that makes a transposed convolution's output (height, width) be `output_size`."""
    wanted = pair(op, "output_size", output_size, 1)
    least = tuple(
        _transposed_size(op, *axis)
        for axis in zip(("height", "width"), input_size, kernel, stride, padding, dilation, strict=True)
    )
    extra = (wanted[0] - least[0], wanted[1] - least[1])
    if min(extra) < 0 or extra[0] >= stride[0] or extra[1] >= stride[1]:
        most = tuple(size + step - 1 for size, step in zip(least, stride, strict=True))
        raise ValueError(f"{op}: output_size={wanted} must be from {least} to {most} for an input of {input_size}")
    return extra
