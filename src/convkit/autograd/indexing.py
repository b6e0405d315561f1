"""``tensor[...]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._memory import empty_in_order
from . import recording

if TYPE_CHECKING:
    from .tape import Array
    from .tensors import Tensor


def getitem(input: Tensor, index: Any) -> Tensor:
    """Choose elements as NumPy does.

    Parameters
    ----------
    input : Tensor of any shape
    index : int, slice, None, Ellipsis, or array_like of integers or bools, or a tuple of these
        Tensors and arrays of integers choose places, those of bools where they are True.

    Returns
    -------
    Tensor
        A view unless `index` holds arrays.

    Raises
    ------
    IndexError
        If a place does not exist, or `index` is none of these.

    Notes
    -----
    The gradients of an element that was chosen several times are added up.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x[:, 1], x[x > 2]
    (tensor([2., 4.]), tensor([3., 4.]))
    """
    x, at = input.data, _plain(index)
    shape, strides = x.shape, x.strides

    def gradient(grad: Array) -> Array:
        out = empty_in_order(shape, grad.dtype, strides)
        out[...] = 0
        if _repeats(at):
            np.add.at(out, at, grad)
        else:
            out[at] = grad
        return out

    return recording.record("getitem", x[at], (input, gradient))


def _plain(index: Any) -> Any:
    """Return an index with ndarrays in the place of tensors and lists."""
    if isinstance(index, tuple):
        return tuple([_plain(part) for part in index])
    (part,) = recording.arrays(index)
    if not isinstance(part, list):
        return part
    array = np.asarray(part)
    return array if array.size else array.astype(np.intp)


def _repeats(index: Any) -> bool:
    """Tell whether an index may choose an element more than once: where it holds an array of integers."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype.kind != "b" for part in parts)
