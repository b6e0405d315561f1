"""Activation layers."""

from .. import functional
from ..autograd import Tensor
from .module import Module


class ReLU(Module):
    """Replace negative elements by zero.

    See Also
    --------
    convkit.functional.relu : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.ReLU()(np.float32([-1, 0, 2]))
    tensor([0., 0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Rectify `input`, of any shape."""
        return functional.relu(input)
