"""Activations: functions of one element, and their gradients.

A gradient takes the forward pass's output where that tells all that it needs, else its input: the argument says which.
"""

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array
from .._threads import get_num_threads
from ._arrays import dense, empty_like, flat, ordered_like


def _value(op: str, input: Array, parameter: float = 0.0) -> Array:
    _shapes.array(op, "input", input)
    input = dense(input)
    output = empty_like(input)
    activation = kernel("activation", input.dtype)
    activation.forward(activation.KINDS[op], flat(input), flat(output), parameter, get_num_threads())
    return output


def _gradient(of: str, grad_output: Array, name: str, value: Array, parameter: float = 0.0) -> Array:
    op = f"{of}_backward"
    _shapes.array(op, name, value)
    _shapes.array(op, "grad_output", grad_output, None, value, name)
    _shapes.same_shape(op, "grad_output", grad_output.shape, value.shape)
    value = dense(value)
    grad_input = empty_like(value)
    activation = kernel("activation", value.dtype)
    activation.backward(
        activation.KINDS[of],
        flat(ordered_like(grad_output, value)),
        flat(value),
        flat(grad_input),
        parameter,
        get_num_threads(),
    )
    return grad_input


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
    return _value("relu", input)


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
    return _gradient("relu", grad_output, "output", output)


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
    return _value("relu6", input)


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
    return _gradient("relu6", grad_output, "output", output)


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
    return _value("leaky_relu", input, parameter)


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
    return _gradient(
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
    return _value("elu", input, parameter)


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
    return _gradient("elu", grad_output, "input", input, parameter)


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
    return _value("sigmoid", input)


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
    return _gradient("sigmoid", grad_output, "output", output)


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
    return _value("tanh", input)


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
    return _gradient("tanh", grad_output, "output", output)


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
    return _value("silu", input)


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
    return _gradient("silu", grad_output, "input", input)


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
    return _value("hardsigmoid", input)


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
    return _gradient("hardsigmoid", grad_output, "input", input)


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
    return _value("hardswish", input)


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
    return _gradient("hardswish", grad_output, "input", input)
