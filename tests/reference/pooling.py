"""Poolings, of fixed and of adaptive windows."""

import numpy as np

from .arguments import pair


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
