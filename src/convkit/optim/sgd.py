"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._shapes import Array
    from ..autograd import Tensor
    from .optimizer import Group, State


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked for.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        What to optimize, or groups of it with options of their own.
    lr : float, default 1e-3
        Learning rate.
    momentum : float, default 0
        Share of the last move that goes into the next.
    dampening : float, default 0
        Share of the gradient that does not go into the momentum.
    weight_decay : float, default 0
        L2 penalty: this times the parameter is added to its gradient.
    nesterov : bool, default False
        Look ahead along the momentum; needs `momentum` and no `dampening`.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or an option is out of its range.

    Notes
    -----
    With gradient g, parameter p and velocity v, which starts as the first g::

        g = g + weight_decay*p
        v = momentum*v + (1 - dampening)*g
        p = p - lr*v                            or, with Nesterov, p - lr*(g + momentum*v)

    I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep learning",
    ICML 2013; with PyTorch's place for the learning rate.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0], requires_grad=True)
    >>> optimizer = ck.optim.SGD([x], lr=0.25)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> x
    tensor([0.5], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        self._check_at_least_0(group, "lr", "momentum", "dampening", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov=True needs momentum > 0 and dampening=0, "
                f"got momentum={group['momentum']!r} and dampening={group['dampening']!r}"
            )

    def _update(self, parameter: Array, gradient: Array, scratch: Array, state: State, group: Group) -> None:
        lr, momentum = group["lr"], group["momentum"]
        if group["weight_decay"]:
            np.multiply(parameter, group["weight_decay"], out=scratch)
            scratch += gradient
            gradient = scratch
        move = gradient
        if momentum:
            move = _velocity(parameter, gradient, scratch, state, group)
        if group["nesterov"]:
            np.multiply(gradient, lr, out=scratch)
            parameter -= scratch
            lr *= momentum
        np.multiply(move, lr, out=scratch)
        parameter -= scratch


def _velocity(parameter: Array, gradient: Array, scratch: Array, state: State, group: Group) -> Array:
    velocity: Array | None = state.get("momentum_buffer")
    if velocity is None:
        velocity = state["momentum_buffer"] = np.empty_like(parameter)
        velocity[...] = gradient
        return velocity
    velocity *= group["momentum"]
    if group["dampening"]:
        gradient = np.multiply(gradient, 1 - group["dampening"], out=scratch)
    velocity += gradient
    return velocity
