"""What benchmarks share whose limit is memory."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def images(seed: int, shape: tuple[int, ...] = (32, 64, 56, 56)) -> np.ndarray:
    """Return channels-last images."""
    images, channels, rows, cols = shape
    values = np.random.default_rng(seed).standard_normal((images, rows, cols, channels), dtype=np.float32)
    return values.transpose(0, 3, 1, 2)


class Moved:
    """A call that moves `bytes` between processor and memory at the least."""

    call: Callable[[], Any]
    bytes: int

    def time_call(self, *_: object) -> None:
        """Seconds of a call."""
        self.call()

    def track_bandwidth(self, *_: object) -> float:
        """Bytes read and written by the fastest of ten calls, in 10^9 a second."""
        fastest = min(self._seconds() for _ in range(10))
        return self.bytes / fastest * 1e-9

    def _seconds(self) -> float:
        start = time.perf_counter()
        self.call()
        return time.perf_counter() - start

    track_bandwidth.unit = "GB/s"
