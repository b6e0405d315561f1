"""The transforms of Winograd's F(3x3, 2x2), vector by vector: patches of an image, gradients, and sums to taps.

What is transformed lies as [point][tile][lane], so that each point is a matrix of its own.
"""

from convkit._kernels._simd cimport VLEN, prefetch, real, vload_lanes, vr, vsplat, vstore, vstore_lanes
from convkit._kernels._strip cimport Image

cdef enum:
    POINTS = 16                     # products of a tile
    TILES = 64                      # transformed at a time: one point's panels and sums fit first-level cache


cdef inline Py_ssize_t plane(Py_ssize_t width) noexcept nogil:
    """Distance of points: a tile's 16 would share one cache set if it were a power of two."""
    return TILES*width + VLEN


cdef struct Rows:
    # Rows of pixels: where each begins, and its pixels' distance, which is 0 in a row of zeros.
    const real* first[4]
    Py_ssize_t step[4]
    Py_ssize_t cols
    Py_ssize_t ahead                # distance of the two rows that the next row of tiles adds


cdef inline Rows rows_of(
    const real* image, const Image* strides, Py_ssize_t top, Py_ssize_t count, Py_ssize_t rows, Py_ssize_t cols,
    const real* zeros,
) noexcept nogil:
    cdef Rows r
    cdef Py_ssize_t i
    r.cols, r.ahead = cols, 2*strides.row
    for i in range(count):
        r.first[i], r.step[i] = zeros, 0
        if 0 <= top + i < rows:
            r.first[i], r.step[i] = image + (top + i)*strides.row, strides.col
    return r


cdef inline void load_column(
    const int count, const int lanes, const Rows* rows, Py_ssize_t col, Py_ssize_t c, vr* x,
) noexcept nogil:
    cdef int i
    cdef bint inside = 0 <= col < rows.cols
    for i in range(count - 2, count):
        prefetch(rows.first[i] + col*rows.step[i] + c + rows.ahead)
    for i in range(count):
        x[i] = vload_lanes(rows.first[i] + col*rows.step[i] + c, lanes) if inside else vsplat(0)


cdef inline void difference(const vr* x, vr* d) noexcept nogil:
    """B' x."""
    d[0], d[1], d[2], d[3] = x[0] - x[2], x[1] + x[2], x[2] - x[1], x[3] - x[1]


cdef inline void put_patch(const vr* d, const int lanes, real* out, Py_ssize_t point) noexcept nogil:
    """A patch whose columns, d[4*column], are transformed: transform its rows."""
    cdef int i
    for i in range(4):
        vstore_lanes(out + (4*i + 0)*point, d[i] - d[8 + i], lanes)
        vstore_lanes(out + (4*i + 1)*point, d[4 + i] + d[8 + i], lanes)
        vstore_lanes(out + (4*i + 2)*point, d[8 + i] - d[4 + i], lanes)
        vstore_lanes(out + (4*i + 3)*point, d[12 + i] - d[4 + i], lanes)


cdef inline void transform_patches(
    const int lanes, const Rows* rows, Py_ssize_t col, Py_ssize_t count, Py_ssize_t c, Py_ssize_t wide, real* out,
) noexcept nogil:
    """Patches of a line for one vector of channels. Neighbours share two columns, which stay in registers."""
    cdef vr x[4]
    cdef vr d[16]
    cdef Py_ssize_t tile
    cdef int i
    load_column(4, lanes, rows, col, c, x)
    difference(x, d)
    load_column(4, lanes, rows, col + 1, c, x)
    difference(x, d + 4)
    for tile in range(count):
        load_column(4, lanes, rows, col + 2*tile + 2, c, x)
        difference(x, d + 8)
        load_column(4, lanes, rows, col + 2*tile + 3, c, x)
        difference(x, d + 12)
        put_patch(d, lanes, out + tile*wide, plane(wide))
        for i in range(8):
            d[i] = d[8 + i]


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
    y[0], y[1], y[2] = a + even, (b - c)*vsplat(0.5), even + d
