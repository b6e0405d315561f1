"""The answers, written a second time: float64, plain loops over the definition, nothing shared with convkit.

One output (or one window) at a time; NumPy only runs over images and channels. Slow and meant to be read.
`test_reference.py` holds these answers against PyTorch's once.
"""

import math

import numpy as np


def pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def padding_sides(padding, kernel, dilation):
    """(top, bottom), (left, right)."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in pair(padding))


class _Correlation:
    """Where the window of output (p, q) lies in the padded image."""

    def __init__(self, image, kernel, stride, padding, dilation):
        self.kernel, self.stride, self.dilation = kernel, pair(stride), pair(dilation)
        self.sides = padding_sides(padding, kernel, self.dilation)
        self.image = image
        self.padded = tuple(size + sum(sides) for size, sides in zip(image, self.sides, strict=True))
        self.out = tuple(
            (size - d * (k - 1) - 1) // s + 1
            for size, k, s, d in zip(self.padded, kernel, self.stride, self.dilation, strict=True)
        )

    def windows(self):
        for p in range(self.out[0]):
            for q in range(self.out[1]):
                yield p, q, self._taps(p, 0), self._taps(q, 1)

    def _taps(self, index, axis):
        start = index * self.stride[axis]
        return slice(start, start + self.dilation[axis] * (self.kernel[axis] - 1) + 1, self.dilation[axis])

    def pad(self, image):
        return np.pad(np.asarray(image, np.float64), ((0, 0), (0, 0), *self.sides))

    def crop(self, padded):
        (top, _), (left, _) = self.sides
        return padded[:, :, top : top + self.image[0], left : left + self.image[1]]


def _group_slices(channels, groups):
    each = channels // groups
    return [slice(g * each, (g + 1) * each) for g in range(groups)]


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    weight = np.asarray(weight, np.float64)
    where = _Correlation(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    padded = where.pad(input)
    output = np.zeros((input.shape[0], weight.shape[0], *where.out))
    ins, outs = _group_slices(input.shape[1], groups), _group_slices(weight.shape[0], groups)
    for p, q, rows, cols in where.windows():
        for c, k in zip(ins, outs, strict=True):
            output[:, k, p, q] = np.tensordot(padded[:, c, rows, cols], weight[k], ((1, 2, 3), (1, 2, 3)))
    if bias is not None:
        output += np.asarray(bias, np.float64)[None, :, None, None]
    return output


def conv2d_backward_input(input_shape, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    weight, grad_output = np.asarray(weight, np.float64), np.asarray(grad_output, np.float64)
    where = _Correlation(input_shape[2:], weight.shape[2:], stride, padding, dilation)
    padded = np.zeros((*input_shape[:2], *where.padded))
    ins, outs = _group_slices(input_shape[1], groups), _group_slices(weight.shape[0], groups)
    for p, q, rows, cols in where.windows():
        for c, k in zip(ins, outs, strict=True):
            padded[:, c, rows, cols] += np.tensordot(grad_output[:, k, p, q], weight[k], 1)
    return where.crop(padded)


def conv2d_backward_weight(input, weight_shape, grad_output, stride=1, padding=0, dilation=1, groups=1):
    grad_output = np.asarray(grad_output, np.float64)
    where = _Correlation(input.shape[2:], tuple(weight_shape[2:]), stride, padding, dilation)
    padded = where.pad(input)
    grad_weight = np.zeros(weight_shape)
    ins, outs = _group_slices(input.shape[1], groups), _group_slices(weight_shape[0], groups)
    for p, q, rows, cols in where.windows():
        for c, k in zip(ins, outs, strict=True):
            grad_weight[k] += np.tensordot(grad_output[:, k, p, q].T, padded[:, c, rows, cols], 1)
    return grad_weight


def conv2d_backward_bias(grad_output):
    return np.asarray(grad_output, np.float64).sum(axis=(0, 2, 3))


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Each pixel paints its filters, dilated, onto a canvas that is then cut to size."""
    input, weight = np.asarray(input, np.float64), np.asarray(weight, np.float64)
    canvas, size, (top, left) = _canvas(input.shape, weight.shape, stride, padding, output_padding, groups, dilation)
    ins, outs = _group_slices(input.shape[1], groups), _group_slices(canvas.shape[1], groups)
    for h, w, rows, cols in _stamps(input.shape, weight.shape, stride, dilation):
        for c, k in zip(ins, outs, strict=True):
            canvas[:, k, rows, cols] += np.tensordot(input[:, c, h, w], weight[c], 1)
    output = canvas[:, :, top : top + size[0], left : left + size[1]]
    return output if bias is None else output + np.asarray(bias, np.float64)[None, :, None, None]


def conv_transpose2d_backward_input(
    input_shape, weight, grad_output, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    weight = np.asarray(weight, np.float64)
    canvas, size, (top, left) = _canvas(input_shape, weight.shape, stride, padding, output_padding, groups, dilation)
    canvas[:, :, top : top + size[0], left : left + size[1]] = grad_output
    grad_input = np.zeros(input_shape)
    ins, outs = _group_slices(input_shape[1], groups), _group_slices(canvas.shape[1], groups)
    for h, w, rows, cols in _stamps(input_shape, weight.shape, stride, dilation):
        for c, k in zip(ins, outs, strict=True):
            grad_input[:, c, h, w] = np.tensordot(canvas[:, k, rows, cols], weight[c], ((1, 2, 3), (1, 2, 3)))
    return grad_input


def conv_transpose2d_backward_weight(
    input, weight_shape, grad_output, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    input = np.asarray(input, np.float64)
    canvas, size, (top, left) = _canvas(input.shape, weight_shape, stride, padding, output_padding, groups, dilation)
    canvas[:, :, top : top + size[0], left : left + size[1]] = grad_output
    grad_weight = np.zeros(weight_shape)
    ins, outs = _group_slices(input.shape[1], groups), _group_slices(canvas.shape[1], groups)
    for h, w, rows, cols in _stamps(input.shape, weight_shape, stride, dilation):
        for c, k in zip(ins, outs, strict=True):
            grad_weight[c] += np.tensordot(input[:, c, h, w].T, canvas[:, k, rows, cols], 1)
    return grad_weight


def _canvas(input_shape, weight_shape, stride, padding, output_padding, groups, dilation):
    """A canvas that all stamps and all of the output fit on, the output's size, and where in the canvas it begins."""
    padding = pair(padding)
    reach = [
        (size - 1) * s + d * (k - 1) + 1
        for size, k, s, d in zip(input_shape[2:], weight_shape[2:], pair(stride), pair(dilation), strict=True)
    ]
    size = [n - 2 * p + extra for n, p, extra in zip(reach, padding, pair(output_padding), strict=True)]
    height, width = (max(n, p + m) for n, p, m in zip(reach, padding, size, strict=True))
    canvas = np.zeros((input_shape[0], weight_shape[1] * groups, height, width))
    return canvas, size, padding


def _stamps(input_shape, weight_shape, stride, dilation):
    stride, dilation = pair(stride), pair(dilation)
    for h in range(input_shape[2]):
        for w in range(input_shape[3]):
            yield (
                h,
                w,
                *(
                    slice(i * s, i * s + d * (k - 1) + 1, d)
                    for i, k, s, d in zip((h, w), weight_shape[2:], stride, dilation, strict=True)
                ),
            )


def pool_size(size, kernel, stride, padding, dilation=1, ceil_mode=False):
    """Windows along one axis; one that ceil_mode adds must start in the image or the padding before it."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return span // stride + 1
    count = -(-span // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def _pool_windows(image, kernel_size, stride, padding, dilation, ceil_mode):
    """(p, q), the window's first row and column, and its taps that lie in the image, in reading order."""
    kernel = pair(kernel_size)
    stride = kernel if stride is None else pair(stride)
    padding, dilation = pair(padding), pair(dilation)
    out = [pool_size(*a, ceil_mode) for a in zip(image, kernel, stride, padding, dilation, strict=True)]
    for p in range(out[0]):
        for q in range(out[1]):
            top, left = p * stride[0] - padding[0], q * stride[1] - padding[1]
            rows = [top + r * dilation[0] for r in range(kernel[0])]
            cols = [left + s * dilation[1] for s in range(kernel[1])]
            taps = [(y, x) for y in rows for x in cols if 0 <= y < image[0] and 0 <= x < image[1]]
            yield (p, q), (top, left), taps


def _pool_shape(shape, kernel_size, stride, padding, dilation, ceil_mode):
    kernel = pair(kernel_size)
    stride = kernel if stride is None else pair(stride)
    axes = zip(shape[2:], kernel, stride, pair(padding), pair(dilation), strict=True)
    return (*shape[:2], *(pool_size(*axis, ceil_mode) for axis in axes))


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """A NaN is the maximum of its window, and a window that has no tap in the image holds -inf."""
    input = np.asarray(input, np.float64)
    output = np.empty(_pool_shape(input.shape, kernel_size, stride, padding, dilation, ceil_mode))
    for (p, q), _, taps in _pool_windows(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode):
        values = [input[:, :, y, x] for y, x in taps]
        output[:, :, p, q] = np.max(values, axis=0) if values else -np.inf
    return output


def max_pool2d_backward(grad_output, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The gradient goes to the first maximum in reading order, or to the last NaN."""
    input, grad_output = np.asarray(input, np.float64), np.asarray(grad_output, np.float64)
    grad_input = np.zeros(input.shape)
    for (p, q), _, taps in _pool_windows(input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode):
        if not taps:
            continue
        best, winner = np.full(input.shape[:2], -np.inf), np.zeros(input.shape[:2])
        for i, (y, x) in enumerate(taps):
            better = (input[:, :, y, x] > best) | np.isnan(input[:, :, y, x])
            best, winner = np.where(better, input[:, :, y, x], best), np.where(better, i, winner)
        for i, (y, x) in enumerate(taps):
            grad_input[:, :, y, x] += np.where(winner == i, grad_output[:, :, p, q], 0)
    return grad_input


def _divisor(start, taps, image, kernel, padding, count_include_pad):
    """The taps in the image, or those in the image and its padding, but never those beyond."""
    if not count_include_pad:
        return len(taps)
    ends = [min(a + k, size + p) for a, k, size, p in zip(start, kernel, image, padding, strict=True)]
    return (ends[0] - start[0]) * (ends[1] - start[1])


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    input = np.asarray(input, np.float64)
    output = np.empty(_pool_shape(input.shape, kernel_size, stride, padding, 1, ceil_mode))
    image = input.shape[2:]
    for (p, q), start, taps in _pool_windows(image, kernel_size, stride, padding, 1, ceil_mode):
        divisor = _divisor(start, taps, image, pair(kernel_size), pair(padding), count_include_pad)
        output[:, :, p, q] = sum(input[:, :, y, x] for y, x in taps) / divisor
    return output


def avg_pool2d_backward(
    grad_output, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
):
    grad_output = np.asarray(grad_output, np.float64)
    grad_input = np.zeros(input_shape)
    image = tuple(input_shape[2:])
    for (p, q), start, taps in _pool_windows(image, kernel_size, stride, padding, 1, ceil_mode):
        divisor = _divisor(start, taps, image, pair(kernel_size), pair(padding), count_include_pad)
        for y, x in taps:
            grad_input[:, :, y, x] += grad_output[:, :, p, q] / divisor
    return grad_input


def _powers(input, norm_type):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(input, np.float64) ** norm_type


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """Of a window that is only partly in the image the mean power counts, for each of its taps."""
    means = avg_pool2d(_powers(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return _powers(means * np.prod(pair(kernel_size)), 1 / norm_type)


def lp_pool2d_backward(grad_output, input, output, norm_type, kernel_size, stride=None, ceil_mode=False):
    input, output = np.asarray(input, np.float64), np.asarray(output, np.float64)
    grad_input = np.zeros(input.shape)
    for (p, q), _, taps in _pool_windows(input.shape[2:], kernel_size, stride, 0, 1, ceil_mode):
        norm = output[:, :, p, q]
        share = np.prod(pair(kernel_size)) / len(taps) * _powers(np.where(norm == 0, 1, norm), 1 - norm_type)
        for y, x in taps:
            slope = np.where(norm == 0, 0, share) * _powers(input[:, :, y, x], norm_type - 1)
            grad_input[:, :, y, x] += grad_output[:, :, p, q] * slope
    return grad_input


def weighted_pool2d(input, weights, stride=None, padding=0):
    input, weights = np.asarray(input, np.float64), np.asarray(weights, np.float64)
    output = np.zeros(_pool_shape(input.shape, weights.shape, stride, padding, 1, False))
    for (p, q), start, taps in _pool_windows(input.shape[2:], weights.shape, stride, padding, 1, False):
        for y, x in taps:
            output[:, :, p, q] += weights[y - start[0], x - start[1]] * input[:, :, y, x]
    return output


def weighted_pool2d_backward(grad_output, input_shape, weights, stride=None, padding=0):
    grad_output, weights = np.asarray(grad_output, np.float64), np.asarray(weights, np.float64)
    grad_input = np.zeros(input_shape)
    for (p, q), start, taps in _pool_windows(tuple(input_shape[2:]), weights.shape, stride, padding, 1, False):
        for y, x in taps:
            grad_input[:, :, y, x] += weights[y - start[0], x - start[1]] * grad_output[:, :, p, q]
    return grad_input


def adaptive_windows(size, count):
    """Where each of `count` windows that cover `size` positions begins, and where it has ended."""
    return [(int(np.floor(i * size / count)), int(np.ceil((i + 1) * size / count))) for i in range(count)]


def _adaptive_windows(image, output_size):
    """(p, q) and the slice of the image that the window holds."""
    size = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    out = [length if n is None else n for length, n in zip(image, size, strict=True)]
    for p, (top, bottom) in enumerate(adaptive_windows(image[0], out[0])):
        for q, (left, right) in enumerate(adaptive_windows(image[1], out[1])):
            yield (p, q), (slice(None), slice(None), slice(top, bottom), slice(left, right))


def _adaptive_shape(shape, output_size):
    last = list(_adaptive_windows(shape[2:], output_size))[-1][0]
    return (*shape[:2], last[0] + 1, last[1] + 1)


def adaptive_max_pool2d(input, output_size):
    input = np.asarray(input, np.float64)
    output = np.empty(_adaptive_shape(input.shape, output_size))
    for (p, q), window in _adaptive_windows(input.shape[2:], output_size):
        output[:, :, p, q] = input[window].max(axis=(2, 3))
    return output


def adaptive_max_pool2d_backward(grad_output, input):
    """The gradient goes to the first maximum in reading order, or to the last NaN."""
    input, grad_output = np.asarray(input, np.float64), np.asarray(grad_output, np.float64)
    grad_input = np.zeros(input.shape)
    for (p, q), window in _adaptive_windows(input.shape[2:], grad_output.shape[2:]):
        values, target = input[window], grad_input[window]
        for n, c in np.ndindex(*input.shape[:2]):
            flat = values[n, c].ravel()
            nans = np.flatnonzero(np.isnan(flat))
            winner = nans[-1] if len(nans) else int(np.argmax(flat))
            target[n, c][np.unravel_index(winner, values.shape[2:])] += grad_output[n, c, p, q]
    return grad_input


def adaptive_avg_pool2d(input, output_size):
    input = np.asarray(input, np.float64)
    output = np.empty(_adaptive_shape(input.shape, output_size))
    for (p, q), window in _adaptive_windows(input.shape[2:], output_size):
        output[:, :, p, q] = input[window].mean(axis=(2, 3))
    return output


def adaptive_avg_pool2d_backward(grad_output, input_shape):
    grad_output = np.asarray(grad_output, np.float64)
    grad_input = np.zeros(input_shape)
    for (p, q), window in _adaptive_windows(input_shape[2:], grad_output.shape[2:]):
        target = grad_input[window]
        target += grad_output[:, :, p, q, None, None] / np.prod(target.shape[2:])
    return grad_input


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
