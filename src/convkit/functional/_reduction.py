"""What losses have in common: a number for each element, reduced to one, and the way back."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .. import _shapes
from .._shapes import Array
from ..autograd import Tensor, arrays, record

Slope: TypeAlias = Callable[[], Array]

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str) -> None:
    """Raise unless there is such a reduction."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction={reduction!r} must be one of {', '.join(map(repr, REDUCTIONS))}")


def compared(op: str, input: object, target: object, reduction: str) -> tuple[Array, Array]:
    """Check what an element by element loss is given, and return both arrays, of one shape and dtype."""
    check_reduction(op, reduction)
    x, y = arrays(input, target)
    _shapes.array(op, "input", x)
    _shapes.array(op, "target", y, None, x)
    _shapes.same_shape(op, "target", y.shape, x.shape)
    return x, y


def weights(op: str, name: str, value: object, like: Array) -> Array | None:
    """Return optional factors, of a shape that broadcasts to that of the input."""
    array: Array | None
    (array,) = arrays(value)
    if array is not None:
        _shapes.array(op, name, array, None, like)
        if _shapes.broadcast(op, array.shape, like.shape) != like.shape:
            raise ValueError(f"{op}: {name} has shape {array.shape}, which does not broadcast to input {like.shape}")
    return array


@np.errstate(all="ignore")
def reduced(losses: Array, reduction: str) -> tuple[Array, np.floating]:
    """Return the result of a loss, and what the loss of each element is multiplied with in it.

    The mean of no elements is NaN, as in PyTorch.
    """
    one = losses.dtype.type(1)
    scale = one / losses.dtype.type(losses.size) if reduction == "mean" else one
    return losses if reduction == "none" else losses.sum() * scale, scale


def record_loss(op: str, losses: Array, reduction: str, *edges: tuple[object, Slope]) -> Tensor:
    """Reduce the losses of elements, and record how the gradient reaches the inputs.

    Parameters
    ----------
    op : str
        The loss.
    losses : ndarray
        One for each element.
    reduction : {'mean', 'sum', 'none'}
    *edges : (input, function)
        An input, and a function that gives the slope of each element's loss by it, when a gradient is needed.

    Returns
    -------
    Tensor
    """
    output, scale = reduced(losses, reduction)

    def through(slope: Slope) -> Callable[[Array], Array]:
        return lambda grad: slope() * (grad * scale)

    return record(op, output, *[(input, through(slope)) for input, slope in edges])
