"""Adam."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._shapes import Array
    from ..autograd import Tensor
    from .optimizer import Group, State


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

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or an option is out of its range.

    See Also
    --------
    AdamW : decays weights apart from the gradient.

    Notes
    -----
    With gradient g in step t, both running means starting at 0::

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
    >>> x
    tensor([0.75], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: Group) -> None:
        self._check_at_least_0(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{self._name}: betas={betas!r} must be two numbers in [0, 1)")

    def _update(self, parameter: Array, gradient: Array, scratch: Array, state: State, group: Group) -> None:
        if group["weight_decay"]:
            gradient = self._decayed(parameter, gradient, scratch, group)
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(parameter), exp_avg_sq=np.zeros_like(parameter))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean, mean_square = state["exp_avg"], state["exp_avg_sq"]

        # mean + (1 - beta1)*(gradient - mean), without room for anything in between: gradient may be in scratch.
        mean -= gradient
        mean *= beta1
        mean += gradient

        mean_square *= beta2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - beta2
        mean_square += scratch

        # The corrections of both means in two numbers, as the paper proposes at the end of its section 2.
        root = math.sqrt(1 - beta2 ** state["step"])
        np.sqrt(mean_square, out=scratch)
        scratch += group["eps"] * root
        np.divide(mean, scratch, out=scratch)
        scratch *= group["lr"] * root / (1 - beta1 ** state["step"])
        parameter -= scratch

    def _decayed(self, parameter: Array, gradient: Array, scratch: Array, group: Group) -> Array:
        """Let the weights decay: here by a gradient with the penalty's added, in `scratch`."""
        np.multiply(parameter, group["weight_decay"], out=scratch)
        scratch += gradient
        return scratch
