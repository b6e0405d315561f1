"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._shapes import Array
    from ..autograd import Tensor
    from ._batch import Batch, State
    from .optimizer import Group


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
    maximize : bool, default False
        Move along the gradients, not against them.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or an option is out of its range.

    Notes
    -----
    With gradient g (of opposite sign, to maximize), parameter p and velocity v, which starts as the first g::

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
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        self._check_at_least_0(group, "lr", "momentum", "dampening", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov=True needs momentum > 0 and dampening=0, "
                f"got momentum={group['momentum']!r} and dampening={group['dampening']!r}"
            )

    def _stage(self, state: State) -> object:
        return "momentum_buffer" in state

    def _update(self, batch: Batch, group: Group) -> None:
        momentum, dampening = group["momentum"], group["dampening"]
        velocities: list[Array] = []
        if momentum:
            if not batch.has("momentum_buffer"):
                dampening = 0  # the first gradient becomes the velocity as it is
            velocities = batch.remembered("momentum_buffer")
        batch.step(
            "sgd",
            velocities,
            lr=group["lr"],
            momentum=momentum,
            dampening=dampening,
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
