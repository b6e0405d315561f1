"""Winograd's F(2x2, 3x3) of few channels: a run of tiles, one row of points at a time, in first-level cache.

Where channels are few, each transformed number meets few products, and what costs is to take it to memory and back. So
a run of tiles goes from pixels to outputs while its numbers are near. Of a row of four points, what the tiles read is
transformed into V[point][tile][channel]; the products of all four points of a few tiles are summed in registers, where
they become two columns of half-made outputs, Z[row of points][tile][column][lane]. The four rows of Z make the outputs.
"""

from convkit._kernels._simd cimport (
    POINT_TILES, VLEN, opaque, opaque_stride, pinned, real, vload, vload_lanes, vr, vsplat, vstore, vstore_lanes,
)
from convkit._kernels._tile cimport Rows as Apart, seven_rows
from convkit._kernels._winograd cimport output_line
from convkit._kernels._winograd_tiles cimport Line, NextPixels, Pixels, Planes, fetch

cdef enum:
    SIDE = 4                            # points of a row, and rows
    COLUMNS = 2                         # of a tile's outputs
    MOST_SUMS = 24                      # in registers


# ---------------------------------------------------------------------------------------------------------------------
# What tiles read


cdef struct Pair:
    # Two rows of pixels, of whose sum or difference a row of points is made. Pixels of a row of zeros are 0 apart.
    const real* upper
    const real* lower
    Py_ssize_t upper_step, lower_step, cols


cdef inline const real* row_at(
    const Pixels* p, Py_ssize_t image, Py_ssize_t row, Py_ssize_t* step,
) noexcept nogil:
    if row < 0 or row >= p.rows:
        step[0] = 0
        return p.zeros
    step[0] = p.strides.col
    return p.data + image*p.strides.image + row*p.strides.row


cdef inline Pair pair_of(const Pixels* p, Py_ssize_t image, Py_ssize_t top, Py_ssize_t row) noexcept nogil:
    """Row `row` of B^T: d0 - d2, d1 + d2, d2 - d1 or d1 - d3, of rows of pixels from `top` on."""
    cdef Pair pair
    pair.upper = row_at(p, image, top + (row if row < SIDE - 1 else 1), &pair.upper_step)
    pair.lower = row_at(p, image, top + (SIDE - 1 if row == SIDE - 1 else 1 if row == 2 else 2), &pair.lower_step)
    pair.cols = p.cols
    return pair


cdef inline vr pixel_of(
    const bint adds, const int lanes, const real* upper, const real* lower,
) noexcept nogil:
    if adds:
        return vload_lanes(upper, lanes) + vload_lanes(lower, lanes)
    return vload_lanes(upper, lanes) - vload_lanes(lower, lanes)


cdef inline vr column_of(
    const bint adds, const int lanes, const Pair* pair, Py_ssize_t col, Py_ssize_t c,
) noexcept nogil:
    if col < 0 or col >= pair.cols:
        return vsplat(0)
    return pixel_of(adds, lanes, pair.upper + col*pair.upper_step + c, pair.lower + col*pair.lower_step + c)


cdef inline void columns_of(
    const bint adds, const int lanes, const Pair* pair, Py_ssize_t col, Py_ssize_t c, vr* x,
) noexcept nogil:
    """Two columns. Most lie inside of the image, where nothing but this is asked."""
    cdef const real* upper = pair.upper + col*pair.upper_step + c
    cdef const real* lower = pair.lower + col*pair.lower_step + c
    if <size_t>col < <size_t>max(pair.cols - 1, <Py_ssize_t>0):
        x[0] = pixel_of(adds, lanes, upper, lower)
        x[1] = pixel_of(adds, lanes, upper + pair.upper_step, lower + pair.lower_step)
    else:
        x[0], x[1] = column_of(adds, lanes, pair, col, c), column_of(adds, lanes, pair, col + 1, c)


cdef inline void transform_points(
    const bint adds, const int lanes, const Pair* pair, Py_ssize_t col, Py_ssize_t count, Py_ssize_t c, real* v,
    Py_ssize_t tile, Py_ssize_t point,
) noexcept nogil:
    """One vector of channels of a line's tiles, which read from column `col` on. Neighbours share two columns."""
    cdef vr x[4]
    cdef Py_ssize_t _
    columns_of(adds, lanes, pair, col, c, x)
    for _ in range(count):
        col += COLUMNS
        columns_of(adds, lanes, pair, col, c, x + 2)
        vstore_lanes(v, x[0] - x[2], lanes)
        vstore_lanes(v + point, x[1] + x[2], lanes)
        vstore_lanes(v + 2*point, x[2] - x[1], lanes)
        vstore_lanes(v + 3*point, x[1] - x[3], lanes)
        x[0], x[1] = x[2], x[3]
        v = v + tile


cdef inline void read_channels(
    const bint adds, const Pair* pair, Py_ssize_t col, Py_ssize_t count, Py_ssize_t channels, real* v,
    const Planes* planes,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + VLEN <= channels:
        transform_points(adds, VLEN, pair, col, count, c, v + c, planes.tile, planes.point)
        c += VLEN
    if c < channels:
        transform_points(adds, <int>(channels - c), pair, col, count, c, v + c, planes.tile, planes.point)


cdef inline void read_row(
    const Pixels* p, const Line* line, Py_ssize_t row, Py_ssize_t channels, Py_ssize_t at, const Planes* v,
) noexcept nogil:
    """Transform what a line reads into a row of points; its tiles become tiles `at` and following of the planes."""
    cdef Pair pair = pair_of(p, line.image, p.first_row + line.row, row)
    if row == 1:
        read_channels(True, &pair, p.first_col + line.col, line.count, channels, v.data + at*v.tile, v)
    else:
        read_channels(False, &pair, p.first_col + line.col, line.count, channels, v.data + at*v.tile, v)


# ---------------------------------------------------------------------------------------------------------------------
# Products


cdef struct PointRow:
    # A row of points of a run of tiles.
    const real* v
    Py_ssize_t tile, point          # distances there
    const real* u                   # [channel][point][lane]
    Py_ssize_t channels
    real* z                         # [tile][column][lane]
    NextPixels inputs, outputs      # of the next run, and of this one


cdef inline void meet_point(
    const int tiles, const int vectors, const bint first, const real* v, const Apart* apart, const real* u, vr* acc,
) noexcept nogil:
    cdef vr weights[2]
    cdef int i
    for i in range(vectors):
        weights[i] = pinned(vload(u + i*VLEN))
    seven_rows(tiles, vectors, first, v, apart, weights, acc)


cdef inline void meet_channel(
    const int tiles, const int vectors, const bint first, const real** v, const Apart* apart, const real* u, vr* acc,
) noexcept nogil:
    """One channel's products at all four points."""
    meet_point(tiles, vectors, first, v[0], apart, u, acc)
    meet_point(tiles, vectors, first, v[1], apart, u + vectors*VLEN, acc + tiles*vectors)
    meet_point(tiles, vectors, first, v[2], apart, u + 2*vectors*VLEN, acc + 2*tiles*vectors)
    meet_point(tiles, vectors, first, v[3], apart, u + 3*vectors*VLEN, acc + 3*tiles*vectors)


cdef inline void store_columns(
    const int tile, const int tiles, const int vectors, const vr* acc, real* z,
) noexcept nogil:
    """Four sums of a tile into two columns."""
    cdef vr y[2]
    cdef int i
    if tile >= tiles:
        return
    for i in range(vectors):
        output_line(2, acc[tile*vectors + i], acc[(tiles + tile)*vectors + i], acc[(2*tiles + tile)*vectors + i],
                    acc[(3*tiles + tile)*vectors + i], vsplat(0), vsplat(0), y, 1)
        vstore(z + (COLUMNS*tile*vectors + i)*VLEN, y[0])
        vstore(z + ((COLUMNS*tile + 1)*vectors + i)*VLEN, y[1])


cdef inline void sum_tiles(const int tiles, const int vectors, PointRow* p) noexcept nogil:
    """A few tiles; both numbers must be literals. The row is left where the next tiles begin."""
    cdef vr acc[MOST_SUMS]
    cdef const real* v[SIDE]
    cdef const real* u = p.u
    cdef Apart apart
    cdef Py_ssize_t _
    apart.one, apart.two, apart.three = opaque_stride(p.tile), opaque_stride(2*p.tile), opaque_stride(3*p.tile)
    apart.four, apart.five, apart.six = opaque_stride(4*p.tile), opaque_stride(5*p.tile), 0
    v[0], v[1], v[2], v[3] = (
        opaque(p.v), opaque(p.v + p.point), opaque(p.v + 2*p.point), opaque(p.v + 3*p.point))
    meet_channel(tiles, vectors, True, v, &apart, u, acc)
    for _ in range(p.channels - 1):
        v[0], v[1], v[2], v[3] = v[0] + 1, v[1] + 1, v[2] + 1, v[3] + 1
        u = u + SIDE*vectors*VLEN
        meet_channel(tiles, vectors, False, v, &apart, u, acc)
    store_columns(0, tiles, vectors, acc, p.z)
    store_columns(1, tiles, vectors, acc, p.z)
    store_columns(2, tiles, vectors, acc, p.z)
    store_columns(3, tiles, vectors, acc, p.z)
    store_columns(4, tiles, vectors, acc, p.z)
    store_columns(5, tiles, vectors, acc, p.z)
    p.v = p.v + tiles*p.tile
    p.z = p.z + tiles*COLUMNS*vectors*VLEN


cdef inline void sum_tiles_of(Py_ssize_t tiles, const int vectors, PointRow* p) noexcept nogil:
    """Every number of tiles has a block of its own."""
    if tiles == 1:
        sum_tiles(1, vectors, p)
    elif tiles == 2:
        sum_tiles(2, vectors, p)
    elif tiles == 3:
        sum_tiles(3, vectors, p)
    elif vectors == 1:
        if tiles == 4:
            sum_tiles(4, vectors, p)
        elif tiles == 5:
            sum_tiles(5, vectors, p)
        elif tiles == 6:
            sum_tiles(6, vectors, p)


cdef inline Py_ssize_t sums_of(const int vectors, Py_ssize_t tiles) noexcept nogil:
    """How often a few tiles are summed, so that all are."""
    cdef Py_ssize_t most = POINT_TILES // vectors
    return (tiles + most - 1) // most


cdef inline void sum_evenly(const int vectors, Py_ssize_t tiles, PointRow* p) noexcept nogil:
    cdef Py_ssize_t blocks = sums_of(vectors, tiles), i
    for i in range(blocks):
        fetch(&p.inputs)
        fetch(&p.outputs)
        sum_tiles_of((i + 1)*tiles // blocks - i*tiles // blocks, vectors, p)


cdef inline void sum_run(int vectors, Py_ssize_t tiles, PointRow* p) noexcept nogil:
    if POINT_TILES == 0:
        return
    if vectors == 2:
        sum_evenly(2, tiles, p)
    else:
        sum_evenly(1, tiles, p)


# ---------------------------------------------------------------------------------------------------------------------
# Outputs


cdef inline void outputs_of(const real* z, Py_ssize_t row, Py_ssize_t width, vr* y) noexcept nogil:
    """One vector of a tile's outputs; rows of Z are `row` apart, columns `width`."""
    cdef int j
    for j in range(COLUMNS):
        output_line(2, vload(z + j*width), vload(z + row + j*width), vload(z + 2*row + j*width),
                    vload(z + 3*row + j*width), vsplat(0), vsplat(0), y + j, COLUMNS)
