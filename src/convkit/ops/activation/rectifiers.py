"""Activations that pass what is positive, and bend or cut what is negative, and their gradients."""

from ... import _shapes
from ..._shapes import Array
from ._elementwise import gradient, value


def relu(input: Array) -> Array:
    """Replace what is negative by zero.

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
    ``output = max(input, 0)``; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.float32([-1, 0, 2]))
    array([0., 0., 2.], dtype=float32)
    """
    return value("relu", input)


def relu_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `relu`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray of any shape, float32 or float64
        The output of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        `grad_output` where the output is not zero, else 0: at 0 the derivative is taken as 0. In
        memory ordered as `output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> relu_backward(np.float32([5, 6, 7]), relu(np.float32([-1, 0, 2])))
    array([0., 0., 7.], dtype=float32)
    """
    return gradient("relu", grad_output, "output", output)


def relu6(input: Array) -> Array:
    """Clip to the range from 0 to 6.

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
    ``output = min(max(input, 0), 6)`` [1]_; NaN stays NaN.

    References
    ----------
    .. [1] A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.

    Examples
    --------
    >>> import numpy as np
    >>> relu6(np.float32([-1, 2, 7]))
    array([0., 2., 6.], dtype=float32)
    """
    return value("relu6", input)


def relu6_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of `relu6`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `output`
        Gradient with respect to the output.
    output : ndarray of any shape, float32 or float64
        The output of the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `output`
        `grad_output` where the output is neither 0 nor 6, else 0. In memory ordered as `output`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ.

    Examples
    --------
    >>> import numpy as np
    >>> relu6_backward(np.float32([5, 6, 7]), relu6(np.float32([-1, 2, 7])))
    array([0., 6., 0.], dtype=float32)
    """
    return gradient("relu6", grad_output, "output", output)


def leaky_relu(input: Array, negative_slope: float = 0.01) -> Array:
    """Scale down what is negative.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
    negative_slope : float, default 0.01
        What negative elements are multiplied with.

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or `negative_slope` not a number.

    Notes
    -----
    ``output = input if input >= 0 else negative_slope*input`` [1]_.

    References
    ----------
    .. [1] A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models",
       ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.float32([-100, 0, 2]))
    array([-1.,  0.,  2.], dtype=float32)
    """
    parameter = _shapes.number("leaky_relu", "negative_slope", negative_slope)
    return value("leaky_relu", input, parameter)


def leaky_relu_backward(grad_output: Array, input: Array, negative_slope: float = 0.01) -> Array:
    """Gradient of `leaky_relu`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.
    negative_slope : float, default 0.01
        As in the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        `grad_output`, times `negative_slope` where the input is not positive. In memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ, or `negative_slope` not a number.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu_backward(np.float32([100, 7]), np.float32([-1, 2]))
    array([1., 7.], dtype=float32)
    """
    return gradient(
        "leaky_relu",
        grad_output,
        "input",
        input,
        _shapes.number("leaky_relu_backward", "negative_slope", negative_slope),
    )


def elu(input: Array, alpha: float = 1.0) -> Array:
    """Let what is negative approach a limit.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
    alpha : float, default 1.0
        What the output falls to, negated, as the input falls.

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or `alpha` not a number.

    Notes
    -----
    ``output = input if input >= 0 else alpha*(exp(input) - 1)`` [1]_, at most 4 ulp from the exact result.

    References
    ----------
    .. [1] D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by exponential linear
       units (ELUs)", ICLR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> elu(np.float32([-50, 0, 2]))
    array([-1.,  0.,  2.], dtype=float32)
    """
    parameter = _shapes.number("elu", "alpha", alpha)
    return value("elu", input, parameter)


def elu_backward(grad_output: Array, input: Array, alpha: float = 1.0) -> Array:
    """Gradient of `elu`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.
    alpha : float, default 1.0
        As in the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        `grad_output`, times ``alpha*exp(input)`` where the input is not positive. In memory ordered as `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ, or `alpha` not a number.

    Examples
    --------
    >>> import numpy as np
    >>> elu_backward(np.float32([5, 7]), np.float32([0, 2]), alpha=2)
    array([10.,  7.], dtype=float32)
    """
    parameter = _shapes.number("elu_backward", "alpha", alpha)
    return gradient("elu", grad_output, "input", input, parameter)


def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Round off the corner of `relu`.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
    beta : float, default 1.0
        How sharp the corner stays.
    threshold : float, default 20.0
        Where ``beta*input`` is above it, the output is the input.

    Returns
    -------
    ndarray, shape and dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or `beta` or `threshold` not a number.

    Notes
    -----
    ``output = log(1 + exp(beta*input))/beta`` [1]_, at most 4 ulp from the exact result where `beta` is 1.

    References
    ----------
    .. [1] C. Dugas, Y. Bengio, F. Bélisle, C. Nadeau, R. Garcia, "Incorporating second-order functional knowledge for
       better option pricing", NIPS 2000.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.float32([-200, 0, 200]))
    array([  0.       ,   0.6931472, 200.       ], dtype=float32)
    """
    sharpness = _shapes.number("softplus", "beta", beta)
    return value("softplus", input, sharpness, _shapes.number("softplus", "threshold", threshold))


def softplus_backward(grad_output: Array, input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Gradient of `softplus`.

    Parameters
    ----------
    grad_output : ndarray, shape and dtype of `input`
        Gradient with respect to the output.
    input : ndarray of any shape, float32 or float64
        The input of the forward pass.
    beta, threshold : float, default 1.0 and 20.0
        As in the forward pass.

    Returns
    -------
    ndarray, shape and dtype of `input`
        `grad_output`, times ``sigmoid(beta*input)`` where that is not above the threshold. In memory ordered as
        `input`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a float32 or float64 array, or shapes or dtypes differ, or `beta` or `threshold` not a
        number.

    Examples
    --------
    >>> import numpy as np
    >>> softplus_backward(np.float32([4, 4]), np.float32([0, 50]))
    array([2., 4.], dtype=float32)
    """
    op = "softplus_backward"
    sharpness = _shapes.number(op, "beta", beta)
    return gradient("softplus", grad_output, "input", input, sharpness, _shapes.number(op, "threshold", threshold))
