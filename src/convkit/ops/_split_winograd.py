"""What Winograd's tiles of 2x2 outputs cost where AMX multiplies their bfloat16 parts.

Counted in cycles of one core, from the shapes alone, as in `_split`. A tile takes 16 points of a 3x3 filter; of 5x5,
which is taken in four parts, 16 of each. Beside the products are the transforms of the input, which end in its parts,
of the outputs, and of the weights, which are far more bytes then and come from beyond the caches. The constants were
set by hand so that, with three parts, four 3x3 layers of ResNet-50 come out near what they took; those of fewer parts
are guesses from it.

The weights' gradient takes as many products, which sum over tiles. Both operands are transformed and split there, once
for each share of the other, and the sums of 16 points become taps. Its constants, too, were set by hand, from the same
layers' gradients beside those by float32's Winograd: between an idle and a busy hyperthread.
"""

import math

from ._winograd import tile_count

_ROWS = 16  # of a product of two tiles: Winograd's tiles, and outputs
_DEPTH = 32  # channels that one product sums
_POINTS = 16
_PRODUCT = 30.0  # cycles of a product, with what is loaded for it
_READ = {1: 280.0, 2: 360.0, 3: 430.0}  # for 32 channels of a tile, by the number of parts
_WRITTEN = 105.0  # for 16 outputs of a tile
_WEIGHT = {1: 40.0, 2: 65.0, 3: 90.0}

# Of the weights' gradient:
_GRADIENT_PRODUCT = 24.0
_GRADIENT_STAGED = 350.0  # for 16 channels, or outputs, of a tile; about the same for any number of parts
_GRADIENT_WEIGHT = 50.0
_SHARE = 256  # channels, and outputs, staged for at a time


def split_tile_products(
    images: int, size: tuple[int, int], taps: tuple[int, int], channels: int, outputs: int
) -> int:  # fmt: skip
    """Return how many multiplications of numbers the tiles take, for outputs of this size; parts take several each."""
    return tile_count(2, images, size) * _POINTS * _filter_parts(taps) * channels * outputs


def split_tile_cycles(
    images: int, size: tuple[int, int], taps: tuple[int, int], channels: int, outputs: int, parts: int,
    packed: bool = False,
) -> float:  # fmt: skip
    """Estimate the cycles from 1, 2 or 3 parts of each number; `packed`: weights were transformed before.

    Examples
    --------
    >>> direct = 16 * 56 * 56 * 9 * 64 * 64 / 32
    >>> split_tile_cycles(16, (56, 56), (3, 3), 64, 64, parts=3) < 0.6 * direct
    True
    """
    tiles = tile_count(2, images, size)
    steps = -(-_filter_parts(taps) * -(-channels // 16) // 2)
    products = -(-tiles // _ROWS) * -(-outputs // _ROWS) * steps * _POINTS * parts * (parts + 1) // 2
    weights = 0.0 if packed else _WEIGHT[parts] * _filter_parts(taps) * channels * outputs
    return _PRODUCT * products + tiles * (_READ[parts] * steps + _WRITTEN * -(-outputs // _ROWS)) + weights


def split_gradient_cycles(images: int, size: tuple[int, int], channels: int, outputs: int, parts: int) -> float:
    """Estimate the cycles of a 3x3 weights' gradient, for gradients of the output of this size.

    Examples
    --------
    >>> direct = 16 * 28 * 28 * 9 * 128 * 128 / 32
    >>> split_gradient_cycles(16, (28, 28), 128, 128, parts=3) < 0.6 * direct
    True
    """
    tiles, across, down = tile_count(2, images, size), -(-channels // _ROWS), -(-outputs // _ROWS)
    products = -(-tiles // _DEPTH) * across * down * _POINTS * parts * (parts + 1) // 2
    staged = tiles * (across * -(-outputs // _SHARE) + down * -(-channels // _SHARE))
    return _GRADIENT_PRODUCT * products + _GRADIENT_STAGED * staged + _GRADIENT_WEIGHT * channels * outputs


def _filter_parts(taps: tuple[int, int]) -> int:
    """Count the parts of a filter, of at most three taps an axis."""
    return math.prod(-(-n // 3) for n in taps)
