"""The softmax, and its logarithm."""

from ... import ops
from ..._shapes import Array
from ...autograd import Tensor, arrays, record


def softmax(input: Tensor | Array, dim: int) -> Tensor:
    """Turn scores into probabilities along a dimension.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
        Scores (logits).
    dim : int
        Dimension along which the probabilities sum to one.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If `input` is not float32 or float64, or `dim` not one of its dimensions.

    See Also
    --------
    log_softmax : for losses.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.softmax(np.float32([0, 0]), dim=0)
    tensor([0.5, 0.5])
    """
    (x,) = arrays(input)
    output = ops.softmax(x, dim)
    return record("softmax", output, (input, lambda grad: ops.softmax_backward(grad, output, dim)))


def log_softmax(input: Tensor | Array, dim: int) -> Tensor:
    """Compute the logarithm of `softmax`, which underflows nowhere.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
        Scores (logits).
    dim : int
        Dimension along which the probabilities sum to one.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If `input` is not float32 or float64, or `dim` not one of its dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.log_softmax(np.float32([0, 1000]), dim=0)
    tensor([-1000.,     0.])
    """
    (x,) = arrays(input)
    output = ops.log_softmax(x, dim)
    return record("log_softmax", output, (input, lambda grad: ops.log_softmax_backward(grad, output, dim)))
