"""Arguments one by one: numbers, pairs, shapes, arrays."""

import math
import operator
from typing import Any

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


def shown(value: object) -> str:
    """Return how a message names a value: an array by what it is, since its elements would fill pages."""
    if isinstance(value, np.ndarray) and value.size > 10:
        return f"<array of {value.dtype}, shape {value.shape}>"
    return repr(value)


def integer(op: str, name: str, value: object, least: int) -> int:
    """Return `value` as an int that is not less than `least`."""
    number = value if type(value) is int else _as_int(op, name, value)
    if number < least:
        raise ValueError(f"{op}: {name}={shown(value)} must be at least {least}")
    if number > MOST:
        raise ValueError(f"{op}: {name}={shown(value)} must be at most {MOST}")
    return number


def _as_int(op: str, name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{op}: {name}={shown(value)} must be an integer, not a bool")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{op}: {name}={shown(value)} must be an integer, not {type(value).__name__}") from None


def pair(op: str, name: str, value: object, least: int) -> tuple[int, int]:
    """Return (height, width) from an int, which stands for both, or a pair of them."""
    if type(value) is tuple and len(value) == 2:  # as layers have them: nothing to convert
        height, width = value
        if type(height) is type(width) is int and least <= height <= MOST and least <= width <= MOST:
            return value
    if not isinstance(value, (tuple, list)):
        try:
            number = integer(op, name, value, least)
        except TypeError:
            raise TypeError(f"{op}: {name}={shown(value)} must be an integer or a pair of integers") from None
        return number, number
    if len(value) != 2:
        raise ValueError(
            f"{op}: {name}={shown(value)} must be an integer or a pair (height, width), not {len(value)} values"
        )
    return integer(op, name, value[0], least), integer(op, name, value[1], least)


def shape(op: str, name: str, value: object, ndim: int | None) -> Shape:
    """Return a shape of `ndim` sizes, or any number of them, as a tuple of ints."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{op}: {name}={shown(value)} must be a tuple of {'' if ndim is None else f'{ndim} '}integers")
    if ndim is not None and len(value) != ndim:
        raise ValueError(f"{op}: {name}={tuple(value)} must have {ndim} sizes, not {len(value)}")
    return tuple([integer(op, name, size, 0) for size in value])


class Bfloat16Error(TypeError):
    """An array is bfloat16, where only float32 and float64 are computed with."""


def is_bfloat16(value: npt.NDArray[Any]) -> bool:
    """Tell by the name: a package that has the dtype need not be there."""
    return value.dtype.name == "bfloat16"


def array(
    op: str, name: str, value: object, ndim: int | None = None, like: Array | None = None, like_name: str = "input"
) -> None:
    """Check that `value` is a float32 or float64 array, of `ndim` axes, of the same dtype as `like`."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{op}: {name} must be a numpy.ndarray, not {type(value).__name__}")
    if value.dtype.char not in "fd" or not value.dtype.isnative:
        error = Bfloat16Error if is_bfloat16(value) else TypeError
        raise error(f"{op}: {name} has dtype {value.dtype.str if not value.dtype.isnative else value.dtype}, "
                    "but must be float32 or float64 in native byte order")  # fmt: skip
    if like is not None and value.dtype != like.dtype:
        same_dtype(op, name, value, like_name, like)
    if ndim is not None and value.ndim != ndim:
        axes = {4: " (N, C, H, W)" if name != "weight" else " (K, C/groups, R, S)", 3: " (C, H, W)"}.get(ndim, "")
        raise ValueError(f"{op}: {name} has shape {value.shape}, but must have {ndim} axes{axes}")


def same_dtype(op: str, name: str, value: npt.NDArray[Any], like_name: str, like: npt.NDArray[Any]) -> None:
    """Check that two arrays have one dtype."""
    if value.dtype != like.dtype:
        raise TypeError(f"{op}: {name} has dtype {value.dtype} but {like_name} has {like.dtype}: they must be the same")


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


def number(op: str, name: str, value: object) -> float:
    """Return a real number as a float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (float, int, np.floating, np.integer)):
        raise TypeError(f"{op}: {name}={shown(value)} must be a number")
    return float(value)


def approximation(op: str, value: object) -> str:
    """Return the name of a way to compute GELU."""
    if value not in ("none", "tanh"):
        raise ValueError(f"{op}: approximate={shown(value)} must be 'none' or 'tanh'")
    return str(value)


def norm_type(op: str, value: object) -> float:
    """Return the exponent of a norm: a number that is positive and finite."""
    norm = number(op, "norm_type", value)
    if not 0 < norm < math.inf:
        raise ValueError(
            f"{op}: norm_type={shown(value)} must be positive and finite; max_pool2d is the limit of large ones"
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
        raise ValueError(f"{op}: eps={shown(value)} must not be negative")
    return eps
