"""What all schedulers have in common: an optimizer, the number of steps so far, and a state that can be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping


class LRScheduler:
    """The base of all schedulers; one is written by defining ``get_lr``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates are set, at once and by each `step`. The rate that a group had before its first scheduler
        stays in it as ``"initial_lr"``.
    last_epoch : int, default -1
        Number of the last step that was taken, to go on with an optimizer whose groups have an ``"initial_lr"``;
        -1 begins.

    Attributes
    ----------
    last_epoch : int
        How many steps were taken; epochs or batches, as `step` is called.
    base_lrs : list of float
        The rate that each group began with.

    Raises
    ------
    TypeError
        If `optimizer` is not one.
    ValueError
        If `last_epoch` says to go on, and the optimizer never had a scheduler.

    Examples
    --------
    >>> import convkit as ck
    >>> class Halved(ck.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [rate / 2**self.last_epoch for rate in self.base_lrs]
    >>> optimizer = ck.optim.SGD([ck.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = Halved(optimizer)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.125]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._checked_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: last_epoch={last_epoch} goes on with a schedule, but group {i} of the optimizer "
                    "has no 'initial_lr': load the optimizer's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    def get_lr(self) -> list[float]:
        """Compute the rate of each group after `last_epoch` steps; schedulers define it."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """Return the rate that each group was given last."""
        return list(self._last_lr)

    def step(self) -> None:
        """Take the next step of the schedule; call it after the optimizer's."""
        self._step_count += 1
        self.last_epoch += 1
        self._set_lr(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        """Copy everything but the optimizer, whose own state holds the rates.

        Returns
        -------
        dict
            Of numbers, strings, and lists and dictionaries of these, which JSON can hold.
        """
        return {name: _copied(value) for name, value in vars(self).items() if name not in self._not_state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to a state that `state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned, for the same kind of scheduler and number of groups.

        Raises
        ------
        ValueError
            If it does not fit; the scheduler is left as it was.
        """
        self._check_state(state_dict)
        self._load(state_dict)

    # What schedulers are helped with.

    _not_state: tuple[str, ...] = ("optimizer",)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _begin(self) -> None:
        """Take the step that gives the first rates."""
        self._step_count = 0
        LRScheduler.step(self)

    def _restart(self) -> None:
        """Begin the curve anew in the middle of training, whatever the rates are now."""
        self.last_epoch = 0
        self._set_lr(self.get_lr())

    def _set_lr(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._remember_lr()

    def _remember_lr(self) -> None:
        self._last_lr = self._current_lr()

    def _current_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _checked_optimizer(self, optimizer: object) -> Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: optimizer must be an Optimizer, not {type(optimizer).__name__}")
        return optimizer

    def _for_each_group(self, name: str, value: Any) -> list[Any]:
        """Give every group the same value, or each its own from a list."""
        count = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, list | tuple) else [value] * count
        if len(values) != count:
            raise ValueError(f"{self._name}: {name} must have one value for each of {count} groups, not {len(values)}")
        return values

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        vars(self).update({name: _copied(value) for name, value in state_dict.items()})

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        expected = self.state_dict()
        if not hasattr(state_dict, "keys") or set(state_dict) != set(expected):
            raise ValueError(f"{self._name}: state_dict must have {', '.join(sorted(expected))}, got {state_dict!r}")
        for name, value in expected.items():
            found = state_dict[name]
            if isinstance(value, list) and (not isinstance(found, list) or len(found) != len(value)):
                raise ValueError(f"{self._name}: state_dict has {name}={found!r}, but here it is {value!r}")


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
