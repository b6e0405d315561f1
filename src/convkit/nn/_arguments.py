"""What several layers check of their arguments, and tell of the inputs that they take."""

import numpy as np

from .._shapes import Pair
from .._shapes import floating as floating


def least_size(kernel_size: Pair, padding: Pair, dilation: Pair = 1) -> str:
    """Say how large an image must be for a window to fit in, if it must be more than one pixel."""
    sizes = (np.broadcast_to(size, 2).tolist() for size in (kernel_size, padding, dilation))
    height, width = (max(apart * (taps - 1) + 1 - 2 * edge, 1) for taps, edge, apart in zip(*sizes, strict=True))
    return f" with H >= {height} and W >= {width}" if max(height, width) > 1 else ""
