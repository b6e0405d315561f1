"""Batch normalisation."""

from typing import Any

from .._shapes import Array
from ..autograd import (
    ActivatedGradient,
    NormalisedGradient,
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
from ..ops.batch_norm import batch_norm_learned, batch_norm_map, check_channels, input_weight_and_bias_gradients


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
    if training:
        mean, var, map = batch_norm_learned(x, average_mean, average_var, scale, shift, momentum, eps)
    else:
        check_channels("batch_norm", x, eps, running_mean=average_mean, running_var=average_var)
        if average_mean is None or average_var is None:
            raise ValueError("batch_norm: running_mean and running_var are needed unless training=True")
        # Copies: a later batch may move the averages before the gradient comes back.
        mean, var = average_mean.copy(), average_var.copy()
        map = batch_norm_map(x, mean, var, scale, shift, eps)
    pending = pending_of(input)
    output = _affine.affine(x, map) if pending is None else pending.mapped(map)
    statistics = (x, mean, var, scale, eps, training)

    fused = pending is not None

    def gradients(grad: Any) -> tuple[Any, Array, Array]:
        source, of_weight, of_bias = _gradients(grad, map, statistics)
        of_input = NormalisedGradient(source, centred=training)
        if not fused:
            of_input.value()
        return of_input, of_weight, of_bias

    return record_joint("batch_norm", output, (input, weight, bias), gradients)


def _gradients(grad: Any, map: Array, statistics: tuple[Any, ...]) -> tuple[_affine.UnwrittenGradient, Array, Array]:
    """Compute the gradients of input, weight and bias, of one that may have to pass a pooling and an activation yet."""
    if isinstance(grad, PooledGradient) and grad.pooled.map is map:
        return _affine.batch_norm_backward_pooled(grad.grad, grad.pooled, *statistics)
    if isinstance(grad, ActivatedGradient) and grad.output.is_activation_of(map):
        kind, slope = grad.output.activation, grad.output.slope
        return _affine.batch_norm_backward_activated(
            settled(grad.grad), map, kind, slope, *statistics, overwrite=own(grad.grad) is not None
        )
    return input_weight_and_bias_gradients(settled(grad), *statistics, overwrite=own(grad) is not None)
