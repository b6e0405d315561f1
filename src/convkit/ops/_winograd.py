"""When Winograd's convolution pays: for 3x3 filters of stride 1, by counting, and nothing is tried out.

A tile of m x m outputs takes (m + 2)^2 products instead of 9*m*m, but its input, its outputs and, once a call, the
weights are transformed. All is counted in multiply-adds of the register tile, which does the products of either
algorithm at the same speed::

    direct      9*C*K for each output pixel
    winograd    ((m + 2)^2*C*K + read*C + write*K) for each tile, those at the edge that are not full too
                + weight*C*K

What transforms cost was measured with AVX-512, where they cost most beside the products.
"""

from collections.abc import Sequence
from typing import NamedTuple


class _Transforms(NamedTuple):
    """What they cost, in multiply-adds."""

    read: int  # a channel of a tile's input
    write: int  # an output channel of a tile
    weight: int  # nine taps, and with m = 4 the fetching of 36 numbers from beyond the caches


_TRANSFORMS = {2: _Transforms(200, 130, 250), 4: _Transforms(900, 650, 2000)}

# Less than so much to win is not worth the other algorithm's rounding and scratch.
_LEAST_GAIN = 0.05


def tile_count(m: int, images: int, size: tuple[int, int]) -> int:
    """Return how many tiles of m x m cover the outputs."""
    rows, cols = size
    return images * -(-rows // m) * -(-cols // m)


def tile_products(m: int, images: int, size: tuple[int, int], channels: int, outputs: int) -> int:
    """Return how many products Winograd's convolution takes, for outputs of this size."""
    return tile_count(m, images, size) * (m + 2) ** 2 * channels * outputs


def best_tile(sizes: Sequence[int], images: int, size: tuple[int, int], channels: int, outputs: int) -> int:
    """Return the m of `sizes` of which tiles cost least, or 0 where a direct convolution costs less.

    Examples
    --------
    >>> best_tile((2, 4), 16, (56, 56), 64, 64)
    4
    >>> best_tile((2,), 16, (56, 56), 8, 64)
    0
    """

    def cost(m: int) -> float:
        transforms, tiles = _TRANSFORMS[m], tile_count(m, images, size)
        ends = tiles * (transforms.read * channels + transforms.write * outputs)
        weights = transforms.weight * channels * outputs
        return (1 + _LEAST_GAIN) * (tile_products(m, images, size, channels, outputs) + ends + weights)

    best = min(sizes, key=cost)
    return best if cost(best) < 9 * images * size[0] * size[1] * channels * outputs else 0
