"""Inference: networks as they are, and compiled, with few images and with many."""

from collections.abc import Callable
from typing import Any

import numpy as np

import convkit
from convkit import models, nn

#: Networks, and the shape of their images.
_NETWORKS = {"convnet": (1, 28, 28), "lenet5": (1, 28, 28), "resnet20": (3, 32, 32), "vgg": (3, 32, 32)}


def _without_gradients(model: nn.Module, images: np.ndarray) -> Any:
    with convkit.no_grad():
        return model(images)


class Inference:
    """The scores of a batch, on one thread and on two."""

    params = (list(_NETWORKS), [1, 32, 100, 256], ["eager", "compiled"], [1, 2])
    param_names = ("network", "batch", "how", "threads")
    call: Callable[[], Any]

    def setup(self, network: str, batch: int, how: str, threads: int) -> None:
        """Make the network, and warm up."""
        convkit.set_num_threads(threads)
        model = models.create(network).eval()
        images = np.random.default_rng(0).standard_normal((batch, *_NETWORKS[network]), dtype=np.float32)
        if how == "compiled":
            compiled = convkit.compile(model, images)
            self.call = lambda: compiled(images)
        else:
            self.call = lambda: _without_gradients(model, images)
        self.call()

    def time_call(self, network: str, batch: int, how: str, threads: int) -> None:
        """Seconds of a batch."""
        self.call()

    def peakmem_call(self, network: str, batch: int, how: str, threads: int) -> None:
        """Peak memory of the process, in bytes."""
        self.call()
