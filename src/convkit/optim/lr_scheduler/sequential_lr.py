"""One schedule after the other."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from .checks import rising_integers
from .reduce_lr_on_plateau import ReduceLROnPlateau
from .scheduler import LRScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Follow one schedule, then the next: a warm-up and a decay, for example.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    schedulers : list of LRScheduler
        In the order in which they are followed, all made for `optimizer`. Each counts its own steps from 0.
    milestones : list of int
        The steps at which each of the others begins: one fewer than schedulers.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If the schedulers do not fit together, or need more than steps, as `ReduceLROnPlateau` does.

    Examples
    --------
    >>> import convkit as ck
    >>> from convkit.optim import lr_scheduler
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> warm_up = lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> decay = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler = lr_scheduler.SequentialLR(optimizer, [warm_up, decay], milestones=[2])
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    _not_state = ("optimizer", "_schedulers")

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Iterable[int],
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked_optimizer(optimizer)
        self._schedulers = [self._checked(i, scheduler) for i, scheduler in enumerate(schedulers)]
        self._milestones = rising_integers("SequentialLR", "milestones", milestones)
        if not self._schedulers:
            raise ValueError("SequentialLR: schedulers is empty")
        if len(self._milestones) != len(self._schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(self._schedulers)} schedulers need {len(self._schedulers) - 1} milestones, "
                f"got {len(self._milestones)}"
            )
        self.last_epoch = last_epoch
        # Each has set its first rates already, on top of the others'; those of the first alone are to count.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._begin()

    def step(self) -> None:
        """Take the next step of the schedule that it is the turn of."""
        self.last_epoch += 1
        scheduler = self._followed()
        if self.last_epoch in self._milestones:
            scheduler._restart()
        else:
            scheduler.step()
        self._remember_lr()

    def state_dict(self) -> dict[str, Any]:
        """Copy everything but the optimizer, the states of all schedulers included."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        super()._check_state(state_dict)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler._check_state(state)

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        super()._load({name: value for name, value in state_dict.items() if name != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler._load(state)

    def _begin(self) -> None:
        self.last_epoch += 1
        first = self._followed()
        first.last_epoch -= 1  # its first step was taken when it was made
        first._begin()
        self._remember_lr()

    def _restart(self) -> None:
        self.last_epoch = 0
        self._followed()._restart()
        self._remember_lr()

    def _followed(self) -> LRScheduler:
        return self._schedulers[bisect_right(self._milestones, self.last_epoch)]

    def _checked(self, index: int, scheduler: Any) -> LRScheduler:
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(f"SequentialLR: schedulers[{index}] must be an LRScheduler, not {type(scheduler).__name__}")
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(f"SequentialLR: schedulers[{index}] is a ReduceLROnPlateau, which needs more than steps")
        if scheduler.optimizer is not self.optimizer:
            raise ValueError(f"SequentialLR: schedulers[{index}] was made for another optimizer")
        return scheduler
