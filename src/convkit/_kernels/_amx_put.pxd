"""The sums of a convolution by AMX tiles, on their way to the output: a few rows of a block of tiles at a time."""

from convkit._kernels._amx cimport (
    PAIR, TILE, are_beyond, magnitudes, no_magnitudes, vmeasure, vmeasure_row, vround_row,
)
from convkit._kernels._amx_strip cimport Correlation, Part
from convkit._kernels._epilogue cimport finish
from convkit._kernels._simd cimport (
    OF_BFLOAT16, VLEN, prefetch_to_write, real, stored, vload, vload_lanes, vr, vsplat, vstore_stored_lanes,
)
from convkit._kernels._split cimport MOST_SUM, least_sum
from convkit._kernels._stream cimport put, put_lanes

cdef enum:
    PUT_AHEAD = 8                   # rows from what is put to where lines are fetched for what will be


cdef struct Put:
    # The sums of a block of tiles, on their way to the output: rows are positions in a line, or pixels of TILE images.
    const real* sums
    Py_ssize_t first                # the position in the line
    Py_ssize_t row, col             # the output that comes next, or, of several images, that the first tile is
    Py_ssize_t lane, lanes
    Py_ssize_t at, behind           # rows that are left


cdef inline void put_row(
    const int vectors, stored* out, vr first, vr second, bint stream, magnitudes* seen,
) noexcept nogil:
    """Put the sums of a block's lanes."""
    cdef vr row
    if OF_BFLOAT16:
        row = vround_row(first, second)
        vmeasure_row(seen, row)
        put(<real*>out, row, stream)
    else:
        vmeasure(seen, first)
        put(<real*>out, first, stream)
        if vectors == 2:
            vmeasure(seen, second)
            put(<real*>(out + VLEN), second, stream)


cdef inline void fetch_row(const int vectors, const stored* out) noexcept nogil:
    prefetch_to_write(out)
    if vectors == 2 and not OF_BFLOAT16:
        prefetch_to_write(out + VLEN)


cdef inline void put_row_lanes(stored* out, vr v, int lanes, bint stream) noexcept nogil:
    """Put some of them. Those of bfloat16 are not streamed: they are not even half a line."""
    if OF_BFLOAT16:
        vstore_stored_lanes(out, v, lanes)
    else:
        put_lanes(<real*>out, v, lanes, stream)


cdef inline void put_vectors(
    const int vectors, const bint adds, const real* addend, Py_ssize_t addend_step, Py_ssize_t count, const real* sums,
    stored* out, Py_ssize_t step, bint stream, magnitudes* seen,
) noexcept nogil:
    """Write the sums of `count` positions for so many vectors of lanes."""
    cdef vr first, second = vsplat(0)
    cdef Py_ssize_t _
    for _ in range(count):
        first = vload(sums)
        if vectors == 2:
            second = vload(sums + VLEN)
        if adds:
            first = first + vload(addend)
            if vectors == 2:
                second = second + vload(addend + VLEN)
            addend = addend + addend_step
        if not stream:
            fetch_row(vectors, out + PUT_AHEAD*step)
        put_row(vectors, out, first, second, stream, seen)
        sums, out = sums + PAIR, out + step


cdef inline void put_whole(
    const int vectors, const real* addend, Py_ssize_t addend_step, Py_ssize_t count, const real* sums, stored* out,
    Py_ssize_t step, bint stream, magnitudes* seen,
) noexcept nogil:
    """The same, with what `addend` has for each added to them, unless it is NULL."""
    if addend is NULL:
        put_vectors(vectors, False, NULL, 0, count, sums, out, step, stream, seen)
    else:
        put_vectors(vectors, True, addend, addend_step, count, sums, out, step, stream, seen)


cdef inline void put_ragged(
    const real* addend, Py_ssize_t addend_step, Py_ssize_t count, Py_ssize_t lanes, const real* sums, stored* out,
    Py_ssize_t step, bint stream, magnitudes* seen,
) noexcept nogil:
    """The same for the lanes of the last block."""
    cdef Py_ssize_t i, k
    cdef int here
    cdef vr v
    for i in range(count):
        k = 0
        while k < lanes:
            here = <int>min(lanes - k, <Py_ssize_t>VLEN)
            v = vload(sums + i*PAIR + k)
            if addend is not NULL:
                v = v + vload_lanes(addend + i*addend_step + k, here)
            vmeasure(seen, v)
            put_row_lanes(out + i*step + k, v, here, stream)
            k += VLEN


cdef inline void put_run(
    const Correlation* t, const Put* to, Py_ssize_t count, stored* out, Py_ssize_t step, magnitudes* seen,
) noexcept nogil:
    """Write the sums of the next `count` rows to outputs that lie `step` apart: what is added to again is real."""
    cdef const real* sums = to.sums + to.at*PAIR
    cdef const real* addend = <const real*>out if t.again else NULL
    cdef Py_ssize_t addend_step = step if t.again else 0
    if t.bias is not NULL and not t.again:
        addend = t.bias + to.lane
    if to.lanes < PAIR:
        put_ragged(addend, addend_step, count, to.lanes, sums, out, step, t.streams, seen)
    else:
        put_whole(2, addend, addend_step, count, sums, out, step, t.streams, seen)
    if t.last:
        finish(&t.epilogue, count, step, to.lanes, <real*>out)


cdef inline stored* output_at(const Correlation* t, Py_ssize_t image, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    return (t.output + image*t.target.image + (t.y.out_first + t.y.out_step*row)*t.target.row
            + (t.x.out_first + t.x.out_step*col)*t.target.col)


cdef inline Py_ssize_t put_line(
    const Correlation* t, const Part* u, Put* to, Py_ssize_t most, magnitudes* seen,
) noexcept nogil:
    """Write what is left of a row, at most so many positions, and nothing of what lies between two rows."""
    cdef Py_ssize_t count = min(most, t.pitch - to.col), inside = min(count, u.cols - to.col)
    if inside > 0:
        put_run(t, to, inside, output_at(t, u.image, u.row + to.row, u.col + to.col) + to.lane,
                t.x.out_step*t.target.col, seen)
    to.col += count
    if to.col == t.pitch:
        to.row, to.col = to.row + 1, 0
    return count


cdef inline Py_ssize_t put_images(
    const Correlation* t, const Part* u, const Put* to, Py_ssize_t most, magnitudes* seen,
) noexcept nogil:
    """Write what is left of a tile, at most so many images."""
    cdef Py_ssize_t image = to.at % TILE, count = min(most, TILE - image), inside = min(count, u.images - image)
    if inside > 0:
        put_run(t, to, inside,
                output_at(t, u.image + image, u.row + to.row, u.col + to.col + to.at // TILE) + to.lane,
                t.target.image, seen)
    return count


cdef inline void put_some(const Correlation* t, const Part* u, Put* to, Py_ssize_t count) noexcept nogil:
    """Write the sums of the next rows; note if one is out of range."""
    cdef Py_ssize_t behind = min(to.at + count, to.behind)
    cdef magnitudes seen = no_magnitudes()
    while to.at < behind:
        if t.together > 1:
            to.at += put_images(t, u, to, behind - to.at, &seen)
        else:
            to.at += put_line(t, u, to, behind - to.at, &seen)
    if are_beyond(&seen, least_sum(t.parts), MOST_SUM):
        t.beyond[0] = True
