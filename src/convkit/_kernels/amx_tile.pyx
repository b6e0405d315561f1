"""One product of AMX tiles: what the instruction computes, for tests."""

from libc.stdint cimport uint16_t

from convkit._kernels._amx cimport full_tiles_begin, tile_dpbf16ps, tile_load, tile_store, tiles_end
from convkit._kernels._simd cimport real


def multiply_add(real[:, ::1] sums, const uint16_t[:, ::1] a, const uint16_t[:, ::1] pairs):
    """Add to sums (16, 16) the product of a (16, 32) and of pairs (16, 32), whose row k holds rows 2*k and 2*k + 1 of a
    matrix (32, 16), element by element in turn."""
    with nogil:
        full_tiles_begin()
        tile_load(0, &sums[0, 0], 64)
        tile_load(1, &a[0, 0], 64)
        tile_load(2, &pairs[0, 0], 64)
        tile_dpbf16ps(0, 1, 2)
        tile_store(0, &sums[0, 0], 64)
        tiles_end()
