"""Two-dimensional convolution, and its gradients."""

import numpy as np

from .. import _shapes
from .._shapes import Array, Conv2d, Padding, Pair, Shape
from ._affine import Mapped, UnwrittenGradient
from ._arrays import aligned, contiguous, empty_nhwc, empty_weight, nchw, nhwc
from ._convolution import Plan, plan
from .channel_sum import channel_sum


def conv2d_output_shape(
    input_shape: Shape,
    weight_shape: Shape,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Shape:
    """Return the shape that `conv2d` gives for arguments of these shapes.

    Parameters
    ----------
    input_shape : tuple of int
        (N, C, H, W): images, channels, height and width in pixels.
    weight_shape : tuple of int
        (K, C/groups, R, S): output channels, channels of a group, kernel height and width.
    stride, padding, dilation, groups
        As for `conv2d`.

    Returns
    -------
    tuple of int
        (N, K, P, Q).

    Raises
    ------
    TypeError, ValueError
        As `conv2d` would.

    Notes
    -----
    ``P = floor((H + 2*padding - dilation*(R - 1) - 1)/stride) + 1``, and Q likewise of W and S. With
    ``padding='same'`` P = H and Q = W.

    Examples
    --------
    >>> conv2d_output_shape((1, 3, 32, 32), (6, 3, 5, 5))
    (1, 6, 28, 28)
    """
    op = "conv2d_output_shape"
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    weight_shape = _shapes.shape(op, "weight_shape", weight_shape, 4)
    return _shapes.conv2d(op, input_shape, weight_shape, stride, padding, dilation, groups).output_shape


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Convolve a batch of images with a bank of filters.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images. Any strides; channels-last memory is read as it lies, other orders are reordered first.
    weight : ndarray, shape (K, C/groups, R, S), dtype of `input`
        Filters.
    bias : ndarray, shape (K,) or (K, P, Q), dtype of `input`, optional
        Added to each output channel; or untied, of the output's full shape: each position has a bias of its own.
    stride : int or pair of int, default 1
        Distance of neighbouring windows, in pixels; pairs are (height, width).
    padding : int, pair of int, 'valid' or 'same', default 0
        Zeros on each edge, in pixels. 'valid' is none; 'same' keeps height and width, needs stride 1, and where the
        zeros are odd in number puts the last one at the bottom and the right.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.
    groups : int, default 1
        Input and output channels are divided into so many groups; each output sees its own group.

    Returns
    -------
    ndarray, shape (N, K, P, Q), dtype of `input`
        Channels-last in memory. `conv2d_output_shape` gives P and Q.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or dtypes differ, or a size is not an integer.
    ValueError
        If shapes or sizes do not fit; the message names the argument, its value and the rule.

    Notes
    -----
    The cross-correlation that deep learning calls convolution [1]_:

    ``output[n, k, p, q] = bias[k] (or bias[k, p, q]) + sum over c, r, s of
    input[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding] * weight[k, c, r, s]``

    It costs N*K*P*Q*(C/groups)*R*S multiply-adds. Each output is one sum of L = (C/groups)*R*S products in the
    dtype's own precision, so its error is at most about L*eps times the sum of the products' magnitudes. The same
    bits come out for any number of threads. 3x3 filters of stride 1 take 2.25 times fewer products, by Winograd's
    method [2]_, where that is faster (`conv2d_plan` tells): the RMS error is no larger, but an output with small
    products may have the error of a neighbour with large ones.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, 2016.
    .. [2] A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> conv2d(image, np.ones((1, 1, 3, 3), np.float32))[0, 0]
    array([[45., 54.],
           [81., 90.]], dtype=float32)
    """
    return convolved(checked(input, weight, bias, stride, padding, dilation, groups), input, weight, bias)


def checked(
    input: Array, weight: Array, bias: Array | None, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Conv2d:
    """Check the arguments of `conv2d`, and return its sizes."""
    _shapes.array("conv2d", "input", input, 4)
    _shapes.array("conv2d", "weight", weight, 4, input)
    geometry = _shapes.conv2d("conv2d", input.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None:
        _shapes.conv2d_bias("conv2d", bias, geometry, f"weight {weight.shape}", input)
    return geometry


def convolved(geometry: Conv2d, input: Array | Mapped, weight: Array, bias: Array | None) -> Array:
    """Return a convolution; everything has been checked."""
    planned = plan("forward", weight.dtype, geometry)
    x, mapped = _read(planned, input)
    out = empty_nhwc(geometry.output_shape, weight.dtype)
    biases = np.empty(0, weight.dtype) if bias is None or bias.ndim == 3 else contiguous(bias)
    planned.carry_out("conv2d", x, aligned(weight), biases, out, mapped=mapped)
    output = nchw(out)
    if bias is not None and bias.ndim == 3:
        output += bias
    return output


def _read(planned: Plan, input: Array | Mapped) -> tuple[Array, Mapped | None]:
    """Return the array that a kernel reads, and what it is to make of that."""
    if not isinstance(input, Mapped):
        return nhwc(input), None
    return (nhwc(input.x), input) if planned.maps_input else (nhwc(input.value()), None)


def conv2d_backward_input(
    input_shape: Shape,
    weight: Array,
    grad_output: Array,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to its input.

    Parameters
    ----------
    input_shape : tuple of int
        (N, C, H, W) of the input.
    weight : ndarray, shape (K, C/groups, R, S), float32 or float64
        The filters of the forward pass.
    grad_output : ndarray, shape (N, K, P, Q), dtype of `weight`
        Gradient with respect to the output.
    stride, padding, dilation, groups
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `weight`
        Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and if `grad_output` does not have the output's shape.

    Notes
    -----
    ``grad_input[n, c, h, w] = sum over k, r, s of grad_output[n, k, p, q] * weight[k, c, r, s]`` over all p, q with
    ``p*stride + r*dilation - padding = h``, and so for q, s and w: the full convolution of the gradient with the
    filters rotated by 180 degrees. A stride is taken apart into its phases, each a convolution with the taps that
    belong to it, so no product with an inserted zero is computed.

    Examples
    --------
    >>> import numpy as np
    >>> grad = conv2d_backward_input((1, 1, 3, 3), np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 2, 2), np.float32))
    >>> grad[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    """
    geometry = checked_backward_input(input_shape, weight, grad_output, stride, padding, dilation, groups)
    return input_gradient(geometry, weight, grad_output)


def checked_backward_input(
    input_shape: Shape, weight: Array, grad_output: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Conv2d:
    """Check the arguments of `conv2d_backward_input`, and return its sizes."""
    op = "conv2d_backward_input"
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    _shapes.array(op, "weight", weight, 4)
    _shapes.array(op, "grad_output", grad_output, 4, weight, "weight")
    geometry = _shapes.conv2d(op, input_shape, weight.shape, stride, padding, dilation, groups)
    _shapes.same_shape(op, "grad_output", grad_output.shape, geometry.output_shape)
    return geometry


def input_gradient(geometry: Conv2d, weight: Array, grad_output: Array) -> Array:
    """Return the gradient of a convolution's input; everything has been checked."""
    grad_input = empty_nhwc(geometry.input_shape, weight.dtype)
    plan("backward_input", weight.dtype, geometry).carry_out(
        "conv2d_backward_input", nhwc(grad_output), aligned(weight), grad_input
    )
    return nchw(grad_input)


def conv2d_backward_weight(
    input: Array,
    weight_shape: Shape,
    grad_output: Array,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to its weight.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        The input of the forward pass.
    weight_shape : tuple of int
        (K, C/groups, R, S) of the weight.
    grad_output : ndarray, shape (N, K, P, Q), dtype of `input`
        Gradient with respect to the output.
    stride, padding, dilation, groups
        As in the forward pass.

    Returns
    -------
    ndarray, shape (K, C/groups, R, S), dtype of `input`
        In memory as (R, S, C/groups, K), like the weights that `nn` makes.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and if `grad_output` does not have the output's shape.

    Notes
    -----
    ``grad_weight[k, c, r, s] = sum over n, p, q of
    grad_output[n, k, p, q] * input[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding]``.

    The sum over images and positions is cut into chunks by the shapes alone and added up in a fixed order: the same
    bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> conv2d_backward_weight(image, (1, 1, 2, 2), np.ones((1, 1, 2, 2), np.float32))[0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    geometry = checked_backward_weight(input, weight_shape, grad_output, stride, padding, dilation, groups)
    return weight_gradient(geometry, input, grad_output)


def checked_backward_weight(
    input: Array, weight_shape: Shape, grad_output: Array, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Conv2d:
    """Check the arguments of `conv2d_backward_weight`, and return its sizes."""
    op = "conv2d_backward_weight"
    _shapes.array(op, "input", input, 4)
    weight_shape = _shapes.shape(op, "weight_shape", weight_shape, 4)
    _shapes.array(op, "grad_output", grad_output, 4, input)
    geometry = _shapes.conv2d(op, input.shape, weight_shape, stride, padding, dilation, groups)
    _shapes.same_shape(op, "grad_output", grad_output.shape, geometry.output_shape)
    return geometry


def weight_gradient(geometry: Conv2d, input: Array | Mapped, grad_output: Array | UnwrittenGradient) -> Array:
    """Return the gradient of a convolution's weight; everything has been checked.

    That of the output need not be in memory: it gets there unless the pass `makes_rows` of it.
    """
    planned = plan("backward_weight", grad_output.dtype, geometry)
    x, mapped = _read(planned, input)
    grad_weight = empty_weight(geometry.weight_shape, grad_output.dtype)
    op = "conv2d_backward_weight"
    if isinstance(grad_output, UnwrittenGradient) and planned.makes_rows:
        planned.carry_out(op, x, None, grad_weight, mapped=mapped, grad=grad_output)
    else:
        grad = grad_output.value() if isinstance(grad_output, UnwrittenGradient) else grad_output
        planned.carry_out(op, x, nhwc(grad), grad_weight, mapped=mapped)
    return grad_weight


def conv2d_backward_bias(grad_output: Array, untied: bool = False) -> Array:
    """Gradient of `conv2d` with respect to its bias.

    Parameters
    ----------
    grad_output : ndarray, shape (N, K, P, Q), float32 or float64
        Gradient with respect to the output.
    untied : bool, default False
        Whether each position has a bias of its own.

    Returns
    -------
    ndarray, shape (K,), or (K, P, Q) if `untied`, dtype of `grad_output`
        The sum over images and positions, or over images alone, taken in double in a fixed order.

    Raises
    ------
    TypeError, ValueError
        If `grad_output` is not a float32 or float64 array of four axes.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_backward_bias(np.ones((2, 3, 4, 4), np.float32))
    array([32., 32., 32.], dtype=float32)
    """
    _shapes.array("conv2d_backward_bias", "grad_output", grad_output, 4)
    if untied:
        return _image_sum(grad_output)
    return channel_sum("conv2d_backward_bias", grad_output)


def _image_sum(grad_output: Array) -> Array:
    """Sum over images; the result lies channels-last, too."""
    total = empty_nhwc((1, *grad_output.shape[1:]), grad_output.dtype)
    np.sum(nhwc(grad_output), axis=0, dtype=np.float64, keepdims=True, out=total)
    maps: Array = nchw(total)[0]
    return maps
