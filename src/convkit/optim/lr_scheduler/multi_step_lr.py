"""A rate that falls at given steps."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from .checks import rising_integers
from .shaped import ShapedLR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..optimizer import Optimizer


class MultiStepLR(ShapedLR):
    """Multiply the learning rate by `gamma` at each of `milestones`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    milestones : list of int
        The steps at which the rate falls; they must not fall themselves. One that is there twice counts twice.
    gamma : float, default 0.1
        What the rate is multiplied by.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Notes
    -----
    ``lr = initial_lr * gamma**(number of milestones <= steps)``

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = rising_integers("MultiStepLR", "milestones", milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _shape(self, steps: int) -> float:
        return float(self.gamma ** bisect_right(self.milestones, steps))
