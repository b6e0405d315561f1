"""Layers that only change shapes."""

from .. import functional
from ..autograd import Tensor
from .module import Module


class Flatten(Module):
    """Make one dimension of several neighbouring ones: by default, a vector of each image.

    Parameters
    ----------
    start_dim, end_dim : int, default 1 and -1
        The first and the last of the dimensions to join.

    See Also
    --------
    convkit.functional.flatten : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Flatten()(np.zeros((2, 3, 4, 4), np.float32)).shape
    (2, 48)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Flatten `input`."""
        return functional.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
