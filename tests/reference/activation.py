"""Activations and softmax."""

import math

import numpy as np


def relu(input):
    input = np.asarray(input, np.float64)
    return np.where(input < 0, 0.0, input)


def relu_backward(grad_output, output):
    """A NaN is not at or below zero, so its gradient passes."""
    return np.where(np.asarray(output) <= 0, 0.0, np.asarray(grad_output, np.float64))


def relu6(input):
    return np.where(np.asarray(input) > 6, 6.0, relu(input))


def relu6_backward(grad_output, output):
    return np.where(np.asarray(output) >= 6, 0.0, relu_backward(grad_output, output))


def leaky_relu(input, negative_slope=0.01):
    input = np.asarray(input, np.float64)
    return np.where(input < 0, negative_slope * input, input)


def leaky_relu_backward(grad_output, input, negative_slope=0.01):
    return np.asarray(grad_output, np.float64) * np.where(np.asarray(input) > 0, 1, negative_slope)


def elu(input, alpha=1.0):
    input = np.asarray(input, np.float64)
    return np.where(input < 0, alpha * np.expm1(np.minimum(input, 0)), input)


def elu_backward(grad_output, input, alpha=1.0):
    input = np.asarray(input, np.float64)
    return np.asarray(grad_output, np.float64) * np.where(input > 0, 1, alpha * np.exp(np.minimum(input, 0)))


def sigmoid(input):
    input = np.asarray(input, np.float64)
    small = np.exp(-np.abs(input))
    return np.where(input < 0, small, 1) / (1 + small)


def sigmoid_backward(grad_output, output):
    output = np.asarray(output, np.float64)
    return np.asarray(grad_output, np.float64) * output * (1 - output)


def tanh(input):
    return np.tanh(np.asarray(input, np.float64))


def tanh_backward(grad_output, output):
    return np.asarray(grad_output, np.float64) * (1 - np.asarray(output, np.float64) ** 2)


def silu(input):
    return np.asarray(input, np.float64) * sigmoid(input)


def silu_backward(grad_output, input):
    slope = sigmoid(input) * (1 + np.asarray(input, np.float64) * sigmoid(-np.asarray(input, np.float64)))
    return np.asarray(grad_output, np.float64) * slope


def hardsigmoid(input):
    return relu6(np.asarray(input, np.float64) + 3) / 6


def hardsigmoid_backward(grad_output, input):
    return np.where(np.abs(input) < 3, np.asarray(grad_output, np.float64) / 6, 0)


def hardswish(input):
    return np.asarray(input, np.float64) * hardsigmoid(input)


def hardswish_backward(grad_output, input):
    input = np.asarray(input, np.float64)
    slope = np.where(input <= -3, 0, np.where(input >= 3, 1, input / 3 + 0.5))
    return np.asarray(grad_output, np.float64) * slope


def softplus(input, beta=1.0, threshold=20.0):
    """With PyTorch's threshold, from which on it is the input itself."""
    scaled = beta * np.asarray(input, np.float64)
    soft = np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))
    return np.where(scaled > threshold, np.asarray(input, np.float64), soft / beta)


def softplus_backward(grad_output, input, beta=1.0, threshold=20.0):
    scaled = beta * np.asarray(input, np.float64)
    return np.asarray(grad_output, np.float64) * np.where(scaled > threshold, 1, sigmoid(scaled))


def _normal_distribution(input):
    """P(X <= input), by erfc, which does not cancel in the tail."""
    return np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2, otypes=[np.float64])(input)


def _gelu_tanh(input):
    """Value and slope of the inside of the approximation's hyperbolic tangent."""
    factor = np.sqrt(2 / np.pi)
    return factor * (input + 0.044715 * input**3), factor * (1 + 3 * 0.044715 * input**2)


def gelu(input, approximate="none"):
    input = np.asarray(input, np.float64)
    if approximate == "tanh":
        return input * (1 + np.tanh(_gelu_tanh(input)[0])) / 2
    return input * _normal_distribution(input)


def gelu_backward(grad_output, input, approximate="none"):
    input = np.asarray(input, np.float64)
    if approximate == "tanh":
        inside, slope = _gelu_tanh(input)
        slope = (1 + np.tanh(inside)) / 2 + input / np.cosh(inside) ** 2 / 2 * slope
    else:
        slope = _normal_distribution(input) + input * np.exp(-(input**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(grad_output, np.float64) * slope


def log_softmax(input, dim):
    input = np.asarray(input, np.float64)
    shifted = input - input.max(axis=dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def softmax(input, dim):
    return np.exp(log_softmax(input, dim))


def softmax_backward(grad_output, output, dim):
    grad_output, output = np.asarray(grad_output, np.float64), np.asarray(output, np.float64)
    return output * (grad_output - (grad_output * output).sum(axis=dim, keepdims=True))


def log_softmax_backward(grad_output, output, dim):
    grad_output, output = np.asarray(grad_output, np.float64), np.asarray(output, np.float64)
    return grad_output - np.exp(output) * grad_output.sum(axis=dim, keepdims=True)
