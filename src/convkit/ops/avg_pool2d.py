"""Average pooling, over fixed and adaptive windows, and its gradient."""

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array, OutputSize, Pair, Shape
from .._threads import get_num_threads
from ._arrays import empty_nhwc, nchw, need_memory, nhwc


def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Take the mean of each window.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images, of any strides.
    kernel_size : int or pair of int
        Height and width of the window, in pixels.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    padding : int or pair of int, default 0
        Zeros on each edge, in pixels; at most half of `kernel_size`.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled, if it starts inside the image or its left padding.
    count_include_pad : bool, default True
        Whether the zeros of the padding count as elements of the mean.

    Returns
    -------
    ndarray, shape (N, C, P, Q), dtype of `input`
        Channels-last in memory.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or a size is not an integer.
    ValueError
        If sizes do not fit; the message names the argument, its value and the rule.

    Notes
    -----
    ``output[n, c, p, q] = 1/D * sum over r, s of input[n, c, p*stride + r - padding, q*stride + s - padding]``, with
    D the number of elements: R*S, less those beyond the padding (`ceil_mode`), and less those in it if
    `count_include_pad` is False.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d(np.float32([[[[2, 4, 3], [1, 5, 6], [8, 2, 9]]]]), 3).item()
    4.44444465637207
    """
    _shapes.array("avg_pool2d", "input", input, 4)
    pool = _shapes.pool2d("avg_pool2d", input.shape, kernel_size, stride, padding, 1, ceil_mode)
    return _forward("avg_pool2d", input, pool, count_include_pad)


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `avg_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, P, Q), float32 or float64
        Gradient with respect to the output.
    input_shape : tuple of int
        (N, C, H, W) of the input.
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `grad_output`
        Each window's gradient, shared equally among its pixels. Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `avg_pool2d`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), (1, 1, 2, 2), 2)[0, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]], dtype=float32)
    """
    op = "avg_pool2d_backward"
    _shapes.array(op, "grad_output", grad_output, 4)
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    pool = _shapes.pool2d(op, input_shape, kernel_size, stride, padding, 1, ceil_mode)
    _shapes.same_shape(op, "grad_output", grad_output.shape, pool.output_shape)
    return _backward(op, grad_output, input_shape, pool, count_include_pad)


def adaptive_avg_pool2d(input: Array, output_size: OutputSize) -> Array:
    """Take the mean of each of a given number of windows: of the whole image, where `output_size` is 1.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images of at least one pixel, of any strides.
    output_size : int, pair of int, or None
        Height P and width Q of the output; None, alone or in the pair, for the input's own.

    Returns
    -------
    ndarray, shape (N, C, P, Q), dtype of `input`
        Channels-last in memory.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or a size is not an integer.
    ValueError
        If sizes do not fit; the message names the argument, its value and the rule.

    See Also
    --------
    avg_pool2d : with windows of a given size.

    Notes
    -----
    Window (p, q) holds rows ``floor(p*H/P)`` up to ``ceil((p + 1)*H/P)``, and columns alike. Windows overlap by one
    pixel where P does not divide H.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.float32([[[[2, 4, 3], [1, 5, 6], [8, 2, 9]]]]), (1, 2))[0, 0]
    array([[3.6666667, 4.8333335]], dtype=float32)
    """
    _shapes.array("adaptive_avg_pool2d", "input", input, 4)
    pool = _shapes.adaptive_pool2d("adaptive_avg_pool2d", input.shape, output_size)
    return _forward("adaptive_avg_pool2d", input, pool, False)


def adaptive_avg_pool2d_backward(grad_output: Array, input_shape: Shape) -> Array:
    """Gradient of `adaptive_avg_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, P, Q), float32 or float64
        Gradient with respect to the output, whose size tells that of the windows.
    input_shape : tuple of int
        (N, C, H, W) of the input.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `grad_output`
        Each window's gradient, shared equally among its pixels. Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `adaptive_avg_pool2d`, and if `grad_output` has other images or channels than `input_shape`.

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), (1, 1, 2, 2))[0, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]], dtype=float32)
    """
    op = "adaptive_avg_pool2d_backward"
    _shapes.array(op, "grad_output", grad_output, 4)
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    pool = _shapes.adaptive_pool2d_backward(op, input_shape, grad_output.shape)
    return _backward(op, grad_output, input_shape, pool, False)


def _forward(op: str, input: Array, pool: _shapes.Pool2d, count_include_pad: bool) -> Array:
    out = empty_nhwc(pool.output_shape, input.dtype)
    forward = kernel("avg_pool2d", input.dtype).forward
    need_memory(op, forward(nhwc(input), out, pool.rows, pool.cols, bool(count_include_pad), get_num_threads()))
    return nchw(out)


def _backward(op: str, grad_output: Array, input_shape: Shape, pool: _shapes.Pool2d, count_include_pad: bool) -> Array:
    grad_input, include = empty_nhwc(input_shape, grad_output.dtype), bool(count_include_pad)
    backward = kernel("avg_pool2d", grad_output.dtype).backward
    need_memory(op, backward(nhwc(grad_output), grad_input, pool.rows, pool.cols, include, get_num_threads()))
    return nchw(grad_input)
