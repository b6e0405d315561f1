"""Initial values, drawn from the generator of `manual_seed`. Each function changes a tensor in place.

Draws are made in double and in the order of the logical shape: a seed gives the same network, up to rounding,
in float32 and float64, and however its weights lie in memory.
"""

import math

from .._random import generator
from ..autograd import Tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill `tensor` with zeros, and return it."""
    tensor.data[...] = 0
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """Fill `tensor` with ones, and return it."""
    tensor.data[...] = 1
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill `tensor` from the uniform distribution on [a, b), and return it."""
    tensor.data[...] = generator().uniform(a, b, tensor.shape)
    return tensor


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in") -> Tensor:
    """Fill a weight so that the variance of activations, or of gradients, stays the same from layer to layer.

    Parameters
    ----------
    tensor : Tensor, shape (K, C, ...), float32 or float64
        A weight of K outputs, C inputs, and the kernel's height and width.
    a : float, default 0
        Slope of the activation for negative values: 0 is ReLU.
    mode : {'fan_in', 'fan_out'}, default 'fan_in'
        Keep the variance of activations, or of gradients.

    Returns
    -------
    Tensor
        `tensor`.

    Raises
    ------
    ValueError
        If `tensor` has fewer than two dimensions, or `mode` is another.

    Notes
    -----
    Uniform on [-b, b) with ``b = sqrt(6/((1 + a**2)*fan))``; the fan is the number of connections into an output,
    or out of an input. K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015.

    Examples
    --------
    >>> import convkit as ck
    >>> weight = ck.nn.init.kaiming_uniform_(ck.Tensor([[0.0] * 6]))
    >>> bool((abs(weight.data) <= 1).all())
    True
    """
    fans = dict(zip(("fan_in", "fan_out"), _fans(tensor), strict=True))
    if mode not in fans:
        raise ValueError(f"kaiming_uniform_: mode={mode!r} must be 'fan_in' or 'fan_out'")
    bound = math.sqrt(6 / ((1 + a * a) * max(fans[mode], 1)))
    return uniform_(tensor, -bound, bound)


def default_(weight: Tensor, bias: Tensor | None) -> None:
    """Draw the weight and bias of a convolution or linear layer as PyTorch does: all within 1/sqrt(fan_in)."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(max(_fans(weight)[0], 1))
        uniform_(bias, -bound, bound)


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(f"kaiming_uniform_: a weight has at least 2 dimensions, this tensor has shape {tensor.shape}")
    outputs, inputs, *kernel = tensor.shape
    taps = math.prod(kernel)
    return inputs * taps, outputs * taps


__all__ = ["kaiming_uniform_", "ones_", "uniform_", "zeros_"]
