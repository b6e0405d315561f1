"""The largest and the smallest of many elements, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from .. import _shapes
from . import recording
from ._arrays import applied
from ._operands import array_of
from ._reduction import Reduction

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._operands import Input
    from ._reduction import Dim
    from .tape import Array
    from .tensors import Tensor


class ValuesAndIndices(NamedTuple):
    """What `max` and `min` along a dimension return: the values, and where along the dimension they are."""

    values: Tensor
    indices: Tensor


def amax(input: Input, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Find the largest of all elements, or of those along `dim`; arguments as for `sum`.

    A NaN is larger than everything.

    Raises
    ------
    ValueError
        If there is no element to find.

    Notes
    -----
    Elements that are the largest share the gradient evenly. `max` along a dimension gives it to one.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.amax(ck.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    tensor([5., 3.])
    """
    return _extreme("amax", np.maximum, input, dim, keepdim)


def amin(input: Input, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Find the smallest of all elements, or of those along `dim`; as `amax` otherwise.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.amin(ck.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    tensor([1., 2.])
    """
    return _extreme("amin", np.minimum, input, dim, keepdim)


@overload
def max(input: Input) -> Tensor: ...
@overload
def max(input: Input, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...
def max(input: Input, dim: int | None = None, keepdim: bool = False) -> Tensor | ValuesAndIndices:
    """Find the largest element, or the largest along a dimension and where they are.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    dim : int, optional
        The dimension to look along.
    keepdim : bool, default False
        Keep that dimension, with size 1.

    Returns
    -------
    Tensor, or with `dim` a named tuple of Tensors (values, indices)
        Of several that are the largest along `dim`, the first.

    Raises
    ------
    TypeError, ValueError
        If there is no such dimension, or no element to find.

    See Also
    --------
    amax : along several dimensions.
    maximum : of two tensors, element by element.

    Examples
    --------
    >>> import convkit as ck
    >>> values, indices = ck.max(ck.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    >>> values, indices
    (tensor([5., 3.]), tensor([1, 0]))
    """
    return amax(input) if dim is None else _found("max", np.argmax, input, dim, keepdim)


@overload
def min(input: Input) -> Tensor: ...
@overload
def min(input: Input, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...
def min(input: Input, dim: int | None = None, keepdim: bool = False) -> Tensor | ValuesAndIndices:
    """Find the smallest element, or the smallest along a dimension and where they are; as `max` otherwise.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.min(ck.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1).indices
    tensor([0, 1])
    """
    return amin(input) if dim is None else _found("min", np.argmin, input, dim, keepdim)


def argmax(input: Input, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Tell where the largest element is, or the largest along a dimension; arguments as for `max`.

    Returns
    -------
    Tensor, int64
        Without `dim`, the place among all elements in C order.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.argmax(ck.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    tensor([1, 0])
    """
    return recording.result_tensor(_places("argmax", np.argmax, input, dim, keepdim))


def argmin(input: Input, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Tell where the smallest element is, or the smallest along a dimension; as `argmax` otherwise.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.argmin(ck.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    tensor([0, 1])
    """
    return recording.result_tensor(_places("argmin", np.argmin, input, dim, keepdim))


def _extreme(op: str, ufunc: np.ufunc, input: Input, dim: Dim, keepdim: bool) -> Tensor:
    x = array_of(op, input)
    over = Reduction(op, x, dim, keepdim)
    _refuse_empty(op, x, over)
    extreme = over.reduce(ufunc, x)

    def gradient(grad: Array) -> Array:
        equal = (x == extreme) | (np.isnan(x) & np.isnan(extreme))
        share = over.spread(grad) / over.reduce(np.add, equal).astype(grad.dtype)
        return applied(np.multiply, share, equal)

    return recording.record(op, extreme.reshape(over.shape), (input, gradient))


def _places(op: str, find: Callable[..., Array], input: Input, dim: int | None, keepdim: bool) -> Array:
    x = array_of(op, input)
    axis = None if dim is None else _shapes.axis(op, "dim", dim, x.ndim)
    _refuse_empty(op, x, Reduction(op, x, axis, keepdim))
    return np.asarray(find(x, axis=axis, keepdims=keepdim))


def _found(op: str, find: Callable[..., Array], input: Input, dim: int, keepdim: bool) -> ValuesAndIndices:
    """Find the extreme along one dimension; the gradient goes to the one that was found."""
    x = array_of(op, input)
    places = _places(op, find, input, dim, True)
    before = x.shape

    def gradient(grad: Array) -> Array:
        out = np.zeros(before, grad.dtype)
        np.put_along_axis(out, places, grad.reshape(places.shape), dim)
        return out

    values = np.take_along_axis(x, places, dim)
    if not keepdim:
        values = values.squeeze(dim)
    return ValuesAndIndices(
        recording.record(op, values, (input, gradient)),
        recording.result_tensor(places if keepdim else places.squeeze(dim)),
    )


def _refuse_empty(op: str, x: Array, over: Reduction) -> None:
    if not over.count:
        raise ValueError(f"{op}: input has shape {x.shape}: there is no element to choose along dim={over.axes}")
