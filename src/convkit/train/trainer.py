"""The training loop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .._extras import require
from ..autograd import Tensor
from ..data import DataLoader
from ..nn import CrossEntropyLoss, Module
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau
from .callbacks import Callback
from .checkpoint import Stateful, load_checkpoint, save_checkpoint
from .evaluation import Batch, Loss, evaluate
from .metrics import BatchMetrics, EpochMetrics, Score, write_csv
from .nonfinite import culprit
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
    scheduler : LRScheduler, optional
        Made for `optimizer`; steps by itself. `ReduceLROnPlateau` looks at the test loss, or the training loss if
        there is no test.
    scheduler_every : {'epoch', 'batch'}, default 'epoch'
        When `scheduler` steps.
    clip_grad_norm : float, optional
        The largest norm of all gradients together; larger ones are scaled down before each step.
    callbacks : sequence of Callback, default ()
        What else happens on the way.

    Attributes
    ----------
    should_stop : bool
        Set it, in a callback, to end training after the present epoch.
    train_loader, test_loader : DataLoader or None
        What `fit` was called with last.

    Raises
    ------
    ImportError
        If safetensors is missing for `run_dir`.
    NotADirectoryError
        If `run_dir` is not an existing folder.
    TypeError, ValueError
        If `scheduler`, `scheduler_every`, `clip_grad_norm` or `callbacks` make no sense.

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
        scheduler: LRScheduler | None = None,
        scheduler_every: str = "epoch",
        clip_grad_norm: float | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss_fn: Loss = CrossEntropyLoss() if loss_fn is None else loss_fn
        self.run_dir = None if run_dir is None else _ready(Path(run_dir))
        self.progress = progress
        self.scheduler = scheduler
        self.scheduler_every = scheduler_every
        self.clip_grad_norm = clip_grad_norm
        self.callbacks = tuple(callbacks)
        self.should_stop = False
        self.train_loader: DataLoader | None = None
        self.test_loader: DataLoader | None = None
        self._check()

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
            The last epoch, counted from 1; callbacks may stop before.
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
            If a loss is NaN or infinite; the message says which layer was the first to be so. The checkpoint stays
            that of the last whole epoch.
        OSError, ValueError
            If there is no checkpoint to resume from, or it does not fit; or `epochs` need more steps than the schedule
            was made for.

        Warns
        -----
        RuntimeWarning
            If a loss of the test, which training does not depend on, is NaN or infinite.
        """
        history = self._resumed(train_loader) if resume else []
        self._check_steps(epochs - len(history), len(train_loader))
        self.train_loader, self.test_loader = train_loader, test_loader
        self.should_stop = False
        try:
            for callback in self.callbacks:
                callback.on_fit_begin(self)
            for epoch in range(len(history) + 1, epochs + 1):
                if self.should_stop:
                    break
                history.append(self._run_epoch(epoch, epochs, train_loader, test_loader))
                self._end_epoch(history[-1])
                self._save(train_loader, history)
        finally:
            for callback in self.callbacks:
                callback.on_fit_end(self)
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
                    f"the loss is {value} in epoch {epoch}, batch {number}: {culprit(self.model, images)}"
                )
            score.add(value, outputs.data, labels)
            loss.backward()
            self._step(BatchMetrics(epoch, number, value))

    def _step(self, metrics: BatchMetrics) -> None:
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        for callback in self.callbacks:
            callback.on_batch_end(self, metrics)
        if self.scheduler is not None and self.scheduler_every == "batch":
            self.scheduler.step()

    def _end_epoch(self, metrics: EpochMetrics) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(self, metrics)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(metrics.train_loss if metrics.test_loss is None else metrics.test_loss)
        elif self.scheduler is not None and self.scheduler_every == "epoch":
            self.scheduler.step()

    def _shown(self, loader: DataLoader, title: str, status: object = "") -> Iterable[Batch]:
        return WithBar(loader, title, status) if self.progress else loader

    def _resumed(self, loader: DataLoader) -> list[EpochMetrics]:
        if self.checkpoint_path is None:
            raise ValueError("Trainer: resume needs a run_dir that holds the checkpoint")
        history = load_checkpoint(self.checkpoint_path, self.model, self.optimizer, loader, self._parts())
        self._save_metrics(history)
        return history

    def _save(self, loader: DataLoader, history: list[EpochMetrics]) -> None:
        if self.checkpoint_path is not None:
            save_checkpoint(self.checkpoint_path, self.model, self.optimizer, loader, history, self._parts())
            self._save_metrics(history)

    def _parts(self) -> dict[str, Stateful]:
        """Return what the checkpoint keeps beside the network, the optimizer and the loader."""
        parts: dict[str, Stateful] = {
            f"{type(callback).__name__} (callback {number})": callback for number, callback in enumerate(self.callbacks)
        }
        if self.scheduler is not None:
            parts[f"{type(self.scheduler).__name__} (scheduler)"] = self.scheduler
        return parts

    def _save_metrics(self, history: list[EpochMetrics]) -> None:
        if self.run_dir is not None:
            write_csv(self.run_dir / "metrics.csv", history)

    def _check(self) -> None:
        if self.scheduler_every not in ("epoch", "batch"):
            raise ValueError(f"Trainer: scheduler_every={self.scheduler_every!r} must be 'epoch' or 'batch'")
        if self.scheduler is not None and getattr(self.scheduler, "optimizer", None) is not self.optimizer:
            raise ValueError("Trainer: scheduler must be an LRScheduler made for this optimizer")
        if isinstance(self.scheduler, ReduceLROnPlateau) and self.scheduler_every == "batch":
            raise ValueError("Trainer: ReduceLROnPlateau looks at the loss of an epoch: scheduler_every='epoch'")
        if self.clip_grad_norm is not None and not self.clip_grad_norm > 0:
            raise ValueError(f"Trainer: clip_grad_norm={self.clip_grad_norm!r} must be above 0")
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"Trainer: callbacks must be Callbacks, not {type(callback).__name__}")

    def _check_steps(self, epochs: int, batches: int) -> None:
        if not isinstance(self.scheduler, OneCycleLR):
            return
        steps = max(epochs, 0) * (batches if self.scheduler_every == "batch" else 1)
        left = self.scheduler.total_steps - self.scheduler.last_epoch
        if steps > left:
            raise ValueError(
                f"Trainer: {epochs} more epochs take {steps} steps of OneCycleLR, which was made for "
                f"total_steps={self.scheduler.total_steps} and has {left} left"
            )


def _ready(run_dir: Path) -> Path:
    """Find out now, not after the first epoch, whether anything can be saved."""
    require("safetensors", "saving checkpoints")
    if not run_dir.is_dir():
        raise NotADirectoryError(f"Trainer: run_dir must be an existing folder, got {run_dir}")
    return run_dir
