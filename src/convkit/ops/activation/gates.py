"""Activations that multiply a number with a gate made of itself, and their gradients."""

from ... import _shapes
from ..._shapes import Array
from ._elementwise import gradient, value

# What the kernel calls the approximations of GELU.
_GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def silu(input: Array) -> Array:
    """Multiply numbers with their own sigmoid.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array.

    Notes
    -----
    ``output = input*sigmoid(input)`` [1]_, which is also called swish.

    References
    ----------
    .. [1] S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
       reinforcement learning", Neural Networks 107, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> silu(np.float32([-200, 0, 200]))
    array([ -0.,   0., 200.], dtype=float32)
    """
    return value("silu", input)


def silu_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `silu`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        ``grad_output*s*(1 + input*(1 - s))`` with ``s = sigmoid(input)``. In memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> silu_backward(np.float32([4]), np.float32([0]))
    array([2.], dtype=float32)
    """
    return gradient("silu", grad_output, "input", input)


def hardswish(input: Array) -> Array:
    """Multiply numbers with their own hard sigmoid.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array.

    Notes
    -----
    ``output = input*relu6(input + 3)/6`` [1]_.

    References
    ----------
    .. [1] A. Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Examples
    --------
    >>> import numpy as np
    >>> hardswish(np.float32([-4, 1, 4]))
    array([-0.       ,  0.6666667,  4.       ], dtype=float32)
    """
    return value("hardswish", input)


def hardswish_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `hardswish`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        `grad_output`, times ``input/3 + 1/2`` where the input lies between -3 and 3, or 0 where it is less. In
        memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> hardswish_backward(np.float32([5, 6, 7]), np.float32([-4, 0, 4]))
    array([0., 3., 7.], dtype=float32)
    """
    return gradient("hardswish", grad_output, "input", input)


def gelu(input: Array, approximate: str = "none") -> Array:
    """Multiply numbers with the normal distribution at them.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
    approximate : {'none', 'tanh'}, default 'none'
        Whether to put a hyperbolic tangent in the place of the error function.

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array.
    ValueError
        If there is no such `approximate`.

    Notes
    -----
    ``output = input*P(X <= input)`` for a standard normal X [1]_, that is ``input*(1 + erf(input/sqrt(2)))/2``, at most
    4 ulp from the exact result. With 'tanh', ``input*(1 + tanh(sqrt(2/pi)*(input + 0.044715*input**3)))/2``.

    References
    ----------
    .. [1] D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.float32([-200, 0, 200]))
    array([ -0.,   0., 200.], dtype=float32)
    """
    return value("gelu", input, kind=_GELU[_shapes.approximation("gelu", approximate)])


def gelu_backward(grad_output: Array, input: Array, approximate: str = "none") -> Array:
    """Gradient of `gelu`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.
    approximate : {'none', 'tanh'}, default 'none'
        As in the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        ``grad_output*(P(X <= input) + input*p(input))`` with p the density of the standard normal X, or the slope of
        the approximation. In memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ, or there is no such
        `approximate`.

    Examples
    --------
    >>> import numpy as np
    >>> gelu_backward(np.float32([4]), np.float32([0]))
    array([2.], dtype=float32)
    """
    kind = _GELU[_shapes.approximation("gelu_backward", approximate)]
    return gradient("gelu", grad_output, "input", input, kind=kind)
