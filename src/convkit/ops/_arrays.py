"""Arrays as kernels want them: aligned, and channels-last in memory."""

import math

import numpy as np

from .._dispatch import kernel
from .._memory import empty as empty
from .._memory import empty_like as empty_like
from .._shapes import Array, Shape
from .._threads import get_num_threads


def aligned(x: Array) -> Array:
    """Return `x` itself if each of its elements lies at a multiple of its size, else a copy."""
    return x if x.flags.aligned else x.copy()


def contiguous(x: Array) -> Array:
    """Return `x`, or a copy, aligned and in C order."""
    x = channels_first(x)
    if x.flags.c_contiguous and x.flags.aligned:
        return x
    copy = empty(x.shape, x.dtype)
    copy[...] = x
    return copy


def channels_first(x: Array) -> Array:
    """Return channels-last images in C order, copied by a kernel, and any other array as it is."""
    if x.ndim != 4 or x.flags.c_contiguous or not x.flags.aligned or x.dtype.char not in "fd":
        return x
    last = x.transpose(0, 2, 3, 1)
    if not last.flags.c_contiguous:
        return x
    out = empty(x.shape, x.dtype)
    kernel("layout", x.dtype).channels_first(last, out, get_num_threads())
    return out


def nhwc(x: Array) -> Array:
    """Return an array (N, C, H, W) as a contiguous one (N, H, W, C): a view where it lies channels-last already."""
    x = aligned(x)
    last = x.transpose(0, 2, 3, 1)
    if last.flags.c_contiguous:
        return last
    out = empty(last.shape, x.dtype)
    kernel("layout", x.dtype).channels_last(x, out, get_num_threads())
    return out


def empty_nhwc(shape: Shape, dtype: np.dtype[np.floating]) -> Array:
    """Allocate an image of logical shape (N, C, H, W) as (N, H, W, C)."""
    images, channels, rows, cols = shape
    return empty((images, rows, cols, channels), dtype)


def nchw(x: Array) -> Array:
    """Return an array (N, H, W, C) under its logical shape (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


def empty_weight(shape: Shape, dtype: np.dtype[np.floating]) -> Array:
    """Allocate a weight of logical shape (K, C, R, S) that lies in memory as (R, S, C, K): as the tile reads it."""
    outputs, channels, rows, cols = shape
    return empty((rows, cols, channels, outputs), dtype).transpose(3, 2, 0, 1)


def dense(x: Array) -> Array:
    """Return `x`, or a copy, aligned, whose elements fill one stretch of memory in some order of its axes."""
    if x.flags.aligned and (x.flags.forc or _has_no_gaps(x)):
        return x
    copy = empty_like(x)
    copy[...] = x
    return copy


def _has_no_gaps(x: Array) -> bool:
    expected = x.itemsize
    for stride, size in sorted(zip(x.strides, x.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def ordered_like(x: Array, like: Array) -> Array:
    """Return `x`, or a copy, aligned, whose elements lie in memory in the order of those of `like`, which is dense."""
    alike = x.strides == like.strides or all(
        size == 1 or a == b for size, a, b in zip(x.shape, x.strides, like.strides, strict=True)
    )
    if alike and x.flags.aligned:
        return x
    copy = empty_like(like)
    copy[...] = x
    return copy


def flat(x: Array) -> Array:
    """Return the elements of a dense array as a vector, in the order in which they lie: a view."""
    return x.ravel("K")


def rows_of_channels(x: Array) -> Array:
    """Return an array (N, C, ...) as a contiguous matrix: one row for each position, one column for each channel."""
    last = nhwc(x) if x.ndim == 4 else contiguous(x.transpose(0, *range(2, x.ndim), 1))
    return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])


def as_shape_of(rows: Array, shape: Shape) -> Array:
    """Return a matrix made by `rows_of_channels` under the logical shape (N, C, ...) again."""
    return rows.reshape((shape[0], *shape[2:], shape[1])).transpose(0, -1, *range(1, len(shape) - 1))


def need_memory(op: str, had: bool) -> None:
    """Raise if a kernel could not have its scratch memory."""
    if not had:
        raise MemoryError(f"{op}: there is no memory for the kernel's scratch")
