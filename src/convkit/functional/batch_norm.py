"""Batch normalisation."""

from typing import Any

from .. import _shapes, ops
from .._shapes import Array
from ..autograd import (
    ActivatedGradient,
    Pending,
    PooledGradient,
    Tensor,
    arrays,
    borrowed,
    own,
    pending_of,
    record_joint,
    settled,
)
from ..ops import _affine
from ..ops.batch_norm import batch_norm_map, input_weight_and_bias_gradients, move_averages


def batch_norm(
    input: Tensor | Array,
    running_mean: Tensor | Array | None,
    running_var: Tensor | Array | None,
    weight: Tensor | Array | None = None,
    bias: Tensor | Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel: with the batch's own statistics in training, else with the running ones.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...), float32 or float64
        In training, more than one value for each channel.
    running_mean, running_var : Tensor, shape (C,), dtype of `input`, or None
        Averages over past batches. In training they are updated in place where given; else they are needed.
    weight, bias : Tensor, shape (C,), dtype of `input`, optional
        Scale and shift after the normalisation; 1 and 0 if not given.
    training : bool, default False
        Whether to use and remember the batch's own statistics.
    momentum : float, default 0.1
        Weight of this batch in the running averages.
    eps : float, default 1e-5
        Added to the variance.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, if running statistics are missing where they are needed, or if training
        has one value for each channel. The running statistics are then left as they were.

    See Also
    --------
    convkit.nn.BatchNorm2d : the layer that holds the statistics.

    Notes
    -----
    ``output = (input - mean)/sqrt(var + eps)*weight + bias`` [1]_, with the biased variance of the M values of a
    channel. The running averages move by ``running += momentum*(batch - running)``, and take the unbiased variance
    ``var*M/(M - 1)``.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
       covariate shift", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.batch_norm(np.float32([[1], [3]]), None, None, training=True, eps=0)
    tensor([[-1.],
            [ 1.]])
    """
    (x,) = borrowed(input)
    average_mean, average_var, scale, shift = arrays(running_mean, running_var, weight, bias)
    values = _values_per_channel(x, average_mean, average_var)
    if training:
        if values == 1:
            raise ValueError(f"batch_norm: input {x.shape} has one value per channel; training needs more than one")
        mean, var = ops.batch_norm_stats(x)
    else:
        if average_mean is None or average_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed unless training=True")
        # Copies: a later batch may move the averages before the gradient comes back.
        mean, var = average_mean.copy(), average_var.copy()
    pending = pending_of(input)
    map = None
    output: Array | Pending
    if pending is None:
        output = ops.batch_norm(x, mean, var, scale, shift, eps)
    else:
        map = batch_norm_map(x, mean, var, scale, shift, eps)
        output = pending.mapped(map)
    if training:
        move_averages(average_mean, average_var, mean, var, momentum, values / (values - 1))
    statistics = (x, mean, var, scale, eps, training)
    return record_joint("batch_norm", output, (input, weight, bias), lambda grad: _gradients(grad, map, statistics))


def _gradients(grad: Any, map: Array | None, statistics: tuple[Any, ...]) -> tuple[Array, Array, Array]:
    """Compute the gradients of input, weight and bias, of one that may have to pass a pooling and an activation yet."""
    if isinstance(grad, PooledGradient):
        return _affine.batch_norm_backward_pooled(grad.grad, grad.places, grad.pool, *statistics)
    if map is not None and isinstance(grad, ActivatedGradient) and grad.output.is_activation_of(map):
        kind, slope = grad.output.activation, grad.output.slope
        return _affine.batch_norm_backward_activated(
            settled(grad.grad), map, kind, slope, *statistics, overwrite=own(grad.grad) is not None
        )
    return input_weight_and_bias_gradients(settled(grad), *statistics, overwrite=own(grad) is not None)


def _values_per_channel(x: Array, average_mean: Array | None, average_var: Array | None) -> int:
    """Check what `ops` does not see, or sees too late, and count the values that a channel's statistics come from."""
    _shapes.array("batch_norm", "input", x)
    channels, of = _shapes.channels("batch_norm", "input", x), f"input {x.shape}"
    for name, average in (("running_mean", average_mean), ("running_var", average_var)):
        _shapes.vector("batch_norm", name, average, channels, of, x)
    return x.size // max(channels, 1)
