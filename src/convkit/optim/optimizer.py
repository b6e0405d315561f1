"""What all optimizers have in common: groups of parameters with their options, and a state for each parameter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..autograd import Tensor, enable_grad
from ._batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._batch import State

    Group = dict[str, Any]

R = TypeVar("R")

#: Options that states saved before there were any do not have.
_LATER = {"maximize": False}


class Optimizer:
    """The base of all optimizers; one is written by defining ``_check``, ``_stage`` and ``_update``.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        What to optimize. A dictionary is a group: its ``"params"`` have the options that it names, and the defaults
        for the others.
    defaults : dict
        The options, such as the learning rate, with their default values.

    Attributes
    ----------
    param_groups : list of dict
        The groups. Their options may be changed between steps, the learning rate above all.
    state : dict of Tensor to dict
        What is remembered of each parameter from step to step.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, one is there twice or is not a leaf tensor, or an option is out of its range.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[Group], defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{self._name}: params must be an iterable of tensors or groups, not a Tensor")
        items: list[Any] = list(params)
        if not items:
            raise ValueError(f"{self._name}: params is empty; was it an iterator that something else used up?")
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        for group in items if isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Optimize more parameters: ``{"params": ...}`` with options, if they differ from the defaults.

        Raises
        ------
        TypeError, ValueError
            As for the optimizer; nothing is added then.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{self._name}: a group must be a dict with 'params', got {param_group!r}")
        params = param_group["params"]
        group = {**self.defaults, **param_group, "params": [params] if isinstance(params, Tensor) else list(params)}
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ValueError(f"{self._name}: there is no option {', '.join(sorted(unknown))}")
        self._check_parameters(group["params"])
        self._check(group)
        self.param_groups.append(group)

    def step(self, closure: Callable[[], R] | None = None) -> R | None:
        """Move each parameter that has a gradient.

        Parameters
        ----------
        closure : function, optional
            Called first, to compute the loss and its gradients.

        Returns
        -------
        What `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        # All first, since what does not fit is refused before anything moves.
        moves = [(batch, group) for group in self.param_groups for batch in self._batches(group)]
        for batch, group in moves:
            self._update(batch, group)
            batch.hand_back()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take the gradients away from all parameters, or fill them with zeros."""
        for parameter in self._parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.data[...] = 0

    def state_dict(self) -> dict[str, Any]:
        """Copy options and state.

        Returns
        -------
        dict
            ``"state"``: for each parameter that has one, by its number, a dictionary of ndarrays in C order and
            numbers. ``"param_groups"``: the options of each group, with the numbers of its parameters.
        """
        number = {parameter: i for i, parameter in enumerate(self._parameters())}
        return {
            "state": {
                number[parameter]: {key: _copied(value) for key, value in state.items()}
                for parameter, state in self.state.items()
            },
            "param_groups": [
                {**group, "params": [number[parameter] for parameter in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to options and state that `state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned for the same groups of parameters. After a trip through JSON, numbers may have
            become strings and tuples lists.

        Raises
        ------
        ValueError
            If it does not fit these parameters; the optimizer is left as it was.
        """
        parameters = self._parameters()
        try:
            groups = [
                self._restored_group(*pair) for pair in zip(self.param_groups, state_dict["param_groups"], strict=True)
            ]
            states = {
                parameters[int(number)]: {
                    key: _restored(value, parameters[int(number)]) for key, value in state.items()
                }
                for number, state in state_dict["state"].items()
            }
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._name}: state_dict does not fit these parameters: {error!r}") from error
        self.param_groups = groups
        self.state = states

    # What an optimizer defines.

    def _check(self, group: Group) -> None:
        """Raise unless the options of `group` make sense."""
        raise NotImplementedError

    def _stage(self, state: State) -> object:
        """Tell how far a parameter is: those of the same stage move in one call of `_update`."""
        raise NotImplementedError

    def _update(self, batch: Batch, group: Group) -> None:
        """Change the parameters of `batch` in place, and their states, but not their gradients."""
        raise NotImplementedError

    # What they are helped with.

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_at_least_0(self, group: Group, *names: str) -> None:
        for name in names:
            value = group[name]
            if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
                raise TypeError(f"{self._name}: {name}={value!r} must be a number")
            if not 0 <= value < math.inf:
                raise ValueError(f"{self._name}: {name}={value!r} must be at least 0, and finite")

    def _check_parameters(self, parameters: list[Any]) -> None:
        known = set(self._parameters())
        for i, parameter in enumerate(parameters):
            if not isinstance(parameter, Tensor):
                raise TypeError(f"{self._name}: params[{i}] must be a Tensor, not {type(parameter).__name__}")
            if not parameter.is_leaf:
                raise ValueError(
                    f"{self._name}: params[{i}] was computed ({parameter.grad_fn}); only leaves can be moved"
                )
            if parameter in known:
                raise ValueError(f"{self._name}: params[{i}], of shape {parameter.shape}, is there twice")
            known.add(parameter)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _batches(self, group: Group) -> list[Batch]:
        batches: dict[object, Batch] = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            array, state = parameter.data, self.state.setdefault(parameter, {})
            kind = array.dtype.char, self._stage(state)
            if kind not in batches:
                batches[kind] = Batch(array.dtype)
            batches[kind].add(self._name, array, parameter.grad.data, state)
        return list(batches.values())

    def _restored_group(self, group: Group, saved: Mapping[str, Any]) -> Group:
        if len(saved["params"]) != len(group["params"]):
            raise ValueError(f"a group has {len(saved['params'])} parameters, and here {len(group['params'])}")
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
        options = {**_LATER, **options}
        missing = self.defaults.keys() - options.keys()
        if missing:
            raise ValueError(f"a group lacks {', '.join(sorted(missing))}")
        self._check(options)
        # What schedulers left in the group comes back too.
        return {**options, "params": group["params"]}


def _copied(value: Any) -> Any:
    return np.array(value, order="C") if isinstance(value, np.ndarray) else value


def _restored(value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if value.shape != parameter.shape:
        raise ValueError(f"the state of a parameter {parameter.shape} has shape {value.shape}")
    restored = np.empty_like(parameter.data)
    restored[...] = value
    return restored
