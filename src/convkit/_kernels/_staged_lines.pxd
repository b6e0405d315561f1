"""Lines of images, staged as they lie, for kernels that read images where they are: through a prologue, or in order.

Staged lines are in a strip, one behind the other as in the image. When it is full, those that are still read move to
its front. What a kernel reads vector by vector, and so line by line again and again, comes from memory in order.
"""

from libc.string cimport memmove

from convkit._kernels._image cimport Image
from convkit._kernels._prologue cimport Prologue, map_pixels, maps
from convkit._kernels._simd cimport VLEN, real, vload, vload_lanes, vstore, vstore_lanes

cdef enum:
    STRIP_BYTES = 192*1024          # of a strip, unless what is read at a time takes more


cdef struct Lines:
    Prologue prologue
    const real* images
    Image source                    # how those lie
    Py_ssize_t channel, channels    # which are read
    Py_ssize_t row, col             # distance of rows and of pixels, where they are read
    Py_ssize_t room                 # lines that a strip has room for; 0 for none
    real* strip
    Py_ssize_t first, behind        # lines that it holds, counted over all images


cdef inline void copy_pixels(
    Py_ssize_t channels, const real* x, Py_ssize_t step, Py_ssize_t pixels, real* out, Py_ssize_t out_step,
) noexcept nogil:
    """What map_pixels does, without a map."""
    cdef Py_ssize_t _, c
    for _ in range(pixels):
        c = 0
        while c + VLEN <= channels:
            vstore(out + c, vload(x + c))
            c += VLEN
        if c < channels:
            vstore_lanes(out + c, vload_lanes(x + c, <int>(channels - c)), <int>(channels - c))
        x, out = x + step, out + out_step


cdef inline Lines lines_of(
    const Prologue* prologue, const real* images, const Image* source, Py_ssize_t channels, Py_ssize_t together,
    bint copied,
) noexcept nogil:
    """So many channels of images, of which `together` lines are read at a time; nothing is in a strip yet.

    Without a prologue, they are staged if they are to be `copied` and fit a strip.
    """
    cdef Lines s
    cdef Py_ssize_t row = source.cols*channels, fit = STRIP_BYTES // max(<Py_ssize_t>1, row*<Py_ssize_t>sizeof(real))
    s.prologue, s.images, s.source, s.channel, s.channels = prologue[0], images, source[0], 0, channels
    s.row, s.col, s.room = source.row, source.col, 0
    if maps(prologue) or (copied and together <= fit):
        s.row, s.col, s.room = row, channels, max(together, fit)
    s.strip, s.first, s.behind = NULL, 0, 0
    return s


cdef inline Py_ssize_t strip_size(const Lines* s) noexcept nogil:
    """Elements that a strip takes: whole cache lines."""
    return (s.room*s.row + 63) // 64*64


cdef inline const real* image_with(Lines* s, Py_ssize_t image, Py_ssize_t first, Py_ssize_t behind) noexcept nogil:
    """Where an image would begin of which rows [first, behind), those that it has, can be read.

    No row above `first` is read any more.
    """
    cdef Py_ssize_t top = image*s.source.rows
    if s.room == 0:
        return s.images + image*s.source.image + s.channel
    first, behind = top + min(max(first, <Py_ssize_t>0), s.source.rows), top + min(behind, s.source.rows)
    if first >= s.behind:
        s.first = s.behind = first
    elif behind - s.first > s.room:
        memmove(s.strip, s.strip + (first - s.first)*s.row, (s.behind - first)*s.row*sizeof(real))
        s.first = first
    if s.behind < behind:
        if maps(&s.prologue):
            map_pixels(&s.prologue, s.channel, s.channels, s.images + s.behind*s.source.row + s.channel, s.source.col,
                       (behind - s.behind)*s.source.cols, s.strip + (s.behind - s.first)*s.row, s.col)
        else:
            copy_pixels(s.channels, s.images + s.behind*s.source.row + s.channel, s.source.col,
                        (behind - s.behind)*s.source.cols, s.strip + (s.behind - s.first)*s.row, s.col)
        s.behind = behind
    return s.strip + (top - s.first)*s.row
