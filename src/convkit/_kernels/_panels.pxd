"""Pixels dealt out: some channels of all pixels lie together, and then the next ones."""

from convkit._kernels._image cimport Image
from convkit._kernels._prologue cimport Prologue, map_vector
from convkit._kernels._simd cimport VLEN, prefetch, real, vload_lanes, vr, vstore
from convkit._kernels._tile cimport BLOCK

cdef enum:
    AHEAD = 8                       # pixels that are fetched before they are copied


cdef inline vr dealt(
    const bint mapping, const Prologue* p, Py_ssize_t channel, const int lanes, const real* x,
) noexcept nogil:
    return map_vector(p, lanes, channel, x) if mapping else vload_lanes(x, lanes)


cdef inline void deal(
    const bint mapping, const Prologue* p, Py_ssize_t channel, const real* pixel, Py_ssize_t channels, Py_ssize_t wide,
    Py_ssize_t panel_size, real* panel, Py_ssize_t ahead,
) noexcept nogil:
    """Deal a pixel's channels out to the panels, mapped or not; the first of them is `channel`.

    The last vector of each reaches into the place of the pixel behind, which is written later.
    """
    cdef Py_ssize_t c, here
    while channels > 0:
        here = min(wide, channels)
        c = 0
        while c + VLEN <= here:
            vstore(panel + c, dealt(mapping, p, channel + c, VLEN, pixel + c))
            prefetch(pixel + ahead + c)
            c += VLEN
        if c < here:
            vstore(panel + c, dealt(mapping, p, channel + c, <int>(here - c), pixel + c))
            prefetch(pixel + ahead + c)
        pixel, channel = pixel + here, channel + here
        panel = panel + panel_size
        channels -= here


cdef inline void stage_blocks(
    const real* pixels, const Image* strides, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t lanes,
    Py_ssize_t block, real* staged,
) noexcept nogil:
    """Copy a few blocks of lanes of a strip's pixels, with zeros behind those that do not fill their vector."""
    cdef Py_ssize_t image, j, _
    cdef const real* pixel
    for image in range(images):
        for j in range(rows):
            pixel = pixels + image*strides.image + j*strides.row
            for _ in range(cols):
                deal(False, NULL, 0, pixel, lanes, BLOCK, block, staged, AHEAD*strides.col)
                staged = staged + BLOCK
                pixel = pixel + strides.col
