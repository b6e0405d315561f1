"""A rate that falls along half a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .checks import positive_integer
from .shaped import ShapedLR

if TYPE_CHECKING:
    from ..optimizer import Optimizer


class CosineAnnealingLR(ShapedLR):
    """Let the learning rate fall along half a cosine, and rise again if it goes on.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    T_max : int
        Steps from the top to the bottom.
    eta_min : float, default 0.0
        The rate at the bottom.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Notes
    -----
    ``lr = eta_min + (initial_lr - eta_min)*(1 + cos(pi*steps/T_max))/2``. I. Loshchilov and F. Hutter, "SGDR:
    stochastic gradient descent with warm restarts", ICLR 2017; without the restarts.

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> [round(rate, 3) for rate in rates]
    [1.0, 0.854, 0.5, 0.146]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803 (PyTorch's name)
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = positive_integer("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def _floor(self) -> float:  # type: ignore[override]
        return self.eta_min

    def _shape(self, steps: int) -> float:
        return (1 + math.cos(math.pi * steps / self.T_max)) / 2
