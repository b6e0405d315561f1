"""Two-dimensional transposed convolution, and its gradients: the passes of a convolution in other roles."""

import numpy as np

from .. import _shapes
from .._shapes import Array, Pair, Shape
from ._arrays import aligned, empty_nhwc, empty_weight, nchw, nhwc
from ._convolution import plan


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """Convolve with a bank of filters the other way round: every pixel paints its filter onto the output.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images. Any strides; channels-last memory is read as it lies, other orders are reordered first.
    weight : ndarray, shape (C, K/groups, R, S), dtype of `input`
        Filters.
    bias : ndarray, shape (K,), dtype of `input`, optional
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
    ndarray, shape (N, K, P, Q), dtype of `input`
        Channels-last in memory, with ``P = (H - 1)*stride - 2*padding + dilation*(R - 1) + output_padding + 1``, and
        so for Q, W and S.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ, or a size is not an integer.
    ValueError
        If shapes or sizes do not fit; the message names the argument, its value and the rule.

    Notes
    -----
    ``output[n, k, p, q] = bias[k] + sum over c, h, w, r, s of input[n, c, h, w] * weight[c, k, r, s]`` with
    ``h*stride + r*dilation - padding = p``, and so for w, s and q: the gradient of `conv2d` with respect to its input
    [1]_. It costs N*C*H*W*(K/groups)*R*S multiply-adds: no product with an inserted zero is computed.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    >>> conv_transpose2d(image, np.ones((1, 1, 2, 2), np.float32), stride=2)[0, 0]
    array([[0., 0., 1., 1.],
           [0., 0., 1., 1.],
           [2., 2., 3., 3.],
           [2., 2., 3., 3.]], dtype=float32)
    """
    op = "conv_transpose2d"
    _shapes.array(op, "input", input, 4)
    _shapes.array(op, "weight", weight, 4, input)
    convolution = _shapes.conv_transpose2d(
        op, input.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    outputs = convolution.input_shape[1]
    _shapes.vector(op, "bias", bias, outputs, f"weight {weight.shape} with groups={convolution.groups}", input)
    out = empty_nhwc(convolution.input_shape, input.dtype)
    plan("backward_input", input.dtype, convolution).carry_out(op, nhwc(input), aligned(weight), out)
    if bias is not None:
        out += bias
    return nchw(out)


def conv_transpose2d_backward_input(
    input_shape: Shape,
    weight: Array,
    grad_output: Array,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to its input.

    Parameters
    ----------
    input_shape : tuple of int
        (N, C, H, W) of the input.
    weight : ndarray, shape (C, K/groups, R, S), float32 or float64
        The filters of the forward pass.
    grad_output : ndarray, shape (N, K, P, Q), dtype of `weight`
        Gradient with respect to the output.
    stride, padding, output_padding, groups, dilation
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `weight`
        Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`, and if `grad_output` does not have the output's shape.

    Notes
    -----
    ``grad_input[n, c, h, w] = sum over k, r, s of
    grad_output[n, k, h*stride + r*dilation - padding, w*stride + s*dilation - padding] * weight[c, k, r, s]``: `conv2d`
    of the gradient with the same filters.

    Examples
    --------
    >>> import numpy as np
    >>> grad = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> conv_transpose2d_backward_input((1, 1, 2, 2), np.ones((1, 1, 2, 2), np.float32), grad, stride=2)[0, 0]
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    """
    op = "conv_transpose2d_backward_input"
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    _shapes.array(op, "weight", weight, 4)
    _shapes.array(op, "grad_output", grad_output, 4, weight, "weight")
    convolution = _shapes.conv_transpose2d(
        op, input_shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    _shapes.same_shape(op, "grad_output", grad_output.shape, convolution.input_shape)
    grad_input = empty_nhwc(input_shape, weight.dtype)
    plan("forward", weight.dtype, convolution).carry_out(
        op, nhwc(grad_output), aligned(weight), np.empty(0, weight.dtype), grad_input
    )
    return nchw(grad_input)


def conv_transpose2d_backward_weight(
    input: Array,
    weight_shape: Shape,
    grad_output: Array,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to its weight.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        The input of the forward pass.
    weight_shape : tuple of int
        (C, K/groups, R, S) of the weight.
    grad_output : ndarray, shape (N, K, P, Q), dtype of `input`
        Gradient with respect to the output.
    stride, padding, output_padding, groups, dilation
        As in the forward pass.

    Returns
    -------
    ndarray, shape (C, K/groups, R, S), dtype of `input`
        In memory as (R, S, K/groups, C), like the weights that `nn` makes.

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`, and if `grad_output` does not have the output's shape.

    Notes
    -----
    ``grad_weight[c, k, r, s] = sum over n, h, w of
    input[n, c, h, w] * grad_output[n, k, h*stride + r*dilation - padding, w*stride + s*dilation - padding]``: the same
    sum as `conv2d_backward_weight` takes, with input and gradient in each other's place, and as repeatable.

    Examples
    --------
    >>> import numpy as np
    >>> grad = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> conv_transpose2d_backward_weight(np.ones((1, 1, 2, 2), np.float32), (1, 1, 2, 2), grad)[0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    op = "conv_transpose2d_backward_weight"
    _shapes.array(op, "input", input, 4)
    weight_shape = _shapes.shape(op, "weight_shape", weight_shape, 4)
    _shapes.array(op, "grad_output", grad_output, 4, input)
    convolution = _shapes.conv_transpose2d(
        op, input.shape, weight_shape, stride, padding, output_padding, groups, dilation
    )
    _shapes.same_shape(op, "grad_output", grad_output.shape, convolution.input_shape)
    grad_weight = empty_weight(weight_shape, input.dtype)
    plan("backward_weight", input.dtype, convolution).carry_out(op, nhwc(grad_output), nhwc(input), grad_weight)
    return grad_weight
