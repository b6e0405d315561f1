"""Losses of numbers that should be close to others."""

import numpy as np

from .. import _shapes
from .._shapes import Array
from ..autograd import Tensor
from ._reduction import compared, record_loss


def mse_loss(input: Tensor | Array, target: Tensor | Array, reduction: str = "mean") -> Tensor:
    """Average the squares of differences.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    target : Tensor, shape and dtype of `input`
        What `input` should be.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.

    Returns
    -------
    Tensor, shape () or that of `input`

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes differ (nothing is broadcast), or there is no such reduction.

    See Also
    --------
    convkit.nn.MSELoss : the same as a layer.

    Notes
    -----
    ``loss = (input - target)**2``

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.mse_loss(np.float32([1, 2]), np.float32([1, 4]))
    tensor(2.)
    """
    x, y = compared("mse_loss", input, target, reduction)
    apart = _difference(x, y)
    return record_loss(
        "mse_loss", np.square(apart), reduction, (input, lambda: 2 * apart), (target, lambda: -2 * apart)
    )


def l1_loss(input: Tensor | Array, target: Tensor | Array, reduction: str = "mean") -> Tensor:
    """Average the absolute values of differences; arguments as for `mse_loss`.

    See Also
    --------
    convkit.nn.L1Loss : the same as a layer.

    Notes
    -----
    ``loss = |input - target|``, with gradient 0 where there is no difference.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.l1_loss(np.float32([1, 2]), np.float32([1, 4]))
    tensor(1.)
    """
    x, y = compared("l1_loss", input, target, reduction)
    apart = _difference(x, y)
    return record_loss(
        "l1_loss", np.abs(apart), reduction, (input, lambda: np.sign(apart)), (target, lambda: -np.sign(apart))
    )


def smooth_l1_loss(input: Tensor | Array, target: Tensor | Array, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Average absolute differences, smoothed to squares where they are small.

    Parameters
    ----------
    input, target, reduction
        As for `mse_loss`.
    beta : float, default 1
        The difference from which on the loss is a straight line; at 0 it is `l1_loss`.

    Returns
    -------
    Tensor, shape () or that of `input`

    Raises
    ------
    TypeError, ValueError
        As `mse_loss`, and if `beta` is negative.

    See Also
    --------
    huber_loss : `beta` times this.
    convkit.nn.SmoothL1Loss : the same as a layer.

    Notes
    -----
    ``loss = d**2/(2*beta) if |d| < beta else |d| - beta/2``, with ``d = input - target``. R. Girshick, "Fast R-CNN",
    ICCV 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.smooth_l1_loss(np.float32([1, 2]), np.float32([2, 4]), reduction="none")
    tensor([0.5, 1.5])
    """
    check_threshold("smooth_l1_loss", "beta", beta, zero=True)
    if beta == 0:
        return l1_loss(input, target, reduction)
    x, y = compared("smooth_l1_loss", input, target, reduction)
    apart = _difference(x, y)
    losses = _bowl(apart, beta) / beta
    return record_loss(
        "smooth_l1_loss",
        losses,
        reduction,
        (input, lambda: apart.clip(-beta, beta) / beta),
        (target, lambda: apart.clip(-beta, beta) / -beta),
    )


def huber_loss(input: Tensor | Array, target: Tensor | Array, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Average squares of differences, with straight lines where they are large.

    Parameters
    ----------
    input, target, reduction
        As for `mse_loss`.
    delta : float, default 1
        The difference from which on the loss is a straight line.

    Returns
    -------
    Tensor, shape () or that of `input`

    Raises
    ------
    TypeError, ValueError
        As `mse_loss`, and if `delta` is not positive.

    See Also
    --------
    convkit.nn.HuberLoss : the same as a layer.

    Notes
    -----
    ``loss = d**2/2 if |d| < delta else delta*(|d| - delta/2)``, with ``d = input - target``. P. J. Huber, "Robust
    estimation of a location parameter", 1964.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.huber_loss(np.float32([1, 2]), np.float32([2, 6]), reduction="none", delta=2)
    tensor([0.5, 6. ])
    """
    check_threshold("huber_loss", "delta", delta, zero=False)
    x, y = compared("huber_loss", input, target, reduction)
    apart = _difference(x, y)
    return record_loss(
        "huber_loss",
        _bowl(apart, delta),
        reduction,
        (input, lambda: apart.clip(-delta, delta)),
        (target, lambda: -apart.clip(-delta, delta)),
    )


def check_threshold(op: str, name: str, value: object, zero: bool) -> None:
    """Raise unless `value` is a number above 0, or 0 where that is allowed."""
    number = _shapes.number(op, name, value)
    if not (number > 0 or (zero and number == 0)):
        raise ValueError(f"{op}: {name}={value!r} must be {'at least' if zero else 'greater than'} 0")


@np.errstate(all="ignore")
def _difference(x: Array, y: Array) -> Array:
    return x - y


@np.errstate(all="ignore")
def _bowl(apart: Array, edge: float) -> Array:
    """Return half the square up to the edge, and beyond it the line that goes on from there."""
    distance = np.abs(apart)
    return np.where(distance < edge, 0.5 * distance * distance, edge * (distance - 0.5 * edge))
