"""What is measured: a network, a batch for it, and what is done with both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _random, models, optim
from ..nn import Module

#: What can be done with a batch.
PASSES = ("training", "inference")

#: So low that the network stays as it began. One that knows its only batch by heart has gradients of almost nothing.
LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Workload:
    """A network and its batch, the same in every engine.

    Parameters
    ----------
    model : dict
        Arguments of `convkit.models.create`, the ``name`` among them.
    batch_size : int
        Images in the batch.
    optimizer : {'Adam', 'SGD'}, default 'Adam'
        What takes the step; SGD with momentum 0.9.
    precision : {'highest', 'high', 'medium'}, default 'highest'
        As for `convkit.set_float32_precision`. Other engines compute in the precision that they are named after.

    Examples
    --------
    >>> workload = Workload({"name": "convnet", "image_size": [8, 8]}, batch_size=2)
    >>> workload.images().shape
    (2, 1, 8, 8)
    >>> Workload.from_json(workload.to_json()) == workload
    True
    """

    model: dict[str, Any]
    batch_size: int
    optimizer: str = "Adam"
    precision: str = "highest"

    @property
    def name(self) -> str:
        """The network and the size of the batch, for tables."""
        return f"{self.model['name']} n{self.batch_size}"

    @property
    def optimizer_arguments(self) -> dict[str, Any]:
        """Arguments of the optimizer, as PyTorch has them."""
        return {"lr": LEARNING_RATE} | ({"momentum": 0.9} if self.optimizer == "SGD" else {})

    def optimizer_for(self, network: Module) -> optim.Optimizer:
        """Make what takes the steps of `network`."""
        kind: Any = getattr(optim, self.optimizer)
        optimizer: optim.Optimizer = kind(network.parameters(), **self.optimizer_arguments)
        return optimizer

    def network(self) -> Module:
        """Make the network; its weights are random, and always the same."""
        _random.manual_seed(0)
        return models.create(**self.model)

    def images(self) -> NDArray[np.float32]:
        """Return images (N, C, H, W) of normally distributed noise; channels-last in memory, as a DataLoader's are."""
        config = self.network().config
        height, width = config["image_size"]
        shape = self.batch_size, height, width, config["in_channels"]
        return np.random.default_rng(0).standard_normal(shape, np.float32).transpose(0, 3, 1, 2)

    def labels(self) -> NDArray[np.int64]:
        """Return labels (N,) at random."""
        return np.random.default_rng(1).integers(self.network().config["num_classes"], size=self.batch_size)

    def to_json(self) -> str:
        """Write it as one line of text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Workload:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
