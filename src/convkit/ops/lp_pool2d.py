"""Power-average pooling, of which the L2 norm of a window is one, and its gradient."""

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array, Pair
from .._threads import get_num_threads
from ._arrays import empty_nhwc, nchw, need_memory, nhwc


def lp_pool2d(
    input: Array, norm_type: float, kernel_size: Pair, stride: Pair | None = None, ceil_mode: bool = False
) -> Array:
    """Take the norm of each window.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images, of any strides.
    norm_type : float
        The exponent p of the norm, above 0: 2 for the Euclidean norm, 1 for the sum.
    kernel_size : int or pair of int
        Height and width of the window, in pixels.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled, if it starts inside the image.

    Returns
    -------
    ndarray, shape (N, C, P, Q), dtype of `input`
        Channels-last in memory.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, a size is not an integer, or `norm_type` not a number.
    ValueError
        If sizes do not fit, or `norm_type` is not positive and finite; the message names the argument, its value and
        the rule.

    Notes
    -----
    ``output[n, c, p, q] = (S/E * sum over r, s of input[n, c, p*stride + r, q*stride + s]**norm_type)**(1/norm_type)``
    [1]_, with S the pixels of a window and E those of this one: fewer only in what `ceil_mode` adds. As in PyTorch no
    absolute value is taken: negative numbers count negative where the exponent is odd, and powers that are no real
    numbers are NaN.

    References
    ----------
    .. [1] P. Sermanet, S. Chintala, Y. LeCun, "Convolutional neural networks applied to house numbers digit
       classification", ICPR 2012.

    Examples
    --------
    >>> import numpy as np
    >>> lp_pool2d(np.float32([[[[3, 4], [0, 0]]]]), 2, 2).item()
    5.0
    """
    op = "lp_pool2d"
    _shapes.array(op, "input", input, 4)
    pool = _shapes.pool2d(op, input.shape, kernel_size, stride, 0, 1, ceil_mode)
    norm_type = _shapes.norm_type(op, norm_type)
    out = empty_nhwc(pool.output_shape, input.dtype)
    forward = kernel("lp_pool2d", input.dtype).forward
    need_memory(op, forward(nhwc(input), out, pool.rows, pool.cols, norm_type, get_num_threads()))
    return nchw(out)


def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    output: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `lp_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, P, Q), dtype of `input`
        Gradient with respect to the output.
    input : ndarray, shape (N, C, H, W), float32 or float64
        The input of the forward pass.
    output : ndarray, shape (N, C, P, Q), dtype of `input`
        The output of the forward pass.
    norm_type, kernel_size, stride, ceil_mode
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `input`
        Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `lp_pool2d`, and if `grad_output` or `output` do not have the output's shape.

    Notes
    -----
    ``grad_input = input**(p - 1) * sum of S/E*grad_output*output**(1 - p)`` over the windows that hold a pixel. Where
    the output is 0, a norm has no gradient: it is taken as 0, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[[[3, 4], [0, 0]]]])
    >>> lp_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), x, lp_pool2d(x, 2, 2), 2, 2)[0, 0]
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    op = "lp_pool2d_backward"
    _shapes.array(op, "input", input, 4)
    _shapes.array(op, "grad_output", grad_output, 4, input)
    _shapes.array(op, "output", output, 4, input)
    pool = _shapes.pool2d(op, input.shape, kernel_size, stride, 0, 1, ceil_mode)
    _shapes.same_shape(op, "grad_output", grad_output.shape, pool.output_shape)
    _shapes.same_shape(op, "output", output.shape, pool.output_shape)
    norm_type = _shapes.norm_type(op, norm_type)
    grad_input, backward = empty_nhwc(input.shape, input.dtype), kernel("lp_pool2d", input.dtype).backward
    arrays = nhwc(grad_output), nhwc(input), nhwc(output), grad_input
    need_memory(op, backward(*arrays, pool.rows, pool.cols, norm_type, get_num_threads()))
    return nchw(grad_input)
