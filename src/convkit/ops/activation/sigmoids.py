"""Activations that press all numbers into a range, and their gradients."""

from ..._shapes import Array
from ._elementwise import gradient, value


def sigmoid(input: Array) -> Array:
    """Press numbers into the range from 0 to 1.

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
    ``output = 1/(1 + exp(-input))``, at most 4 ulp from the exact result.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.float32([-200, 0, 200]))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return value("sigmoid", input)


def sigmoid_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `sigmoid`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray of any shape, float32 or float64
        The output of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        ``grad_output*output*(1 - output)``. In memory ordered as `output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_backward(np.float32([4]), np.float32([0.5]))
    array([1.], dtype=float32)
    """
    return gradient("sigmoid", grad_output, "output", output)


def tanh(input: Array) -> Array:
    """Press numbers into the range from -1 to 1.

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
    The hyperbolic tangent, at most 4 ulp from the exact result.

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.float32([-200, 0, 200]))
    array([-1.,  0.,  1.], dtype=float32)
    """
    return value("tanh", input)


def tanh_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `tanh`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray of any shape, float32 or float64
        The output of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        ``grad_output*(1 - output**2)``. In memory ordered as `output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> tanh_backward(np.float32([4]), np.float32([0.5]))
    array([3.], dtype=float32)
    """
    return gradient("tanh", grad_output, "output", output)


def hardsigmoid(input: Array) -> Array:
    """Approximate the sigmoid by three straight lines.

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
    ``output = relu6(input + 3)/6`` [1]_.

    References
    ----------
    .. [1] A. Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Examples
    --------
    >>> import numpy as np
    >>> hardsigmoid(np.float32([-4, 0, 4]))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return value("hardsigmoid", input)


def hardsigmoid_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of `hardsigmoid`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        ``grad_output/6`` where the input lies between -3 and 3, else 0. In memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> hardsigmoid_backward(np.float32([5, 6]), np.float32([4, 1]))
    array([0., 1.], dtype=float32)
    """
    return gradient("hardsigmoid", grad_output, "input", input)
