"""Maximum pooling, over fixed and adaptive windows, and its gradient."""

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array, OutputSize, Pair, Shape
from .._threads import get_num_threads
from ._arrays import empty, empty_nhwc, nchw, need_memory, nhwc

Indices = npt.NDArray[np.integer]


def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Indices]:
    """Take the maximum of each window.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images, of any strides.
    kernel_size : int or pair of int
        Height and width of the window, in taps.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    padding : int or pair of int, default 0
        Edge that is never the maximum, in pixels; at most half of `kernel_size`.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled, if it starts inside the image or its left padding.

    Returns
    -------
    output : ndarray, shape (N, C, P, Q), dtype of `input`
        Channels-last in memory.
    indices : ndarray, shape (N, C, P, Q), uint8 or int32
        Where in its window each maximum stands, row by row: ``r*S + s`` for tap (r, s) of a kernel that is S wide.
        One byte where the window has at most 256 taps.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or a size is not an integer.
    ValueError
        If sizes do not fit; the message names the argument, its value and the rule.

    Notes
    -----
    ``output[n, c, p, q] = max over r, s of input[n, c, p*stride + r*dilation - padding, q*stride + s*dilation -
    padding]``. Of equal values the first is the maximum. A NaN in a window is its maximum.

    Examples
    --------
    >>> import numpy as np
    >>> output, indices = max_pool2d(np.float32([[[[2, 4, 3], [1, 5, 6], [8, 2, 9]]]]), 3)
    >>> output.item(), indices.item()
    (9.0, 8)
    """
    _shapes.array("max_pool2d", "input", input, 4)
    pool = _shapes.pool2d("max_pool2d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    return _forward("max_pool2d", input, pool)


def max_pool2d_backward(
    grad_output: Array,
    indices: Indices,
    input_shape: Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Array:
    """Gradient of `max_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, P, Q), float32 or float64
        Gradient with respect to the output.
    indices : ndarray, shape (N, C, P, Q), uint8 or int32
        The second result of `max_pool2d`.
    input_shape : tuple of int
        (N, C, H, W) of the input.
    kernel_size, stride, padding, dilation
        As in the forward pass. Whether it had ``ceil_mode`` is seen from `grad_output`.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `grad_output`
        Each window's gradient, where its maximum was; sums where windows overlap. Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d`, and if `grad_output` or `indices` do not have the output's shape, or `indices` not its dtype.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[[[1, 2], [4, 3]]]])
    >>> output, indices = max_pool2d(x, 2)
    >>> max_pool2d_backward(np.ones_like(output), indices, x.shape, 2)[0, 0]
    array([[0., 0.],
           [1., 0.]], dtype=float32)
    """
    op = "max_pool2d_backward"
    _shapes.array(op, "grad_output", grad_output, 4)
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    pool = _shapes.pool2d(op, input_shape, kernel_size, stride, padding, dilation, True)
    if grad_output.shape != pool.output_shape:
        pool = _shapes.pool2d(op, input_shape, kernel_size, stride, padding, dilation, False)
    _shapes.same_shape(op, "grad_output", grad_output.shape, pool.output_shape)
    return _backward(op, grad_output, indices, input_shape, pool)


def adaptive_max_pool2d(input: Array, output_size: OutputSize) -> tuple[Array, Indices]:
    """Take the maximum of each of a given number of windows: of the whole image, where `output_size` is 1.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W), float32 or float64
        Images of at least one pixel, of any strides.
    output_size : int, pair of int, or None
        Height P and width Q of the output; None, alone or in the pair, for the input's own.

    Returns
    -------
    output : ndarray, shape (N, C, P, Q), dtype of `input`
        Channels-last in memory.
    indices : ndarray, shape (N, C, P, Q), uint8 or int32
        Where in its window each maximum stands, row by row: ``r*S + s`` for row r and column s, with S the width of
        the widest window. One byte where no more than 256 such places are needed.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or a size is not an integer.
    ValueError
        If sizes do not fit; the message names the argument, its value and the rule.

    See Also
    --------
    max_pool2d : with windows of a given size, and the rules for ties and NaN.

    Notes
    -----
    Window (p, q) holds rows ``floor(p*H/P)`` up to ``ceil((p + 1)*H/P)``, and columns alike. Windows overlap by one
    pixel where P does not divide H.

    Examples
    --------
    >>> import numpy as np
    >>> output, indices = adaptive_max_pool2d(np.float32([[[[2, 4, 3], [1, 5, 6], [8, 2, 9]]]]), (1, 2))
    >>> output[0, 0], indices[0, 0]
    (array([[8., 9.]], dtype=float32), array([[4, 5]], dtype=uint8))
    """
    _shapes.array("adaptive_max_pool2d", "input", input, 4)
    pool = _shapes.adaptive_pool2d("adaptive_max_pool2d", input.shape, output_size)
    return _forward("adaptive_max_pool2d", input, pool)


def adaptive_max_pool2d_backward(grad_output: Array, indices: Indices, input_shape: Shape) -> Array:
    """Gradient of `adaptive_max_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, P, Q), float32 or float64
        Gradient with respect to the output, whose size tells that of the windows.
    indices : ndarray, shape (N, C, P, Q), uint8 or int32
        The second result of `adaptive_max_pool2d`.
    input_shape : tuple of int
        (N, C, H, W) of the input.

    Returns
    -------
    ndarray, shape (N, C, H, W), dtype of `grad_output`
        Each window's gradient, where its maximum was; sums where windows overlap. Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        As `adaptive_max_pool2d`, and if `grad_output` or `indices` do not have the output's shape, or `indices` not
        its dtype.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[[[1, 2], [4, 3]]]])
    >>> output, indices = adaptive_max_pool2d(x, 1)
    >>> adaptive_max_pool2d_backward(np.ones_like(output), indices, x.shape)[0, 0]
    array([[0., 0.],
           [1., 0.]], dtype=float32)
    """
    op = "adaptive_max_pool2d_backward"
    _shapes.array(op, "grad_output", grad_output, 4)
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    pool = _shapes.adaptive_pool2d_backward(op, input_shape, grad_output.shape)
    return _backward(op, grad_output, indices, input_shape, pool)


def _index_dtype(kernel_size: tuple[int, int]) -> "np.dtype[np.integer]":
    """One byte tells a position in any window of at most 256 elements."""
    return np.dtype(np.uint8 if kernel_size[0] * kernel_size[1] <= 256 else np.int32)


def _forward(op: str, input: Array, pool: _shapes.Pool2d) -> tuple[Array, Indices]:
    out = empty_nhwc(pool.output_shape, input.dtype)
    indices = empty(out.shape, _index_dtype(pool.kernel))
    forward = kernel("max_pool2d", input.dtype).forward
    need_memory(op, forward(nhwc(input), out, indices, pool.rows, pool.cols, get_num_threads()))
    return nchw(out), indices.transpose(0, 3, 1, 2)


def _backward(op: str, grad_output: Array, indices: Indices, input_shape: Shape, pool: _shapes.Pool2d) -> Array:
    expected = _index_dtype(pool.kernel)
    if not isinstance(indices, np.ndarray) or indices.dtype != expected:
        found = indices.dtype if isinstance(indices, np.ndarray) else type(indices).__name__
        raise TypeError(
            f"{op}: indices has dtype {found} but {op.removesuffix('_backward')} with windows of {pool.kernel} "
            f"gives {expected}"
        )
    _shapes.same_shape(op, "indices", indices.shape, pool.output_shape)
    grad_input = empty_nhwc(input_shape, grad_output.dtype)
    backward, places = (
        kernel("max_pool2d", grad_output.dtype).backward,
        np.ascontiguousarray(indices.transpose(0, 2, 3, 1)),
    )
    need_memory(op, backward(nhwc(grad_output), places, grad_input, pool.rows, pool.cols, get_num_threads()))
    return nchw(grad_input)
