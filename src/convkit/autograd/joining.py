"""Several tensors in one."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _shapes
from .._memory import empty_in_order
from . import recording
from ._operands import array_of
from .shapes import unsqueeze

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._shapes import Shape
    from ._operands import Input
    from .tape import Array
    from .tensors import Tensor


def cat(tensors: Sequence[Input], dim: int = 0) -> Tensor:
    """Join tensors along one of their dimensions.

    Parameters
    ----------
    tensors : sequence of Tensor or ndarray
        At least one; their shapes differ along `dim` at most.
    dim : int, default 0
        The dimension.

    Returns
    -------
    Tensor
        In memory ordered as the first.

    Raises
    ------
    TypeError, ValueError
        If there is no tensor, one is no tensor, shapes do not fit, or there is no such dimension.

    See Also
    --------
    stack : along a new dimension.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.cat([ck.tensor([[1, 2]]), ck.tensor([[3, 4]])], dim=1)
    tensor([[1, 2, 3, 4]])
    """
    parts = _arrays_of("cat", tensors)
    axis = _shapes.axis("cat", "dim", dim, parts[0].ndim)
    shape = _joined_shape(parts, axis)
    out = empty_in_order(shape, _common_dtype(parts), parts[0].strides)
    ends = list(itertools.accumulate([part.shape[axis] for part in parts], initial=0))
    places = [(*[slice(None)] * axis, slice(start, end)) for start, end in itertools.pairwise(ends)]
    edges = zip(tensors, [functools.partial(_part, place) for place in places], strict=True)
    return recording.record("cat", np.concatenate(parts, axis, out=out), *edges)


def stack(tensors: Sequence[Input], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension.

    Parameters
    ----------
    tensors : sequence of Tensor or ndarray
        At least one.
    dim : int, default 0
        Where the new dimension will be.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If there is no tensor, one is no tensor, shapes differ, or the result has no such dimension.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.stack([ck.tensor([1, 2]), ck.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    parts = _arrays_of("stack", tensors)
    for i, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ValueError(f"stack: tensors[{i}] has shape {part.shape} but tensors[0] has {parts[0].shape}")
    axis = _shapes.axis("stack", "dim", dim, parts[0].ndim + 1)
    return cat([unsqueeze(tensor, axis) for tensor in tensors], axis)


def _arrays_of(op: str, tensors: Sequence[Input]) -> list[Array]:
    if not isinstance(tensors, tuple | list):
        raise TypeError(f"{op}: tensors must be a tuple or list of tensors, not {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{op}: tensors must hold at least one tensor")
    return [array_of(op, tensor) for tensor in tensors]


def _joined_shape(parts: list[Array], axis: int) -> Shape:
    first = parts[0].shape
    before, after = first[:axis], first[axis + 1 :]
    for i, part in enumerate(parts):
        if part.ndim != len(first) or part.shape[:axis] != before or part.shape[axis + 1 :] != after:
            raise ValueError(
                f"cat: tensors[{i}] has shape {part.shape} but tensors[0] has {first}: they may differ along "
                f"dim={axis} alone"
            )
    return (*before, sum(part.shape[axis] for part in parts), *after)


def _common_dtype(parts: list[Array]) -> np.dtype[Any]:
    """Return the dtype of all together: that of the floats, if there are any, whatever integers are with them."""
    dtypes = {part.dtype for part in parts}
    return np.result_type(*({dtype for dtype in dtypes if dtype.kind == "f"} or dtypes))


def _part(place: tuple[slice, ...], grad: Array) -> Array:
    return grad[place]
