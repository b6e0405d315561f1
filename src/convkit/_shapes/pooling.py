"""Poolings, of fixed and of adaptive windows."""

import math
from functools import lru_cache
from typing import NamedTuple

from .arguments import MOST, Pair, Shape, integer, pair, same_shape, shown
from .windows import window_count


class Spacing(NamedTuple):
    """Windows along one axis: window i is floor(i*stride/per) - padding up to floor((i*stride + reach)/per) - padding.

    The kernels know no other rule. Fixed windows have ``per=1``.
    """

    stride: int
    per: int
    reach: int
    padding: int
    dilation: int  # between the taps in a window


class Pool2d(NamedTuple):
    """A pooling whose arguments fit each other."""

    kernel: tuple[int, int]  # of the largest window
    rows: Spacing
    cols: Spacing
    output_shape: tuple[int, int, int, int]


def pool2d(
    op: str, input_shape: Shape, kernel_size: Pair, stride: Pair | None, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pool2d:
    """Check the arguments of a pooling and compute what follows from them."""
    kernel = pair(op, "kernel_size", kernel_size, 1)
    return _pool2d(op, input_shape, kernel, kernel if stride is None else pair(op, "stride", stride, 1),
                   pair(op, "padding", padding, 0), pair(op, "dilation", dilation, 1), bool(ceil_mode))  # fmt: skip


@lru_cache(maxsize=4096)
def _pool2d(
    op: str,
    input_shape: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    ceil_mode: bool,
) -> Pool2d:
    images, channels, *size = input_shape
    if kernel[0] * kernel[1] > MOST:
        raise ValueError(f"{op}: kernel_size={kernel} has more than {MOST} elements")
    if padding[0] > kernel[0] // 2 or padding[1] > kernel[1] // 2:
        raise ValueError(f"{op}: padding={padding} must be at most half of kernel_size={kernel}")
    out, spacings = [], []
    for name, length, taps, step, edge, apart in zip(
        ("height", "width"), size, kernel, stride, padding, dilation, strict=True
    ):
        windows = window_count(op, name, length, taps, step, 2 * edge, apart, ceil_mode)
        # Rounded up, the last window may start in the padding behind the image, where there is nothing to pool.
        out.append(windows - (ceil_mode and (windows - 1) * step >= length + edge))
        spacings.append(Spacing(step, 1, apart * (taps - 1) + 1, edge, apart))
    return Pool2d(kernel, spacings[0], spacings[1], (images, channels, out[0], out[1]))


def weighted_pool2d(op: str, input_shape: Shape, weights_shape: Shape, stride: Pair | None, padding: Pair) -> Pool2d:
    """Check the arguments of a pooling by a window of weights and compute what follows from them."""
    if min(weights_shape) < 1:
        raise ValueError(f"{op}: weights {weights_shape} has an empty window: height and width must be at least 1")
    return pool2d(op, input_shape, (weights_shape[0], weights_shape[1]), stride, padding, 1, False)


def output_size(op: str, value: object) -> tuple[int | None, int | None]:
    """Return (height, width) from an int or None, which stand for both, or a pair of them. None is the input's own."""
    sizes = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sizes) != 2:
        raise ValueError(
            f"{op}: output_size={shown(value)} must be an integer or a pair (height, width), not {len(sizes)} values"
        )
    height, width = (None if size is None else integer(op, "output_size", size, 1) for size in sizes)
    return height, width


def adaptive_pool2d(op: str, input_shape: Shape, size: object) -> Pool2d:
    """Check the arguments of an adaptive pooling and compute what follows from them."""
    rows, cols = input_shape[2:]
    if min(rows, cols) < 1:
        raise ValueError(f"{op}: input has shape {input_shape}, but must have at least one row and column")
    height, width = output_size(op, size)
    return _adaptive_pool2d(op, input_shape, rows if height is None else height, cols if width is None else width)


def adaptive_pool2d_backward(op: str, input_shape: Shape, grad_shape: Shape) -> Pool2d:
    """Check the shape of the gradient of an adaptive pooling, and compute what follows from it."""
    if min(grad_shape[2:]) < 1:
        raise ValueError(f"{op}: grad_output has shape {grad_shape}, but must have at least one row and column")
    pool = adaptive_pool2d(op, input_shape, grad_shape[2:])
    same_shape(op, "grad_output", grad_shape, pool.output_shape)
    return pool


@lru_cache(maxsize=4096)
def _adaptive_pool2d(op: str, input_shape: Shape, height: int, width: int) -> Pool2d:
    images, channels, *size = input_shape
    if max(size) > MOST:
        raise ValueError(f"{op}: input has shape {input_shape}, but height and width must be at most {MOST}")
    kernel, spacings = [], []
    for length, windows in zip(size, (height, width), strict=True):
        # A window that starts and ends between two pixels holds both: up to two more than the quotient.
        rest = length % windows
        kernel.append(length // windows + (rest > 0) + (rest > math.gcd(length, windows)))
        spacings.append(Spacing(length, windows, length + windows - 1, 0, 1))
    if kernel[0] * kernel[1] > MOST:
        raise ValueError(f"{op}: output_size={(height, width)} makes windows of more than {MOST} elements")
    return Pool2d((kernel[0], kernel[1]), spacings[0], spacings[1], (images, channels, height, width))
