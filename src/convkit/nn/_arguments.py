"""What several layers check of their arguments, and tell of the inputs that they take."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .._shapes import Pair


def floating(layer: str, dtype: npt.DTypeLike | None) -> np.dtype[np.floating]:
    """Return the dtype of a layer's parameters: float32 unless another is asked for."""
    found: np.dtype[Any] = np.dtype(np.float32 if dtype is None else dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"{layer}: dtype={found} must be float32 or float64")
    return found


def least_size(kernel_size: Pair, padding: Pair, dilation: Pair = 1) -> str:
    """Say how large an image must be for a window to fit in, if it must be more than one pixel."""
    sizes = (np.broadcast_to(size, 2).tolist() for size in (kernel_size, padding, dilation))
    height, width = (max(apart * (taps - 1) + 1 - 2 * edge, 1) for taps, edge, apart in zip(*sizes, strict=True))
    return f" with H >= {height} and W >= {width}" if max(height, width) > 1 else ""
