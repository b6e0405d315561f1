"""What may happen beside training: `Callback`, of which `EarlyStopping` is one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .metrics import BatchMetrics, EpochMetrics

if TYPE_CHECKING:
    from .tensor_file import Arrays
    from .trainer import Trainer


class Callback:
    """What a `Trainer` calls at certain moments; write one by defining those that matter to it.

    Notes
    -----
    Its methods may look at and change everything that the trainer has: ``model``, ``optimizer``, ``scheduler``,
    ``train_loader``, ``test_loader``. They end the training after the present epoch by ``trainer.should_stop = True``.

    Examples
    --------
    >>> class Losses(Callback):
    ...     def __init__(self):
    ...         self.losses = []
    ...
    ...     def on_epoch_end(self, trainer, metrics):
    ...         self.losses.append(metrics.train_loss)
    ...
    ...     def state_dict(self):
    ...         return {"losses": list(self.losses)}
    ...
    ...     def load_state_dict(self, state_dict):
    ...         self.losses = list(state_dict["losses"])
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch; a run that is resumed is already where it left off."""

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics) -> None:
        """After each step of the optimizer; the gradients are still there."""

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """After each epoch and its test, before the step of the schedule and the checkpoint."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, and when training ends by an error or Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint must keep: a tree of dictionaries, lists, ndarrays and what JSON can hold."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` returned; raise ValueError or KeyError if it does not fit."""


class EarlyStopping(Callback):
    """Stop when the network gets no better on the test set, and leave it as it was at its best.

    Parameters
    ----------
    monitor : str, default 'test_loss'
        The measure that tells: a field of `EpochMetrics`. Accuracies are better when larger, losses when smaller.
    patience : int, default 5
        Epochs without an improvement that are put up with; the one after them is the last.
    min_delta : float, default 0.0
        How much better than the best a measure must be to count.

    Attributes
    ----------
    best : float
        The best measure so far.
    best_epoch : int
        The epoch that it is of; 0 before the first.

    Raises
    ------
    ValueError
        If an argument is out of its range; and when training begins, if there is no test set to monitor.

    Notes
    -----
    The best parameters come back when training ends, by whatever it ends. The checkpoint keeps both them and those of
    the last epoch, so a run that is resumed goes on to the same bits; one that was stopped early stays stopped.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2)
    >>> trainer = Trainer(model, optimizer, callbacks=[stopping])  # doctest: +SKIP
    """

    def __init__(self, monitor: str = "test_loss", patience: int = 5, min_delta: float = 0.0) -> None:
        if monitor not in _MEASURES:
            raise ValueError(f"EarlyStopping: monitor={monitor!r} must be one of {', '.join(_MEASURES)}")
        if patience < 0 or min_delta < 0:
            raise ValueError(
                f"EarlyStopping: patience and min_delta must be at least 0, got {patience!r} and {min_delta!r}"
            )
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self._sign = -1 if monitor.endswith("loss") else 1
        self.best = -self._sign * math.inf
        self.best_epoch = 0
        self._last_epoch = 0
        self._best_model: Arrays = {}

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Find out whether there is something to monitor; stop at once if the run that is resumed was stopped."""
        if self.monitor.startswith("test") and trainer.test_loader is None:
            raise ValueError(f"EarlyStopping: {self.monitor} needs a test_loader")
        trainer.should_stop |= self._is_over

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Keep the network if it is the best so far; stop if it was not for too long."""
        measure = getattr(metrics, self.monitor)
        self._last_epoch = metrics.epoch
        if self._sign * measure > self._sign * self.best + self.min_delta:
            self.best, self.best_epoch = measure, metrics.epoch
            self._best_model = trainer.model.state_dict()
        trainer.should_stop |= self._is_over

    def on_fit_end(self, trainer: Trainer) -> None:
        """Put the best parameters back."""
        if self._best_model:
            trainer.model.load_state_dict(self._best_model)

    def state_dict(self) -> dict[str, Any]:
        """Return the best measure, its epoch, and the network as it was then."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "last_epoch": self._last_epoch,
            "best_model": dict(self._best_model),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` returned."""
        self.best = float(state_dict["best"])
        self.best_epoch = int(state_dict["best_epoch"])
        self._last_epoch = int(state_dict["last_epoch"])
        self._best_model = dict(state_dict["best_model"])

    @property
    def _is_over(self) -> bool:
        return self._last_epoch - self.best_epoch > self.patience


_MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
