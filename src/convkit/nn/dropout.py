"""Layers that drop elements at random."""

from .. import functional
from ..autograd import Tensor
from ..functional.dropout import check_probability
from .module import Module


class Dropout(Module):
    """In training, set elements to zero at random and scale up the others.

    Parameters
    ----------
    p : float, default 0.5
        Probability, in [0, 1], that an element is dropped.

    Raises
    ------
    ValueError
        If `p` is not in [0, 1].

    See Also
    --------
    convkit.functional.dropout : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Dropout(0.5).eval()(np.float32([1, 2]))
    tensor([1., 2.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_probability("Dropout", p)
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements of `input`, of any shape, if in training."""
        return functional.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"
