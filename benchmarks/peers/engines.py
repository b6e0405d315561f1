"""One class an engine: what it takes to run a layer's three passes there.

An engine imports its library when it is made, so that a process loads only the one it measures.
"""

from collections.abc import Callable

import numpy as np

from ..layers import Layer

Passes = dict[str, Callable[[], object]]

#: The passes of a convolution, in the order in which they are shown.
PASSES = ("forward", "backward_input", "backward_weight")


def _operands(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input, weight and the output's gradient, the same in every engine."""
    rng = np.random.default_rng(0)
    shapes = layer.input_shape, layer.weight_shape, layer.output_shape
    return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)


class Convkit:
    """convkit, through `ops`: packing and allocation are in the time."""

    def __init__(self, threads: int) -> None:
        import convkit

        convkit.set_num_threads(threads)
        self.ops = convkit.ops

    def passes(self, layer: Layer) -> Passes:
        """Return a callable for each pass over `layer`."""
        x, w, grad = (_channels_last(operand) for operand in _operands(layer))
        how = {"stride": layer.stride, "padding": layer.padding}
        return {
            "forward": lambda: self.ops.conv2d(x, w, **how),
            "backward_input": lambda: self.ops.conv2d_backward_input(x.shape, w, grad, **how),
            "backward_weight": lambda: self.ops.conv2d_backward_weight(x, w.shape, grad, **how),
        }


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class Torch:
    """PyTorch, in one of its two layouts."""

    layout = "contiguous_format"

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch

    def passes(self, layer: Layer) -> Passes:
        """Return a callable for each pass over `layer`."""
        torch = self.torch
        memory_format = getattr(torch, self.layout)
        x, w, grad = (torch.from_numpy(o).contiguous(memory_format=memory_format) for o in _operands(layer))
        stride, padding = [layer.stride] * 2, [layer.padding] * 2

        def backward(mask: list[bool]) -> object:
            return torch.ops.aten.convolution_backward(
                grad, x, w, None, stride, padding, [1, 1], False, [0, 0], 1, mask
            )  # fmt: skip

        return {
            "forward": lambda: torch.conv2d(x, w, None, stride, padding),
            "backward_input": lambda: backward([True, False, False]),
            "backward_weight": lambda: backward([False, True, False]),
        }


class TorchChannelsLast(Torch):
    """PyTorch with `channels_last` tensors."""

    layout = "channels_last"


ENGINES: dict[str, type[Convkit] | type[Torch]] = {
    "convkit": Convkit,
    "torch": Torch,
    "torch_nhwc": TorchChannelsLast,
}

#: What must be importable for an engine to take part.
LIBRARIES = {"convkit": "convkit", "torch": "torch", "torch_nhwc": "torch"}
