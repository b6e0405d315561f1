"""The transforms of Winograd's F(3x3, 2x2), vector by vector, but for those of images, which are those of F(2x2, 3x3).

What is transformed lies as [point][tile][lane], so that each point is a matrix of its own.
"""

from convkit._kernels._simd cimport VLEN, real, vr, vsplat, vstore
from convkit._kernels._winograd_tiles cimport Rows, load_column

cdef enum:
    POINTS = 16                     # products of a tile
    TILES = 64                      # transformed at a time: one point's panels and sums fit first-level cache


cdef inline Py_ssize_t plane(Py_ssize_t width) noexcept nogil:
    """Distance of points: a tile's 16 would share one cache set if it were a power of two."""
    return TILES*width + VLEN


cdef inline void expand(vr a, vr b, vr* e) noexcept nogil:
    """G times two gradients."""
    e[0], e[1], e[2], e[3] = a, a + b, a - b, b


cdef inline void transform_grads(
    const int lanes, const Rows* rows, Py_ssize_t col, Py_ssize_t count, Py_ssize_t k, Py_ssize_t broad, real* out,
) noexcept nogil:
    """Gradients of a line for one vector of lanes."""
    cdef vr x[2]
    cdef vr first[4]
    cdef vr second[4]
    cdef vr e[4]
    cdef Py_ssize_t tile
    cdef int i, j
    for tile in range(count):
        load_column(2, lanes, rows, col + 2*tile, k, x)
        expand(x[0], x[1], first)
        load_column(2, lanes, rows, col + 2*tile + 1, k, x)
        expand(x[0], x[1], second)
        for i in range(4):
            expand(first[i], second[i], e)
            for j in range(4):
                vstore(out + tile*broad + (4*i + j)*plane(broad), e[j])


cdef inline void contract(vr a, vr b, vr c, vr d, vr* y) noexcept nogil:
    """A' times four sums."""
    cdef vr even = (b + c)*vsplat(0.5)
    y[0], y[1], y[2] = a + even, (b - c)*vsplat(0.5), even - d
