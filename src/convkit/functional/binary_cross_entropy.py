"""Losses of yes or no."""

import numpy as np

from .. import ops
from .._shapes import Array
from ..autograd import Tensor
from ._reduction import compared, record_loss, weights

#: Logarithms of probabilities are not less than this, and their denominators not less than that, as in PyTorch.
_LEAST_LOGARITHM, _LEAST_VARIANCE = -100, 1e-12


def binary_cross_entropy_with_logits(
    input: Tensor | Array,
    target: Tensor | Array,
    weight: Tensor | Array | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | Array | None = None,
) -> Tensor:
    """Compare scores of yes with how probable yes should be.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
        Scores (logits): the sigmoid makes probabilities of them.
    target : Tensor, shape and dtype of `input`
        Probabilities in [0, 1]: 1 is yes.
    weight : Tensor, of a shape that broadcasts to that of `input`, optional
        How much each element counts; 1 if not given.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.
    pos_weight : Tensor, of a shape that broadcasts to that of `input`, optional
        How much yes counts beside no; 1 if not given. More than 1 finds more of what is rare.

    Returns
    -------
    Tensor, shape () or that of `input`

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or there is no such reduction.

    See Also
    --------
    convkit.nn.BCEWithLogitsLoss : the same as a layer.

    Notes
    -----
    With p for `pos_weight`, ``loss = -(p*target*log(sigmoid(input)) + (1 - target)*log(1 - sigmoid(input)))``, computed
    from ``log(1 + exp(-|input|))``, so that no score is too large. No gradient flows to weights.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.binary_cross_entropy_with_logits(np.float32([1000, -1000]), np.float32([1, 1]), reduction="none")
    tensor([   0., 1000.])
    """
    op = "binary_cross_entropy_with_logits"
    x, y = compared(op, input, target, reduction)
    factor, positive = weights(op, "weight", weight, x), weights(op, "pos_weight", pos_weight, x)

    def slope() -> Array:
        # Not sigmoid(input) - target, which is 0 long before the loss is.
        return _times((1 - y) * ops.sigmoid(x) - _times(y * ops.sigmoid(-x), positive), factor)

    def target_slope() -> Array:
        extra = 0 if positive is None else (positive - 1) * _softplus(-x)
        return _times(extra - x, factor)

    return record_loss(op, _times(_loss(x, y, positive), factor), reduction, (input, slope), (target, target_slope))


def binary_cross_entropy(
    input: Tensor | Array, target: Tensor | Array, weight: Tensor | Array | None = None, reduction: str = "mean"
) -> Tensor:
    """Compare probabilities of yes with how probable yes should be.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
        Probabilities, in [0, 1].
    target, weight, reduction
        As for `binary_cross_entropy_with_logits`.

    Returns
    -------
    Tensor, shape () or that of `input`

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits`, and if `input` is outside [0, 1].

    See Also
    --------
    binary_cross_entropy_with_logits : of scores, which is more exact.
    convkit.nn.BCELoss : the same as a layer.

    Notes
    -----
    ``loss = -(target*log(input) + (1 - target)*log(1 - input))``, with logarithms of at least -100.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.binary_cross_entropy(np.float32([1, 0]), np.float32([1, 1]), reduction="none")
    tensor([ -0., 100.])
    """
    op = "binary_cross_entropy"
    x, y = compared(op, input, target, reduction)
    factor = weights(op, "weight", weight, x)
    outside = (x < 0) | (x > 1)
    if outside.any():
        raise ValueError(f"{op}: input holds {x[outside][0]}, but probabilities must be in [0, 1]")
    yes, no = _logarithms(x)
    return record_loss(
        op,
        _times(-(y * yes + (1 - y) * no), factor),
        reduction,
        (input, lambda: _times((x - y) / np.maximum(x * (1 - x), _LEAST_VARIANCE), factor)),
        (target, lambda: _times(no - yes, factor)),
    )


def _times(x: Array, factor: Array | None) -> Array:
    return x if factor is None else x * factor


@np.errstate(all="ignore")
def _loss(x: Array, y: Array, positive: Array | None) -> Array:
    emphasis = None if positive is None else 1 + (positive - 1) * y
    return (1 - y) * x + _times(_softplus(-x), emphasis)


def _softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))``."""
    softplus: Array = np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)
    return softplus


@np.errstate(all="ignore")
def _logarithms(x: Array) -> tuple[Array, Array]:
    """Return the logarithms of yes and of no."""
    return np.maximum(np.log(x), _LEAST_LOGARITHM), np.maximum(np.log1p(-x), _LEAST_LOGARITHM)
