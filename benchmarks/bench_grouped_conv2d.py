"""Depthwise and grouped convolution, pass by pass and layer by layer."""

import time
from typing import NamedTuple

import numpy as np

import convkit

PASSES = ("forward", "backward_input", "backward_weight")


class GroupedLayer(NamedTuple):
    """A grouped convolution of square images: channels, size, outputs, kernel size, stride, dilation, groups."""

    channels: int
    size: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    groups: int


def depthwise(channels: int, size: int, kernel: int, stride: int = 1, dilation: int = 1) -> GroupedLayer:
    """Return a layer whose every channel is a group."""
    return GroupedLayer(channels, size, channels, kernel, stride, dilation, channels)


LAYERS = {
    # MobileNet-V2 and V3, ConvNeXt, and a larger kernel.
    "depthwise-3x3-112": depthwise(32, 112, 3),
    "depthwise-3x3-56": depthwise(144, 56, 3),
    "depthwise-3x3-56-stride": depthwise(144, 56, 3, stride=2),
    "depthwise-3x3-14": depthwise(384, 14, 3),
    "depthwise-3x3-28-dilated": depthwise(144, 28, 3, dilation=2),
    "depthwise-5x5-28": depthwise(120, 28, 5),
    "depthwise-5x5-7": depthwise(960, 7, 5),
    "depthwise-7x7-56": depthwise(96, 56, 7),
    "depthwise-9x9-28": depthwise(64, 28, 9),
    # ResNeXt-50, and groups that share vectors unevenly.
    "groups-of-4-56": GroupedLayer(128, 56, 128, 3, 1, 1, 32),
    "groups-of-8-28": GroupedLayer(256, 28, 256, 3, 1, 1, 32),
    "groups-of-16-14": GroupedLayer(512, 14, 512, 3, 1, 1, 32),
    "groups-of-3-28": GroupedLayer(60, 28, 60, 3, 1, 1, 20),
    "multiplier-2-28": GroupedLayer(64, 28, 128, 3, 1, 1, 64),
}


class GroupedConv2d:
    """One pass of one layer, on one thread and on two, for one image and for sixteen."""

    params = (list(LAYERS), list(PASSES), [1, 16], [1, 2])
    param_names = ("layer", "pass", "batch", "threads")

    def setup(self, layer: str, name: str, batch: int, threads: int) -> None:
        """Prepare operands in the memory order that convkit works in."""
        shape = LAYERS[layer]
        padding = shape.dilation * (shape.kernel // 2)
        size = (shape.size - 1) // shape.stride + 1
        rng = np.random.default_rng(0)
        x, grad = (
            rng.standard_normal((batch, extent, extent, channels), dtype=np.float32).transpose(0, 3, 1, 2)
            for extent, channels in ((shape.size, shape.channels), (size, shape.outputs))
        )
        inner = shape.channels // shape.groups
        w = rng.standard_normal((shape.outputs, inner, shape.kernel, shape.kernel), dtype=np.float32)
        how = {"stride": shape.stride, "padding": padding, "dilation": shape.dilation, "groups": shape.groups}
        self.operations = 2 * grad.size * inner * shape.kernel**2
        self.call = {
            "forward": lambda: convkit.ops.conv2d(x, w, **how),
            "backward_input": lambda: convkit.ops.conv2d_backward_input(x.shape, w, grad, **how),
            "backward_weight": lambda: convkit.ops.conv2d_backward_weight(x, w.shape, grad, **how),
        }[name]
        convkit.set_num_threads(threads)
        self.call()

    def time_pass(self, layer: str, name: str, batch: int, threads: int) -> None:
        """Seconds of one pass."""
        self.call()

    def track_gflops(self, layer: str, name: str, batch: int, threads: int) -> float:
        """Floating-point operations of the fastest of ten calls, in 10^9 a second."""
        return self.operations / min(self._seconds() for _ in range(10)) * 1e-9

    def _seconds(self) -> float:
        start = time.perf_counter()
        self.call()
        return time.perf_counter() - start

    track_gflops.unit = "GFLOP/s"
