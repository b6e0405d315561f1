"""Flattening."""

from .._shapes import Array
from ..autograd import Tensor


def flatten(input: Tensor | Array, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Make one dimension of several neighbouring ones.

    Parameters
    ----------
    input : Tensor of any shape
    start_dim, end_dim : int, default 0 and -1
        The first and the last of the dimensions to join.

    Returns
    -------
    Tensor
        The elements in C order of the logical shape: channel after channel, however the images lie in memory.

    Raises
    ------
    TypeError, ValueError
        If a dimension does not exist, or `start_dim` comes after `end_dim`.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.flatten(np.zeros((2, 3, 4, 4), np.float32), start_dim=1).shape
    (2, 48)
    """
    tensor = input if isinstance(input, Tensor) else Tensor(input)
    return tensor.flatten(start_dim, end_dim)
