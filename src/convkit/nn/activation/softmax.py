"""The softmax and its logarithm as layers."""

from ... import functional
from ...autograd import Tensor
from ..module import Module


class Softmax(Module):
    """Turn scores into probabilities along a dimension.

    Parameters
    ----------
    dim : int
        Dimension along which the probabilities sum to one.

    See Also
    --------
    convkit.functional.softmax : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Softmax(dim=0)(np.float32([0, 0]))
    tensor([0.5, 0.5])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Turn scores into logarithms of probabilities along a dimension.

    Parameters
    ----------
    dim : int
        Dimension along which the probabilities sum to one.

    See Also
    --------
    convkit.functional.log_softmax : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.LogSoftmax(dim=0)(np.float32([0, 1000]))
    tensor([-1000.,     0.])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"dim={self.dim}"
