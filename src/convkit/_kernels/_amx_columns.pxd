"""The input of a convolution of few channels by AMX tiles: all rows of taps of a column lie together.

A tile's row has room for 32 numbers. Where a pixel has one channel, or three, a row of taps is shorter than that; here
what an output sums over is one range,

    [column of taps][row of taps][channel]

and a step of it is 32 numbers, whatever they are of. Outputs read overlapping ranges, `in_step` columns apart.

A strip's rows are split into parts as they lie: [row][part][column][channel], zeros in the padding. For each row of
outputs, the rows that its taps read are then shuffled into a line of columns: [part][column][row of taps][channel]. A
line is made in vectors of 32 numbers, each of which takes some from every row; which ones, repeats after 32 columns.
But for the last taps, they are those of the line before, a few numbers further on.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset

from convkit._kernels._amx cimport DEEP, TILE, are_beyond, magnitudes, no_magnitudes, vmeasure, vshuffle_words
from convkit._kernels._axis cimport Axis, Range, inside, span
from convkit._kernels._image cimport Image
from convkit._kernels._simd cimport VLEN, real, vload, vload_lanes, vr, vsplat, vstore
from convkit._kernels._split cimport MOST_SPLIT, least_split, store_parts
from convkit._kernels._strip cimport ceil_div

cdef enum:
    ROWS_BYTES = 64*1024            # of a strip's rows: most of a core's first-level cache, or a little more
    COLUMNS = 256                   # outputs of a strip in a row


cdef struct Columns:
    Axis y, x
    Py_ssize_t images, channels
    const real* input
    Image source
    int parts
    bint* beyond                    # set where a number has no parts
    Py_ssize_t column               # numbers of one: rows of taps x channels
    Py_ssize_t steps                # of 32 numbers that an output sums
    Py_ssize_t rows, cols           # outputs of a strip,
    Py_ssize_t strips_down, strips_across
    Py_ssize_t height, width        # and rows and columns that they read
    # Bytes from a staged row to the next, of one part of it; and of one part of a line.
    Py_ssize_t row, row_part, line_part
    const Shuffle* shuffles         # of each of the vectors that 32 columns are


cdef struct Shuffle:
    # Where the numbers of a vector lie: in rows of taps from `first` on, at `index`. Each row has those of `of_row`.
    uint16_t index[DEEP]
    uint32_t of_row[DEEP]
    Py_ssize_t first                # number of the row


cdef inline void lay_columns(Columns* t) noexcept nogil:
    t.column = t.y.taps*t.channels
    t.steps = ceil_div(t.x.taps*t.column, DEEP)


cdef inline void lay_strip(Columns* t, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """Lay out strips of at most rows x cols outputs, all of nearly the same size."""
    cdef Py_ssize_t blocks, reached
    t.strips_down, t.strips_across = ceil_div(t.y.count, rows), ceil_div(t.x.count, cols)
    t.rows, t.cols = ceil_div(t.y.count, t.strips_down), ceil_div(t.x.count, t.strips_across)
    t.height, t.width = span(&t.y, t.rows), span(&t.x, t.cols)
    blocks = ceil_div(t.width, DEEP)
    # A vector is read from where its first number's column begins; and tiles are whole, whatever the outputs. Of a
    # line, numbers are read from a few further on.
    t.row_part = 2*DEEP*(blocks*t.channels + 1)
    t.row = t.parts*t.row_part
    reached = 2*(ceil_div(t.cols, TILE)*TILE*max(t.x.in_step, <Py_ssize_t>1)*t.column + t.steps*DEEP)
    t.line_part = (ceil_div(max(2*DEEP*blocks*t.column, reached), 2*DEEP) + 1)*2*DEEP


cdef inline void divide(Columns* t, int threads) noexcept nogil:
    """Cut into strips that fit the cache, then smaller until every thread has a few."""
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1, rows = t.y.count
    lay_strip(t, rows, COLUMNS)
    while rows > 1 and (t.height*t.row > ROWS_BYTES or t.images*t.strips_down*t.strips_across < enough):
        rows = ceil_div(rows, 2)
        lay_strip(t, rows, COLUMNS)


# ---------------------------------------------------------------------------------------------------------------------
# Shuffles


cdef inline void lay_shuffles(const Columns* t, Shuffle* shuffles) noexcept nogil:
    """Find where each number of 32 columns lies. In 32 that are neighbours in a line, no row has more than 32."""
    cdef Py_ssize_t v, i, col = 0, tap = 0, channel = 0
    for v in range(t.column):
        shuffles[v].first = col*t.channels
        memset(shuffles[v].of_row, 0, sizeof(shuffles[v].of_row))
        for i in range(DEEP):
            shuffles[v].index[i] = <uint16_t>(col*t.channels + channel - shuffles[v].first)
            shuffles[v].of_row[tap] |= <uint32_t>1 << i
            channel += 1
            if channel == t.channels:
                channel, tap = 0, tap + 1
            if tap == t.y.taps:
                tap, col = 0, col + 1


cdef inline Py_ssize_t kept_taps(const Columns* t) noexcept nogil:
    """How many taps of a row of outputs read what the next ones of the row before do."""
    return max(<Py_ssize_t>0, t.y.taps - t.y.in_step) if t.y.tap_step == 1 else 0


cdef inline void stage_line(
    const Columns* t, const char* rows, Py_ssize_t row, const char* before, char* line,
) noexcept nogil:
    """Shuffle what a row of outputs reads into a line of columns; `before` is the line of the row before, or NULL."""
    cdef Py_ssize_t part, block, v, tap, blocks = ceil_div(t.width, DEEP), apart = t.y.tap_step*t.row
    cdef Py_ssize_t kept = kept_taps(t) if before is not NULL else 0, shift = 2*t.y.in_step*t.channels, place
    cdef const char* source
    cdef const Shuffle* s
    cdef vr numbers = vsplat(0)
    rows = rows + t.y.in_step*row*t.row
    for part in range(t.parts):
        for block in range(blocks):
            source = rows + part*t.row_part + 2*block*DEEP*t.channels
            for v in range(t.column):
                s = &t.shuffles[v]
                place = part*t.line_part + 2*DEEP*(block*t.column + v)
                if kept:
                    numbers = vload(<const real*>(before + place + shift))
                for tap in range(kept, t.y.taps):
                    numbers = vshuffle_words(numbers, s.of_row[tap], vload(<const real*>s.index),
                                             source + 2*s.first + tap*apart)
                vstore(<real*>(line + place), numbers)


# ---------------------------------------------------------------------------------------------------------------------
# Rows


cdef struct Part:
    # What one unit of work computes: a strip of an image.
    Py_ssize_t image, row, rows, col, cols


cdef inline Part part_of(const Columns* t, Py_ssize_t unit) noexcept nogil:
    cdef Part u
    u.col = unit % t.strips_across*t.cols
    unit = unit // t.strips_across
    u.row = unit % t.strips_down*t.rows
    u.image = unit // t.strips_down
    u.rows = max(<Py_ssize_t>0, min(t.rows, t.y.count - u.row))
    u.cols = max(<Py_ssize_t>0, min(t.cols, t.x.count - u.col))
    return u


cdef inline void split_numbers(
    const int parts, const real* numbers, Py_ssize_t count, char* target, Py_ssize_t part, magnitudes* seen,
) noexcept nogil:
    """Split neighbouring numbers, with zeros behind them, in whole vectors."""
    cdef Py_ssize_t i = 0
    cdef vr v
    while i < count:
        v = vload_lanes(numbers + i, <int>min(count - i, <Py_ssize_t>VLEN))
        vmeasure(seen, v)
        store_parts(parts, v, target + 2*i, part, VLEN)
        i += VLEN


cdef inline bint split_pixels(
    const Columns* t, const int parts, const real* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    """Split a run of pixels that lie `step` apart; return whether a number has no parts."""
    cdef Py_ssize_t i
    cdef magnitudes seen = no_magnitudes()
    if step == t.channels:
        split_numbers(parts, pixel, count*t.channels, target, t.row_part, &seen)
    else:
        for i in range(count):
            split_numbers(parts, pixel + i*step, t.channels, target + 2*i*t.channels, t.row_part, &seen)
    return are_beyond(&seen, least_split(parts), MOST_SPLIT)


cdef inline bint split_run(
    const Columns* t, const real* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    if t.parts == 3:
        return split_pixels(t, 3, pixel, step, count, target)
    if t.parts == 2:
        return split_pixels(t, 2, pixel, step, count, target)
    return split_pixels(t, 1, pixel, step, count, target)


cdef inline void blank(const Columns* t, Py_ssize_t first, Py_ssize_t behind, char* row) noexcept nogil:
    """Zeros in some columns of a row, in whole vectors: those behind come later, or are never read."""
    cdef Py_ssize_t part, i
    for part in range(t.parts):
        i = first*t.channels
        while i < behind*t.channels:
            store_parts(1, vsplat(0), row + part*t.row_part + 2*i, 0, VLEN)
            i += VLEN


cdef inline void stage_rows(const Columns* t, const Part* u, char* target) noexcept nogil:
    """Split all rows that a strip's outputs read, zeros where the image ends."""
    cdef Py_ssize_t width = span(&t.x, u.cols), row = t.y.first + t.y.grain*t.y.in_step*u.row
    cdef Py_ssize_t col = t.x.first + t.x.grain*t.x.in_step*u.col
    cdef Range within = inside(col, t.x.grain, t.x.in_size, width)
    cdef Py_ssize_t _
    cdef const real* image = t.input + u.image*t.source.image + (col + within.first*t.x.grain)*t.source.col
    for _ in range(span(&t.y, u.rows)):
        if 0 <= row < t.y.in_size:
            blank(t, 0, within.first, target)
            if split_run(t, image + row*t.source.row, t.x.grain*t.source.col, within.behind - within.first,
                         target + 2*within.first*t.channels):
                t.beyond[0] = True
            blank(t, within.behind, width, target)
        else:
            blank(t, 0, width, target)
        row, target = row + t.y.grain, target + t.row
