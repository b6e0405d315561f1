"""The same elements in another shape: views, wherever memory allows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from .. import _shapes
from ..ops._arrays import channels_first
from . import recording
from ._operands import array_of

if TYPE_CHECKING:
    from .._shapes import Shape
    from ._operands import Input
    from .tape import Array
    from .tensors import Tensor

    Sizes: TypeAlias = int | tuple[int, ...]


def reshape(input: Input, *shape: Sizes) -> Tensor:
    """Return the same elements, in C order, in another shape.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    *shape : int, or one tuple of int
        The sizes; one may be -1, meaning what is left.

    Returns
    -------
    Tensor
        A view if memory allows, else a copy.

    Raises
    ------
    TypeError, ValueError
        If sizes are no integers, or do not make the number of elements.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.reshape(ck.tensor([1, 2, 3, 4]), (2, -1))
    tensor([[1, 2],
            [3, 4]])
    """
    x = array_of("reshape", input)
    sizes = _filled(x.shape, _unpacked("reshape", "shape", shape))
    return _reshaped("reshape", input, x, sizes)


def flatten(input: Input, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Make one dimension of several neighbouring ones.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    start_dim, end_dim : int, default 0 and -1
        The first and the last of the dimensions to join.

    Returns
    -------
    Tensor
        The elements in C order of the logical shape: channel after channel, however the images lie in memory.

    Raises
    ------
    TypeError, ValueError
        If a dimension does not exist, or `start_dim` comes after `end_dim`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.flatten(ck.tensor([[[1, 2], [3, 4]]]), start_dim=1)
    tensor([[1, 2, 3, 4]])
    """
    x = array_of("flatten", input)
    shape = x.shape or (1,)
    start = _shapes.axis("flatten", "start_dim", start_dim, len(shape))
    end = _shapes.axis("flatten", "end_dim", end_dim, len(shape))
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {x.shape}")
    return _reshaped("flatten", input, x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def transpose(input: Input, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions: a view.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    dim0, dim1 : int
        The dimensions.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If a dimension does not exist.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.transpose(ck.tensor([[1, 2], [3, 4]]), 0, 1)
    tensor([[1, 3],
            [2, 4]])
    """
    x = array_of("transpose", input)
    first = _shapes.axis("transpose", "dim0", dim0, x.ndim)
    second = _shapes.axis("transpose", "dim1", dim1, x.ndim)
    return recording.record("transpose", x.swapaxes(first, second), (input, lambda grad: grad.swapaxes(first, second)))


def permute(input: Input, *dims: Sizes) -> Tensor:
    """Put the dimensions in another order: a view.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    *dims : int, or one tuple of int
        The dimensions in their new order, each once.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If a dimension does not exist, is missing or comes twice.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.permute(ck.tensor([[[1, 2, 3]]]), (2, 0, 1)).shape
    (3, 1, 1)
    """
    x = array_of("permute", input)
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    order = tuple([_shapes.axis("permute", "dims", dim, x.ndim) for dim in cast("Shape", given)])
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute: dims={tuple(given)} must name each of {x.ndim} dimensions once")
    back = sorted(range(x.ndim), key=order.__getitem__)
    return recording.record("permute", x.transpose(order), (input, lambda grad: grad.transpose(back)))


def squeeze(input: Input, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Leave out dimensions of size 1: a view.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    dim : int or tuple of int, optional
        The dimensions to leave out if their size is 1; all by default.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If a dimension does not exist or comes twice.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.squeeze(ck.tensor([[[1], [2]]]), dim=0).shape
    (2, 1)
    """
    x = array_of("squeeze", input)
    chosen = () if dim == () else _shapes.axes("squeeze", "dim", dim, x.ndim)
    sizes = tuple([size for axis, size in enumerate(x.shape) if size != 1 or axis not in chosen])
    return _viewed("squeeze", input, x, sizes)


def unsqueeze(input: Input, dim: int) -> Tensor:
    """Insert a dimension of size 1: a view.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    dim : int
        Where it will be.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If the result has no such dimension.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.unsqueeze(ck.tensor([1, 2]), dim=-1).shape
    (2, 1)
    """
    x = array_of("unsqueeze", input)
    axis = _shapes.axis("unsqueeze", "dim", dim, x.ndim + 1)
    return _viewed("unsqueeze", input, x, (*x.shape[:axis], 1, *x.shape[axis:]))


def broadcast_to(input: Input, shape: tuple[int, ...]) -> Tensor:
    """Repeat elements along dimensions of size 1 and new ones in front: a view, which cannot be written to.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    shape : tuple of int
        The sizes; -1 leaves one as it is.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        If sizes are no integers, or a size that is not 1 would change.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.broadcast_to(ck.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return _expanded("broadcast_to", input, (shape,))


def expand(input: Input, *shape: Sizes) -> Tensor:
    """Do what `broadcast_to` does, for sizes that may be arguments one by one.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.tensor([[1], [2]]).expand(-1, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    return _expanded("expand", input, shape)


def _reshaped(op: str, input: Input, x: Array, sizes: Shape) -> Tensor:
    # Where channels join or leave others, they have to come first; height and width alone join as they lie.
    data = x if sizes[:2] == x.shape[:2] else channels_first(x)
    return _viewed(op, input, data, sizes)


def _viewed(op: str, input: Input, x: Array, sizes: Shape) -> Tensor:
    before = x.shape
    return recording.record(op, x.reshape(sizes), (input, lambda grad: grad.reshape(before)))


def _unpacked(op: str, name: str, sizes: tuple[Sizes, ...]) -> Shape:
    """Return sizes that are arguments one by one, or one tuple."""
    given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    return tuple([_shapes.integer(op, name, size, -1) for size in cast("Shape", given)])


def _filled(before: Shape, sizes: Shape) -> Shape:
    """Put the size that is left in the place of -1."""
    count, known = math.prod(before), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known and count % known == 0:
        sizes = tuple([count // known if size == -1 else size for size in sizes])
    if -1 in sizes or math.prod(sizes) != count:
        raise ValueError(f"reshape: shape {before} has {count} elements, which do not fit {sizes}")
    return sizes


def _expanded(op: str, input: Input, shape: tuple[Sizes, ...]) -> Tensor:
    x = array_of(op, input)
    wanted = _unpacked(op, "shape", shape)
    new = len(wanted) - x.ndim
    sizes = tuple([x.shape[axis - new] if axis >= new and size == -1 else size for axis, size in enumerate(wanted)])
    if new < 0 or -1 in sizes or any(old not in (1, size) for old, size in zip(x.shape, sizes[new:], strict=True)):
        raise ValueError(f"{op}: shape {x.shape} cannot become {wanted}: only a size of 1 can grow")
    # `backward` adds up what is too large for an input.
    return recording.record(op, np.broadcast_to(x, sizes), (input, recording.passed_on))
