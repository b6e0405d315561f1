"""Activations that pass what is positive, and bend or cut what is negative."""

from ... import _shapes, ops
from ..._shapes import Array
from ...autograd import Pending, Tensor, arrays, borrowed, pending_of, record


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
    pending = _activated("relu", input)
    if pending is not None:
        return record("relu", pending, (input, pending.gradient))
    (x,) = borrowed(input)
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
    pending = _activated("relu6", input)
    if pending is not None:
        return record("relu6", pending, (input, pending.gradient))
    (x,) = borrowed(input)
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
    slope = _shapes.number("leaky_relu", "negative_slope", negative_slope)
    pending = _activated("leaky_relu", input, slope) if slope >= 0 else None  # then the output's sign is the input's
    if pending is not None:
        return record("leaky_relu", pending, (input, pending.gradient))
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


def softplus(input: Tensor | Array, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Round off the corner of `relu`.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    beta : float, default 1.0
        How sharp the corner stays.
    threshold : float, default 20.0
        Where ``beta*input`` is above it, the output is the input.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64, or `beta` or `threshold` not a number.

    See Also
    --------
    convkit.ops.softplus : the same on arrays, with the equation.
    convkit.nn.Softplus : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.softplus(np.float32([-200, 0, 200]))
    tensor([  0.       ,   0.6931472, 200.       ])
    """
    (x,) = arrays(input)
    output = ops.softplus(x, beta, threshold)
    return record("softplus", output, (input, lambda grad: ops.softplus_backward(grad, x, beta, threshold)))


def _activated(kind: str, input: Tensor | Array, slope: float = 0.0) -> Pending | None:
    """Let an activation wait, if what it is applied to is a sum that nobody has seen."""
    pending = pending_of(input)
    return pending.activated(kind, slope) if pending is not None and pending.is_sum else None
