"""What the engines have in common."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ...layers import Layer, MemoryOp, Shape, Work

Passes = dict[str, Callable[[], object]]


class Engine:
    """How to run a layer's passes in some library, which is imported when the engine is made.

    A pass that is left out of the answer is one that the library does not have.
    """

    #: What must be importable.
    library: ClassVar[str]

    def passes(self, work: Work) -> Passes:
        """Return a callable for each pass. Preparing it, and compiling, is no part of the time."""
        return self.convolution(work) if isinstance(work, Layer) else self.memory_op(work)

    def convolution(self, layer: Layer) -> Passes:
        """Return the passes of a convolution."""
        raise NotImplementedError

    def memory_op(self, work: MemoryOp) -> Passes:
        """Return the passes of an operation that moves memory."""
        return {}


def random(*shapes: Shape) -> list[np.ndarray]:
    """Arrays from -0.5 to 0.5, the same in every engine."""
    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=np.float32) - np.float32(0.5) for shape in shapes]


def operands(layer: Layer) -> list[np.ndarray]:
    """Input, weight and the output's gradient; a transposed convolution has those of its mirror, swapped."""
    if layer.transposed:
        return operands(layer.mirrored())[::-1]
    return random(layer.input_shape, layer.weight_shape, layer.output_shape)


def channels_last(x: np.ndarray) -> np.ndarray:
    """Lay an image (N, C, H, W) as (N, H, W, C), under the same logical shape."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def mirrored(convolution: Callable[[Layer], Passes], layer: Layer) -> Passes:
    """Make the passes of a transposed convolution of those of the convolution that it is the gradient of."""
    passes = convolution(layer.mirrored())
    names = {"forward": "backward_input", "backward_input": "forward", "backward_weight": "backward_weight"}
    return {name: passes[mirror] for name, mirror in names.items() if mirror in passes}
