"""bfloat16 as storage: every op takes it and gives it, and computes in float32.

::

    ops.conv2d(x, w)        float32 and float64 go straight through; the checks refuse a bfloat16, by Bfloat16Error
        |
    widened(x)              exact: a bfloat16 is the upper half of a float32
        |
    conv2d                  as for float32; but where AMX multiplies bfloat16, one product is exact
        |
    narrowed(result)        rounded once, to nearest

What `_stored` can compute without that, it does.

Nothing imports a package that has the dtype, such as ml_dtypes: an array brings it along.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeGuard, TypeVar, cast

import numpy as np

from .. import _shapes
from .._kernels import _bfloat16
from .._memory import empty_in_order
from .._precision import operands_of_bfloat16
from .._shapes import Array
from .._threads import get_num_threads
from ._arrays import dense, flat

P = ParamSpec("P")
R = TypeVar("R")

_FLOAT32 = np.dtype(np.float32)

#: Batch norm's arguments of one number for each channel. They may be float32 beside images of bfloat16.
_OF_CHANNELS = ("mean", "var", "weight", "bias")


def takes_bfloat16(op: Callable[P, R], as_stored: Callable[P, R | None] | None) -> Callable[P, R]:
    """Return an op that takes bfloat16 as well; it costs other dtypes no more than a call.

    `as_stored`, if there is one, computes it of arrays that are not widened, or returns None.
    """

    @functools.wraps(op)
    def either(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return op(*args, **kwargs)
        except _shapes.Bfloat16Error:
            pass  # not computed here, where an error would be one that came of another
        call = inspect.signature(op).bind(*args, **kwargs)
        _check_dtypes(op.__name__, call)
        found = None if as_stored is None else as_stored(*args, **kwargs)
        return _through_float32(op, call) if found is None else found

    either.__module__ = __package__  # where it is found by its name
    return either


def widened(x: Array) -> Array:
    """Return bfloat16 as float32, in memory ordered as `x`."""
    x = dense(x)
    out = empty_in_order(x.shape, _FLOAT32, x.strides)
    _bfloat16.widen(flat(x).view(np.uint16), flat(out).view(np.uint32), get_num_threads())
    return out


def narrowed(x: Array, dtype: "np.dtype[Any]") -> Array:
    """Return float32 rounded to `dtype`, which is bfloat16, in memory ordered as `x`."""
    x = dense(x)
    out = empty_in_order(x.shape, dtype, x.strides)
    _bfloat16.narrow(flat(x).view(np.uint32), flat(out).view(np.uint16), get_num_threads())
    return out


def _through_float32(op: Callable[P, R], call: inspect.BoundArguments) -> R:
    """Widen what is bfloat16, call the op, and round its results."""
    given = call.arguments
    narrow = {argument: x for argument, x in given.items() if _is_float(x) and _shapes.is_bfloat16(x)}
    dtype = next(iter(narrow.values())).dtype
    # Statistics are float32, as PyTorch keeps them; gradients of channels' weights are of the dtype of these.
    keeps_vectors = bool(_of_channels(op.__name__)) and "weight" not in narrow

    def rounded(x: Any) -> Any:
        if not _is_float(x) or (keeps_vectors and x.ndim == 1):
            return x
        return narrowed(x, dtype)

    given.update((argument, widened(x)) for argument, x in narrow.items())
    with operands_of_bfloat16():
        result: Any = op(*call.args, **call.kwargs)
    return cast(R, tuple(map(rounded, result)) if isinstance(result, tuple) else rounded(result))


def _is_float(value: object) -> TypeGuard[Array]:
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or _shapes.is_bfloat16(value))


def _of_channels(op: str) -> tuple[str, ...]:
    return _OF_CHANNELS if op.startswith("batch_norm") else ()


def _check_dtypes(op: str, call: inspect.BoundArguments) -> None:
    (first, like), *others = [(name, value) for name, value in call.arguments.items() if _is_float(value)]
    for name, value in others:
        if not (name in _of_channels(op) and value.dtype == _FLOAT32 and _shapes.is_bfloat16(like)):
            _shapes.same_dtype(op, name, value, first, like)
