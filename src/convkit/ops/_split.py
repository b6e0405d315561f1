"""What a convolution from bfloat16 parts costs on AMX tiles, beside what it costs in float32.

Counted in cycles of one core, from the shapes alone. A product of two tiles, 16 x 32 by 32 x 16, takes 16, and more
with the loads that come with it; a core with AVX-512 does 32 multiply-adds in each, and convkit's tiles reach eight
tenths of that. To these come splitting the input, packing the weights and storing the result. The constants come from
layers of ResNet-50 on a Sapphire Rapids core. What its other hyperthread does doubles the time of a product beside
float32's: that of three parts was set by hand to the geometric mean of the two (idle: 22, busy: 46), so that neither
state loses more than a third by the choice, that of two between them (idle: 21), and the gradient's were scaled to the
eight tenths. With a stride, and with few channels, products are slower than elsewhere: sixteen channels of 5x5 taps
ran at 0.55 of Winograd's speed in either state, layers of stride 2 at 0.6 to 1.4 of a direct sum's.
"""

import math

from .._shapes import Conv2d

_TILE = 16  # rows, and outputs
DEPTH = 32  #: numbers that one product sums
_DIRECT = 0.8 * 32  # multiply-adds in a cycle

# Of forward and backward-input: cycles of a product of two tiles, to split an element of the input and of the weights,
# by the number of parts; and to store one of the result.
_PRODUCT = {1: 28.0, 2: 24.0, 3: 32.0}
_STAGED = {1: 0.7, 2: 0.9, 3: 1.0}
_WEIGHT = {1: 1.5, 2: 1.8, 3: 2.2}
_STORED = 0.6
_STRIDED = 1.7  # times as long a product where the input is staged in phases
_OVERLAPPING = 1.6  # the same where columns of few channels, summed together, make rows of a tile overlap

# Of images of so few channels that a column's taps make one range: to sum and store a tile, and to shuffle a number.
_SHALLOW_TILE = 120.0
_SHUFFLED = 0.25

# Of the weights' gradient:
_GRADIENT_PRODUCT = 28.0
_GRADIENT_STAGED = {1: 1.0, 2: 1.25, 3: 1.45}
_GRADIENT_STORED = 2.8
_EDGE = 3  # times as long to stage where channels are less than a tile's
_SHARE = {False: 256, True: 128}  # channels, and outputs, staged for at a time; and the same of several taps
_STRIP = 6  # rows, and columns, staged at a time
_NEAR = 0.8, 2**21  # of that time, where both operands are no more than so many bytes: a core's own caches hold them


def float32_cycles(multiply_adds: float) -> float:
    """Return the cycles of so many multiply-adds of the register tile of float32."""
    return multiply_adds / _DIRECT


def direct_cycles(convolution: Conv2d) -> float:
    """Estimate the cycles of any pass in float32."""
    return float32_cycles(math.prod(convolution.output_shape) * math.prod(convolution.weight_shape[1:]))


def split_cycles(pass_: str, convolution: Conv2d, parts: int, packed: bool = False) -> float:
    """Estimate the cycles of a pass from 1, 2 or 3 parts; `packed` says whether weights were split before."""
    products = parts * (parts + 1) // 2
    if pass_ == "backward_weight":
        return _gradient_tiles(convolution) * products * _GRADIENT_PRODUCT + _gradient_stage(convolution, parts)
    images, outputs, rows, cols = convolution.output_shape
    _, channels, height, width = convolution.input_shape
    if pass_ == "backward_input":
        outputs, channels, rows, cols, height, width = channels, outputs, height, width, rows, cols
    taps_down, taps_across = convolution.weight_shape[2:]
    # A stride may leave pixels out; backward, each of its phases reads them all.
    height, width = min(height, rows * taps_down), min(width, cols * taps_across)
    stagings = 1
    if pass_ == "backward_input":
        stagings = min(convolution.stride[0], taps_down) * min(convolution.stride[1], taps_across)
    strided = _STRIDED if max(convolution.stride) > 1 else 1
    tiles = _correlation_tiles(pass_, convolution) * convolution.groups * strided
    return (
        tiles * products * _PRODUCT[parts]
        + stagings * images * channels * height * width * _STAGED[parts]
        + math.prod(convolution.weight_shape) * (0.0 if packed else _WEIGHT[parts])
        + images * outputs * rows * cols * _STORED
    )


def shallow_cycles(convolution: Conv2d, parts: int) -> float:
    """Estimate the cycles of a forward pass whose sums are each one range of columns, rows of taps and channels."""
    images, outputs, rows, cols = convolution.output_shape
    _, channels, height, width = convolution.weight_shape
    column = height * channels
    products = parts * (parts + 1) // 2 * -(-width * column // DEPTH)
    tiles = images * rows * -(-cols // _TILE) * -(-outputs // _TILE)
    columns = images * rows * convolution.stride[1] * cols
    return tiles * (products * _PRODUCT[parts] * _OVERLAPPING + _SHALLOW_TILE) + columns * column * parts * _SHUFFLED


def _correlation_tiles(pass_: str, convolution: Conv2d) -> float:
    """Count the products of tiles, for each product of parts, of one group; slow ones count as more."""
    images, outputs, rows, cols = convolution.output_shape
    _, channels, taps_down, taps_across = convolution.weight_shape
    outputs //= convolution.groups
    stride_h, stride_w = convolution.stride
    if pass_ == "backward_input":
        # A correlation for each phase of the stride; together they have all the taps.
        outputs, channels = channels, outputs
        rows, cols = -(-convolution.input_shape[2] // stride_h), -(-convolution.input_shape[3] // stride_w)
    steps: float = taps_down * taps_across * -(-channels // DEPTH)
    if stride_w == convolution.dilation[1] == 1:
        overlap = _OVERLAPPING if channels < DEPTH and taps_across > 1 else 1
        steps = min(steps, taps_down * -(-taps_across * channels // DEPTH) * overlap)
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
        steps = -(-images * rows * cols // DEPTH)
    else:
        bands = range(1, max(1, min(_TILE, rows)) + 1)
        steps = min(-(-images * n // _TILE) * -(-rows // n) for n in bands) * -(-cols // 2)
    blocks = -(-outputs // convolution.groups // _TILE) * -(-channels // _TILE)
    return steps * blocks * math.prod(taps) * convolution.groups


def _gradient_stage(convolution: Conv2d, parts: int) -> float:
    """Estimate the staging of both operands, once for each share of the other, and the writing of the result.

    Strips of the input overlap by what taps reach beyond their outputs.
    """
    images, outputs, rows, cols = convolution.output_shape
    _, channels, *taps = convolution.weight_shape
    height, width = (
        min(size, count * reach)
        for size, count, reach in zip(convolution.input_shape[2:], (rows, cols), taps, strict=True)
    )
    beyond = [(n - 1) * d // s for n, d, s in zip(taps, convolution.dilation, convolution.stride, strict=True)]
    overlap = math.prod(1 + reach / _STRIP for reach in beyond)
    outputs //= convolution.groups
    share = _SHARE[max(taps) > 1]
    of_input = height * width * overlap * _staged(channels) * -(-outputs // share)
    of_output = rows * cols * _staged(outputs) * -(-channels // share)
    staged = images * convolution.groups * (of_input + of_output) * _GRADIENT_STAGED[parts]
    share_near, bytes_near = _NEAR
    if 4 * (math.prod(convolution.input_shape) + math.prod(convolution.output_shape)) <= bytes_near:
        staged *= share_near
    return staged + math.prod(convolution.weight_shape) * _GRADIENT_STORED


def _staged(channels: int) -> int:
    """Count what so many channels of a pixel cost: the last, if they are no whole tile, are staged one by one."""
    whole, rest = divmod(channels, _TILE)
    return whole * _TILE + (_EDGE * _TILE if rest else 0)
