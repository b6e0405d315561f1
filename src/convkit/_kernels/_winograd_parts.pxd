"""Filters of up to five taps an axis, in parts of at most three: what F(2x2, 3x3) computes, and gradients of it.

Five taps are three, and two more that read from three pixels on. Fewer than three need no product at infinity, the
last of an axis: for tiles of 2x2, 4 + 3 points an axis are 49 products in place of 100. A point sums its products over
all parts that need it, as if they were further channels; so their outputs are transformed once.
"""

from convkit._kernels._axis cimport Range

cdef enum:
    TAPS = 3                        # of a part and an axis, at most
    MOST_PARTS = 4


cdef struct Part:
    # Some taps of a filter: the first row and column, and how many.
    Py_ssize_t row, col, rows, cols


cdef struct Parts:
    Part part[MOST_PARTS]
    Py_ssize_t count


cdef inline void add_part(
    Parts* p, Py_ssize_t row, Py_ssize_t col, Py_ssize_t rows, Py_ssize_t cols,
) noexcept nogil:
    cdef Part* part = &p.part[p.count]
    part.row, part.col, part.rows, part.cols = row, col, rows, cols
    p.count += 1


cdef inline Parts parts_of(Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """The parts of a filter of three to five taps an axis, in an order in which those that a point needs are
    neighbours."""
    cdef Parts p
    p.count = 0
    if cols > TAPS:
        add_part(&p, 0, TAPS, TAPS, cols - TAPS)
    add_part(&p, 0, 0, TAPS, TAPS)
    if rows > TAPS:
        add_part(&p, TAPS, 0, rows - TAPS, TAPS)
    if rows > TAPS and cols > TAPS:
        add_part(&p, TAPS, TAPS, rows - TAPS, cols - TAPS)
    return p


cdef inline Range parts_with(const Parts* p, int side, Py_ssize_t point) noexcept nogil:
    """The parts that need a point of side x side: the last row and column of points belong to three taps."""
    cdef bint down = point // side == side - 1, across = point % side == side - 1
    cdef Py_ssize_t i
    cdef Range parts
    parts.first, parts.behind = p.count, p.count
    for i in range(p.count):
        if (p.part[i].rows == TAPS or not down) and (p.part[i].cols == TAPS or not across):
            parts.first, parts.behind = min(parts.first, i), i + 1
    return parts
