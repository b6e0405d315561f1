"""The arithmetic of bfloat16 parts, in NumPy: for processors that lack the instruction, and for errors alone."""

import numpy as np

from ..layers import Layer
from ..peers.engines._engine import operands
from .worker import exact, rms_error

_STEP = 32  # products that one instruction sums, before it adds to float32


def rounded(x: np.ndarray) -> np.ndarray:
    """Return the nearest bfloat16, ties to even, as float32; of numbers in its range."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def split(x: np.ndarray, parts: int) -> list[np.ndarray]:
    """Return the bfloat16 parts of float32 numbers, the largest first."""
    found = []
    for _ in range(parts):
        found.append(rounded(x))
        x = x - found[-1]
    return found


def product(a: np.ndarray, b: np.ndarray, parts: int) -> np.ndarray:
    """Multiply matrices of float32 from bfloat16 parts; of three and three, six products, of two and two, three."""
    of_a, of_b = split(a, parts), split(b, parts)
    pairs = [(i, j) for i in range(parts) for j in range(parts) if i + j < parts]
    sums = np.zeros((len(a), b.shape[1]), np.float32)
    for k in range(0, a.shape[1], _STEP):
        for i, j in pairs:
            sums += of_a[i][:, k : k + _STEP] @ of_b[j][k : k + _STEP]
    return sums


def forward_error(layer: Layer, parts: int) -> float:
    """Return the RMS error of a convolution's forward pass, of one image, relative to float64."""
    one = layer.with_batch(1)
    x, w, _ = operands(one)
    padding = [(0, 0), (0, 0), *[(layer.padding, layer.padding)] * 2]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, padding), w.shape[2:], (2, 3))
    windows = windows[:, :, :: layer.stride, :: layer.stride]
    columns = windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, w[0].size)  # products of a tap lie side by side
    sums = product(columns, w.transpose(2, 3, 1, 0).reshape(w[0].size, -1), parts)
    _, outputs, rows, cols = one.output_shape
    return rms_error(sums.reshape(1, rows, cols, outputs).transpose(0, 3, 1, 2), np.asarray(exact(one)["forward"]()))
