"""Activations: functions of one element, and the softmax with its logarithm."""

from .. import ops
from .._shapes import Array
from ..autograd import Tensor, arrays, record


def relu(input: Tensor | Array) -> Tensor:
    """Replace negative elements by zero.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64

    Returns
    -------
    Tensor, shape and dtype of `input`
        ``max(input, 0)``; a NaN stays a NaN.

    Raises
    ------
    TypeError
        If `input` is not float32 or float64.

    Notes
    -----
    The output alone is kept for the gradient, which passes where the output is positive.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.relu(np.float32([-1, 0, 2]))
    tensor([0., 0., 2.])
    """
    (x,) = arrays(input)
    output = ops.relu(x)
    return record("relu", output, (input, lambda grad: ops.relu_backward(grad, output)))


def relu6(input: Tensor | Array) -> Tensor:
    """Clip to the range from 0 to 6.

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
    convkit.ops.relu6 : the same on arrays, with the equation.
    convkit.nn.ReLU6 : the layer.

    Notes
    -----
    The output alone is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.relu6(np.float32([-1, 2, 7]))
    tensor([0., 2., 6.])
    """
    (x,) = arrays(input)
    output = ops.relu6(x)
    return record("relu6", output, (input, lambda grad: ops.relu6_backward(grad, output)))


def leaky_relu(input: Tensor | Array, negative_slope: float = 0.01) -> Tensor:
    """Scale down what is negative.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    negative_slope : float, default 0.01
        What negative elements are multiplied with.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64, or `negative_slope` not a number.

    See Also
    --------
    convkit.ops.leaky_relu : the same on arrays, with the equation.
    convkit.nn.LeakyReLU : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.leaky_relu(np.float32([-100, 0, 2]))
    tensor([-1.,  0.,  2.])
    """
    (x,) = arrays(input)
    output = ops.leaky_relu(x, negative_slope)
    return record("leaky_relu", output, (input, lambda grad: ops.leaky_relu_backward(grad, x, negative_slope)))


def elu(input: Tensor | Array, alpha: float = 1.0) -> Tensor:
    """Let what is negative approach a limit.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    alpha : float, default 1.0
        What the output falls to, negated, as the input falls.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64, or `alpha` not a number.

    See Also
    --------
    convkit.ops.elu : the same on arrays, with the equation.
    convkit.nn.ELU : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.elu(np.float32([-50, 0, 2]))
    tensor([-1.,  0.,  2.])
    """
    (x,) = arrays(input)
    output = ops.elu(x, alpha)
    return record("elu", output, (input, lambda grad: ops.elu_backward(grad, x, alpha)))


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


def silu(input: Tensor | Array) -> Tensor:
    """Multiply numbers with their own sigmoid.

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
    convkit.ops.silu : the same on arrays, with the equation.
    convkit.nn.SiLU : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.silu(np.float32([-200, 0, 200]))
    tensor([ -0.,   0., 200.])
    """
    (x,) = arrays(input)
    output = ops.silu(x)
    return record("silu", output, (input, lambda grad: ops.silu_backward(grad, x)))


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


def hardswish(input: Tensor | Array) -> Tensor:
    """Multiply numbers with their own hard sigmoid.

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
    convkit.ops.hardswish : the same on arrays, with the equation.
    convkit.nn.Hardswish : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.hardswish(np.float32([-4, 1, 4]))
    tensor([-0.       ,  0.6666667,  4.       ])
    """
    (x,) = arrays(input)
    output = ops.hardswish(x)
    return record("hardswish", output, (input, lambda grad: ops.hardswish_backward(grad, x)))


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
