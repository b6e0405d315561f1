"""Every rule about sizes, and the text of every error about them.

Each function takes the name of the op and argument that it speaks for, so that a message always names them:
``conv2d: stride=0 must be at least 1``.
"""

import math
import operator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
Pair = int | tuple[int, int]
Padding = Pair | str
OutputSize = Pair | None | tuple[int | None, int | None]
Array = npt.NDArray[np.floating]

#: No stride, padding, dilation or kernel may be larger: sums of a few products of them then fit 64 bits.
MOST = 2**31 - 1
#: Nor may a padded image, in bytes of float64: kernels count elements of what they stage in 64 bits.
MOST_BYTES = 2**60


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def integer(op: str, name: str, value: object, least: int) -> int:
    """Return `value` as an int that is not less than `least`."""
    number = value if type(value) is int else _as_int(op, name, value)
    if number < least:
        raise ValueError(f"{op}: {name}={value!r} must be at least {least}")
    if number > MOST:
        raise ValueError(f"{op}: {name}={value!r} must be at most {MOST}")
    return number


def _as_int(op: str, name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{op}: {name}={value!r} must be an integer, not a bool")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{op}: {name}={value!r} must be an integer, not {type(value).__name__}") from None


def pair(op: str, name: str, value: object, least: int) -> tuple[int, int]:
    """Return (height, width) from an int, which stands for both, or a pair of them."""
    if not isinstance(value, (tuple, list)):
        try:
            number = integer(op, name, value, least)
        except TypeError:
            raise TypeError(f"{op}: {name}={value!r} must be an integer or a pair of integers") from None
        return number, number
    if len(value) != 2:
        raise ValueError(
            f"{op}: {name}={value!r} must be an integer or a pair (height, width), not {len(value)} values"
        )
    return integer(op, name, value[0], least), integer(op, name, value[1], least)


def shape(op: str, name: str, value: object, ndim: int | None) -> Shape:
    """Return a shape of `ndim` sizes, or any number of them, as a tuple of ints."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{op}: {name}={value!r} must be a tuple of {'' if ndim is None else f'{ndim} '}integers")
    if ndim is not None and len(value) != ndim:
        raise ValueError(f"{op}: {name}={tuple(value)} must have {ndim} sizes, not {len(value)}")
    return tuple([integer(op, name, size, 0) for size in value])


def array(
    op: str, name: str, value: object, ndim: int | None = None, like: Array | None = None, like_name: str = "input"
) -> None:
    """Check that `value` is a float32 or float64 array, of `ndim` axes, of the same dtype as `like`."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{op}: {name} must be a numpy.ndarray, not {type(value).__name__}")
    if value.dtype.char not in "fd" or not value.dtype.isnative:
        raise TypeError(f"{op}: {name} has dtype {value.dtype.str if not value.dtype.isnative else value.dtype}, "
                        "but must be float32 or float64 in native byte order")  # fmt: skip
    if like is not None and value.dtype != like.dtype:
        raise TypeError(f"{op}: {name} has dtype {value.dtype} but {like_name} has {like.dtype}: they must be the same")
    if ndim is not None and value.ndim != ndim:
        axes = {4: " (N, C, H, W)" if name != "weight" else " (K, C/groups, R, S)", 3: " (C, H, W)"}.get(ndim, "")
        raise ValueError(f"{op}: {name} has shape {value.shape}, but must have {ndim} axes{axes}")


def same_shape(op: str, name: str, found: Shape, expected: Shape) -> None:
    """Check a shape that the other arguments determine."""
    if found != expected:
        raise ValueError(f"{op}: {name} has shape {found} but the other arguments give {expected}")


def vector(op: str, name: str, value: Array | None, length: int, of: str, like: Array) -> None:
    """Check an optional vector of one value for each of `length` things."""
    if value is None:
        return
    array(op, name, value, 1, like)
    if value.shape != (length,):
        raise ValueError(f"{op}: {name} has shape {value.shape} but {of} expects ({length},)")


# ---------------------------------------------------------------------------------------------------------------------
# Convolution


class Conv2d(NamedTuple):
    """A convolution whose arguments fit each other."""

    stride: tuple[int, int]
    padding: tuple[int, int]  # of the top and left edge
    dilation: tuple[int, int]
    groups: int
    output_shape: tuple[int, int, int, int]


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
        _windows(op, *axis) for axis in zip(("height", "width"), size, kernel, stride, total, dilation, strict=True)
    )
    return Conv2d(stride, before, dilation, groups, (images, outputs, out[0], out[1]))


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


def _windows(
    op: str, axis: str, size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False
) -> int:
    """floor((size + padding - reach)/stride) + 1 windows, for a kernel that reaches dilation*(kernel - 1) + 1.

    `ceil_mode` rounds up instead.
    """
    reach = dilation * (kernel - 1) + 1
    windows = (size + padding - reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if windows < 1:
        dilated = f" (kernel {kernel} with dilation {dilation})" if dilation > 1 else ""
        raise ValueError(
            f"{op}: the kernel's {axis} {reach}{dilated} is larger than the padded input's {axis} "
            f"{size + padding} ({size} and {padding} of padding)"
        )
    return windows


# ---------------------------------------------------------------------------------------------------------------------
# Transposed convolution


class ConvTranspose2d(NamedTuple):
    """A transposed convolution whose arguments fit each other."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    output_shape: tuple[int, int, int, int]


def conv_transpose2d(
    op: str,
    input_shape: Shape,
    weight_shape: Shape,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
) -> ConvTranspose2d:
    """Check the arguments of a transposed convolution and compute what follows from them."""
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
) -> ConvTranspose2d:
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
    return ConvTranspose2d(stride, padding, dilation, groups, (images, group_outputs * groups, out[0], out[1]))


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


# ---------------------------------------------------------------------------------------------------------------------
# Pooling


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
        windows = _windows(op, name, length, taps, step, 2 * edge, apart, ceil_mode)
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
            f"{op}: output_size={value!r} must be an integer or a pair (height, width), not {len(sizes)} values"
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


# ---------------------------------------------------------------------------------------------------------------------
# The rest


def number(op: str, name: str, value: object) -> float:
    """Return a real number as a float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (float, int, np.floating, np.integer)):
        raise TypeError(f"{op}: {name}={value!r} must be a number")
    return float(value)


def approximation(op: str, value: object) -> str:
    """Return the name of a way to compute GELU."""
    if value not in ("none", "tanh"):
        raise ValueError(f"{op}: approximate={value!r} must be 'none' or 'tanh'")
    return str(value)


def norm_type(op: str, value: object) -> float:
    """Return the exponent of a norm: a number that is positive and finite."""
    norm = number(op, "norm_type", value)
    if not 0 < norm < math.inf:
        raise ValueError(
            f"{op}: norm_type={value!r} must be positive and finite; max_pool2d is the limit of large ones"
        )
    return norm


def floating(op: str, dtype: npt.DTypeLike | None) -> np.dtype[np.floating]:
    """Return the dtype that is asked for: float32 if none is."""
    found: np.dtype[Any] = np.dtype(np.float32 if dtype is None else dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"{op}: dtype={found} must be float32 or float64")
    return found


def epsilon(op: str, value: object) -> float:
    """Return a number that is not negative, to be added to a variance."""
    eps = number(op, "eps", value)
    if not eps >= 0:
        raise ValueError(f"{op}: eps={value!r} must not be negative")
    return eps


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
        raise TypeError(f"{op}: {name}={value!r} must be an integer")
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
        raise ValueError(f"{op}: {name}={value!r} names an axis twice")
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
        raise TypeError(f"{op}: pad={value!r} must be a tuple of integers")
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
