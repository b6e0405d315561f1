"""Axes and what lies along them: broadcasting, matrices, padding."""

import math
import operator

import numpy as np

from .arguments import MOST, MOST_BYTES, Array, Shape, integer, shown


def channels(op: str, name: str, value: Array) -> int:
    """Return the number of channels of an array (N, C, ...)."""
    if value.ndim < 2:
        raise ValueError(f"{op}: {name} has shape {value.shape}, but must have at least 2 axes (N, C, ...)")
    return int(value.shape[1])


def linear(op: str, input_shape: Shape, weight_shape: Shape) -> Shape:
    """Check that a matrix (out_features, in_features) fits, and return the output's shape."""
    if not input_shape or input_shape[-1] != weight_shape[1]:
        found = f"{input_shape[-1]} features" if input_shape else "no axes"
        raise ValueError(f"{op}: input {input_shape} has {found} but weight {weight_shape} expects {weight_shape[1]}")
    return (*input_shape[:-1], weight_shape[0])


def axis(op: str, name: str, value: object, ndim: int) -> int:
    """Return an axis of an array of `ndim` axes, counted from the front."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{op}: {name}={shown(value)} must be an integer")
    number = operator.index(value)
    if not -ndim <= number < ndim:
        raise ValueError(f"{op}: {name}={number} is not an axis of an input that has {ndim}")
    return number % ndim


def axes(op: str, name: str, value: object, ndim: int) -> Shape:
    """Return axes of an array of `ndim` axes from one, several, or none, which stands for all."""
    if value is None or value == ():
        return tuple(range(ndim))
    numbers = tuple([axis(op, name, one, ndim) for one in (value if isinstance(value, (tuple, list)) else (value,))])
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"{op}: {name}={shown(value)} names an axis twice")
    return numbers


def broadcast(op: str, *shapes: Shape) -> Shape:
    """Return the shape that arrays of these shapes are broadcast to."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        found = " and ".join(map(str, shapes))
        raise ValueError(
            f"{op}: shapes {found} do not broadcast: seen from the last, sizes must be equal or 1"
        ) from None


def matmul(op: str, input_shape: Shape, other_shape: Shape) -> Shape:
    """Check that matrices (..., rows, inner) and (..., inner, columns) fit, and return the product's shape."""
    if not input_shape or not other_shape:
        raise ValueError(f"{op}: input {input_shape} and other {other_shape} must have at least 1 axis")
    rows, columns = input_shape[-2:-1], other_shape[-1:] if len(other_shape) > 1 else ()
    inner = other_shape[-2] if len(other_shape) > 1 else other_shape[0]
    if input_shape[-1] != inner:
        raise ValueError(f"{op}: input {input_shape} has {input_shape[-1]} columns but other {other_shape} "
                         f"has {inner} rows")  # fmt: skip
    return (*broadcast(op, input_shape[:-2], other_shape[:-2]), *rows, *columns)


_PAD_MODES = ("constant", "reflect", "replicate", "circular")


def pad(op: str, input_shape: Shape, value: object, mode: str) -> tuple[tuple[int, int], ...]:
    """Return (before, after) for each axis from a sequence that begins with those of the last axis."""
    if mode not in _PAD_MODES:
        raise ValueError(f"{op}: mode={mode!r} must be 'constant', 'reflect', 'replicate' or 'circular'")
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{op}: pad={shown(value)} must be a tuple of integers")
    least = -MOST if mode == "constant" else 0
    widths = [integer(op, "pad", width, least) for width in value]
    if len(widths) % 2 or len(widths) > 2 * len(input_shape):
        raise ValueError(
            f"{op}: pad={tuple(value)} must have two integers for each axis from the last, at most "
            f"{2 * len(input_shape)} for input {input_shape}"
        )
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    sides = tuple([(0, 0)] * (len(input_shape) - len(pairs)) + pairs[::-1])
    for size, (before, after) in zip(input_shape, sides, strict=True):
        _pad_axis(op, mode, input_shape, size, before, after)
    if math.prod(size + sum(both) for size, both in zip(input_shape, sides, strict=True)) * 8 > MOST_BYTES:
        raise ValueError(f"{op}: pad={tuple(value)} makes an array of more than {MOST_BYTES} bytes")
    return sides


def _pad_axis(op: str, mode: str, input_shape: Shape, size: int, before: int, after: int) -> None:
    if mode == "constant":
        if size + min(before, 0) + min(after, 0) < 0:
            raise ValueError(f"{op}: pad={(before, after)} takes more off an axis of input {input_shape} than it has")
        return
    most = max({"reflect": size - 1, "circular": size, "replicate": MOST if size else 0}[mode], 0)
    if max(before, after) > most:
        raise ValueError(
            f"{op}: pad={(before, after)} must be at most {most} for an axis of size {size} with "
            f"mode={mode!r}, input has shape {input_shape}"
        )
