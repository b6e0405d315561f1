"""Convolutions and transposed convolutions."""

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
