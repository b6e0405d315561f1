"""The linear map."""

from .. import ops
from .._shapes import Array
from ..autograd import Tensor, arrays, record


def linear(input: Tensor | Array, weight: Tensor | Array, bias: Tensor | Array | None = None) -> Tensor:
    """Apply a linear map to the last dimension: ``input @ weight.T + bias``.

    Parameters
    ----------
    input : Tensor, shape (..., in_features), float32 or float64
        Any number of vectors.
    weight : Tensor, shape (out_features, in_features), dtype of `input`
        The map's matrix.
    bias : Tensor, shape (out_features,), dtype of `input`, optional
        Added to each result.

    Returns
    -------
    Tensor, shape (..., out_features), dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit.

    See Also
    --------
    convkit.nn.Linear : the layer that holds the weights.

    Notes
    -----
    `input` is kept for the gradient of `weight`, `weight` for that of `input`; neither if nobody asks.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.linear(np.float32([[1, 2]]), np.float32([[3, 4], [5, 6]]))
    tensor([[11., 17.]])
    """
    x, w, b = arrays(input, weight, bias)
    output = ops.linear(x, w, b)
    input_shape, weight_shape = x.shape, w.shape
    return record(
        "linear",
        output,
        (input, lambda grad: ops.linear_backward_input(input_shape, w, grad)),
        (weight, lambda grad: ops.linear_backward_weight(x, weight_shape, grad)),
        (bias, ops.linear_backward_bias),
    )
