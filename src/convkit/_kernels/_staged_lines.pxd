"""Lines of images, mapped by a prologue and staged as they lie, for kernels that read images where they are.

Staged lines are in a strip, one behind the other as in the image. When it is full, those that are still read move to
its front.
"""

from libc.string cimport memmove

from convkit._kernels._image cimport Image
from convkit._kernels._prologue cimport Prologue, map_pixels, maps
from convkit._kernels._simd cimport real

cdef enum:
    STRIP_BYTES = 192*1024          # of a strip, unless what is read at a time takes more


cdef struct Lines:
    Prologue prologue
    const real* images
    Image source                    # how those lie
    Py_ssize_t room                 # lines that a strip has room for; 0 where there is nothing to map
    real* strip
    Py_ssize_t first, behind        # lines that it holds, counted over all images


cdef inline Lines lines_of(
    const Prologue* prologue, const real* images, const Image* source, Py_ssize_t together,
) noexcept nogil:
    """Of images, of which `together` lines are read at a time; nothing is in a strip yet."""
    cdef Lines s
    cdef Py_ssize_t fit = STRIP_BYTES // max(<Py_ssize_t>1, source.row*<Py_ssize_t>sizeof(real))
    s.prologue, s.images, s.source = prologue[0], images, source[0]
    s.room = max(together, fit) if maps(prologue) else 0
    s.strip, s.first, s.behind = NULL, 0, 0
    return s


cdef inline Py_ssize_t strip_size(const Lines* s) noexcept nogil:
    """Elements that a strip takes: whole cache lines."""
    return (s.room*s.source.row + 63) // 64*64


cdef inline const real* image_with(Lines* s, Py_ssize_t image, Py_ssize_t first, Py_ssize_t behind) noexcept nogil:
    """Where an image would begin of which rows [first, behind), those that it has, can be read.

    No row above `first` is read any more.
    """
    cdef Py_ssize_t top = image*s.source.rows, row = s.source.row
    if s.room == 0:
        return s.images + image*s.source.image
    first, behind = top + min(max(first, <Py_ssize_t>0), s.source.rows), top + min(behind, s.source.rows)
    if first >= s.behind:
        s.first = s.behind = first
    elif behind - s.first > s.room:
        memmove(s.strip, s.strip + (first - s.first)*row, (s.behind - first)*row*sizeof(real))
        s.first = first
    if s.behind < behind:
        map_pixels(&s.prologue, 0, s.source.col, s.images + s.behind*row, s.source.col,
                   (behind - s.behind)*s.source.cols, s.strip + (s.behind - s.first)*row, s.source.col)
        s.behind = behind
    return s.strip + (top - s.first)*row
