"""The windows of a pooling along one axis: which positions each holds, and which windows hold each position.

Window i begins at floor(i*stride/per) - padding and ends before floor((i*stride + reach)/per) - padding; its taps lie
`dilation` apart. A fixed window has per = 1. Adaptive pooling, with windows from floor(i*size/count) to
ceil((i + 1)*size/count), has the stride size/count and the reach size + count - 1. The kernels read tables of this,
and know no other rule.
"""

from libc.stdlib cimport malloc

ctypedef (Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) spacing_t     # as in `_shapes.Spacing`


cdef struct Window:
    Py_ssize_t start                # where tap 0 lies: maybe in the padding
    Py_ssize_t first, taps          # the first tap inside the image, and how many are
    Py_ssize_t elements             # that an average counts: with the padding, or without


cdef struct Holders:
    Py_ssize_t first, behind        # the windows that reach over a position


cdef struct Axis:
    Py_ssize_t size, count, dilation
    Py_ssize_t widest               # taps of the window that has most
    bint even                       # all averages count the same number of elements
    Window* window                  # `count` of them; free() it
    Holders* holders                # `size` of them, in the same block of memory


cdef inline Py_ssize_t quotient(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """a // b. A division takes longer than all else for a window, and b is nearly always 1."""
    return a if b == 1 else a // b


cdef inline Window window_at(Py_ssize_t start, Py_ssize_t taps, Py_ssize_t dilation, Py_ssize_t size) noexcept nogil:
    cdef Window window
    cdef Py_ssize_t behind = min(taps, quotient(size - start + dilation - 1, dilation)) if start < size else 0
    window.start = start
    window.first = quotient(-start + dilation - 1, dilation) if start < 0 else 0
    window.taps = max(behind - window.first, <Py_ssize_t>0)
    window.elements = window.taps
    return window


cdef inline bint lay_axis(
    Axis* axis, Py_ssize_t size, Py_ssize_t count, spacing_t spacing, bint count_include_pad,
) noexcept nogil:
    """Fill in an axis of `count` windows over `size` positions; False where there is no memory for it."""
    cdef Py_ssize_t stride, per, reach, padding, dilation, i, start, taps, position
    stride, per, reach, padding, dilation = spacing
    axis.size, axis.count, axis.dilation, axis.widest, axis.even = size, count, dilation, 0, True
    axis.window = <Window*>malloc(count*sizeof(Window) + size*sizeof(Holders) + 1)
    if axis.window is NULL:
        return False
    axis.holders = <Holders*>(axis.window + count)
    for i in range(count):
        start = quotient(i*stride, per) - padding
        taps = quotient(quotient(i*stride + reach, per) - padding - start - 1, dilation) + 1
        axis.window[i] = window_at(start, taps, dilation, size)
        if count_include_pad:       # but not what ceil_mode adds beyond the padding
            axis.window[i].elements = min(taps, size + padding - start)
        axis.widest = max(axis.widest, taps)
        axis.even = axis.even and axis.window[i].elements == axis.window[0].elements
    cdef Py_ssize_t first = 0, behind = 0
    for position in range(size):
        while first < count and quotient(first*stride + reach, per) - padding <= position:
            first += 1
        while behind < count and axis.window[behind].start <= position:
            behind += 1
        axis.holders[position].first, axis.holders[position].behind = first, behind
    return True
