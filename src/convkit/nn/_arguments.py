"""What several layers check of their arguments, and tell of the inputs that they take."""

from typing import Any

import numpy as np
import numpy.typing as npt


def floating(layer: str, dtype: npt.DTypeLike | None) -> np.dtype[np.floating]:
    """Return the dtype of a layer's parameters: float32 unless another is asked for."""
    found: np.dtype[Any] = np.dtype(np.float32 if dtype is None else dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"{layer}: dtype={found} must be float32 or float64")
    return found


def least_size(kernel_size: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> str:
    """Say how large an image must be for a window to fit in, if it must be more than one pixel."""
    height, width = (
        apart * (taps - 1) + 1 - 2 * edge for taps, edge, apart in zip(kernel_size, padding, dilation, strict=True)
    )
    return f" with H >= {max(height, 1)} and W >= {max(width, 1)}" if max(height, width) > 1 else ""
