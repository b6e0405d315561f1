"""Winograd's tiles of an image, and what they read of it, transformed, in planes of one point each.

Tiles of m x m outputs are numbered along rows, from image to image; those of one row are a line. A plane holds, for
each of a run of tiles, a row of channels: [point][tile][channel].
"""

from convkit._kernels._image cimport Image
from convkit._kernels._simd cimport VLEN, prefetch, real, vload_lanes, vr, vsplat, vstore_lanes
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._winograd cimport MOST_POINTS, MOST_SIDE, input_line
from convkit._kernels._winograd_parts cimport TAPS, Part, Parts

cdef enum:
    LINE = 64                       # bytes of a cache line


cdef struct Tiles:
    Py_ssize_t down, across         # of an image,
    Py_ssize_t count                # of all images


cdef struct Line:
    # Neighbouring tiles of a row.
    Py_ssize_t image, row, col      # the first output
    Py_ssize_t count


cdef struct Pixels:
    # What tiles read: images, and zeros around them.
    const real* data
    Image strides
    Py_ssize_t rows, cols
    Py_ssize_t first_row, first_col         # of the first tile's first pixel
    const real* zeros               # a pixel outside of the image


cdef struct Planes:
    real* data
    Py_ssize_t tile, part, point    # distances


cdef inline Tiles tiles_of(int m, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    cdef Tiles t
    t.down, t.across = ceil_div(rows, m), ceil_div(cols, m)
    t.count = images*t.down*t.across
    return t


cdef inline Line line_of(const Tiles* t, int m, Py_ssize_t tile, Py_ssize_t behind) noexcept nogil:
    """The tiles from `tile` to the end of their row, but not beyond `behind`."""
    cdef Line line
    cdef Py_ssize_t row = tile // t.across, col = tile % t.across
    line.image, line.row, line.col = row // t.down, row % t.down*m, col*m
    line.count = min(behind - tile, t.across - col)
    return line


cdef inline Py_ssize_t whole_lines(Py_ssize_t elements) noexcept nogil:
    return ceil_div(elements, LINE)*LINE


# ---------------------------------------------------------------------------------------------------------------------
# What they read


cdef struct Rows:
    # Rows of pixels: where each begins, and its pixels' distance, which is 0 in a row of zeros.
    const real* first[MOST_SIDE]
    Py_ssize_t step[MOST_SIDE]
    Py_ssize_t cols


cdef inline Rows rows_of(const Pixels* p, Py_ssize_t image, Py_ssize_t top, int count) noexcept nogil:
    cdef Rows r
    cdef Py_ssize_t i
    r.cols = p.cols
    for i in range(count):
        r.first[i], r.step[i] = p.zeros, 0
        if 0 <= top + i < p.rows:
            r.first[i], r.step[i] = p.data + image*p.strides.image + (top + i)*p.strides.row, p.strides.col
    return r


cdef inline void load_column(
    const int count, const int lanes, const Rows* rows, Py_ssize_t col, Py_ssize_t c, vr* x,
) noexcept nogil:
    cdef int i
    cdef bint inside = 0 <= col < rows.cols
    for i in range(count):
        x[i] = vload_lanes(rows.first[i] + col*rows.step[i] + c, lanes) if inside else vsplat(0)


cdef inline void input_column(
    const int m, const bint tall, const int lanes, const Rows* rows, Py_ssize_t col, Py_ssize_t c, vr* half,
) noexcept nogil:
    cdef vr x[MOST_SIDE]
    x[m + 1] = vsplat(0)
    load_column(m + 1 + tall, lanes, rows, col, c, x)
    input_line(m, tall, x[0], x[1], x[2], x[3], x[4], x[5], half, 1)


cdef inline void input_row(
    const int m, const bint wide, const int lanes, const vr* half, real* v, Py_ssize_t point,
) noexcept nogil:
    cdef vr row[MOST_SIDE]
    cdef int j, side = m + 2
    input_line(m, wide, half[0], half[side], half[2*side], half[3*side], half[4*side], half[5*side], row, 1)
    for j in range(m + 1 + wide):
        vstore_lanes(v + j*point, row[j], lanes)


cdef inline void transform_line(
    const int m, const bint tall, const bint wide, const int lanes, const Rows* rows, Py_ssize_t col,
    Py_ssize_t count, Py_ssize_t c, real* v, Py_ssize_t tile, Py_ssize_t point,
) noexcept nogil:
    """What a line's tiles read from column `col` on, for one vector of channels.

    Parts that are not `tall`, or not `wide`, have less than three taps there: one pixel and one point less. Neighbours
    share two columns, or one, which are transformed once.
    """
    cdef vr half[MOST_POINTS]       # [column][point]
    cdef int i, side = m + 2, shared = 1 + wide
    cdef Py_ssize_t _
    input_column(m, tall, lanes, rows, col, c, half)
    if wide:
        input_column(m, tall, lanes, rows, col + 1, c, half + side)
    for _ in range(count):
        col += m
        input_column(m, tall, lanes, rows, col + shared - m, c, half + shared*side)
        input_column(m, tall, lanes, rows, col + shared - m + 1, c, half + (shared + 1)*side)
        if m == 4:
            input_column(m, tall, lanes, rows, col + shared - 2, c, half + (shared + 2)*side)
            input_column(m, tall, lanes, rows, col + shared - 1, c, half + (shared + 3)*side)
        for i in range(m + 1 + tall):
            input_row(m, wide, lanes, half + i, v + i*side*point, point)
        for i in range(shared*side):
            half[i] = half[m*side + i]
        v = v + tile


cdef inline void read_part(
    const int m, const bint tall, const bint wide, const Rows* rows, const Line* line, Py_ssize_t col,
    Py_ssize_t channels, real* v, const Planes* planes,
) noexcept nogil:
    """Transform all channels of what a part of the filters reads, from column `col` on."""
    cdef Py_ssize_t c = 0
    while c + VLEN <= channels:
        transform_line(m, tall, wide, VLEN, rows, col, line.count, c, v + c, planes.tile, planes.point)
        c += VLEN
    if c < channels:
        transform_line(m, tall, wide, <int>(channels - c), rows, col, line.count, c, v + c, planes.tile, planes.point)


cdef inline void read_line(
    const Pixels* p, const Parts* parts, const int m, const Line* line, Py_ssize_t channels, Py_ssize_t at,
    const Planes* v,
) noexcept nogil:
    """Transform what a line reads; its tiles become tiles `at` and following of the planes."""
    cdef const Part* part
    cdef Rows rows
    cdef Py_ssize_t col, k
    cdef real* first
    for k in range(parts.count):
        part = &parts.part[k]
        first = v.data + at*v.tile + k*v.part
        col = p.first_col + line.col + part.col
        rows = rows_of(p, line.image, p.first_row + line.row + part.row, m + 1 + (part.rows == TAPS))
        if part.rows == TAPS and part.cols == TAPS:
            read_part(m, True, True, &rows, line, col, channels, first, v)
        elif part.rows == TAPS:
            read_part(m, True, False, &rows, line, col, channels, first, v)
        elif part.cols == TAPS:
            read_part(m, False, True, &rows, line, col, channels, first, v)
        else:
            read_part(m, False, False, &rows, line, col, channels, first, v)


# ---------------------------------------------------------------------------------------------------------------------
# What they will need


cdef inline const real* unread(const Pixels* p) noexcept nogil:
    """Where the rows of an image begin that its first tiles do not share with tiles before them."""
    return p.data + (2 + p.first_row)*p.strides.row


cdef struct NextPixels:
    # Pixels that will be needed, and how many of them to bring near at a time.
    const real* pixel
    Py_ssize_t step, width, left, each


cdef inline NextPixels next_pixels(
    const Tiles* t, const real* pixels, Py_ssize_t image, Py_ssize_t step, Py_ssize_t width, Py_ssize_t first,
    Py_ssize_t tiles, Py_ssize_t times,
) noexcept nogil:
    """`width` channels of the pixels of a run of tiles, to be brought near in so many `times`.

    As if tiles lay as pixels do, row by row: of whole lines that is so. An image has `image` pixels, `step` apart.
    """
    cdef Py_ssize_t of_image = t.down*t.across
    cdef NextPixels a
    a.pixel, a.step, a.width = pixels + first*image // of_image*step, step, width
    a.left = min(tiles, t.count - first)*image // of_image
    a.each = ceil_div(a.left, times)
    return a


cdef inline void fetch(NextPixels* a) noexcept nogil:
    """Bring a few pixels near. Many at once would be for nothing: processors leave out what queues cannot hold."""
    cdef Py_ssize_t k, _
    for _ in range(min(a.each, a.left)):
        k = 0
        while k < a.width:
            prefetch(a.pixel + k)
            k += LINE // <Py_ssize_t>sizeof(real)
        a.pixel = a.pixel + a.step
    a.left -= a.each
