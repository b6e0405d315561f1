"""The training loop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path

from .._extras import require
from ..autograd import Tensor
from ..data import DataLoader
from ..nn import CrossEntropyLoss, Module
from ..optim import Optimizer
from .checkpoint import load_checkpoint, save_checkpoint
from .evaluation import Batch, Loss, evaluate
from .metrics import EpochMetrics, Score, write_csv
from .progress import WithBar, summary


class Trainer:
    """Train a network epoch by epoch, test it after each, and keep what is needed to go on after a stop.

    Parameters
    ----------
    model : Module
        The network.
    optimizer : Optimizer
        Made for the network's parameters.
    loss_fn : callable, default `CrossEntropyLoss`
        Mean loss of a batch from outputs and labels.
    run_dir : path-like, optional
        An existing folder. After every epoch, ``checkpoint.safetensors`` and ``metrics.csv`` in it are replaced.
    progress : bool, default True
        Whether to show a bar for each epoch and print a line after it.

    Raises
    ------
    ImportError
        If safetensors is missing for `run_dir`.
    NotADirectoryError
        If `run_dir` is not an existing folder.

    Notes
    -----
    The same seed gives the same network, to the bit, whatever the number of threads, and whether or not the run was
    stopped and resumed on the way. Files are replaced whole, so that a run which is killed at any moment leaves the
    checkpoint of the last epoch behind, or the one before.

    Examples
    --------
    >>> import convkit as ck
    >>> _ = ck.manual_seed(0)
    >>> digits = ck.data.DataLoader(ck.data.Digits(train=True), batch_size=32, shuffle=True)
    >>> model = ck.models.convnet(image_size=(8, 8))
    >>> trainer = Trainer(model, ck.optim.Adam(model.parameters()), progress=False)
    >>> history = trainer.fit(digits, epochs=2)
    >>> history[-1].train_accuracy > 0.9
    True
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Loss | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss_fn: Loss = CrossEntropyLoss() if loss_fn is None else loss_fn
        self.run_dir = None if run_dir is None else _ready(Path(run_dir))
        self.progress = progress

    @property
    def checkpoint_path(self) -> Path | None:
        """The file that `fit` resumes from, or None without `run_dir`."""
        return None if self.run_dir is None else self.run_dir / "checkpoint.safetensors"

    def fit(
        self,
        train_loader: DataLoader,
        test_loader: DataLoader | None = None,
        epochs: int = 1,
        resume: bool = False,
    ) -> list[EpochMetrics]:
        """Train for a number of epochs.

        Parameters
        ----------
        train_loader : DataLoader
            Images (N, C, H, W) and labels (N,) to train on.
        test_loader : DataLoader, optional
            Images and labels to test on after each epoch.
        epochs : int, default 1
            The last epoch, counted from 1.
        resume : bool, default False
            Go on from the checkpoint in `run_dir`; the epochs in it count.

        Returns
        -------
        list of EpochMetrics
            One for each epoch, the resumed ones included.

        Raises
        ------
        ImportError
            If tqdm is missing for `progress`.
        FloatingPointError
            If a loss is NaN or infinite; the message says where. The checkpoint stays that of the last whole epoch.
        OSError, ValueError
            If there is no checkpoint to resume from, or it does not fit.
        """
        history: list[EpochMetrics] = []
        if resume:
            if self.checkpoint_path is None:
                raise ValueError("Trainer: resume needs a run_dir that holds the checkpoint")
            history = load_checkpoint(self.checkpoint_path, self.model, self.optimizer, train_loader)
            self._save_metrics(history)
        for epoch in range(len(history) + 1, epochs + 1):
            history.append(self._run_epoch(epoch, epochs, train_loader, test_loader))
            self._save(train_loader, history)
        return history

    def _run_epoch(
        self, epoch: int, epochs: int, train_loader: DataLoader, test_loader: DataLoader | None
    ) -> EpochMetrics:
        start = time.perf_counter()
        title = f"epoch {epoch}/{epochs}"
        trained = Score()
        self._train(epoch, self._shown(train_loader, title, trained), trained)
        tested = None
        if test_loader is not None:
            tested = evaluate(self.model, self._shown(test_loader, f"{title}, test"), self.loss_fn)
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            test_loss=tested.loss if tested else None,
            test_accuracy=tested.accuracy if tested else None,
            seconds=time.perf_counter() - start,
        )
        if self.progress:
            print(summary(metrics, epochs), flush=True)
        return metrics

    def _train(self, epoch: int, batches: Iterable[Batch], score: Score) -> None:
        self.model.train()
        for number, (images, labels) in enumerate(batches, start=1):
            self.optimizer.zero_grad()
            outputs = self.model(Tensor(images))
            loss = self.loss_fn(outputs, labels)
            value = loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} in epoch {epoch}, batch {number}: "
                    "try a smaller learning rate, and look for NaN or infinity in the images"
                )
            score.add(value, outputs.data, labels)
            loss.backward()
            self.optimizer.step()

    def _shown(self, loader: DataLoader, title: str, status: object = "") -> Iterable[Batch]:
        return WithBar(loader, title, status) if self.progress else loader

    def _save(self, loader: DataLoader, history: list[EpochMetrics]) -> None:
        if self.checkpoint_path is not None:
            save_checkpoint(self.checkpoint_path, self.model, self.optimizer, loader, history)
            self._save_metrics(history)

    def _save_metrics(self, history: list[EpochMetrics]) -> None:
        if self.run_dir is not None:
            write_csv(self.run_dir / "metrics.csv", history)


def _ready(run_dir: Path) -> Path:
    """Find out now, not after the first epoch, whether anything can be saved."""
    require("safetensors", "saving checkpoints")
    if not run_dir.is_dir():
        raise NotADirectoryError(f"Trainer: run_dir must be an existing folder, got {run_dir}")
    return run_dir
