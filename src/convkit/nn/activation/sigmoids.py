"""Activation layers that press all numbers into a range."""

from ... import functional
from ...autograd import Tensor
from ..module import Module


class Sigmoid(Module):
    """Press numbers into the range from 0 to 1.

    See Also
    --------
    convkit.functional.sigmoid : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Sigmoid()(np.float32([-200, 0, 200]))
    tensor([0. , 0.5, 1. ])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.sigmoid(input)


class Tanh(Module):
    """Press numbers into the range from -1 to 1.

    See Also
    --------
    convkit.functional.tanh : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Tanh()(np.float32([-200, 0, 200]))
    tensor([-1.,  0.,  1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.tanh(input)


class Hardsigmoid(Module):
    """Approximate the sigmoid by three straight lines.

    See Also
    --------
    convkit.functional.hardsigmoid : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Hardsigmoid()(np.float32([-4, 0, 4]))
    tensor([0. , 0.5, 1. ])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.hardsigmoid(input)
