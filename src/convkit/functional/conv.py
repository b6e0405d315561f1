"""Convolution."""

from typing import Any

import numpy as np

from .. import ops
from .._shapes import Array, Conv2d, Padding, Pair
from ..autograd import NormalisedGradient, OwnGradient, Tensor, borrowed, pending_of, record, settled, unseen
from ..ops._convolution import makes_rows
from ..ops.conv2d import checked, convolved, input_gradient, weight_gradient


def conv2d(
    input: Tensor | Array,
    weight: Tensor | Array,
    bias: Tensor | Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve a batch of images with a bank of filters.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images.
    weight : Tensor, shape (K, C/groups, R, S), dtype of `input`
        Filters.
    bias : Tensor, shape (K,) or (K, P, Q), dtype of `input`, optional
        Added to each output channel; or untied, of the output's full shape: each position has a bias of its own.
    stride : int or pair of int, default 1
        Distance of neighbouring windows, in pixels; pairs are (height, width).
    padding : int, pair of int, 'valid' or 'same', default 0
        Zeros on each edge, in pixels.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.
    groups : int, default 1
        Input and output channels are divided into so many groups; each output sees its own group.

    Returns
    -------
    Tensor, shape (N, K, P, Q), dtype of `input`
        With ``P = floor((H + 2*padding - dilation*(R - 1) - 1)/stride) + 1``, and so for Q, W and S.

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes or sizes do not fit.

    See Also
    --------
    convkit.ops.conv2d : the same on arrays, with the equation.
    convkit.nn.Conv2d : the layer that holds the weights.

    Notes
    -----
    `input` is kept for the gradient of `weight`, `weight` for that of `input`; neither if nobody asks. Of a batch norm
    and a rectifier that nobody has read, what they are made of is kept instead.

    A bias of channels whose output goes nowhere but into a batch norm in training has no effect, and a gradient of
    zeros: where others sum what cancels but for rounding.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> images = np.ones((2, 3, 8, 8), np.float32)
    >>> F.conv2d(images, np.ones((4, 3, 3, 3), np.float32), padding=1).shape
    (2, 4, 8, 8)
    """
    pending = pending_of(input)
    w, b = borrowed(weight, bias)
    (x,) = borrowed(input) if pending is None else [pending.base]  # of the values' shape
    geometry = checked(x, w, b, stride, padding, dilation, groups)
    if pending is not None:
        x = pending.convolved_in(geometry)
    output = convolved(geometry, x, w, b)
    untied = b is not None and b.ndim == 3
    return record(
        "conv2d",
        unseen(output),
        (input, lambda grad: OwnGradient(input_gradient(geometry, w, settled(grad)))),
        (weight, lambda grad: weight_gradient(geometry, x, _unless_made(grad, geometry))),
        (bias, lambda grad: _bias_gradient(grad, untied)),
        takes_pending=True,
    )


def _unless_made(grad: Any, geometry: Conv2d) -> Any:
    """Return a gradient as an array; but not if nobody has needed it as one, and the weights' gradient does not."""
    if isinstance(grad, NormalisedGradient) and not grad.is_computed and makes_rows(grad.source.dtype, geometry):
        return grad.source
    return settled(grad)


def _bias_gradient(grad: Any, untied: bool) -> Array:
    if isinstance(grad, NormalisedGradient) and grad.centred and not untied:
        return np.zeros(grad.source.shape[1], grad.source.dtype)
    return ops.conv2d_backward_bias(settled(grad), untied)


def conv_transpose2d(
    input: Tensor | Array,
    weight: Tensor | Array,
    bias: Tensor | Array | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """Convolve with a bank of filters the other way round: every pixel paints its filter onto the output.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images.
    weight : Tensor, shape (C, K/groups, R, S), dtype of `input`
        Filters.
    bias : Tensor, shape (K,), dtype of `input`, optional
        Added to each output channel.
    stride : int or pair of int, default 1
        Distance of neighbouring pixels' filters in the output, in pixels; pairs are (height, width).
    padding : int or pair of int, default 0
        Pixels cut off at each edge of the output.
    output_padding : int or pair of int, default 0
        Pixels added at the bottom and the right of the output; smaller than `stride` or `dilation`.
    groups : int, default 1
        Input and output channels are divided into so many groups; each output sees its own group.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.

    Returns
    -------
    Tensor, shape (N, K, P, Q), dtype of `input`
        With ``P = (H - 1)*stride - 2*padding + dilation*(R - 1) + output_padding + 1``, and so for Q, W and S.

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes or sizes do not fit.

    See Also
    --------
    convkit.ops.conv_transpose2d : the same on arrays, with the equation.
    convkit.nn.ConvTranspose2d : the layer that holds the weights.

    Notes
    -----
    `input` is kept for the gradient of `weight`, `weight` for that of `input`; neither if nobody asks.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> images = np.ones((2, 3, 8, 8), np.float32)
    >>> F.conv_transpose2d(images, np.ones((3, 4, 2, 2), np.float32), stride=2).shape
    (2, 4, 16, 16)
    """
    x, w, b = borrowed(input, weight, bias)
    geometry = (stride, padding, output_padding, groups, dilation)
    output = ops.conv_transpose2d(x, w, b, *geometry)
    input_shape, weight_shape = x.shape, w.shape
    return record(
        "conv_transpose2d",
        unseen(output),
        (input, lambda grad: OwnGradient(ops.conv_transpose2d_backward_input(input_shape, w, grad, *geometry))),
        (weight, lambda grad: ops.conv_transpose2d_backward_weight(x, weight_shape, grad, *geometry)),
        (bias, ops.conv2d_backward_bias),
    )
