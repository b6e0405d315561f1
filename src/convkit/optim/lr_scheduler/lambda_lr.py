"""A rate that a function of the caller's decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from .scheduler import LRScheduler

if TYPE_CHECKING:
    from ..optimizer import Optimizer

Factor: TypeAlias = Callable[[int], float]


class LambdaLR(LRScheduler):
    """Multiply the rate of the beginning by a function of the number of steps.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set.
    lr_lambda : function, or list of functions
        Takes the number of steps so far and returns what to multiply by; a list has one for each group.
    last_epoch : int, default -1
        Number of the last step that was taken; -1 begins.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or there are not as many functions as groups.

    Notes
    -----
    ``lr = initial_lr * lr_lambda(steps)``. The functions are not part of `state_dict`: a scheduler that goes on must
    be made with the same.

    Examples
    --------
    >>> import convkit as ck
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> scheduler = ck.optim.lr_scheduler.LambdaLR(optimizer, lambda steps: 1 / (1 + steps))
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    _not_state = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1) -> None:
        self.optimizer = self._checked_optimizer(optimizer)
        self.lr_lambdas: list[Factor] = self._for_each_group("lr_lambda", lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"LambdaLR: lr_lambda must be a function, not {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rate of each group after `last_epoch` steps."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in pairs]
