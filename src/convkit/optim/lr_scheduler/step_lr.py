"""A rate that falls by steps of equal length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import positive_integer
from .shaped import ShapedLR

if TYPE_CHECKING:
    from ..optimizer import Optimizer


class StepLR(ShapedLR):
    """Multiply the learning rate by `gamma` every `step_size` steps.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    step_size : int
        Steps from one fall to the next.
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
    ``lr = initial_lr * gamma**floor(steps/step_size)``

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = positive_integer("StepLR", "step_size", step_size)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _shape(self, steps: int) -> float:
        return float(self.gamma ** (steps // self.step_size))
