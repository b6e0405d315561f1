"""A rate that warms up along a straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import positive_integer, within
from .shaped import ShapedLR

if TYPE_CHECKING:
    from ..optimizer import Optimizer


class LinearLR(ShapedLR):
    """Move the learning rate along a line from one share of it to another: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    start_factor : float, default 1/3
        Share of the rate to begin with, above 0 and up to 1.
    end_factor : float, default 1.0
        Share of the rate to end with, from 0 to 1.
    total_iters : int, default 5
        Steps from the one to the other; from then on the rate stays.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Notes
    -----
    ``lr = initial_lr * (start_factor + (end_factor - start_factor)*min(steps/total_iters, 1))``

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor={start_factor!r} must be above 0 and at most 1")
        self.start_factor = start_factor
        self.end_factor = within("LinearLR", "end_factor", end_factor, 0, 1)
        self.total_iters = positive_integer("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def _shape(self, steps: int) -> float:
        share = min(steps / self.total_iters, 1)
        return self.start_factor + (self.end_factor - self.start_factor) * share
