"""What a convolution from bfloat16 parts costs on AMX tiles, beside what it costs in float32.

Counted in cycles of one core, from the shapes alone. A product of two tiles, 16 x 32 by 32 x 16, takes 19 with numbers
as they come (16, if power did not limit it); a core with AVX-512 does 32 multiply-adds in each, and convkit's tiles
reach nine tenths of that. To these come splitting the input, packing the weights and storing the result. The constants
give, within a fifth, the ratios that a prototype of these kernels showed on layers of ResNet-50.
"""

import math

from .._shapes import Conv2d

_TILE = 16  # rows, and outputs
_DEPTH = 32  # numbers that one product sums
_PRODUCT = 19.0  # cycles of a product of two tiles
_DIRECT = 0.9 * 32  # multiply-adds in a cycle
_STAGED = {1: 0.6, 2: 1.0, 3: 1.4}  # cycles to split an element, by the number of parts
_TRANSPOSED = 1.0  # more, of an operand that is transposed too
_WEIGHT = {1: 0.5, 2: 1.0, 3: 1.5}
_STORED = 0.25
_SHARE = 256  # channels, and outputs, for which the weights' gradient stages its input


def direct_cycles(convolution: Conv2d) -> float:
    """Estimate the cycles of any pass in float32."""
    return math.prod(convolution.output_shape) * math.prod(convolution.weight_shape[1:]) / _DIRECT


def split_cycles(pass_: str, convolution: Conv2d, parts: int, packed: bool = False) -> float:
    """Estimate the cycles of a pass from 1, 2 or 3 parts; `packed` says whether weights were split before."""
    products = parts * (parts + 1) // 2
    if pass_ == "backward_weight":
        return _gradient_tiles(convolution) * products * _PRODUCT + _gradient_stage(convolution, parts)
    images, outputs, rows, cols = convolution.output_shape
    _, channels, height, width = convolution.input_shape
    if pass_ == "backward_input":
        outputs, channels, rows, cols, height, width = channels, outputs, height, width, rows, cols
    # A stride may leave pixels out.
    height = min(height, rows * convolution.weight_shape[2])
    width = min(width, cols * convolution.weight_shape[3])
    tiles = _correlation_tiles(pass_, convolution) * convolution.groups
    return (
        tiles * products * _PRODUCT
        + images * channels * height * width * _STAGED[parts]
        + math.prod(convolution.weight_shape) * (0.0 if packed else _WEIGHT[parts])
        + images * outputs * rows * cols * _STORED
    )


def _correlation_tiles(pass_: str, convolution: Conv2d) -> int:
    """Count the products of tiles, for each product of parts, of one group."""
    images, outputs, rows, cols = convolution.output_shape
    _, channels, taps_down, taps_across = convolution.weight_shape
    outputs //= convolution.groups
    stride_h, stride_w = convolution.stride
    if pass_ == "backward_input":
        # A correlation for each phase of the stride; together they have all the taps.
        outputs, channels = channels, outputs
        rows, cols = -(-convolution.input_shape[2] // stride_h), -(-convolution.input_shape[3] // stride_w)
    steps = taps_down * taps_across * -(-channels // _DEPTH)
    if stride_w == convolution.dilation[1] == 1:
        steps = min(steps, taps_down * -(-taps_across * channels // _DEPTH))
    if _is_pointwise(convolution):
        positions = -(-images * rows * cols // _TILE)
    else:
        # Side by side, 16 images to a tile; or in a line, with one column between two rows.
        line = images * -(-(rows * (cols + 1) - 1) // _TILE)
        positions = min(line, -(-images // _TILE) * rows * cols)
    return positions * -(-outputs // _TILE) * steps


def _is_pointwise(convolution: Conv2d) -> bool:
    one = (1, 1)
    return (
        convolution.weight_shape[2:] == convolution.stride == one
        and convolution.input_shape[2:] == (convolution.output_shape[2:])
    )


def _gradient_tiles(convolution: Conv2d) -> int:
    """Count the products of tiles, for each product of parts: they sum over two columns of 16 images, or of bands."""
    images, outputs, rows, cols = convolution.output_shape
    _, channels, *taps = convolution.weight_shape
    if _is_pointwise(convolution):
        steps = -(-images * rows * cols // _DEPTH)
    else:
        bands = range(1, max(1, min(_TILE, rows)) + 1)
        steps = min(-(-images * n // _TILE) * -(-rows // n) for n in bands) * -(-cols // 2)
    blocks = -(-outputs // convolution.groups // _TILE) * -(-channels // _TILE)
    return steps * blocks * math.prod(taps) * convolution.groups


def _gradient_stage(convolution: Conv2d, parts: int) -> float:
    _, channels, *_ = convolution.weight_shape
    outputs = convolution.weight_shape[0] // convolution.groups
    return (
        math.prod(convolution.input_shape) * _STAGED[parts] * -(-outputs // _SHARE)
        + math.prod(convolution.output_shape) * (_STAGED[parts] + _TRANSPOSED) * -(-channels // _SHARE)
        + math.prod(convolution.weight_shape) * _STORED
    )
