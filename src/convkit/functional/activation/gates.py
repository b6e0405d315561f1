"""Activations that multiply a number with a gate made of itself."""

from ... import ops
from ..._shapes import Array
from ...autograd import Tensor, arrays, record


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


def gelu(input: Tensor | Array, approximate: str = "none") -> Tensor:
    """Multiply numbers with the normal distribution at them.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    approximate : {'none', 'tanh'}, default 'none'
        Whether to put a hyperbolic tangent in the place of the error function.

    Returns
    -------
    Tensor, shape and dtype of `input`

    Raises
    ------
    TypeError
        If `input` is not float32 or float64.
    ValueError
        If there is no such `approximate`.

    See Also
    --------
    convkit.ops.gelu : the same on arrays, with the equation.
    convkit.nn.GELU : the layer.

    Notes
    -----
    The input is kept for the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.gelu(np.float32([-200, 0, 200]))
    tensor([ -0.,   0., 200.])
    """
    (x,) = arrays(input)
    output = ops.gelu(x, approximate)
    return record("gelu", output, (input, lambda grad: ops.gelu_backward(grad, x, approximate)))
