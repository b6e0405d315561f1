"""Activations that press all numbers into a range."""

from ... import ops
from ..._shapes import Array
from ...autograd import Tensor, arrays, record


def sigmoid(input: Tensor | Array) -> Tensor:
    """Press numbers into the range from 0 to 1.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64.

    See Also
    --------
    convkit.ops.sigmoid : the same on arrays, with the equation.
    convkit.nn.Sigmoid : the layer.

    Notes
    -----
    The output alone is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.sigmoid(np.float32([-200, 0, 200]))
    tensor([0. , 0.5, 1. ])
    """
    (x,) = arrays(input)
    output = ops.sigmoid(x)
    return record("sigmoid", output, (input, lambda grad: ops.sigmoid_backward(grad, output)))


def tanh(input: Tensor | Array) -> Tensor:
    """Press numbers into the range from -1 to 1.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64.

    See Also
    --------
    convkit.ops.tanh : the same on arrays, with the equation.
    convkit.nn.Tanh : the layer.

    Notes
    -----
    The output alone is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.tanh(np.float32([-200, 0, 200]))
    tensor([-1.,  0.,  1.])
    """
    (x,) = arrays(input)
    output = ops.tanh(x)
    return record("tanh", output, (input, lambda grad: ops.tanh_backward(grad, output)))


def hardsigmoid(input: Tensor | Array) -> Tensor:
    """Approximate the sigmoid by three straight lines.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64.

    See Also
    --------
    convkit.ops.hardsigmoid : the same on arrays, with the equation.
    convkit.nn.Hardsigmoid : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.hardsigmoid(np.float32([-4, 0, 4]))
    tensor([0. , 0.5, 1. ])
    """
    (x,) = arrays(input)
    output = ops.hardsigmoid(x)
    return record("hardsigmoid", output, (input, lambda grad: ops.hardsigmoid_backward(grad, x)))
