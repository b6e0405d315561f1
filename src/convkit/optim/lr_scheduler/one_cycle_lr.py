"""A rate that rises once and falls once, while the momentum does the opposite."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from .checks import one_of, positive_integer, within
from .scheduler import LRScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..optimizer import Group, Optimizer


class OneCycleLR(LRScheduler):
    """Raise the learning rate to `max_lr` and let it fall to almost nothing, within one training.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    max_lr : float or list of float
        The rate at the top; a list has one for each group.
    total_steps : int, optional
        Steps, usually batches, of the whole training; or give `epochs` and `steps_per_epoch`.
    epochs, steps_per_epoch : int, optional
        Their product is `total_steps`.
    pct_start : float, default 0.3
        Share of the steps, from 0 to 1, in which the rate rises.
    anneal_strategy : {'cos', 'linear'}, default 'cos'
        Along which curve it rises and falls.
    cycle_momentum : bool, default True
        Whether momentum (or with Adam, the first of `betas`) falls while the rate rises, and rises while it falls.
    base_momentum, max_momentum : float or list of float, default 0.85 and 0.95
        The least and the largest momentum; a list has one for each group.
    div_factor : float, default 25.0
        The rate begins at ``max_lr/div_factor``.
    final_div_factor : float, default 1e4
        The rate ends at its beginning divided by this.
    three_phase : bool, default False
        Fall to the beginning's rate as fast as it rose, and then to the end's; otherwise fall at once.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range, or the optimizer has no momentum to cycle; and by
        `step`, if it is called more than `total_steps` times.

    Notes
    -----
    L. N. Smith and N. Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018. As in PyTorch the rise ends at step ``pct_start*total_steps - 1``.

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0, momentum=0.9)
    >>> scheduler = ck.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.5)
    >>> rates = []
    >>> for _ in range(10):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> [round(rate, 2) for rate in rates]
    [0.04, 0.18, 0.52, 0.86, 1.0, 0.9, 0.65, 0.35, 0.1, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked_optimizer(optimizer)
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        self.pct_start = within("OneCycleLR", "pct_start", pct_start, 0, 1)
        self.anneal_strategy = one_of("OneCycleLR", "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.three_phase = three_phase
        self.max_lrs: list[float] = self._for_each_group("max_lr", max_lr)
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.cycle_momentum = cycle_momentum
        self.base_momentums: list[float] = self._for_each_group("base_momentum", base_momentum)
        self.max_momentums: list[float] = self._for_each_group("max_momentum", max_momentum)
        if cycle_momentum and not optimizer.defaults.keys() & {"momentum", "betas"}:
            raise ValueError(
                f"OneCycleLR: cycle_momentum=True needs an optimizer with momentum or betas, "
                f"which {type(optimizer).__name__} lacks"
            )
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = top / div_factor
        super().__init__(optimizer, last_epoch)

    def step(self) -> None:
        """Take the next step of the schedule, in rate and momentum."""
        if self.last_epoch >= self.total_steps:
            raise ValueError(f"OneCycleLR: step was called more than total_steps={self.total_steps} times")
        super().step()

    def _set_lr(self, rates: list[float]) -> None:
        super()._set_lr(rates)
        if self.cycle_momentum:
            for group, momentum in zip(self.optimizer.param_groups, self._momentums(), strict=True):
                _set_momentum(group, momentum)

    def get_lr(self) -> list[float]:
        """Compute the rate of each group after `last_epoch` steps."""
        return [
            self._along(initial, top, *([initial] if self.three_phase else []), initial / self.final_div_factor)
            for initial, top in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def _momentums(self) -> list[float]:
        return [
            self._along(high, low, high, *([high] if self.three_phase else []))
            for low, high in zip(self.base_momentums, self.max_momentums, strict=True)
        ]

    def _along(self, *corners: float) -> float:
        """Return where the curve through `corners`, one for the beginning and the end of each phase, is now."""
        times = [0.0, *self._ends()]
        phase = min(bisect_left(times, self.last_epoch, lo=1), len(times) - 1)
        begin, end = times[phase - 1 : phase + 1]
        share = (self.last_epoch - begin) / (end - begin) if end != begin else 1.0
        return self._between(corners[phase - 1], corners[phase], share)

    def _ends(self) -> list[float]:
        """Return the steps at which the phases end."""
        rise = self.pct_start * self.total_steps
        return [rise - 1, *([2 * rise - 2] if self.three_phase else []), self.total_steps - 1]

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _set_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return positive_integer("OneCycleLR", "total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("OneCycleLR: needs total_steps, or both epochs and steps_per_epoch")
    return positive_integer("OneCycleLR", "epochs", epochs) * positive_integer(
        "OneCycleLR", "steps_per_epoch", steps_per_epoch
    )
