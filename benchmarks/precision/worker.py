"""A process that measures one mode: reads requests, a line of JSON each, and answers with what ran, time and error."""

import json
import math
import sys
from contextlib import nullcontext

import numpy as np

from convkit.bench.machine import fastest

from ..layers import Layer
from ..peers.engines import Convkit, Engine
from ..peers.engines._engine import Passes, operands
from ..peers.engines.torch import Torch, TorchChannelsLast

_GRADIENTS = {"forward": None, "backward_input": "input", "backward_weight": "weight"}


class High(Convkit):
    """convkit, errors up to 1e-5."""

    precision = "high"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import convkit

        convkit.set_float32_precision(self.precision)


class Medium(High):
    """convkit, errors up to those of bfloat16."""

    precision = "medium"


class Bfloat16(Convkit):
    """convkit, with arrays of bfloat16."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import ml_dtypes

        self.dtype = np.dtype(ml_dtypes.bfloat16)


class TorchBfloat16(Torch):
    """PyTorch in bfloat16, contiguous."""

    def _tensors(self, arrays: list) -> list:
        return [tensor.bfloat16() for tensor in super()._tensors(arrays)]


class TorchBfloat16ChannelsLast(TorchBfloat16):
    """PyTorch in bfloat16, with `channels_last` tensors."""

    layout = "channels_last"


#: Every mode, by what it is called on the command line of this process.
MODES: dict[str, type[Engine]] = {
    "convkit highest": Convkit,
    "convkit high": High,
    "convkit medium": Medium,
    "convkit bfloat16": Bfloat16,
    "torch float32 contiguous": Torch,
    "torch float32 channels_last": TorchChannelsLast,
    "torch bfloat16 contiguous": TorchBfloat16,
    "torch bfloat16 channels_last": TorchBfloat16ChannelsLast,
}


def plan(mode: str, layer: Layer, name: str) -> tuple[str, float]:
    """Return what convkit calls the algorithm of a pass, and its products in terms of the direct sum's."""
    from convkit import ops
    from convkit._precision import operands_of_bfloat16

    with operands_of_bfloat16() if mode == "convkit bfloat16" else nullcontext():
        planned = ops.conv2d_plan(layer.input_shape, layer.weight_shape, **layer.options, gradient=_GRADIENTS[name])
    return planned.name, planned.multiplies / (layer.operations / 2)


def exact(layer: Layer) -> Passes:
    """Return the passes in float64, by convkit: its own error is of another order."""
    from convkit import ops

    x, w, grad = (array.astype(np.float64) for array in operands(layer))
    return {
        "forward": lambda: ops.conv2d(x, w, **layer.options),
        "backward_input": lambda: ops.conv2d_backward_input(x.shape, w, grad, **layer.options),
        "backward_weight": lambda: ops.conv2d_backward_weight(x, w.shape, grad, **layer.options),
    }


def rms_error(found: object, expected: np.ndarray) -> float:
    """Return the RMS of the differences, over the RMS of what is expected."""
    found = np.asarray(found.double() if hasattr(found, "double") else found, np.float64)
    return math.sqrt(np.mean(np.square(found - expected)) / np.mean(np.square(expected)))


def main() -> None:
    """Serve until standard input ends. A layer stays prepared until another is asked for."""
    mode, threads = sys.argv[1], int(sys.argv[2])
    engine = MODES[mode](threads)
    answers, sys.stdout = sys.stdout, sys.stderr
    prepared, passes = "", {}
    for line in sys.stdin:
        kind, name = json.loads(line)["pass"].split()
        layer = Layer.parse(work := json.loads(line)["work"])
        if work != prepared:
            passes.clear()
            prepared, passes = work, engine.passes(layer)
        if kind == "plan":
            answer: object = plan(mode, layer, name) if mode.startswith("convkit") else (mode.removeprefix("torch "), 1)
        elif kind == "error":
            answer = rms_error(passes[name](), exact(layer)[name]())
        else:
            answer = fastest(passes[name])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
