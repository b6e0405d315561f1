"""Strips of an image, staged in cache with their padding, so that the tile never meets an edge.

A strip is the input of `rows x cols` neighbouring outputs, for the channels of one group. The stage is where padding,
other strides and groups end; where an image needs none of them (a 1x1 layer, a 'valid' convolution) it is read in
place.
"""

from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, is_identity, span
from convkit._kernels._image cimport Image
from convkit._kernels._prologue cimport Prologue, map_pixels, maps
from convkit._kernels._simd cimport TILE_ROWS, real

cdef enum:
    STRIP_BYTES = 256*1024      # half of the smallest second-level cache of a processor with AVX-512


cdef struct Strips:
    # How the outputs of one image are cut: `down x across` strips of at most rows x cols outputs.
    Py_ssize_t rows, cols, down, across
    Py_ssize_t height, width        # grains staged for a full strip


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline void cut(Strips* s, const Axis* y, const Axis* x, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """Cut into strips of about, and at most, rows x cols outputs: all of nearly the same size."""
    s.down = ceil_div(y.count, rows)
    s.across = ceil_div(x.count, cols)
    s.rows = ceil_div(y.count, s.down) if s.down else 0
    s.cols = ceil_div(x.count, s.across) if s.across else 0
    s.height = span(y, s.rows)
    s.width = span(x, s.cols)


cdef inline Strips cache_sized(const Axis* y, const Axis* x, Py_ssize_t channels, Py_ssize_t bytes) noexcept nogil:
    """The largest strips of so many bytes, but never narrower than a tile is high."""
    cdef Strips s
    cdef Py_ssize_t room = bytes // (<Py_ssize_t>sizeof(real)*max(channels, 1))
    cdef Py_ssize_t rows = y.count, cols = x.count
    while cols > TILE_ROWS and span(y, 1)*span(x, cols) > room:
        cols = max(<Py_ssize_t>TILE_ROWS, ceil_div(cols, 2))
    while rows > 1 and span(y, rows)*span(x, cols) > room:
        rows = ceil_div(rows, 2)
    cut(&s, y, x, max(rows, 1), max(cols, 1))
    return s


cdef inline void copy_pixels(
    const Prologue* p, const real* source, Py_ssize_t step, Py_ssize_t count, Py_ssize_t channels, real* strip,
) noexcept nogil:
    cdef Py_ssize_t i, c
    if maps(p):                     # then there is one group
        map_pixels(p, 0, channels, source, step, count, strip, channels)
        return
    if step == channels:
        memcpy(strip, source, count*channels*sizeof(real))
        return
    for i in range(count):
        for c in range(channels):
            strip[i*channels + c] = source[i*step + c]


ctypedef void (*Copy)(
    const Prologue* p, const real* source, Py_ssize_t step, Py_ssize_t count, Py_ssize_t channels, real* strip,
) noexcept nogil


cdef inline void stage(
    Copy copy, const Prologue* p, const real* image, const Image* strides, Py_ssize_t channels, Py_ssize_t elements,
    const Axis* y, const Axis* x, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t col, Py_ssize_t cols, Py_ssize_t width,
    real* strip,
) noexcept nogil:
    """Copy the input of outputs [row, row + rows) x [col, col + cols), zeros where the image ends.

    `width` is the distance between staged rows in pixels, each of so many elements: that of a full strip, whatever this
    one's own.
    """
    cdef Py_ssize_t wide = span(x, cols), h, source_row, before, behind
    cdef Py_ssize_t first = x.first + x.grain*x.in_step*col
    cdef real* target
    # Staged columns [before, behind) lie inside of the image.
    before = min(wide, max(<Py_ssize_t>0, ceil_div(-first, x.grain))) if first < 0 else 0
    behind = max(before, min(wide, ceil_div(x.in_size - first, x.grain))) if x.in_size > first else before
    for h in range(span(y, rows)):
        target = strip + h*width*elements
        source_row = y.first + y.grain*(y.in_step*row + h)
        if source_row < 0 or source_row >= y.in_size:
            memset(target, 0, wide*elements*sizeof(real))
            continue
        memset(target, 0, before*elements*sizeof(real))
        copy(p, image + source_row*strides.row + (first + before*x.grain)*strides.col,
             x.grain*strides.col, behind - before, channels, target + before*elements)
        memset(target + behind*elements, 0, (wide - behind)*elements*sizeof(real))


cdef inline void merge_pixels(Py_ssize_t* images, Axis* y, Axis* x) noexcept nogil:
    """A 1x1 layer sees pixels, not images: let all of them be one row, which fills the last tiles too."""
    if is_identity(y) and is_identity(x):
        x.count = x.in_size = images[0]*y.count*x.count
        x.in_step = 1 if x.count > 1 else 0
        images[0] = y.count = y.in_size = 1
        y.in_step = 0
