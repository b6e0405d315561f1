"""The transforms of Winograd's F(3x3, 2x2), a row of points at a time, vector by vector.

Those of images are those of F(2x2, 3x3). What is transformed lies as [point][tile][lane], so that each point is a
matrix of its own.
"""

from convkit._kernels._simd cimport VLEN, real, vr, vsplat, vstore
from convkit._kernels._winograd_rows cimport Pair, columns_of, row_at
from convkit._kernels._winograd_tiles cimport Line, Pixels, Planes

cdef enum:
    POINTS = 16                     # products of a tile


cdef inline void expand_line(
    const bint adds, const int lanes, const Pair* pair, Py_ssize_t col, Py_ssize_t count, Py_ssize_t k, real* out,
    const Planes* planes,
) noexcept nogil:
    """G times the two columns of each of a line's tiles, for one vector of lanes."""
    cdef vr x[2]
    cdef Py_ssize_t _
    for _ in range(count):
        columns_of(adds, lanes, pair, col, k, x)
        vstore(out, x[0])
        vstore(out + planes.point, x[0] + x[1])
        vstore(out + 2*planes.point, x[0] - x[1])
        vstore(out + 3*planes.point, x[1])
        col, out = col + 2, out + planes.tile


cdef inline void expand_lanes(
    const bint adds, const Pair* pair, const Line* line, Py_ssize_t lanes, real* out, const Planes* planes,
) noexcept nogil:
    """All lanes, with zeros behind the last in its vector."""
    cdef Py_ssize_t k = 0
    while k + VLEN <= lanes:
        expand_line(adds, VLEN, pair, line.col, line.count, k, out + k, planes)
        k += VLEN
    if k < lanes:
        expand_line(adds, <int>(lanes - k), pair, line.col, line.count, k, out + k, planes)


cdef inline void expand_row(
    const Pixels* p, const Line* line, Py_ssize_t row, Py_ssize_t lanes, Py_ssize_t at, const Planes* planes,
) noexcept nogil:
    """Row `row` of G: g0, g0 + g1, g0 - g1 or g1, of a line of tiles, which become tiles `at` and following."""
    cdef Pair pair
    pair.upper = row_at(p, line.image, line.row + (row == 3), &pair.upper_step)
    pair.lower, pair.lower_step, pair.cols = p.zeros, 0, p.cols
    if row == 1 or row == 2:
        pair.lower = row_at(p, line.image, line.row + 1, &pair.lower_step)
    if row == 2:
        expand_lanes(False, &pair, line, lanes, planes.data + at*planes.tile, planes)
    else:
        expand_lanes(True, &pair, line, lanes, planes.data + at*planes.tile, planes)


cdef inline void contract(vr a, vr b, vr c, vr d, vr* y) noexcept nogil:
    """A' times four sums."""
    cdef vr even = (b + c)*vsplat(0.5)
    y[0], y[1], y[2] = a + even, (b - c)*vsplat(0.5), even - d
