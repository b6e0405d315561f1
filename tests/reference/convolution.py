"""Convolutions and transposed convolutions, one tap of the kernel at a time; NumPy runs over pixels and channels."""

import numpy as np

from .arguments import pair


def padding_sides(padding, kernel, dilation):
    """(top, bottom), (left, right)."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in pair(padding))


class _Correlation:
    """Where the pixels that one tap meets lie in the padded image."""

    def __init__(self, image, kernel, stride, padding, dilation):
        self.kernel, self.stride, self.dilation = kernel, pair(stride), pair(dilation)
        self.sides = padding_sides(padding, kernel, self.dilation)
        self.image = image
        self.padded = tuple(size + sum(sides) for size, sides in zip(image, self.sides, strict=True))
        self.out = tuple(
            (size - d * (k - 1) - 1) // s + 1
            for size, k, s, d in zip(self.padded, kernel, self.stride, self.dilation, strict=True)
        )

    def taps(self):
        return _taps(self.kernel, self.out, self.stride, self.dilation)

    def pad(self, image):
        return np.pad(np.asarray(image, np.float64), ((0, 0), (0, 0), *self.sides))

    def crop(self, padded):
        (top, _), (left, _) = self.sides
        return padded[:, :, top : top + self.image[0], left : left + self.image[1]]


def _taps(kernel, count, stride, dilation):
    """(r, s), and the rows and the columns that it meets in the windows of `count` outputs."""
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            rows, cols = (
                slice(first, first + (n - 1) * step + 1, step)
                for first, n, step in zip((r * dilation[0], s * dilation[1]), count, stride, strict=True)
            )
            yield r, s, rows, cols


def _grouped(pixels, groups):
    """(N, C, H, W) as (N, groups, C of each, pixels)."""
    n, c, h, w = pixels.shape
    return pixels.reshape(n, groups, c // groups, h * w)


def _weighed(pixels, matrix):
    """Each group's channels times a (groups, outputs of each, inputs of each) matrix, at every pixel."""
    groups, outputs, _ = matrix.shape
    n, _, h, w = pixels.shape
    return (matrix @ _grouped(pixels, groups)).reshape(n, groups * outputs, h, w)


def _products(left, right, groups):
    """Of each channel of `left` with each of the same group of `right`, summed over images and pixels."""
    return (_grouped(left, groups) @ _grouped(right, groups).swapaxes(2, 3)).sum(axis=0)


def _split(weight, groups):
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    weight = np.asarray(weight, np.float64)
    where = _Correlation(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    padded, each = where.pad(input), _split(weight, groups)
    output = np.zeros((input.shape[0], weight.shape[0], *where.out))
    for r, s, rows, cols in where.taps():
        output += _weighed(padded[:, :, rows, cols], each[..., r, s])
    if bias is not None:
        output += np.asarray(bias, np.float64)[None, :, None, None]
    return output


def conv2d_backward_input(input_shape, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    weight, grad_output = np.asarray(weight, np.float64), np.asarray(grad_output, np.float64)
    where = _Correlation(input_shape[2:], weight.shape[2:], stride, padding, dilation)
    padded, each = np.zeros((*input_shape[:2], *where.padded)), _split(weight, groups)
    for r, s, rows, cols in where.taps():
        padded[:, :, rows, cols] += _weighed(grad_output, each[..., r, s].swapaxes(1, 2))
    return where.crop(padded)


def conv2d_backward_weight(input, weight_shape, grad_output, stride=1, padding=0, dilation=1, groups=1):
    grad_output = np.asarray(grad_output, np.float64)
    where = _Correlation(input.shape[2:], tuple(weight_shape[2:]), stride, padding, dilation)
    padded, grad_weight = where.pad(input), np.zeros(weight_shape)
    for r, s, rows, cols in where.taps():
        _split(grad_weight, groups)[..., r, s] = _products(grad_output, padded[:, :, rows, cols], groups)
    return grad_weight


def conv2d_backward_bias(grad_output):
    return np.asarray(grad_output, np.float64).sum(axis=(0, 2, 3))


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Each pixel paints its filters, dilated, onto a canvas that is then cut to size."""
    input, weight = np.asarray(input, np.float64), np.asarray(weight, np.float64)
    canvas, size, (top, left) = _canvas(input.shape, weight.shape, stride, padding, output_padding, groups, dilation)
    each = _split(weight, groups)
    for r, s, rows, cols in _stamps(input.shape, weight.shape, stride, dilation):
        canvas[:, :, rows, cols] += _weighed(input, each[..., r, s].swapaxes(1, 2))
    output = canvas[:, :, top : top + size[0], left : left + size[1]]
    return output if bias is None else output + np.asarray(bias, np.float64)[None, :, None, None]


def conv_transpose2d_backward_input(
    input_shape, weight, grad_output, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    weight = np.asarray(weight, np.float64)
    canvas, size, (top, left) = _canvas(input_shape, weight.shape, stride, padding, output_padding, groups, dilation)
    canvas[:, :, top : top + size[0], left : left + size[1]] = grad_output
    grad_input, each = np.zeros(input_shape), _split(weight, groups)
    for r, s, rows, cols in _stamps(input_shape, weight.shape, stride, dilation):
        grad_input += _weighed(canvas[:, :, rows, cols], each[..., r, s])
    return grad_input


def conv_transpose2d_backward_weight(
    input, weight_shape, grad_output, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    input = np.asarray(input, np.float64)
    canvas, size, (top, left) = _canvas(input.shape, weight_shape, stride, padding, output_padding, groups, dilation)
    canvas[:, :, top : top + size[0], left : left + size[1]] = grad_output
    grad_weight = np.zeros(weight_shape)
    for r, s, rows, cols in _stamps(input.shape, weight_shape, stride, dilation):
        _split(grad_weight, groups)[..., r, s] = _products(input, canvas[:, :, rows, cols], groups)
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
    return _taps(weight_shape[2:], input_shape[2:], pair(stride), pair(dilation))
