"""A rate that falls when nothing gets better any more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, SupportsFloat

from .checks import one_of
from .scheduler import LRScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiply the learning rate by `factor` when a measure has stopped getting better.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    mode : {'min', 'max'}, default 'min'
        Whether less of the measure is better, or more.
    factor : float, default 0.1
        What the rate is multiplied by, below 1.
    patience : int, default 10
        Steps without an improvement that are put up with; the one after them reduces the rate.
    threshold : float, default 1e-4
        How much better than the best a measure must be to count.
    threshold_mode : {'rel', 'abs'}, default 'rel'
        Whether `threshold` is a share of the best, or an amount.
    cooldown : int, default 0
        Steps after a reduction in which nothing is counted.
    min_lr : float or list of float, default 0
        No rate is reduced below this; a list has one for each group.
    eps : float, default 1e-8
        A reduction by less than this is left out.

    Attributes
    ----------
    best : float
        The best measure so far.
    num_bad_epochs : int
        Steps since then.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (0.9, 0.8, 0.8, 0.8):
    ...     optimizer.step()
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = self._checked_optimizer(optimizer)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor={factor!r} must be at least 0 and below 1")
        self.mode = one_of("ReduceLROnPlateau", "mode", mode, ("min", "max"))
        self.threshold_mode = one_of("ReduceLROnPlateau", "threshold_mode", threshold_mode, ("rel", "abs"))
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.min_lrs: list[float] = self._for_each_group("min_lr", min_lr)
        self.eps = eps
        self.last_epoch = 0
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._remember_lr()

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction is so recent that nothing is counted."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Look at a measure, the loss of the test set for example, and reduce the rates if it is time."""
        measure = float(metrics)
        self.last_epoch += 1
        if self._is_better(measure):
            self.best = measure
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._set_lr(self.get_lr())
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._remember_lr()

    def get_lr(self) -> list[float]:
        """Compute the reduced rate of each group."""
        rates = self._current_lr()
        reduced = [max(rate * self.factor, least) for rate, least in zip(rates, self.min_lrs, strict=True)]
        return [new if old - new > self.eps else old for old, new in zip(rates, reduced, strict=True)]

    def _is_better(self, measure: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * measure > sign * self.best * (1 + sign * self.threshold)
        return sign * measure > sign * self.best + self.threshold
