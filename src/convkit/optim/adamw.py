"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .adam import Adam

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..autograd import Tensor
    from .optimizer import Group


class AdamW(Adam):
    """Adam, with weights that decay by themselves, not by their gradients.

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
    weight_decay : float, default 0.01
        Each step takes `lr` times this share of every parameter away.
    maximize : bool, default False
        Move along the gradients, not against them.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or an option is out of its range.

    Notes
    -----
    ``p = p*(1 - lr*weight_decay)``, and then the step of `Adam`. I. Loshchilov and F. Hutter, "Decoupled weight decay
    regularization", ICLR 2019.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0], requires_grad=True)
    >>> optimizer = ck.optim.AdamW([x], lr=0.25, weight_decay=1)
    >>> (x**2).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 6)
    0.5
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)
