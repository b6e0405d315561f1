"""Batch norm and linear layers."""

import numpy as np


def _by_channel(array):
    """(channels, everything else)."""
    array = np.asarray(array, np.float64)
    return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)


def _along_channels(values, ndim):
    return np.asarray(values, np.float64).reshape(1, -1, *[1] * (ndim - 2))


def batch_norm_stats(input):
    """Mean and biased variance of every channel."""
    rows = _by_channel(input)
    mean = np.array([row.sum() / row.size for row in rows])
    var = np.array([((row - m) ** 2).sum() / row.size for row, m in zip(rows, mean, strict=True)])
    return mean, var


def batch_norm(input, mean, var, weight=None, bias=None, eps=1e-5):
    input = np.asarray(input, np.float64)
    shift, scale = _along_channels(mean, input.ndim), np.sqrt(_along_channels(var, input.ndim) + eps)
    output = (input - shift) / scale
    if weight is not None:
        output = output * _along_channels(weight, input.ndim)
    if bias is not None:
        output = output + _along_channels(bias, input.ndim)
    return output


def batch_norm_backward(grad_output, input, mean, var, weight=None, eps=1e-5, training=True):
    """(grad_input, grad_weight, grad_bias).

    With x^ = (x - mean)/sqrt(var + eps), in training every x also moves the mean and the variance, which
    takes from the gradient its mean and its component along x^.
    """
    normal = _by_channel(batch_norm(input, mean, var, eps=eps))
    grad = _by_channel(grad_output)
    std = np.sqrt(np.asarray(var, np.float64) + eps)
    gain = np.ones(input.shape[1]) if weight is None else np.asarray(weight, np.float64)
    grad_input = np.empty_like(normal)
    for c in range(input.shape[1]):
        g, x = grad[c], normal[c]
        if training:
            g = g - g.sum() / g.size - x * (g * x).sum() / g.size
        grad_input[c] = gain[c] * g / std[c]
    grad_input = grad_input.reshape(input.shape[1], input.shape[0], *input.shape[2:])
    return np.moveaxis(grad_input, 0, 1), (grad * normal).sum(axis=1), grad.sum(axis=1)


def linear(input, weight, bias=None):
    input, weight = np.asarray(input, np.float64), np.asarray(weight, np.float64)
    output = np.empty((*input.shape[:-1], weight.shape[0]))
    for k, row in enumerate(weight):
        output[..., k] = (input * row).sum(axis=-1) + (0 if bias is None else float(bias[k]))
    return output


def linear_backward_input(input_shape, weight, grad_output):
    grad_output = np.asarray(grad_output, np.float64)
    grad_input = np.zeros(input_shape)
    for k, row in enumerate(np.asarray(weight, np.float64)):
        grad_input += grad_output[..., k, None] * row
    return grad_input


def linear_backward_weight(input, weight_shape, grad_output):
    rows = np.asarray(input, np.float64).reshape(-1, weight_shape[1])
    grads = np.asarray(grad_output, np.float64).reshape(-1, weight_shape[0])
    return np.array([(grads[:, k, None] * rows).sum(axis=0) for k in range(weight_shape[0])])


def linear_backward_bias(grad_output):
    grad_output = np.asarray(grad_output, np.float64)
    return grad_output.reshape(-1, grad_output.shape[-1]).sum(axis=0)
