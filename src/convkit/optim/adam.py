"""Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..autograd import Tensor
    from ._batch import Batch, State
    from .optimizer import Group


class Adam(Optimizer):
    """Moves by the running mean of the gradient over the root of its running mean square.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        What to optimize, or groups of it with options of their own.
    lr : float, default 1e-3
        Learning rate: about how far a parameter moves in a step.
    betas : (float, float), default (0.9, 0.999)
        Share of the past, in [0, 1), in the running mean and in the running mean square.
    eps : float, default 1e-8
        Added to the root, so that nothing is divided by zero.
    weight_decay : float, default 0
        L2 penalty: this times the parameter is added to its gradient.
    maximize : bool, default False
        Move along the gradients, not against them.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or an option is out of its range.

    See Also
    --------
    AdamW : decays weights apart from the gradient.

    Notes
    -----
    With gradient g (of opposite sign, to maximize) in step t, both running means starting at 0::

        m = beta1*m + (1 - beta1)*g
        v = beta2*v + (1 - beta2)*g**2
        p = p - lr * m/(1 - beta1**t) / (sqrt(v/(1 - beta2**t)) + eps)

    D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0], requires_grad=True)
    >>> optimizer = ck.optim.Adam([x], lr=0.25)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 6)
    0.75
    """

    _decoupled = False  # whether weights decay by themselves

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        self._check_at_least_0(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{self._name}: betas={betas!r} must be two numbers in [0, 1)")

    def _stage(self, state: State) -> object:
        return state.get("step", 0)

    def _update(self, batch: Batch, group: Group) -> None:
        count = batch.states[0].get("step", 0) + 1
        beta1, beta2 = group["betas"]
        batch.step(
            "adam",
            batch.remembered("exp_avg"),
            batch.remembered("exp_avg_sq"),
            count=count,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=self._decoupled,
            maximize=group["maximize"],
        )
        for state in batch.states:
            state["step"] = count
