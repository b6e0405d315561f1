"""Convolution, layer by layer and pass by pass.

The layers are those of the suites (layers.py) that the environment variable CONVKIT_BENCH_SUITES names.
"""

import os

from benchmarks.layers import PASSES, SUITES, Layer
from benchmarks.peers.engines import Convkit
from convkit.bench.machine import fastest, peak

_SUITES = os.environ.get("CONVKIT_BENCH_SUITES", "fashion cifar_resnet").split()
_NAMES = dict.fromkeys(work.name for suite in _SUITES for work in SUITES[suite] if isinstance(work, Layer))


class Conv2d:
    """The three passes on one thread and on two."""

    params = (list(_NAMES), list(PASSES), [1, 2])
    param_names = ("layer", "pass", "threads")

    def setup(self, name: str, which: str, threads: int) -> None:
        """Prepare operands, and warm up."""
        layer = Layer.parse(name)
        self.call = Convkit(threads).passes(layer)[which]
        self.operations = layer.operations
        self.call()

    def time_pass(self, name: str, which: str, threads: int) -> None:
        """Seconds of a call."""
        self.call()

    def peakmem_pass(self, name: str, which: str, threads: int) -> None:
        """Peak memory of the process, in bytes."""
        self.call()

    def track_gflops(self, name: str, which: str, threads: int) -> float:
        """Floating-point operations of the fastest of several calls, in 10^9 a second."""
        return self.operations / fastest(self.call) * 1e-9

    def track_peak(self, name: str, which: str, threads: int) -> float:
        """Share of the threads' multiply-add peak, which is measured right before."""
        return 100 * self.operations / fastest(self.call) / (threads * peak())

    track_gflops.unit = "GFLOP/s"
    track_peak.unit = "%"
