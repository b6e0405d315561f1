"""The shape that a pooling gives."""

from .. import _shapes
from .._shapes import Pair, Shape


def pool2d_output_shape(
    input_shape: Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[int, int, int, int]:
    """Return the shape that `max_pool2d`, or another pooling, gives for an input of this shape.

    Parameters
    ----------
    input_shape : tuple of int
        (N, C, H, W): images, channels, height and width in pixels.
    kernel_size : int or pair of int
        Height and width of the window, in taps.
    stride, padding, dilation, ceil_mode
        As for `max_pool2d`. The poolings that have no such argument have its default.

    Returns
    -------
    tuple of int
        (N, C, P, Q).

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d` would.

    Notes
    -----
    ``P = floor((H + 2*padding - dilation*(kernel_size - 1) - 1)/stride) + 1``, and Q likewise of W. With `ceil_mode`
    the quotient is rounded up, unless the last window then began beyond the image and its left padding.

    Examples
    --------
    >>> pool2d_output_shape((1, 6, 28, 28), 2)
    (1, 6, 14, 14)
    """
    op = "pool2d_output_shape"
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    return _shapes.pool2d(op, input_shape, kernel_size, stride, padding, dilation, ceil_mode).output_shape
