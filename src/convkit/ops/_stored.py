"""Convolutions of bfloat16 images as they lie, where AMX multiplies them: half the bytes, and no array is widened.

Each function takes what its op does. It returns None where it is for float32 to compute: where AMX does not pay, where
images lie in another order than channels-last, or where a result is not finite, which may have spread. Results are
rounded once, from float32 sums, as the others are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._shapes import Array, Padding, Pair, Shape
from ._arrays import aligned, empty_nhwc, empty_weight, nchw
from ._bfloat16 import widened
from ._convolution import plan_stored
from .conv2d import checked, checked_backward_input, checked_backward_weight


def _conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array | None:
    stand_in = None if bias is None else _stand_in(bias)
    geometry = checked(_stand_in(input), _stand_in(weight), stand_in, stride, padding, dilation, groups)
    carry_out, x = plan_stored("forward", geometry), _bits(input)
    if carry_out is None or x is None or (bias is not None and bias.ndim == 3):
        return None
    out = empty_nhwc(geometry.output_shape, input.dtype)
    biases = np.empty(0, np.float32) if bias is None else widened(bias)
    return nchw(out) if carry_out("conv2d", x, _aligned_bits(weight), biases, out.view(np.uint16)) else None


def _conv2d_backward_input(
    input_shape: Shape,
    weight: Array,
    grad_output: Array,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array | None:
    geometry = checked_backward_input(
        input_shape, _stand_in(weight), _stand_in(grad_output), stride, padding, dilation, groups
    )
    carry_out, grad = plan_stored("backward_input", geometry), _bits(grad_output)
    if carry_out is None or grad is None:
        return None
    grad_input = empty_nhwc(geometry.input_shape, weight.dtype)
    finite = carry_out("conv2d_backward_input", grad, _aligned_bits(weight), grad_input.view(np.uint16))
    return nchw(grad_input) if finite else None


def _conv2d_backward_weight(
    input: Array,
    weight_shape: Shape,
    grad_output: Array,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array | None:
    geometry = checked_backward_weight(
        _stand_in(input), weight_shape, _stand_in(grad_output), stride, padding, dilation, groups
    )
    carry_out, x, grad = plan_stored("backward_weight", geometry), _bits(input), _bits(grad_output)
    if carry_out is None or x is None or grad is None:
        return None
    grad_weight = empty_weight(geometry.weight_shape, input.dtype)
    return grad_weight if carry_out("conv2d_backward_weight", x, grad, _aligned_bits(grad_weight)) else None


def _stand_in(x: Array) -> Array:
    """Return a float32 array of that shape, of a single number, for the checks that float32 has."""
    return np.broadcast_to(np.float32(0), x.shape)


def _aligned_bits(x: Array) -> Array:
    """Return filters, which may lie in any order, as kernels read them, or write them."""
    return aligned(x).view(np.uint16)


def _bits(x: Array) -> Array | None:
    """Return images as kernels read them, or None if they do not lie so."""
    last = x.transpose(0, 2, 3, 1)
    return last.view(np.uint16) if last.flags.c_contiguous and last.flags.aligned else None


#: By the names of the ops.
AS_STORED: dict[str, Callable[..., Any]] = {
    "conv2d": _conv2d,
    "conv2d_backward_input": _conv2d_backward_input,
    "conv2d_backward_weight": _conv2d_backward_weight,
}
