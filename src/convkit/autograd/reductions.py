"""Reductions: many elements to one, of all dimensions or of some."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np

from .. import _shapes
from . import recording
from ._arrays import applied
from ._operands import array_of, floats_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._operands import Input
    from .tape import Array
    from .tensors import Tensor

    Dim: TypeAlias = int | tuple[int, ...] | None


class ValuesAndIndices(NamedTuple):
    """What `max` and `min` along a dimension return: the values, and where along the dimension they are."""

    values: Tensor
    indices: Tensor


def sum(input: Input, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Add up all elements, or those along `dim`.

    Parameters
    ----------
    input : Tensor or ndarray of any shape
    dim : int or tuple of int, optional
        The dimensions to add along; all by default.
    keepdim : bool, default False
        Keep those dimensions, with size 1.

    Returns
    -------
    Tensor
        Of the dtype of `input`; int64 for integers and bools.

    Raises
    ------
    TypeError, ValueError
        If `input` is neither a tensor nor an array, or a dimension does not exist or comes twice.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.sum(ck.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
    tensor([4., 6.])
    """
    x = array_of("sum", input)
    over = _Reduction("sum", x, dim, keepdim)
    return recording.record("sum", over.reduce(np.add, x).reshape(over.shape), (input, over.spread))


def mean(input: Input, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Average all elements, or those along `dim`; arguments as for `sum`. The mean of nothing is NaN.

    Raises
    ------
    TypeError
        If `input` is not of floats.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.mean(ck.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
    tensor([2., 3.])
    """
    x = _only_floats("mean", input)
    over = _Reduction("mean", x, dim, keepdim)
    average, count = _average(x, over), x.dtype.type(over.count)
    return recording.record("mean", average.reshape(over.shape), (input, lambda grad: over.spread(grad / count)))


def var(input: Input, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Compute the variance of all elements, or of those along `dim`.

    Parameters
    ----------
    input, dim, keepdim
        As for `sum`; `input` of floats.
    correction : number, default 1
        The sum of squares is divided by the count less `correction`: 1 estimates the variance of what the elements
        are a sample of, 0 gives that of the elements themselves.

    Returns
    -------
    Tensor
        NaN, or Inf, where there are no more elements than `correction`.

    Raises
    ------
    TypeError
        If `input` is not of floats.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.var(ck.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    x = _only_floats("var", input)
    over = _Reduction("var", x, dim, keepdim)
    centred, variance, freedom = _around_average(x, over, correction)
    return recording.record(
        "var", variance.reshape(over.shape), (input, lambda grad: over.spread(grad * 2 / freedom) * centred)
    )


def std(input: Input, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Compute the standard deviation, the square root of `var`; arguments as there. Its gradient is 0 at 0.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.std(ck.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    x = _only_floats("std", input)
    over = _Reduction("std", x, dim, keepdim)
    centred, variance, freedom = _around_average(x, over, correction)
    output = np.sqrt(variance).reshape(over.shape)

    def gradient(grad: Array) -> Array:
        slope = grad / (output * freedom)
        return over.spread(np.where(output == 0, 0, slope)) * centred

    return recording.record("std", output, (input, gradient))


def prod(input: Input, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Multiply all elements, or those along one dimension.

    Parameters
    ----------
    input, keepdim
        As for `sum`.
    dim : int, optional
        The dimension to multiply along; all by default.

    Returns
    -------
    Tensor
        Of the dtype of `input`; int64 for integers and bools.

    Notes
    -----
    The gradient of an element is the product of those before it and those after it, so that zeros do no harm.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.prod(ck.tensor([1.0, 2.0, 3.0]))
    tensor(6.)
    """
    x = array_of("prod", input)
    axis = None if dim is None else _shapes.axis("prod", "dim", dim, x.ndim)
    over = _Reduction("prod", x, axis, keepdim)
    product = over.reduce(np.multiply, x).reshape(over.shape)

    def gradient(grad: Array) -> Array:
        others = _product_of_others(x.reshape(-1), 0).reshape(x.shape) if axis is None else _product_of_others(x, axis)
        return over.spread(grad) * others

    return recording.record("prod", product, (input, gradient))


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


def logsumexp(input: Input, dim: Dim, keepdim: bool = False) -> Tensor:
    """Compute ``log(sum(exp(input)))`` along `dim`, without overflow; arguments as for `sum`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.logsumexp(ck.tensor([1000.0, 0.0]), dim=0)
    tensor(1000.)
    """
    x = floats_of("logsumexp", input)
    over = _Reduction("logsumexp", x, dim, keepdim)
    output = _log_of_sum(x, over)

    def gradient(grad: Array) -> Array:
        reached = np.where(output == -np.inf, output.dtype.type(0), output)
        return applied(np.multiply, over.spread(grad), np.exp(x - reached))

    return recording.record("logsumexp", output.reshape(over.shape), (input, gradient))


class _Reduction:
    """The dimensions that a reduction reduces, what it does with them, and the way back to the shape of its input."""

    __slots__ = ("_before", "_with_ones", "axes", "shape")

    def __init__(self, op: str, x: Array, dim: Dim, keepdim: bool) -> None:
        self.axes = _shapes.axes(op, "dim", dim, x.ndim)
        self._before = x.shape
        self._with_ones = tuple([1 if axis in self.axes else size for axis, size in enumerate(x.shape)])
        rest = tuple([size for axis, size in enumerate(x.shape) if axis not in self.axes])
        self.shape = self._with_ones if keepdim else rest

    @property
    def count(self) -> int:
        """How many elements become one."""
        return math.prod([self._before[axis] for axis in self.axes])

    def reduce(self, ufunc: Any, x: Array) -> Array:
        """Reduce, with the dimensions that are reduced kept as 1; sums and products of integers are int64."""
        widened = np.int64 if x.dtype.kind != "f" and ufunc in (np.add, np.multiply) else None
        reduced: Array = ufunc.reduce(x, axis=self.axes, keepdims=True, dtype=widened)
        return reduced

    def spread(self, result: Array) -> Array:
        """Return a result, of the final shape or with ones, as often as there were elements: a view."""
        return np.broadcast_to(result.reshape(self._with_ones), self._before)


def _only_floats(op: str, input: Input) -> Array:
    x = array_of(op, input)
    if x.dtype.kind != "f":
        raise TypeError(f"{op}: needs float32 or float64, this is {x.dtype}")
    return x


@np.errstate(all="ignore")
def _average(x: Array, over: _Reduction) -> Array:
    average: Array = over.reduce(np.add, x) / x.dtype.type(over.count)
    return average


@np.errstate(all="ignore")
def _around_average(x: Array, over: _Reduction, correction: float) -> tuple[Array, Array, Array]:
    """Return how far elements are from their average, the variance, and what the sum of squares was divided by."""
    freedom = x.dtype.type(np.fmax(over.count - correction, 0))
    centred = x - _average(x, over)
    return centred, over.reduce(np.add, centred * centred) / freedom, freedom


@np.errstate(all="ignore")
def _log_of_sum(x: Array, over: _Reduction) -> Array:
    if not x.size:
        return over.reduce(np.add, x) - np.inf
    largest = over.reduce(np.maximum, x)
    shift = np.where(np.isfinite(largest), largest, x.dtype.type(0))
    log: Array = np.log(over.reduce(np.add, np.exp(x - shift))) + shift
    return log


def _product_of_others(x: Array, dim: int) -> Array:
    """Return for each element along `dim` the product of all others there."""
    lines = np.moveaxis(x, dim, -1)
    others = np.ones(lines.shape, x.dtype)
    np.multiply.accumulate(lines[..., :-1], axis=-1, out=others[..., 1:])
    after = np.multiply.accumulate(lines[..., :0:-1], axis=-1)
    others[..., :-1] *= after[..., ::-1]
    return np.moveaxis(others, -1, dim)


def _extreme(op: str, ufunc: np.ufunc, input: Input, dim: Dim, keepdim: bool) -> Tensor:
    x = array_of(op, input)
    over = _Reduction(op, x, dim, keepdim)
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
    _refuse_empty(op, x, _Reduction(op, x, axis, keepdim))
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


def _refuse_empty(op: str, x: Array, over: _Reduction) -> None:
    if not over.count:
        raise ValueError(f"{op}: input has shape {x.shape}: there is no element to choose along dim={over.axes}")
