"""An affine map of each channel, ``(x - centre)*scale + shift``: what a batch norm makes of its input.

In Python it is a matrix of three rows. Kernels tile it over a group of rows (see `_rows`), so that elements of few
channels fill vectors too.
"""

from libc.string cimport memcpy

from convkit._kernels._rows cimport group_width, repeat
from convkit._kernels._simd cimport real


cdef struct Affine:
    real* centre
    real* scale
    real* shift


cdef inline Py_ssize_t affine_room(Py_ssize_t channels) noexcept nogil:
    """Elements that a tiled map takes."""
    return 3*group_width(channels)


cdef inline Affine tiled(const real* map_3c, Py_ssize_t channels, real* memory) noexcept nogil:
    """Tile a map into memory."""
    cdef Py_ssize_t width = group_width(channels), row
    cdef Affine a
    for row in range(3):
        memcpy(memory + row*width, map_3c + row*channels, channels*sizeof(real))
        repeat(memory + row*width, channels, width)
    a.centre, a.scale, a.shift = memory, memory + width, memory + 2*width
    return a
