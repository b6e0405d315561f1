"""Initial values, drawn from the generator of `manual_seed`. Each function changes a tensor in place.

Draws are made in double and in the order of the logical shape: a seed gives the same network, up to rounding,
in float32 and float64, and however its weights lie in memory. Names and arguments are those of ``torch.nn.init``.
"""

import math

import numpy as np

from .. import _shapes
from .._random import generator
from ..autograd import Tensor

_PLAIN = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid")
_GAINS = {**dict.fromkeys(_PLAIN, 1.0), "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill `tensor` with `val`, and return it.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.nn.init.constant_(ck.Tensor([0.0, 0.0]), 0.5)
    tensor([0.5, 0.5])
    """
    tensor.data[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill `tensor` with zeros, and return it."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill `tensor` with ones, and return it."""
    return constant_(tensor, 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill `tensor` from the uniform distribution on [a, b), and return it."""
    tensor.data[...] = generator().uniform(a, b, tensor.shape)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill `tensor` from the normal distribution of this mean and standard deviation, and return it.

    Raises
    ------
    ValueError
        If `std` is negative.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.nn.init.normal_(ck.Tensor([0.0, 0.0]), mean=3.0, std=0.0)
    tensor([3., 3.])
    """
    _check_deviation("normal_", std)
    tensor.data[...] = generator().normal(mean, std, tensor.shape)
    return tensor


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Fill `tensor` from the normal distribution, but for what lies outside [a, b], and return it.

    Parameters
    ----------
    tensor : Tensor of any shape, float32 or float64
    mean, std : float, default 0 and 1
        Of the distribution before it is cut.
    a, b : float, default -2 and 2
        The bounds, in the units of the values.

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    ValueError
        If `std` is negative, `a` not less than `b`, or the distribution has next to nothing between them.

    Notes
    -----
    What falls outside is drawn again.

    Examples
    --------
    >>> import convkit as ck
    >>> weight = ck.nn.init.trunc_normal_(ck.Tensor([0.0] * 100), std=2.0)
    >>> bool((abs(weight.data) <= 2).all())
    True
    """
    _check_deviation("trunc_normal_", std)
    if not a < b:
        raise ValueError(f"trunc_normal_: a={a!r} must be less than b={b!r}")
    if not _share_between(mean, std, a, b) > 1e-4:
        raise ValueError(f"trunc_normal_: mean={mean!r} with std={std!r} has next to nothing in [{a!r}, {b!r}]")
    values = generator().normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator().normal(mean, std, np.count_nonzero(outside))
    # Rounded to float32, a value next to a bound may come to lie beyond it.
    tensor.data[...] = values
    np.clip(tensor.data, a, b, out=tensor.data)
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill a weight evenly so that neither activations nor gradients grow or shrink, on average, through the layer.

    Parameters
    ----------
    tensor : Tensor, shape (K, C, ...), float32 or float64
        A weight of K outputs, C inputs, and the kernel's height and width.
    gain : float, default 1
        A factor for the activation that follows: `calculate_gain`.

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    ValueError
        If `tensor` has fewer than two dimensions.

    Notes
    -----
    Uniform on [-b, b) with ``b = gain*sqrt(6/(fan_in + fan_out))``. X. Glorot, Y. Bengio, "Understanding the difficulty
    of training deep feedforward neural networks", AISTATS 2010.

    Examples
    --------
    >>> import convkit as ck
    >>> weight = ck.nn.init.xavier_uniform_(ck.Tensor([[0.0] * 5]))
    >>> bool((abs(weight.data) <= 1).all())
    True
    """
    bound = math.sqrt(3) * _xavier_deviation("xavier_uniform_", tensor, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Do what `xavier_uniform_` does, from the normal distribution of that variance.

    Examples
    --------
    >>> import convkit as ck
    >>> bool(ck.nn.init.xavier_normal_(ck.Tensor([[0.0] * 5]), gain=0).data.any())
    False
    """
    return normal_(tensor, 0.0, _xavier_deviation("xavier_normal_", tensor, gain))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Fill a weight evenly so that the variance of activations, or of gradients, stays from layer to layer.

    Parameters
    ----------
    tensor : Tensor, shape (K, C, ...), float32 or float64
        A weight of K outputs, C inputs, and the kernel's height and width.
    a : float, default 0
        Slope of a leaky ReLU for negative values: 0 is ReLU.
    mode : {'fan_in', 'fan_out'}, default 'fan_in'
        Keep the variance of activations, or of gradients.
    nonlinearity : str, default 'leaky_relu'
        The activation that follows: a name that `calculate_gain` knows.

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    ValueError
        If `tensor` has fewer than two dimensions, or there is no such mode or activation.

    Notes
    -----
    Uniform on [-b, b) with ``b = gain*sqrt(3/fan)``, which is ``sqrt(6/((1 + a**2)*fan))`` for a leaky ReLU; the fan is
    the number of connections into an output, or out of an input. K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into
    rectifiers", ICCV 2015.

    Examples
    --------
    >>> import convkit as ck
    >>> weight = ck.nn.init.kaiming_uniform_(ck.Tensor([[0.0] * 6]))
    >>> bool((abs(weight.data) <= 1).all())
    True
    """
    bound = math.sqrt(3) * _kaiming_deviation("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Do what `kaiming_uniform_` does, from the normal distribution of that variance.

    Examples
    --------
    >>> import convkit as ck
    >>> weight = ck.Tensor([[0.0] * 6])
    >>> ck.nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu") is weight
    True
    """
    return normal_(tensor, 0.0, _kaiming_deviation("kaiming_normal_", tensor, a, mode, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill a weight with orthogonal rows of one length, or columns where there are more rows than columns.

    Parameters
    ----------
    tensor : Tensor, shape (K, ...), float32 or float64
        Taken for a matrix of K rows.
    gain : float, default 1
        The length.

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    ValueError
        If `tensor` has fewer than two dimensions.

    Notes
    -----
    The Q of the QR decomposition of normal random numbers, with the signs that make R's diagonal positive: every
    orthogonal matrix is then as likely as any other. A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", ICLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit as ck
    >>> weight = ck.nn.init.orthogonal_(ck.Tensor(np.zeros((2, 3))))
    >>> np.allclose(weight.data @ weight.data.T, np.eye(2))
    True
    """
    _fans("orthogonal_", tensor)
    if not tensor.numel():
        return tensor
    matrix = generator().standard_normal((tensor.shape[0], tensor.numel() // tensor.shape[0]))
    wide = matrix.shape[0] < matrix.shape[1]
    q, r = np.linalg.qr(matrix.T if wide else matrix)
    q *= np.where(np.diag(r) < 0, -gain, gain)
    tensor.data[...] = (q.T if wide else q).reshape(tensor.shape)
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights should be larger for the activation that follows them.

    Parameters
    ----------
    nonlinearity : str
        'linear', 'conv1d' to 'conv3d', 'conv_transpose1d' to 'conv_transpose3d', 'sigmoid', 'tanh', 'relu',
        'leaky_relu' or 'selu'.
    param : float, optional
        The slope of 'leaky_relu' for negative values; 0.01 by default.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If there is no such activation, or the slope is no number.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else _shapes.number("calculate_gain", "param", param)
        return math.sqrt(2 / (1 + slope * slope))
    if nonlinearity not in _GAINS:
        known = ", ".join(map(repr, sorted([*_GAINS, "leaky_relu"])))
        raise ValueError(f"calculate_gain: nonlinearity={nonlinearity!r} must be one of {known}")
    return _GAINS[nonlinearity]


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """Draw the weight and bias of a convolution or linear layer as PyTorch does: all within 1/sqrt(fan_in)."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(max(_fans("default_", weight)[0], 1))
        uniform_(bias, -bound, bound)


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """Return the number of connections into an output, and out of an input."""
    if tensor.ndim < 2:
        raise ValueError(f"{name}: a weight has at least 2 dimensions, this tensor has shape {tensor.shape}")
    outputs, inputs, *kernel = tensor.shape
    taps = math.prod(kernel)
    return inputs * taps, outputs * taps


def _xavier_deviation(name: str, tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / max(sum(_fans(name, tensor)), 1))


def _kaiming_deviation(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = dict(zip(("fan_in", "fan_out"), _fans(name, tensor), strict=True))
    if mode not in fans:
        raise ValueError(f"{name}: mode={mode!r} must be 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fans[mode], 1))


def _check_deviation(name: str, std: float) -> None:
    if not std >= 0:
        raise ValueError(f"{name}: std={std!r} must not be negative")


def _share_between(mean: float, std: float, a: float, b: float) -> float:
    """Return the probability that a normal number lies in [a, b]."""
    if std == 0:
        return float(a <= mean <= b)
    below_b, below_a = (math.erf((bound - mean) / (std * math.sqrt(2))) for bound in (b, a))
    return (below_b - below_a) / 2


__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]
