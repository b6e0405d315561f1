"""Dropout."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .._memory import empty, empty_like
from .._random import generator
from .._shapes import Array
from ..autograd import Tensor, record


def dropout(input: Tensor | Array, p: float = 0.5, training: bool = True) -> Tensor:
    """Set elements to zero at random, and scale up the others so that the expectation stays.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    p : float, default 0.5
        Probability, in [0, 1], that an element is dropped.
    training : bool, default True
        If False, `input` is returned as it is.

    Returns
    -------
    Tensor, shape and dtype of `input`
        ``input*mask/(1 - p)``, with a mask of zeros and ones drawn from the generator of `manual_seed`.

    Raises
    ------
    ValueError
        If `p` is not in [0, 1].
    TypeError
        If `input` is not float32 or float64.

    Notes
    -----
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent
    neural networks from overfitting", JMLR 15, 2014; in the inverted form, which leaves inference alone. Only the
    mask is kept for the gradient, a byte for each element. The draws follow the order of the elements in memory.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit as ck
    >>> dropped = ck.functional.dropout(np.ones(1000, np.float32), p=0.75)
    >>> set(dropped.data.tolist()) == {0.0, 4.0}
    True
    """
    check_probability("dropout", p)
    tensor = input if isinstance(input, Tensor) else Tensor(input)
    if tensor.dtype.kind != "f":
        raise TypeError(f"dropout: input has dtype {tensor.dtype}, but must be float32 or float64")
    if not training or p == 0:
        return tensor
    mask, scale = _survivors(tensor.data, p), 0.0 if p == 1 else 1 / (1 - p)
    return record("dropout", _masked(tensor.data, mask, scale), (tensor, lambda grad: _masked(grad, mask, scale)))


def check_probability(name: str, p: float) -> None:
    """Raise unless `p` is a probability."""
    if not isinstance(p, int | float | np.floating) or not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p!r} must be a probability, a number in [0, 1]")


def _masked(array: Array, mask: npt.NDArray[np.bool_], scale: float) -> Array:
    kept: Array = np.multiply(array, mask, out=empty_like(array))
    kept *= scale
    return kept


def _survivors(array: npt.NDArray[Any], p: float) -> npt.NDArray[np.bool_]:
    """Draw which elements stay, in the order that the elements of `array` have in memory."""
    outer_to_inner = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    shape = tuple([array.shape[axis] for axis in outer_to_inner])
    draws = generator().random(dtype=np.float32, out=empty(shape, np.dtype(np.float32)))
    stay: npt.NDArray[np.bool_] = np.greater_equal(draws, p, out=empty(shape, np.dtype(np.bool_)))
    return stay.transpose(np.argsort(outer_to_inner))
