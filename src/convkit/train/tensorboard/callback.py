"""`TensorBoard`, the writer and the callback."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._extras import require
from ...autograd import Tensor
from ...nn import Module
from ..callbacks import Callback
from ..explain import feature_maps
from ..metrics import BatchMetrics, EpochMetrics
from ..trainer import Trainer
from .graph import GraphNode, model_graph, tensor_graph
from .pictures import filters_picture, maps_picture
from .protos import graph_event


class TensorBoard(Callback):
    """Write what TensorBoard shows, as a callback of `Trainer` or by hand.

    As a callback it writes the network's graph before training; after each batch its loss and the learning rate; after
    each epoch loss and accuracy, histograms of weights and gradients, filters and feature maps.

    Parameters
    ----------
    log_dir : path-like
        The folder, for ``tensorboard --logdir``; made when something is written.
    images : ndarray, shape (N, C, H, W), optional
        A batch such as the network is trained on. Its graph is written, and the feature maps of its first image.

    Raises
    ------
    ImportError
        If tensorboardX or Pillow is not installed.

    Notes
    -----
    A run that is resumed goes on in the same curves: what an interrupted epoch had written is hidden.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0, 2.0], requires_grad=True)
    >>> with TensorBoard("log") as board:
    ...     board.add_tensor_graph((3 * x).sum(), {"x": x})
    ...     board.writer.add_scalar("loss", 0.5, global_step=1)
    """

    def __init__(self, log_dir: str | os.PathLike[str], images: NDArray[Any] | None = None) -> None:
        self._tensorboard_x = require("tensorboardX", "writing for TensorBoard")
        require("PIL", "writing pictures for TensorBoard")
        self.log_dir = os.fspath(log_dir)
        self.images = images
        self._writer: Any = None
        self._step = 0

    @property
    def writer(self) -> Any:
        """The ``tensorboardX.SummaryWriter``, for scalars and whatever else it can write."""
        if self._writer is None:
            # The name of a file has the second of its making; files made within one must not replace each other.
            number = len(list(Path(self.log_dir).glob("events.out.tfevents.*")))
            self._writer = self._tensorboard_x.SummaryWriter(
                self.log_dir, purge_step=self._step + 1 if self._step else None, filename_suffix=f".{number:04d}"
            )
        return self._writer

    def close(self) -> None:
        """Write what is waiting, and close the file; the next thing written opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # What can be written by hand.

    def add_graph(self, model: Module, images: NDArray[Any]) -> None:
        """Write how a network computes, with its layers as scopes; see `model_graph`."""
        self._add_nodes(model_graph(model, images))

    def add_tensor_graph(self, tensor: Tensor, names: Mapping[str, Tensor] | None = None) -> None:
        """Write how a tensor was computed; see `tensor_graph`."""
        self._add_nodes(tensor_graph(tensor, names))

    def add_histograms(self, model: Module, step: int) -> None:
        """Write histograms of all parameters and their gradients; what is not finite is left out."""
        for name, parameter in model.named_parameters():
            self._add_histogram(f"weights/{name}", parameter.data, step)
            if parameter.grad is not None:
                self._add_histogram(f"gradients/{name}", parameter.grad.data, step)

    def add_filters(self, model: Module, step: int) -> None:
        """Write a picture of the filters of each convolution."""
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4 and parameter.numel():
                self._add_image(f"filters/{name}", filters_picture(parameter.data), step)

    def add_feature_maps(self, model: Module, image: NDArray[Any], step: int) -> None:
        """Write a picture of what each layer makes of an image (C, H, W), the image first."""
        self._add_image("feature_maps/input", maps_picture(image), step)
        for layer in feature_maps(model, image):
            self._add_image(f"feature_maps/{layer.name}", maps_picture(layer.maps), step)

    # What is written while training.

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Write the graph, of a run that begins."""
        if self.images is not None and self._step == 0:
            self.add_graph(trainer.model, self.images)

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics) -> None:
        """Write the loss of the batch, and the learning rate of each group."""
        writer = self.writer  # what a new one hides begins after the batches so far
        self._step += 1
        writer.add_scalar("batch/loss", metrics.loss, self._step)
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        for number, rate in enumerate(rates):
            self.writer.add_scalar(
                f"batch/learning_rate_{number}" if number else "batch/learning_rate", rate, self._step
            )

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Write loss, accuracy, histograms and pictures."""
        for measure in ("loss", "accuracy"):
            for part in ("train", "test"):
                value = getattr(metrics, f"{part}_{measure}")
                if value is not None:
                    self.writer.add_scalar(f"{measure}/{part}", value, metrics.epoch)
        self.add_histograms(trainer.model, metrics.epoch)
        self.add_filters(trainer.model, metrics.epoch)
        if self.images is not None:
            self.add_feature_maps(trainer.model, self.images[0], metrics.epoch)
        self.writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the file."""
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches were written."""
        return {"step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after so many batches."""
        self._step = int(state_dict["step"])

    def _add_nodes(self, nodes: list[GraphNode]) -> None:
        self.writer.file_writer.add_event(graph_event(nodes))

    def _add_histogram(self, tag: str, values: NDArray[Any], step: int) -> None:
        finite = values[np.isfinite(values)]
        if finite.size:
            self.writer.add_histogram(tag, finite, step)

    def _add_image(self, tag: str, picture: NDArray[np.uint8], step: int) -> None:
        self.writer.add_image(tag, picture, step, dataformats="HWC")
