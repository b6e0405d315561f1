"""When Winograd's convolution pays: for 3x3 and 5x5 filters of stride 1, by counting, and nothing is tried out.

A tile of m x m outputs takes (m + 2)^2 products instead of 9*m*m, but its input, its outputs and, once a call, the
weights are transformed. Filters of four or five taps an axis are taken in parts, of three taps and of the rest, which
take m + 2 and m + 1 points of it. All is counted in multiply-adds of the register tile, which does the products of
either algorithm at the same speed::

    direct      R*S*C*K for each output pixel
    winograd    (points*C*K + read*points*C + write*K) for each tile, those at the edge that are not full too
                + weight*parts*C*K, but not where compiled networks have packed the weights before

What transforms cost was measured with AVX-512, where they cost most beside the products. Tiles of 2x2 outputs of 3x3
filters, of up to 64 channels, go from pixels to outputs within the first-level cache, and are cheaper.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class _Transforms(NamedTuple):
    """What they cost, in multiply-adds."""

    read: float  # a channel of a tile's input, for each point
    write: int  # an output channel of a tile
    weight: int  # a part's taps, and with m = 4 the fetching of 36 numbers from beyond the caches


_TRANSFORMS = {2: _Transforms(8.5, 85, 250), 4: _Transforms(25, 650, 2000)}
_OF_FIVE_TAPS = _Transforms(12.5, 130, 250)

# Less than so much to win is not worth the other algorithm's rounding and scratch.
_LEAST_GAIN = 0.05


def tile_count(m: int, images: int, size: tuple[int, int]) -> int:
    """Return how many tiles of m x m cover the outputs."""
    rows, cols = size
    return images * -(-rows // m) * -(-cols // m)


def point_count(m: int, taps: tuple[int, int]) -> int:
    """Return how many products a tile takes for each channel and output."""
    return math.prod(m + 2 if n == 3 else 2 * m + 3 for n in taps)


def tile_products(
    m: int, images: int, size: tuple[int, int], taps: tuple[int, int], channels: int, outputs: int
) -> int:
    """Return how many products Winograd's convolution takes, for outputs of this size."""
    return tile_count(m, images, size) * point_count(m, taps) * channels * outputs


def tile_cost(
    m: int, images: int, size: tuple[int, int], taps: tuple[int, int], channels: int, outputs: int, packed: bool = False
) -> float:
    """Estimate a convolution by tiles of m x m outputs, in multiply-adds; `packed`: weights were transformed before."""
    transforms = _TRANSFORMS[m] if m == 4 or taps == (3, 3) else _OF_FIVE_TAPS
    tiles = tile_count(m, images, size)
    ends = tiles * (transforms.read * point_count(m, taps) * channels + transforms.write * outputs)
    parts = math.prod(1 if n == 3 else 2 for n in taps)
    weights = 0 if packed else transforms.weight * parts * channels * outputs
    return (1 + _LEAST_GAIN) * (tile_products(m, images, size, taps, channels, outputs) + ends + weights)


def gradient_cost(images: int, size: tuple[int, int], taps: tuple[int, int], channels: int, outputs: int) -> float:
    """Estimate a weights' gradient by tiles of 2x2 outputs, in multiply-adds of a direct one.

    Its sums take a quarter longer than as many products of a direct gradient, and its transforms half as long as those
    of the forward pass: that was measured, with AVX-512.
    """
    transforms = _TRANSFORMS[2] if taps == (3, 3) else _OF_FIVE_TAPS
    ends = transforms.read * point_count(2, taps) * channels + transforms.write * outputs
    return 1.25 * tile_products(2, images, size, taps, channels, outputs) + 0.5 * tile_count(2, images, size) * ends


def best_tile(
    sizes: Sequence[int], images: int, size: tuple[int, int], taps: tuple[int, int], channels: int, outputs: int,
    packed: bool = False,
) -> int:  # fmt: skip
    """Return the m of `sizes` of which tiles cost least, or 0 where a direct convolution costs less.

    Examples
    --------
    >>> best_tile((2, 4), 16, (56, 56), (3, 3), 64, 64)
    4
    >>> best_tile((2,), 16, (56, 56), (3, 3), 4, 64)
    0
    """

    def cost(m: int) -> float:
        return tile_cost(m, images, size, taps, channels, outputs, packed)

    best = min(sizes, key=cost)
    direct = math.prod(taps) * images * math.prod(size) * channels * outputs
    return best if cost(best) < direct else 0
