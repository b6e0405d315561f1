"""What Winograd's tiles by AMX are made of: the transformed input and weights, split into bfloat16 parts.

A number of the reduction is a channel of one part of the filters (_winograd_parts.pxd). Sixteen of them make a vector,
and two vectors a step: the first one's numbers are the even, the second one's the odd elements of 32. In bytes:

    V  [point of a row][step][part][tile][32]                              rows of A
    U  [row of points][block of 32 lanes][point][step][part][16 lanes][16 pairs][lane]     tiles of B
    Q  [point of a row][tile][32 lanes], of float32
    Y  [block of 32 lanes][tile][output][32 lanes], of float32

A part of the filters with less than three taps an axis does not need the last points of it: their weights are zero.

Of the input, each number must be zero or at least 2^-80. What transforms make of such numbers are sums of multiples of
2^-103, and have parts (_split.pxd).
"""

from libc.string cimport memset

from convkit._kernels._amx cimport TILE_BYTES, are_beyond, magnitudes, no_magnitudes, vany, vmeasure
from convkit._kernels._amx_weights cimport step_bytes
from convkit._kernels._simd cimport VLEN, real, vi, visplat, vload, vload_lanes, vr, vsplat, vstore
from convkit._kernels._split cimport least_split, splittable, store_cut_pairs, store_pairs
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport BLOCK, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, pack_block
from convkit._kernels._winograd cimport output_line, transform_weight
from convkit._kernels._winograd_correlation cimport Correlation
from convkit._kernels._winograd_parts cimport Part
from convkit._kernels._winograd_rows cimport COLUMNS, SIDE, Pair, columns_of, pair_of
from convkit._kernels._winograd_tiles cimport LINE, Line, Pixels

cdef enum:
    POINTS = 16
    LEAST_INPUT = 0x17800000        # 2^-80
    MOST_INPUT = 0x7c000000         # 2^121: four of them are far from overflow


cdef struct Split:
    # How V lies, and how the weights are cut.
    int parts                       # of each number
    Py_ssize_t channel_vectors      # of one part of the filters,
    Py_ssize_t vectors              # and of all
    Py_ssize_t steps
    Py_ssize_t part, step, point    # bytes from one to the next in V


cdef inline Split split_of(const Correlation* t, int parts, Py_ssize_t tiles) noexcept nogil:
    """For so many tiles. Distances are odd numbers of lines: powers of two would fall into the same few cache sets."""
    cdef Split s
    s.parts = parts
    s.channel_vectors = ceil_div(t.channels, VLEN)
    s.vectors = t.parts.count*s.channel_vectors
    s.steps = ceil_div(s.vectors, 2)
    s.part = (tiles | 1)*LINE
    s.step = parts*s.part
    s.point = (s.steps*s.step // LINE | 1)*LINE
    return s


# ---------------------------------------------------------------------------------------------------------------------
# Weights


cdef inline Py_ssize_t panel_bytes(const Split* s) noexcept nogil:
    """Of one block of lanes, at one point."""
    return s.steps*step_bytes(s.parts)


cdef inline Py_ssize_t row_bytes(const Correlation* t, const Split* s) noexcept nogil:
    """Of all lanes, at a row of points."""
    return block_count(t.lanes)*SIDE*panel_bytes(s)


cdef inline Py_ssize_t taps_room(const Correlation* t) noexcept nogil:
    """Elements that `pack_step` needs: a vector's taps, and what becomes of two vectors'."""
    return t.y.taps*t.x.taps*VLEN*BLOCK + 2*POINTS*VLEN*BLOCK


cdef inline void transform_vector(
    const Correlation* t, const Split* s, const Weights* w, Py_ssize_t vector, real* taps, real* u,
) noexcept nogil:
    """The weights of one vector of the reduction and one block of lanes, into [point][channel][lanes of the block]."""
    cdef const Part* part = &t.parts.part[vector // s.channel_vectors]
    cdef Py_ssize_t channel = vector % s.channel_vectors*VLEN, i = 0, size
    cdef Weights some = w[0]
    if vector >= s.vectors:
        memset(u, 0, POINTS*VLEN*BLOCK*sizeof(real))
        return
    some.data, some.channels = w.data + channel*w.channel, min(w.channels - channel, <Py_ssize_t>VLEN)
    size = some.channels*tile_vectors(w.lanes)*VLEN
    pack_block(&some, &t.y, &t.x, 0, taps)
    if some.channels < VLEN:
        memset(u, 0, POINTS*VLEN*BLOCK*sizeof(real))
    while i < size:
        transform_weight(2, part, taps + (part.row*t.x.taps + part.col)*size + i, t.x.taps*size, size, u + i,
                         SIDE*VLEN*BLOCK, VLEN*BLOCK)
        i += VLEN


cdef inline vi split_points(
    const Split* s, const int parts, const real* even, const real* odd, Py_ssize_t width, char* tiles, Py_ssize_t row,
) noexcept nogil:
    """Two vectors of the reduction at all points, as pairs; lanes of the result are set where a number has no parts."""
    cdef Py_ssize_t point, pair, k, at
    cdef char* target
    cdef vi beyond = visplat(0)
    for point in range(POINTS):
        target = tiles + point // SIDE*row + point % SIDE*panel_bytes(s)
        for pair in range(VLEN):
            for k in range(width // VLEN):
                at = point*VLEN*BLOCK + pair*width + k*VLEN
                store_pairs(parts, splittable(vload(even + at), least_split(parts), &beyond),
                            splittable(vload(odd + at), least_split(parts), &beyond),
                            target + k*TILE_BYTES + pair*LINE, 2*TILE_BYTES)
    return beyond


cdef inline bint pack_step(
    const Correlation* t, const Split* s, const Weights* group, Py_ssize_t block, Py_ssize_t step, real* room,
    char* panels,
) noexcept nogil:
    """Transform and split the weights of one step and one block of lanes; return whether one has no parts."""
    cdef real* even = room + t.y.taps*t.x.taps*VLEN*BLOCK
    cdef real* odd = even + POINTS*VLEN*BLOCK
    cdef char* tiles = panels + block*SIDE*panel_bytes(s) + step*step_bytes(s.parts)
    cdef Py_ssize_t row = row_bytes(t, s)
    cdef Weights w = group[0]
    w.data, w.lanes = group.data + block*BLOCK*w.lane, min(group.lanes - block*BLOCK, <Py_ssize_t>BLOCK)
    transform_vector(t, s, &w, 2*step, room, even)
    transform_vector(t, s, &w, 2*step + 1, room, odd)
    if s.parts == 3:
        return vany(split_points(s, 3, even, odd, tile_vectors(w.lanes)*VLEN, tiles, row))
    if s.parts == 2:
        return vany(split_points(s, 2, even, odd, tile_vectors(w.lanes)*VLEN, tiles, row))
    return vany(split_points(s, 1, even, odd, tile_vectors(w.lanes)*VLEN, tiles, row))


# ---------------------------------------------------------------------------------------------------------------------
# Input


cdef inline bint has_no_parts(
    const real* pixel, Py_ssize_t pixels, Py_ssize_t step, Py_ssize_t channels,
) noexcept nogil:
    """Whether some number of a row of pixels is too small or too large. Read from end to end, it comes near, too."""
    cdef magnitudes seen = no_magnitudes()
    cdef Py_ssize_t _, c
    for _ in range(pixels):
        c = 0
        while c < channels:
            vmeasure(&seen, vload_lanes(pixel + c, <int>min(channels - c, <Py_ssize_t>VLEN)))
            c += VLEN
        pixel = pixel + step
    return are_beyond(&seen, LEAST_INPUT, MOST_INPUT)


cdef inline bint line_has_no_parts(const Correlation* t, const Line* line) noexcept nogil:
    """The same of all that a line of tiles reads; lines have a few rows in common with the one above."""
    cdef const Pixels* p = &t.source
    cdef Py_ssize_t top = p.first_row + line.row, row = top + (t.y.taps - 1 if line.row else 0)
    cdef Py_ssize_t col = max(p.first_col + line.col, <Py_ssize_t>0)
    cdef Py_ssize_t behind = min(p.cols, p.first_col + line.col + COLUMNS*line.count + t.x.taps - 1)
    cdef bint found = False
    for row in range(max(row, <Py_ssize_t>0), min(p.rows, top + t.y.taps + 1)):
        if has_no_parts(p.data + line.image*p.strides.image + row*p.strides.row + col*p.strides.col, behind - col,
                        p.strides.col, t.channels):
            found = True
    return found


cdef struct Source:
    # A vector of channels of the two rows of pixels that make a row of points.
    Pair rows
    Py_ssize_t col, channel
    int lanes


cdef inline Source source_of(
    const Correlation* t, const Split* s, const Line* line, Py_ssize_t vector, Py_ssize_t row,
) noexcept nogil:
    cdef const Pixels* p = &t.source
    cdef Source a
    cdef const Part* part
    if vector >= s.vectors:
        vector = 0                  # its weights are zero
    part = &t.parts.part[vector // s.channel_vectors]
    a.rows = pair_of(p, line.image, p.first_row + line.row + part.row, row)
    a.col, a.channel = p.first_col + line.col + part.col, vector % s.channel_vectors*VLEN
    a.lanes = <int>min(t.channels - a.channel, <Py_ssize_t>VLEN)
    return a


cdef inline void split_row(
    const int parts, const bint adds, const bint whole, const Source* even, const Source* odd, Py_ssize_t count,
    char* v, Py_ssize_t part, Py_ssize_t point,
) noexcept nogil:
    """A row of points of a line's tiles, for two vectors. Neighbours share two columns."""
    cdef vr x[4]
    cdef vr y[4]
    cdef Py_ssize_t x_col = even.col, y_col = odd.col, _
    cdef int x_lanes = VLEN if whole else even.lanes, y_lanes = VLEN if whole else odd.lanes
    columns_of(adds, x_lanes, &even.rows, x_col, even.channel, x)
    columns_of(adds, y_lanes, &odd.rows, y_col, odd.channel, y)
    for _ in range(count):
        x_col, y_col = x_col + COLUMNS, y_col + COLUMNS
        columns_of(adds, x_lanes, &even.rows, x_col, even.channel, x + 2)
        columns_of(adds, y_lanes, &odd.rows, y_col, odd.channel, y + 2)
        store_cut_pairs(parts, x[0] - x[2], y[0] - y[2], v, part)
        store_cut_pairs(parts, x[1] + x[2], y[1] + y[2], v + point, part)
        store_cut_pairs(parts, x[2] - x[1], y[2] - y[1], v + 2*point, part)
        store_cut_pairs(parts, x[1] - x[3], y[1] - y[3], v + 3*point, part)
        x[0], x[1], y[0], y[1] = x[2], x[3], y[2], y[3]
        v = v + LINE


cdef inline void split_rows(
    const int parts, const bint adds, const Source* even, const Source* odd, Py_ssize_t count, char* v,
    const Split* s,
) noexcept nogil:
    if even.lanes == VLEN and odd.lanes == VLEN:
        split_row(parts, adds, True, even, odd, count, v, s.part, s.point)
    else:
        split_row(parts, adds, False, even, odd, count, v, s.part, s.point)


cdef inline void read_step(
    const Correlation* t, const Split* s, const int parts, const Line* line, Py_ssize_t row, Py_ssize_t step, char* v,
) noexcept nogil:
    """One row of points and one step of a line's tiles."""
    cdef Source even = source_of(t, s, line, 2*step, row), odd = source_of(t, s, line, 2*step + 1, row)
    if row == 1:
        split_rows(parts, True, &even, &odd, line.count, v, s)
    else:
        split_rows(parts, False, &even, &odd, line.count, v, s)


# ---------------------------------------------------------------------------------------------------------------------
# Outputs


cdef inline void add_row(const int row, const real* q, Py_ssize_t point, real* y, vr* out) noexcept nogil:
    """Add a row of points to a vector of a tile's four outputs, of which the last row makes `out`."""
    cdef vr z[COLUMNS]
    cdef int j
    output_line(2, vload(q), vload(q + point), vload(q + 2*point), vload(q + 3*point), vsplat(0), vsplat(0), z, 1)
    for j in range(COLUMNS):
        if row == 0:
            vstore(y + j*BLOCK, z[j])
        elif row == 1:
            vstore(y + j*BLOCK, vload(y + j*BLOCK) + z[j])
            vstore(y + (2 + j)*BLOCK, z[j])
        elif row == 2:
            vstore(y + j*BLOCK, vload(y + j*BLOCK) + z[j])
            vstore(y + (2 + j)*BLOCK, vload(y + (2 + j)*BLOCK) - z[j])
        else:
            out[j], out[2 + j] = vload(y + j*BLOCK), vload(y + (2 + j)*BLOCK) - z[j]
