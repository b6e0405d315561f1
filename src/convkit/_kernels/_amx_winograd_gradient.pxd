"""Both operands of a weight's gradient by Winograd's tiles on AMX: transformed, split into bfloat16 parts, and paired.

A point of Winograd's sums the products of what tiles read of the image and of the gradient of the output. Two tiles
make a pair, and 16 pairs a step of the products. For a row of four points at a time, in bytes:

    V  [point][16 channels][step][part][16 pairs of tiles][channel][2]      tiles of B: the image
    M  [point][16 lanes][step][part][lane][16 pairs of tiles][2]            tiles of A: the gradient

Lanes are the rows of A, so that the gradient, of which a tile reads least, is transposed: after its columns were added
up, before its rows are.

Transformed numbers that have no parts (_split.pxd) are noted where they are split: small ones by their first part. Of
what is not finite, no part is, and it is seen in the sums.
"""

from convkit._kernels._amx cimport DEEP, TILE, TILE_BYTES, vnote_least_pairs, vnoted_less_pairs
from convkit._kernels._axis cimport Range
from convkit._kernels._simd cimport VLEN, real, vi, visplat, vload, vr, vstore, vtranspose
from convkit._kernels._split cimport least_split, round_pairs
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._winograd_rows cimport COLUMNS, SIDE, Pair, pair_of, pixel_of, row_at
from convkit._kernels._winograd_tiles cimport Pixels, Tiles

cdef enum:
    # Pixels that a tile reads for a row of points: its columns, each in two rows.
    PATCH = 2*SIDE
    GRADS = 2*COLUMNS
    SQUARE = TILE*TILE


cdef struct Operand:
    # One of the two, as it is staged, and the part of it that is: channels or lanes.
    Pixels pixels
    Py_ssize_t width
    Py_ssize_t block, point         # bytes from 16 of them to the next, and from point to point


cdef struct Strip:
    # A run of tiles, and where the pixels are that they read for a row of points, in whole steps.
    Py_ssize_t tiles
    const real** patches            # PATCH of each tile,
    const real** grads              # and GRADS


# ---------------------------------------------------------------------------------------------------------------------
# Where pixels are


cdef inline void find_columns(
    const Pair* rows, Py_ssize_t col, Py_ssize_t count, const real* zeros, const real** pixel,
) noexcept nogil:
    """Of so many columns of two rows, column by column; zeros outside of the image."""
    cdef Py_ssize_t i
    for i in range(count):
        pixel[2*i], pixel[2*i + 1] = zeros, zeros
        if 0 <= col + i < rows.cols:
            pixel[2*i], pixel[2*i + 1] = rows.upper + (col + i)*rows.upper_step, rows.lower + (col + i)*rows.lower_step


cdef inline void find_patch(
    const Pixels* p, const Tiles* t, Py_ssize_t tile, Py_ssize_t row, const real** pixel,
) noexcept nogil:
    """What a tile reads of the image, for a row of points."""
    cdef Py_ssize_t line = tile // t.across
    cdef Pair rows = pair_of(p, line // t.down, p.first_row + line % t.down*COLUMNS, row)
    find_columns(&rows, p.first_col + tile % t.across*COLUMNS, SIDE, p.zeros, pixel)


cdef inline void find_grads(
    const Pixels* p, const Tiles* t, Py_ssize_t tile, Py_ssize_t row, const real** pixel,
) noexcept nogil:
    """The same of the gradient: rows of G are a, a + b, a - b and b, where a single one has zeros beside."""
    cdef Py_ssize_t line = tile // t.across, image = line // t.down, top = line % t.down*COLUMNS
    cdef Pair rows
    rows.cols = p.cols
    rows.upper = row_at(p, image, top + 1 if row == SIDE - 1 else top, &rows.upper_step)
    rows.lower = row_at(p, image, top + 1 if 0 < row < SIDE - 1 else -1, &rows.lower_step)
    find_columns(&rows, tile % t.across*COLUMNS, COLUMNS, p.zeros, pixel)


cdef inline void find_strip(
    const Pixels* image, const Pixels* grad, const Tiles* t, Range tiles, Py_ssize_t row, Strip* s,
) noexcept nogil:
    """Tiles that the last step lacks read zeros."""
    cdef Py_ssize_t i, whole
    s.tiles = tiles.behind - tiles.first
    whole = ceil_div(s.tiles, DEEP)*DEEP
    for i in range(s.tiles):
        find_patch(image, t, tiles.first + i, row, s.patches + i*PATCH)
        find_grads(grad, t, tiles.first + i, row, s.grads + i*GRADS)
    for i in range(s.tiles*PATCH, whole*PATCH):
        s.patches[i] = image.zeros
    for i in range(s.tiles*GRADS, whole*GRADS):
        s.grads[i] = grad.zeros


# ---------------------------------------------------------------------------------------------------------------------
# Staging


cdef inline void add_columns(
    const bint adds, const int lanes, const int count, const real* const* pixel, Py_ssize_t c, vr* x,
) noexcept nogil:
    """Of each column, the sum of the two rows, or their difference."""
    cdef int i
    for i in range(count):
        x[i] = pixel_of(adds, lanes, pixel[2*i] + c, pixel[2*i + 1] + c)


cdef inline void put_pairs(const int parts, vr first, vr second, char* target, vi* least) noexcept nogil:
    """Split two numbers, and note how small they are."""
    round_pairs(parts, first, second, target, TILE_BYTES)
    if parts > 1:
        vnote_least_pairs(least, vload(<const real*>target))


cdef inline void stage_patches(
    const int parts, const bint adds, const int lanes, const real* const* pixel, Py_ssize_t channel, char* v,
    Py_ssize_t point, vi* least,
) noexcept nogil:
    """A row of points of the patches of a step's tiles, for a vector of channels."""
    cdef vr x[SIDE]
    cdef vr y[SIDE]
    cdef Py_ssize_t _
    for _ in range(DEEP // 2):
        add_columns(adds, lanes, SIDE, pixel, channel, x)
        add_columns(adds, lanes, SIDE, pixel + PATCH, channel, y)
        put_pairs(parts, x[0] - x[2], y[0] - y[2], v, least)
        put_pairs(parts, x[1] + x[2], y[1] + y[2], v + point, least)
        put_pairs(parts, x[2] - x[1], y[2] - y[1], v + 2*point, least)
        put_pairs(parts, x[1] - x[3], y[1] - y[3], v + 3*point, least)
        pixel, v = pixel + 2*PATCH, v + 64


cdef inline void turn_grads(
    const bint adds, const int lanes, const real* const* pixel, Py_ssize_t lane, real* left, real* right,
) noexcept nogil:
    """Both columns of every second tile of a step, [lane][tile]."""
    cdef vr x[COLUMNS]
    cdef vr first[TILE]
    cdef vr second[TILE]
    cdef Py_ssize_t i
    for i in range(TILE):
        add_columns(adds, lanes, COLUMNS, pixel + 2*i*GRADS, lane, x)
        first[i], second[i] = x[0], x[1]
    vtranspose(first)
    for i in range(TILE):
        vstore(left + i*VLEN, first[i])
    vtranspose(second)
    for i in range(TILE):
        vstore(right + i*VLEN, second[i])


cdef inline void stage_grads(
    const int parts, const bint adds, const int lanes, const real* const* pixel, Py_ssize_t lane, char* m,
    Py_ssize_t point, vi* least,
) noexcept nogil:
    """A row of points of the gradients of a step's tiles, for a vector of lanes."""
    cdef real turned[4*SQUARE]
    cdef const real* row = turned
    cdef vr a, b, c, d
    cdef Py_ssize_t _
    turn_grads(adds, lanes, pixel, lane, turned, turned + SQUARE)
    turn_grads(adds, lanes, pixel + GRADS, lane, turned + 2*SQUARE, turned + 3*SQUARE)
    for _ in range(TILE):
        a, b, c, d = vload(row), vload(row + SQUARE), vload(row + 2*SQUARE), vload(row + 3*SQUARE)
        put_pairs(parts, a, c, m, least)
        put_pairs(parts, a + b, c + d, m + point, least)
        put_pairs(parts, a - b, c - d, m + 2*point, least)
        put_pairs(parts, b, d, m + 3*point, least)
        row, m = row + TILE, m + 64


cdef inline void stage_image(
    const int parts, const bint adds, const Strip* s, const Operand* o, char* v, vi* least,
) noexcept nogil:
    """A strip's V."""
    cdef Py_ssize_t step, c
    for step in range(ceil_div(s.tiles, DEEP)):
        c = 0
        while c + VLEN <= o.width:
            stage_patches(parts, adds, VLEN, s.patches + step*DEEP*PATCH, c, v + c // TILE*o.block, o.point, least)
            c += VLEN
        if c < o.width:
            stage_patches(parts, adds, <int>(o.width - c), s.patches + step*DEEP*PATCH, c, v + c // TILE*o.block,
                          o.point, least)
        v = v + parts*TILE_BYTES


cdef inline void stage_gradient(
    const int parts, const bint adds, const Strip* s, const Operand* o, char* m, vi* least,
) noexcept nogil:
    """A strip's M."""
    cdef Py_ssize_t step, k
    for step in range(ceil_div(s.tiles, DEEP)):
        k = 0
        while k + VLEN <= o.width:
            stage_grads(parts, adds, VLEN, s.grads + step*DEEP*GRADS, k, m + k // TILE*o.block, o.point, least)
            k += VLEN
        if k < o.width:
            stage_grads(parts, adds, <int>(o.width - k), s.grads + step*DEEP*GRADS, k, m + k // TILE*o.block,
                        o.point, least)
        m = m + parts*TILE_BYTES


cdef inline bint stage_strip(
    const int parts, Py_ssize_t row, const Strip* s, const Operand* image, const Operand* grad, char* v, char* m,
) noexcept nogil:
    """Both, for a row of points; return whether a number of them has no parts."""
    cdef vi least = visplat(-1)
    if row == 1:
        stage_image(parts, True, s, image, v, &least)
    else:
        stage_image(parts, False, s, image, v, &least)
    if row == 2:
        stage_gradient(parts, False, s, grad, m, &least)
    else:
        stage_gradient(parts, True, s, grad, m, &least)
    return vnoted_less_pairs(least, least_split(parts))
