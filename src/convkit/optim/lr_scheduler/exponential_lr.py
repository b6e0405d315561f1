"""A rate that falls by the same share at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .shaped import ShapedLR

if TYPE_CHECKING:
    from ..optimizer import Optimizer


class ExponentialLR(ShapedLR):
    """Multiply the learning rate by `gamma` at every step.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    gamma : float
        What the rate is multiplied by.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Notes
    -----
    ``lr = initial_lr * gamma**steps``

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _shape(self, steps: int) -> float:
        return float(self.gamma**steps)
