"""Pooling."""

from .. import _shapes, ops
from .._shapes import Array, OutputSize, Pair
from ..autograd import Pending, PooledGradient, Tensor, arrays, borrowed, pending_of, record, unseen


def max_pool2d(
    input: Tensor | Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Take the maximum of each window.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images.
    kernel_size : int or pair of int
        Height and width of the window, in taps.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    padding : int or pair of int, default 0
        Edge that is never the maximum, in pixels; at most half of `kernel_size`.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled.

    Returns
    -------
    Tensor, shape (N, C, P, Q), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtype, shape or sizes do not fit.

    See Also
    --------
    convkit.ops.max_pool2d : the same on arrays, with the equation.
    convkit.nn.MaxPool2d : the layer.

    Notes
    -----
    Only where each maximum stood is kept for the gradient, not the input.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.max_pool2d(np.float32([[[[1, 2], [4, 3]]]]), 2)
    tensor([[[[4.]]]])
    """
    window = (kernel_size, stride, padding, dilation)
    pending = pending_of(input)
    if pending is not None and pending.ndim == 4:
        pool = _shapes.pool2d("max_pool2d", pending.shape, *window, ceil_mode)
        if pending.can_be_pooled(pool):
            return _pooled("max_pool2d", input, pending, pool)
    (x,) = borrowed(input)
    (output, indices), shape = ops.max_pool2d(x, *window, ceil_mode), x.shape
    return record(
        "max_pool2d", unseen(output), (input, lambda grad: ops.max_pool2d_backward(grad, indices, shape, *window))
    )


def avg_pool2d(
    input: Tensor | Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Average each window.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images.
    kernel_size : int or pair of int
        Height and width of the window, in pixels.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    padding : int or pair of int, default 0
        Zeros on each edge, in pixels; at most half of `kernel_size`.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled.
    count_include_pad : bool, default True
        Whether the zeros of the padding count in the average.

    Returns
    -------
    Tensor, shape (N, C, P, Q), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtype, shape or sizes do not fit.

    See Also
    --------
    convkit.ops.avg_pool2d : the same on arrays, with the equation.
    convkit.nn.AvgPool2d : the layer.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.avg_pool2d(np.float32([[[[1, 2], [4, 3]]]]), 2)
    tensor([[[[2.5]]]])
    """
    (x,) = borrowed(input)
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    output, shape = ops.avg_pool2d(x, *window), x.shape
    return record("avg_pool2d", unseen(output), (input, lambda grad: ops.avg_pool2d_backward(grad, shape, *window)))


def lp_pool2d(
    input: Tensor | Array, norm_type: float, kernel_size: Pair, stride: Pair | None = None, ceil_mode: bool = False
) -> Tensor:
    """Take the norm of each window.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images.
    norm_type : float
        The exponent of the norm, above 0: 2 for the Euclidean norm, 1 for the sum.
    kernel_size : int or pair of int
        Height and width of the window, in pixels.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled.

    Returns
    -------
    Tensor, shape (N, C, P, Q), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtype, shape or sizes do not fit, or `norm_type` is not positive and finite.

    See Also
    --------
    convkit.ops.lp_pool2d : the same on arrays, with the equation.
    convkit.nn.LPPool2d : the layer.

    Notes
    -----
    Input and output are kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.lp_pool2d(np.float32([[[[3, 4], [0, 0]]]]), 2, 2)
    tensor([[[[5.]]]])
    """
    (x,) = arrays(input)
    window = (norm_type, kernel_size, stride, ceil_mode)
    output = ops.lp_pool2d(x, *window)
    return record("lp_pool2d", output, (input, lambda grad: ops.lp_pool2d_backward(grad, x, output, *window)))


def weighted_pool2d(
    input: Tensor | Array, weights: Tensor | Array, stride: Pair | None = None, padding: Pair = 0
) -> Tensor:
    """Sum each window, weighted: with weights that sum to 1, a weighted average.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images.
    weights : Tensor or ndarray, shape (R, S), dtype of `input`
        The window, the same for every channel. It is fixed: no gradient reaches it.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; the window's size if not given.
    padding : int or pair of int, default 0
        Zeros on each edge, in pixels; at most half of the window.

    Returns
    -------
    Tensor, shape (N, C, P, Q), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes or sizes do not fit.

    See Also
    --------
    convkit.ops.weighted_pool2d : the same on arrays, with the equation.
    convkit.ops.distance_weights : weights by the distance from the central pixel.
    convkit.nn.WeightedPool2d : the layer.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.weighted_pool2d(np.float32([[[[1, 2], [4, 3]]]]), np.float32([[0.5, 0.5], [0, 0]]))
    tensor([[[[1.5]]]])
    """
    x, window = arrays(input, weights)
    output, shape = ops.weighted_pool2d(x, window, stride, padding), x.shape
    return record(
        "weighted_pool2d",
        output,
        (input, lambda grad: ops.weighted_pool2d_backward(grad, shape, window, stride, padding)),
    )


def adaptive_max_pool2d(input: Tensor | Array, output_size: OutputSize) -> Tensor:
    """Take the maximum of each of a given number of windows: of the whole image, where `output_size` is 1.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images of at least one pixel.
    output_size : int, pair of int, or None
        Height P and width Q of the output; None, alone or in the pair, for the input's own.

    Returns
    -------
    Tensor, shape (N, C, P, Q), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtype, shape or sizes do not fit.

    See Also
    --------
    convkit.ops.adaptive_max_pool2d : the same on arrays, with the rule for the windows.
    convkit.nn.AdaptiveMaxPool2d : the layer.

    Notes
    -----
    Only where each maximum stood is kept for the gradient, not the input.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.adaptive_max_pool2d(np.float32([[[[1, 2], [4, 3]]]]), 1)
    tensor([[[[4.]]]])
    """
    pending = pending_of(input)
    if pending is not None and pending.ndim == 4:
        pool = _shapes.adaptive_pool2d("adaptive_max_pool2d", pending.shape, output_size)
        if pending.can_be_pooled(pool):
            return _pooled("adaptive_max_pool2d", input, pending, pool)
    (x,) = borrowed(input)
    (output, indices), shape = ops.adaptive_max_pool2d(x, output_size), x.shape
    return record(
        "adaptive_max_pool2d", output, (input, lambda grad: ops.adaptive_max_pool2d_backward(grad, indices, shape))
    )


def adaptive_avg_pool2d(input: Tensor | Array, output_size: OutputSize) -> Tensor:
    """Average each of a given number of windows: the whole image, where `output_size` is 1.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), float32 or float64
        Images of at least one pixel.
    output_size : int, pair of int, or None
        Height P and width Q of the output; None, alone or in the pair, for the input's own.

    Returns
    -------
    Tensor, shape (N, C, P, Q), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtype, shape or sizes do not fit.

    See Also
    --------
    convkit.ops.adaptive_avg_pool2d : the same on arrays, with the rule for the windows.
    convkit.nn.AdaptiveAvgPool2d : the layer.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.adaptive_avg_pool2d(np.float32([[[[1, 2], [4, 3]]]]), 1)
    tensor([[[[2.5]]]])
    """
    (x,) = borrowed(input)
    output, shape = ops.adaptive_avg_pool2d(x, output_size), x.shape
    return record("adaptive_avg_pool2d", output, (input, lambda grad: ops.adaptive_avg_pool2d_backward(grad, shape)))


def _pooled(op: str, input: Tensor | Array, pending: Pending, pool: _shapes.Pool2d) -> Tensor:
    """Take the maxima of what is still to be computed, on the way."""
    (output, pooled), shape = pending.pooled(pool), pending.shape
    return record(op, unseen(output), (input, lambda grad: PooledGradient(grad, pooled, shape)))
