"""Reductions: many elements to one, of all dimensions or of some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _shapes
from . import recording
from ._arrays import applied, computed
from ._operands import array_of, floats_of
from ._reduction import Reduction

if TYPE_CHECKING:
    from ._operands import Input
    from ._reduction import Dim
    from .tape import Array
    from .tensors import Tensor


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
    over = Reduction("sum", x, dim, keepdim)
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
    over = Reduction("mean", x, dim, keepdim)
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
    over = Reduction("var", x, dim, keepdim)
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
    over = Reduction("std", x, dim, keepdim)
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
    over = Reduction("prod", x, axis, keepdim)
    product = over.reduce(np.multiply, x).reshape(over.shape)

    def gradient(grad: Array) -> Array:
        others = _product_of_others(x.reshape(-1), 0).reshape(x.shape) if axis is None else _product_of_others(x, axis)
        return over.spread(grad) * others

    return recording.record("prod", product, (input, gradient))


def logsumexp(input: Input, dim: Dim, keepdim: bool = False) -> Tensor:
    """Compute ``log(sum(exp(input)))`` along `dim`, without overflow; arguments as for `sum`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.logsumexp(ck.tensor([1000.0, 0.0]), dim=0)
    tensor(1000.)
    """
    x = floats_of("logsumexp", input)
    over = Reduction("logsumexp", x, dim, keepdim)
    shift = _finite_maximum(x, over)
    total = _sum_of_powers(x - shift, over)

    def gradient(grad: Array) -> Array:
        share = over.spread(grad) / np.where(total == 0, 1, total)
        return applied(np.multiply, share, np.exp(x - shift))

    output = computed("logsumexp", np.log, total) + shift
    return recording.record("logsumexp", output.reshape(over.shape), (input, gradient))


def _only_floats(op: str, input: Input) -> Array:
    x = array_of(op, input)
    if x.dtype.kind != "f":
        raise TypeError(f"{op}: needs float32 or float64, this is {x.dtype}")
    return x


@np.errstate(all="ignore")
def _average(x: Array, over: Reduction) -> Array:
    average: Array = over.reduce(np.add, x) / x.dtype.type(over.count)
    return average


@np.errstate(all="ignore")
def _around_average(x: Array, over: Reduction, correction: float) -> tuple[Array, Array, Array]:
    """Return how far elements are from their average, the variance, and what the sum of squares was divided by."""
    freedom = x.dtype.type(np.fmax(over.count - correction, 0))
    centred = x - _average(x, over)
    return centred, over.reduce(np.add, centred * centred) / freedom, freedom


def _finite_maximum(x: Array, over: Reduction) -> Array:
    """Return the largest of the elements that are added up, or 0 where that would be infinite or nothing."""
    if not x.size:
        return over.reduce(np.add, x)
    largest = over.reduce(np.maximum, x)
    return np.where(np.isfinite(largest), largest, x.dtype.type(0))


@np.errstate(all="ignore")
def _sum_of_powers(x: Array, over: Reduction) -> Array:
    return over.reduce(np.add, np.exp(x))


def _product_of_others(x: Array, dim: int) -> Array:
    """Return for each element along `dim` the product of all others there."""
    lines = np.moveaxis(x, dim, -1)
    others = np.ones(lines.shape, x.dtype)
    np.multiply.accumulate(lines[..., :-1], axis=-1, out=others[..., 1:])
    after = np.multiply.accumulate(lines[..., :0:-1], axis=-1)
    others[..., :-1] *= after[..., ::-1]
    return np.moveaxis(others, -1, dim)
