"""Convolution layers."""

import numpy as np
import numpy.typing as npt

from .. import _shapes, functional
from .._shapes import Array, Padding, Pair
from ..autograd import Tensor
from ..ops._arrays import empty_nhwc, empty_weight, nchw
from . import init
from ._arguments import floating, least_size
from .module import Module
from .parameter import Parameter


class Conv2d(Module):
    """Convolve a batch of images with filters that are learned.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input, and of the output: the number of filters.
    kernel_size : int or pair of int
        Height and width of the filters, in taps.
    stride : int or pair of int, default 1
        Distance of neighbouring windows, in pixels.
    padding : int, pair of int, 'valid' or 'same', default 0
        Zeros on each edge, in pixels.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.
    groups : int, default 1
        Input and output channels are divided into so many groups; each output sees its own group.
    bias : bool, default True
        Whether to add a learned number to each output channel.
    dtype : dtype, default float32
        float32 or float64.
    untied_bias : bool, default False
        Whether each neuron has a bias of its own: as many as the output has elements. The layer then takes images of
        one size only.
    map_size : int or pair of int, optional
        Height and width of the output, which an untied bias must know; `convkit.ops.conv2d_output_shape` tells them.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels/groups, height, width)
        In memory it lies as the kernels read it: height, width, input channel, output channel.
    bias : Parameter, shape (out_channels,), or (out_channels, *map_size) if it is untied, or None

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, `groups` does not divide the channels, or an untied bias does not know its
        size.

    See Also
    --------
    convkit.functional.conv2d : the operation, with the equation.

    Notes
    -----
    Takes (N, in_channels, H, W) and gives (N, out_channels, P, Q) with
    ``P = floor((H + 2*padding - dilation*(kernel_size - 1) - 1)/stride) + 1``, and so for Q and W. Weights and biases
    start uniform on [-b, b) with ``b = 1/sqrt(in_channels/groups*height*width)``, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> conv = nn.Conv2d(3, 16, 3, padding=1)
    >>> conv(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 16, 8, 8)
    >>> nn.Conv2d(3, 16, 3, untied_bias=True, map_size=(6, 6)).bias.shape
    (16, 6, 6)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: npt.DTypeLike | None = None,
        *,
        untied_bias: bool = False,
        map_size: Pair | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = _shapes.integer("Conv2d", "in_channels", in_channels, 1)
        self.out_channels = _shapes.integer("Conv2d", "out_channels", out_channels, 1)
        self.kernel_size = _shapes.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = _shapes.pair("Conv2d", "stride", stride, 1)
        self.padding = _padding(padding, self.stride)
        self.dilation = _shapes.pair("Conv2d", "dilation", dilation, 1)
        self.groups = _groups("Conv2d", groups, self.in_channels, self.out_channels)
        dtype = floating("Conv2d", dtype)
        self.weight = Parameter(
            empty_weight((self.out_channels, self.in_channels // self.groups, *self.kernel_size), dtype)
        )
        self.map_size = _map_size(map_size, bias, untied_bias)
        self.bias = Parameter(_empty_bias(self.out_channels, self.map_size, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights and biases anew."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input`, of shape (N, in_channels, H, W)."""
        return functional.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def takes(self) -> str:
        """Return which input would fit."""
        edges = self.padding if isinstance(self.padding, tuple) else (0, 0)
        size = "" if self.padding == "same" else least_size(self.kernel_size, edges, self.dilation)
        if self.map_size is not None:
            size = f" that gives maps of {self.map_size[0]} by {self.map_size[1]}"
        return f"a {self.weight.dtype} (N, {self.in_channels}, H, W){size}"

    def extra_repr(self) -> str:
        """Return the arguments that are not the default."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.map_size is not None:
            parts.append(f"untied_bias=True, map_size={self.map_size}")
        return ", ".join(parts)


class ConvTranspose2d(Module):
    """Convolve the other way round, with filters that are learned: every pixel paints its filter onto the output.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input, and of the output.
    kernel_size : int or pair of int
        Height and width of the filters, in taps.
    stride : int or pair of int, default 1
        Distance of neighbouring pixels' filters in the output, in pixels.
    padding : int or pair of int, default 0
        Pixels cut off at each edge of the output.
    output_padding : int or pair of int, default 0
        Pixels added at the bottom and the right of the output; smaller than `stride` or `dilation`.
    groups : int, default 1
        Input and output channels are divided into so many groups; each output sees its own group.
    bias : bool, default True
        Whether to add a learned number to each output channel.
    dilation : int or pair of int, default 1
        Distance of neighbouring taps, in pixels.
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    weight : Parameter, shape (in_channels, out_channels/groups, height, width)
    bias : Parameter, shape (out_channels,), or None

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or `groups` does not divide the channels.

    See Also
    --------
    convkit.functional.conv_transpose2d : the operation, with the equation.

    Notes
    -----
    Takes (N, in_channels, H, W) and gives (N, out_channels, P, Q) with
    ``P = (H - 1)*stride - 2*padding + dilation*(kernel_size - 1) + output_padding + 1``, and so for Q and W. Weights
    and biases start uniform on [-b, b) with ``b = 1/sqrt(out_channels/groups*height*width)``, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> conv = nn.ConvTranspose2d(16, 3, 2, stride=2)
    >>> conv(np.zeros((2, 16, 8, 8), np.float32)).shape
    (2, 3, 16, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__()
        layer = "ConvTranspose2d"
        self.in_channels = _shapes.integer(layer, "in_channels", in_channels, 1)
        self.out_channels = _shapes.integer(layer, "out_channels", out_channels, 1)
        self.kernel_size = _shapes.pair(layer, "kernel_size", kernel_size, 1)
        self.stride = _shapes.pair(layer, "stride", stride, 1)
        self.padding = _shapes.pair(layer, "padding", padding, 0)
        self.output_padding = _shapes.pair(layer, "output_padding", output_padding, 0)
        self.dilation = _shapes.pair(layer, "dilation", dilation, 1)
        self.groups = _groups(layer, groups, self.in_channels, self.out_channels)
        dtype = floating(layer, dtype)
        self.weight = Parameter(
            empty_weight((self.in_channels, self.out_channels // self.groups, *self.kernel_size), dtype)
        )
        self.bias = Parameter(np.empty(self.out_channels, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights and biases anew."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor, output_size: Pair | None = None) -> Tensor:
        """Convolve `input`, of shape (N, in_channels, H, W).

        With `output_size`, (height, width), the output has that size, whatever `output_padding` is.
        """
        extra = self.output_padding
        if output_size is not None:
            extra = _shapes.output_padding("ConvTranspose2d", input.shape[2:], output_size, self.kernel_size,
                                           self.stride, self.padding, self.dilation)  # fmt: skip
        return functional.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, extra,
                                           self.groups, self.dilation)  # fmt: skip

    def takes(self) -> str:
        """Return which input would fit."""
        return f"a {self.weight.dtype} (N, {self.in_channels}, H, W)"

    def extra_repr(self) -> str:
        """Return the arguments that are not the default."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0, 0):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0, 0):
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


def _padding(padding: Padding, stride: tuple[int, int]) -> tuple[int, int] | str:
    if not isinstance(padding, str):
        return _shapes.pair("Conv2d", "padding", padding, 0)
    if padding not in ("valid", "same"):
        raise ValueError(f"Conv2d: padding={padding!r} must be 'valid', 'same', an integer or a pair of integers")
    if padding == "same" and stride != (1, 1):
        raise ValueError(f"Conv2d: padding='same' needs stride=1, but stride={stride}")
    return padding


def _map_size(map_size: Pair | None, bias: bool, untied_bias: bool) -> tuple[int, int] | None:
    """Return the size of the maps that an untied bias is made for."""
    if not untied_bias:
        if map_size is not None:
            raise ValueError(f"Conv2d: map_size={map_size} is the size of an untied bias, but untied_bias=False")
        return None
    if not bias:
        raise ValueError("Conv2d: untied_bias=True needs bias=True")
    if map_size is None:
        raise ValueError("Conv2d: untied_bias=True needs map_size, the height and width of the output")
    return _shapes.pair("Conv2d", "map_size", map_size, 1)


def _empty_bias(channels: int, map_size: tuple[int, int] | None, dtype: np.dtype[np.floating]) -> Array:
    """Allocate a bias; one of the output's full shape lies channels-last, as the output does."""
    if map_size is None:
        return np.empty(channels, dtype)
    maps: Array = nchw(empty_nhwc((1, channels, *map_size), dtype))[0]
    return maps


def _groups(layer: str, groups: int, in_channels: int, out_channels: int) -> int:
    groups = _shapes.integer(layer, "groups", groups, 1)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ValueError(f"{layer}: groups={groups} must divide {name}={channels}")
    return groups
