"""Pooling layers."""

import numpy as np
import numpy.typing as npt

from .. import _shapes, functional
from .._shapes import OutputSize, Pair
from ..autograd import Tensor
from ._arguments import floating, least_size
from .module import Module
from .parameter import Buffer


def _window(layer: str, kernel_size: Pair, stride: Pair | None, padding: Pair) -> None:
    kernel = _shapes.pair(layer, "kernel_size", kernel_size, 1)
    if stride is not None:
        _shapes.pair(layer, "stride", stride, 1)
    edges = _shapes.pair(layer, "padding", padding, 0)
    if any(2 * edge > taps for edge, taps in zip(edges, kernel, strict=True)):
        raise ValueError(f"{layer}: padding={padding} must be at most half of kernel_size={kernel_size}")


class MaxPool2d(Module):
    """Take the maximum of each window.

    Parameters
    ----------
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

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    See Also
    --------
    convkit.functional.max_pool2d : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.MaxPool2d(2)(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        _window("MaxPool2d", kernel_size, stride, padding)
        _shapes.pair("MaxPool2d", "dilation", dilation, 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """Pool `input`, of shape (N, C, H, W)."""
        return functional.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def takes(self) -> str:
        """Return which input would fit."""
        return f"(N, C, H, W){least_size(self.kernel_size, self.padding, self.dilation)}"

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """Average each window.

    Parameters
    ----------
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

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    See Also
    --------
    convkit.functional.avg_pool2d : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.AvgPool2d(2)(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        _window("AvgPool2d", kernel_size, stride, padding)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """Pool `input`, of shape (N, C, H, W)."""
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def takes(self) -> str:
        """Return which input would fit."""
        return f"(N, C, H, W){least_size(self.kernel_size, self.padding)}"

    def extra_repr(self) -> str:
        """Return the arguments that PyTorch shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class LPPool2d(Module):
    """Take the norm of each window.

    Parameters
    ----------
    norm_type : float
        The exponent of the norm, above 0: 2 for the Euclidean norm, 1 for the sum.
    kernel_size : int or pair of int
        Height and width of the window, in pixels.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; `kernel_size` if not given.
    ceil_mode : bool, default False
        Also keep a last window that is only partly filled.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    See Also
    --------
    convkit.functional.lp_pool2d : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.LPPool2d(2, 2)(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self, norm_type: float, kernel_size: Pair, stride: Pair | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        _shapes.norm_type("LPPool2d", norm_type)
        _window("LPPool2d", kernel_size, stride, 0)
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """Pool `input`, of shape (N, C, H, W)."""
        return functional.lp_pool2d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def takes(self) -> str:
        """Return which input would fit."""
        return f"(N, C, H, W){least_size(self.kernel_size, 0)}"

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class WeightedPool2d(Module):
    """Sum each window, weighted by weights that stay as they are.

    Parameters
    ----------
    weights : array_like, shape (height, width)
        The window. With weights that sum to 1, such as those of `convkit.ops.distance_weights`, each output is a
        weighted average.
    stride : int or pair of int, optional
        Distance of neighbouring windows, in pixels; the window's size if not given.
    padding : int or pair of int, default 0
        Zeros on each edge, in pixels; at most half of the window.
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    weights : Buffer, shape (height, width)
        As an argument of the layer it is no part of the state.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    See Also
    --------
    convkit.functional.weighted_pool2d : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn, ops
    >>> nn.WeightedPool2d(ops.distance_weights(3), stride=2, padding=1)(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 3, 4, 4)
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        stride: Pair | None = None,
        padding: Pair = 0,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__()
        window = np.array(weights, floating("WeightedPool2d", dtype))
        if window.ndim != 2 or not window.size:
            raise ValueError(
                f"WeightedPool2d: weights has shape {window.shape}, but must have a height and width of at least 1"
            )
        _window("WeightedPool2d", window.shape, stride, padding)
        self.weights = Buffer(window, persistent=False)
        self.stride = window.shape if stride is None else stride
        self.padding = padding

    def forward(self, input: Tensor) -> Tensor:
        """Pool `input`, of shape (N, C, H, W)."""
        return functional.weighted_pool2d(input, self.weights, self.stride, self.padding)

    def takes(self) -> str:
        """Return which input would fit."""
        height, width = self.weights.shape
        return f"a {self.weights.dtype} (N, C, H, W){least_size((height, width), self.padding)}"

    def extra_repr(self) -> str:
        """Return the window's size, and the arguments."""
        return f"kernel_size={self.weights.shape}, stride={self.stride}, padding={self.padding}"


class AdaptiveMaxPool2d(Module):
    """Take the maximum of each of a given number of windows: of the whole image, where `output_size` is 1.

    Parameters
    ----------
    output_size : int, pair of int, or None
        Height and width of the output; None, alone or in the pair, for the input's own.

    Raises
    ------
    TypeError, ValueError
        If the size is no size.

    See Also
    --------
    convkit.functional.adaptive_max_pool2d : the operation.

    Notes
    -----
    ``AdaptiveMaxPool2d(1)`` is what is called global max pooling.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.AdaptiveMaxPool2d((1, None))(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 3, 1, 8)
    """

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__()
        _shapes.output_size("AdaptiveMaxPool2d", output_size)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """Pool `input`, of shape (N, C, H, W)."""
        return functional.adaptive_max_pool2d(input, self.output_size)

    def takes(self) -> str:
        """Return which input would fit."""
        return "(N, C, H, W) with H >= 1 and W >= 1"

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(Module):
    """Average each of a given number of windows: the whole image, where `output_size` is 1.

    Parameters
    ----------
    output_size : int, pair of int, or None
        Height and width of the output; None, alone or in the pair, for the input's own.

    Raises
    ------
    TypeError, ValueError
        If the size is no size.

    See Also
    --------
    convkit.functional.adaptive_avg_pool2d : the operation.

    Notes
    -----
    ``AdaptiveAvgPool2d(1)`` is what is called global average pooling.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.AdaptiveAvgPool2d((1, None))(np.zeros((2, 3, 8, 8), np.float32)).shape
    (2, 3, 1, 8)
    """

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__()
        _shapes.output_size("AdaptiveAvgPool2d", output_size)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """Pool `input`, of shape (N, C, H, W)."""
        return functional.adaptive_avg_pool2d(input, self.output_size)

    def takes(self) -> str:
        """Return which input would fit."""
        return "(N, C, H, W) with H >= 1 and W >= 1"

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"output_size={self.output_size}"
