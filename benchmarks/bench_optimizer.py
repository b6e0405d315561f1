"""A step of the optimizers, and clipping, over the parameters of a small network and of one as large as ResNet-18."""

from collections.abc import Callable, Iterable

import numpy as np

from convkit import Tensor, models, nn, optim
from convkit.ops._arrays import empty_weight


def _convnet() -> list[Tensor]:
    return list(models.convnet().parameters())


def _eleven_million() -> list[Tensor]:
    """Return as many numbers as ResNet-18 has, in as many tensors: two of three belong to batch norms."""
    dtype = np.dtype(np.float32)
    shapes = [(64, 3, 7, 7), *[(64, 64, 3, 3)] * 4, (128, 64, 3, 3), *[(128, 128, 3, 3)] * 3, (128, 64, 1, 1)]
    shapes += [(256, 128, 3, 3), *[(256, 256, 3, 3)] * 3, (256, 128, 1, 1)]
    shapes += [(512, 256, 3, 3), *[(512, 512, 3, 3)] * 3, (512, 256, 1, 1)]
    arrays = [empty_weight(shape, dtype) for shape in shapes]
    arrays += [np.empty(shape[0], dtype) for shape in shapes for _ in range(2)]
    arrays += [np.empty((1000, 512), dtype), np.empty(1000, dtype)]
    for array in arrays:
        array[...] = 0.01
    return [Tensor(array, requires_grad=True) for array in arrays]


NETWORKS: dict[str, Callable[[], list[Tensor]]] = {"convnet": _convnet, "11.7 million": _eleven_million}

STEPS: dict[str, Callable[[list[Tensor]], Callable[[], object]]] = {
    "SGD": lambda params: optim.SGD(params).step,
    "SGD with momentum": lambda params: optim.SGD(params, momentum=0.9, weight_decay=5e-4).step,
    "Adam": lambda params: optim.Adam(params).step,
    "AdamW": lambda params: optim.AdamW(params).step,
    "clip_grad_norm_": lambda params: lambda: nn.utils.clip_grad_norm_(params, 1.0),
}


def _with_gradients(params: Iterable[Tensor]) -> list[Tensor]:
    params = list(params)
    for param in params:
        gradient = np.empty_like(param.data)
        gradient[...] = 0.001
        param.grad = Tensor(gradient)
    return params


class Step:
    """One call over all parameters."""

    params = (list(STEPS), list(NETWORKS))
    param_names = ("step", "network")

    def setup(self, step: str, network: str) -> None:
        """Take one step: what optimizers remember is then there."""
        self.call = STEPS[step](_with_gradients(NETWORKS[network]()))
        self.call()

    def time_step(self, step: str, network: str) -> None:
        """Time one."""
        self.call()
