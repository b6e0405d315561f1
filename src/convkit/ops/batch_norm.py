"""Batch normalisation: statistics, the normalisation itself, and its gradients."""

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array
from .._threads import get_num_threads
from ._affine import UnwrittenGradient, affine
from ._arrays import contiguous, empty, empty_like, need_memory, rows_of_channels


def batch_norm_stats(input: Array) -> tuple[Array, Array]:
    """Mean and variance of each channel.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...), float32 or float64
        At least one value for each channel.

    Returns
    -------
    mean : ndarray, shape (C,), dtype of `input`
    var : ndarray, shape (C,), dtype of `input`
        The biased variance: the mean square of the distance from the mean.

    Raises
    ------
    TypeError, ValueError
        If `input` is not a float32 or float64 array with at least two axes and one value for each channel.

    Notes
    -----
    One pass over memory. Each channel's sums of ``x - x0`` and of its square, with the channel's first value for x0,
    are taken in double by chunks that the shape alone decides: no cancellation for channels far from zero, and the
    same bits for any number of threads [1]_.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", The American
       Statistician 37, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> mean, var = batch_norm_stats(np.float32([[1, 10], [3, 10]]))
    >>> mean, var
    (array([ 2., 10.], dtype=float32), array([1., 0.], dtype=float32))
    """
    op = "batch_norm_stats"
    _shapes.array(op, "input", input)
    channels = _shapes.channels(op, "input", input)
    rows = rows_of_channels(input)
    if len(rows) == 0:
        raise ValueError(f"{op}: input {input.shape} has no values to take the mean of")
    mean, var = empty((channels,), input.dtype), empty((channels,), input.dtype)
    need_memory(op, kernel("batch_norm", input.dtype).statistics(rows, mean, var, get_num_threads()))
    return mean, var


def check_channels(op: str, input: Array, eps: float, **vectors: Array | None) -> None:
    """Check an input, and vectors of one value for each of its channels."""
    _shapes.array(op, "input", input)
    channels, of = _shapes.channels(op, "input", input), f"input {input.shape}"
    for name, value in vectors.items():
        _shapes.vector(op, name, value, channels, of, input)
    _shapes.epsilon(op, eps)


def batch_norm(
    input: Array, mean: Array, var: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """Normalise each channel with given statistics.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...), float32 or float64
    mean, var : ndarray, shape (C,), dtype of `input`
        Of the batch (`batch_norm_stats`) or of all training.
    weight, bias : ndarray, shape (C,), dtype of `input`, optional
        Scale and shift after the normalisation; 1 and 0 if not given.
    eps : float, default 1e-5
        Added to the variance.

    Returns
    -------
    ndarray, shape and dtype of `input`
        Channels-last in memory.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or `eps` is negative.

    Notes
    -----
    ``output = (input - mean)/sqrt(var + eps)*weight + bias`` [1]_. This op is pure: running averages are kept by
    `functional.batch_norm`.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
       covariate shift", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[1], [3]])
    >>> batch_norm(x, *batch_norm_stats(x), eps=0)
    array([[-1.],
           [ 1.]], dtype=float32)
    """
    op = "batch_norm"
    _shapes.array(op, "input", input)
    _shapes.array(op, "mean", mean, 1, input)
    _shapes.array(op, "var", var, 1, input)
    return affine(input, batch_norm_map(input, mean, var, weight, bias, eps))


def batch_norm_map(
    input: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float
) -> Array:
    """Check the vectors of `batch_norm`, and return what it does to each channel (see `_affine`)."""
    check_channels("batch_norm", input, eps, mean=mean, var=var, weight=weight, bias=bias)
    map = empty((3, len(mean)), input.dtype)
    vectors = [None if v is None else contiguous(v) for v in (mean, var, weight, bias)]
    kernel("batch_norm", input.dtype).affine(*vectors, float(eps), map)
    return map


def batch_norm_learned(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    momentum: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Check all, and return a batch's mean and variance, and what normalising it does to each channel (see `_affine`).

    Running averages move, in place, towards the mean and the unbiased variance: computed in double, and rounded once.
    """
    op = "batch_norm"
    check_channels(op, input, eps, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    rows = rows_of_channels(input)
    values, channels = rows.shape
    if values < 2:
        raise ValueError(f"{op}: input {input.shape} has {_few(values)} per channel; training needs more than one")
    mean, var, map = (empty(shape, input.dtype) for shape in ((channels,), (channels,), (3, channels)))
    scale, shift = (None if v is None else contiguous(v) for v in (weight, bias))
    learn = kernel("batch_norm", input.dtype).learn
    averages = running_mean, running_var, float(momentum), values / (values - 1)
    need_memory(op, learn(rows, scale, shift, float(eps), *averages, mean, var, map, get_num_threads()))
    return mean, var, map


def _few(values: int) -> str:
    return "one value" if values else "no values"


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    eps: float = 1e-5,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray, shape (N, C, ...), float32 or float64
        The input of the forward pass.
    mean, var : ndarray, shape (C,), dtype of `input`
        The statistics of the forward pass.
    weight : ndarray, shape (C,), dtype of `input`, optional
        The scale of the forward pass.
    eps : float, default 1e-5
        As in the forward pass.
    training : bool, default True
        Whether `mean` and `var` are this input's own, so that the gradient flows through them too.

    Returns
    -------
    grad_input : ndarray, shape and dtype of `input`
        Channels-last in memory.
    grad_weight, grad_bias : ndarray, shape (C,), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or `eps` is negative.

    Notes
    -----
    With ``z = (input - mean)/sqrt(var + eps)`` and means over the M values of a channel::

        grad_bias   = sum(grad_output)
        grad_weight = sum(grad_output*z)
        grad_input  = weight/sqrt(var + eps) * (grad_output - grad_bias/M - z*grad_weight/M)

    and only the first term of the last line where `training` is False. Sums are taken in double in a fixed order.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[1], [3]])
    >>> batch_norm_backward(np.float32([[1], [2]]), x, *batch_norm_stats(x), eps=0)[2]
    array([3.], dtype=float32)
    """
    op = "batch_norm_backward"
    _shapes.array(op, "input", input)
    _shapes.array(op, "mean", mean, 1, input)
    _shapes.array(op, "var", var, 1, input)
    check_channels(op, input, eps, mean=mean, var=var, weight=weight)
    _shapes.array(op, "grad_output", grad_output, None, input)
    _shapes.same_shape(op, "grad_output", grad_output.shape, input.shape)
    of = grad_output, input, mean, var, weight, float(eps), bool(training)
    grad_input, grad_weight, grad_bias = input_weight_and_bias_gradients(*of)
    return grad_input.value(), grad_weight, grad_bias


def input_weight_and_bias_gradients(
    grad_output: Array,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    eps: float,
    training: bool,
    *,
    overwrite: bool = False,
) -> tuple[UnwrittenGradient, Array, Array]:
    """Compute `batch_norm_backward`; everything has been checked. `grad_output` may be written over, if so said."""
    grad, x = rows_of_channels(grad_output), rows_of_channels(input)
    sums = empty_like(mean), empty_like(mean)
    vectors = [None if v is None else contiguous(v) for v in (mean, var, weight)]
    of = kernel("batch_norm", input.dtype).backward(grad, x, *vectors, eps, training, *sums, get_num_threads())
    return UnwrittenGradient(of, input.shape, x.dtype, grad if overwrite else None), *sums
