"""Winograd's tiles of an image: where their pixels lie, and their transforms, in planes of one point each.

Tiles of m x m outputs are numbered along rows, from image to image. A plane holds, for each of a run of tiles, a row
of channels: [point][tile][channel].
"""

from convkit._kernels._simd cimport VLEN, real
from convkit._kernels._strip cimport Image, ceil_div
from convkit._kernels._weights cimport padded
from convkit._kernels._winograd cimport MOST_POINTS, transform_input

cdef enum:
    LINE = 64                       # bytes of a cache line
    PAGE_LANES = 256                # rows of so many lanes, or a multiple, would fall into the same few cache sets


cdef struct Tile:
    Py_ssize_t image, row, col      # its first output


cdef struct Tiles:
    Py_ssize_t down, across         # of an image,
    Py_ssize_t count                # of all images


cdef struct Pixels:
    # What tiles read: an image, and zeros around it.
    const real* data
    Image strides
    Py_ssize_t rows, cols
    Py_ssize_t first_row, first_col         # of the first tile's first pixel
    const real* zeros               # a pixel outside of the image


cdef struct Planes:
    real* data
    Py_ssize_t tile, point          # distances


cdef inline Tiles tiles_of(int m, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    cdef Tiles t
    t.down, t.across = ceil_div(rows, m), ceil_div(cols, m)
    t.count = images*t.down*t.across
    return t


cdef inline Tile tile_at(const Tiles* t, const int m, Py_ssize_t index) noexcept nogil:
    cdef Tile tile
    tile.col = index % t.across*m
    index = index // t.across
    tile.row = index % t.down*m
    tile.image = index // t.down
    return tile


cdef inline Py_ssize_t whole_lines(Py_ssize_t elements) noexcept nogil:
    return ceil_div(elements, LINE)*LINE


cdef inline Planes planes_of(Py_ssize_t tiles, Py_ssize_t channels) noexcept nogil:
    """Rows and planes that the caches hold side by side."""
    cdef Planes p
    p.data = NULL
    p.tile = padded(channels) + (LINE // <Py_ssize_t>sizeof(real) if padded(channels) % PAGE_LANES == 0 else 0)
    p.point = tiles*p.tile + VLEN
    return p


cdef inline void find_pixels(
    const Pixels* p, const int m, const Tile* tile, const real** pixel,
) noexcept nogil:
    """Point to the (m + 2)^2 pixels that a tile reads."""
    cdef Py_ssize_t row = p.first_row + tile.row, col = p.first_col + tile.col, i, j
    cdef const real* corner = p.data + tile.image*p.strides.image + row*p.strides.row + col*p.strides.col
    cdef bint inside = row >= 0 and row + m + 2 <= p.rows and col >= 0 and col + m + 2 <= p.cols
    if inside:
        for i in range(m + 2):
            for j in range(m + 2):
                pixel[i*(m + 2) + j] = corner + i*p.strides.row + j*p.strides.col
        return
    for i in range(m + 2):
        for j in range(m + 2):
            inside = 0 <= row + i < p.rows and 0 <= col + j < p.cols
            pixel[i*(m + 2) + j] = corner + i*p.strides.row + j*p.strides.col if inside else p.zeros


cdef inline void read_tiles(
    const Tiles* t, const Pixels* p, const int m, Py_ssize_t first, Py_ssize_t count, Py_ssize_t channels,
    const Planes* v,
) noexcept nogil:
    """Transform a run of tiles."""
    cdef const real* pixel[MOST_POINTS]
    cdef Tile tile
    cdef Py_ssize_t i, c
    cdef real* row = v.data
    for i in range(count):
        tile = tile_at(t, m, first + i)
        find_pixels(p, m, &tile, pixel)
        c = 0
        while c + VLEN <= channels:
            transform_input(m, True, pixel, c, VLEN, row + c, v.point)
            c += VLEN
        if c < channels:
            transform_input(m, False, pixel, c, <int>(channels - c), row + c, v.point)
        row = row + v.tile
