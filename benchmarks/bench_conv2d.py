"""Convolution, pass by pass and layer by layer."""

import time

import numpy as np

import convkit
from benchmarks.layers import LAYERS
from benchmarks.peers.engines import PASSES, Convkit


class Conv2d:
    """The three passes on one thread and on two."""

    params = (list(LAYERS), list(PASSES), [1, 2])
    param_names = ("layer", "pass", "threads")

    def setup(self, layer: str, name: str, threads: int) -> None:
        """Prepare operands, and warm up."""
        self.call = Convkit(threads).passes(LAYERS[layer])[name]
        self.operations = LAYERS[layer].operations
        self.call()

    def time_pass(self, layer: str, name: str, threads: int) -> None:
        """Seconds of a call."""
        self.call()

    def peakmem_pass(self, layer: str, name: str, threads: int) -> None:
        """Peak memory of the process, in bytes."""
        self.call()

    def track_gflops(self, layer: str, name: str, threads: int) -> float:
        """Floating-point operations of the fastest of ten calls, in 10^9 a second."""
        fastest = min(self._seconds() for _ in range(10))
        return self.operations / fastest * 1e-9

    def _seconds(self) -> float:
        start = time.perf_counter()
        self.call()
        return time.perf_counter() - start

    track_gflops.unit = "GFLOP/s"


class Overhead:
    """What a call costs beyond its work."""

    def setup(self) -> None:
        """Prepare operands too small to take time."""
        self.x = np.ones((1, 1, 3, 3), np.float32)
        self.w = np.ones((1, 1, 3, 3), np.float32)

    def time_conv2d(self) -> None:
        """Seconds of a call that computes one number."""
        convkit.ops.conv2d(self.x, self.w)
