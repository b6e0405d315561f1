"""The gradient that comes back to a batch norm, possibly through an activation, or a max-pooling, or both.

Then it is not in memory: it is made in registers, or in cache, from what is, just before it is used. `at` and `length`
are elements; both are of whole rows.
"""

from libc.stdint cimport uint8_t

from convkit._kernels._affine cimport Affine
from convkit._kernels._rows cimport group_width
from convkit._kernels._simd cimport (
    VLEN, real, vi, viequal, viload_u8, visplat, vload_lanes, vloaded, vr, vselect, vsplat, vstore_lanes,
)
from convkit._kernels._windows cimport Axis, Window

cdef enum:
    STRIP = 1024                    # elements, or a group of rows: few, so that the next ones are read meanwhile
    NOWHERE = 255                   # the place of a maximum that the activation cut off


cdef struct Incoming:
    const real* grad                # of the batch norm's output, or of what was made of it
    const real* x                   # the batch norm's input
    Py_ssize_t rows, channels       # of `grad`
    # Through an activation: its kind and slope, and the map that gives its input.
    int kind
    real slope
    Affine map
    # Through a max-pooling (and the activation before it, which the places tell of): else `places` is NULL.
    const uint8_t* places
    Axis down, across
    bint overlap                    # some pixel lies in two windows


cdef inline bint overlapping(const Axis* axis) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(axis.size):
        if axis.holders[i].behind - axis.holders[i].first > 1:
            return True
    return False


cdef inline Py_ssize_t strip_length(Py_ssize_t channels) noexcept nogil:
    """Elements of a strip: groups of rows."""
    cdef Py_ssize_t width = group_width(channels)
    return max(<Py_ssize_t>1, STRIP // width)*width


# ---------------------------------------------------------------------------------------------------------------------
# Through a max-pooling


cdef inline void picked_block(
    const int lanes, const Py_ssize_t rows, const Py_ssize_t cols, Py_ssize_t line, const Py_ssize_t channels,
    int place, int width, const real* grad, const uint8_t* places, const real* x, real* grads, real* picked,
) noexcept nogil:
    """One window's gradient and the element that it belongs to, in a vector of channels."""
    cdef vi found = viload_u8(places, lanes)
    cdef vr value = vload_lanes(x, lanes)
    cdef Py_ssize_t r, s
    for r in range(rows):
        for s in range(cols):
            if r + s > 0:
                value = vselect(viequal(found, visplat(place + <int>(r*width + s))),
                                vloaded(vload_lanes(x + r*line + s*channels, lanes)), value)
    vstore_lanes(picked, value, lanes)
    value = vloaded(vload_lanes(grad, lanes))
    vstore_lanes(grads, vselect(viequal(found, visplat(NOWHERE)), vsplat(0), value), lanes)


cdef inline void picked_window(
    const Py_ssize_t rows, const Py_ssize_t cols, Py_ssize_t line, Py_ssize_t channels, int place, int width,
    const real* grad, const uint8_t* places, const real* x, real* grads, real* picked,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + VLEN <= channels:
        picked_block(VLEN, rows, cols, line, channels, place, width, grad + c, places + c, x + c, grads + c,
                     picked + c)
        c += VLEN
    if c < channels:
        picked_block(<int>(channels - c), rows, cols, line, channels, place, width, grad + c, places + c, x + c,
                     grads + c, picked + c)


cdef inline void picked_strip(
    const Incoming* g, Py_ssize_t at, Py_ssize_t length, real* grads, real* picked,
) noexcept nogil:
    """A run of windows: each one's gradient, and the element of x that was its maximum. No other has a gradient."""
    cdef Py_ssize_t channels = g.channels, line = g.across.size*channels, window = at // channels
    cdef Py_ssize_t p = window // g.across.count, q = window % g.across.count
    cdef Py_ssize_t image = p // g.down.count
    cdef const real* x = g.x + image*g.down.size*line
    cdef const Window* down = &g.down.window[p - image*g.down.count]
    cdef const Window* across
    cdef const real* first
    cdef int place
    while length > 0:
        across = &g.across.window[q]
        first = x + (down.start + down.first)*line + (across.start + across.first)*channels
        place = <int>(down.first*g.across.widest + across.first)
        if down.taps == 2 and across.taps == 2:
            picked_window(2, 2, line, channels, place, <int>g.across.widest, g.grad + at, g.places + at, first, grads,
                          picked)
        else:
            picked_window(down.taps, across.taps, line, channels, place, <int>g.across.widest, g.grad + at,
                          g.places + at, first, grads, picked)
        at, length, grads, picked, q = at + channels, length - channels, grads + channels, picked + channels, q + 1
        if q == g.across.count:
            q, down = 0, down + 1
            if down == g.down.window + g.down.count:
                down, x = g.down.window, x + g.down.size*line


cdef inline vr gathered(
    const int lanes, const Incoming* g, const real* grad, const uint8_t* places, Py_ssize_t row, Py_ssize_t col,
) noexcept nogil:
    """The gradients of the windows that have their maximum at one pixel, in a vector of channels."""
    cdef vr sum = vsplat(0)
    cdef vi here
    cdef Py_ssize_t p, q, at
    for p in range(g.down.holders[row].first, g.down.holders[row].behind):
        for q in range(g.across.holders[col].first, g.across.holders[col].behind):
            at = (p*g.across.count + q)*g.channels
            here = visplat(<int>((row - g.down.window[p].start)*g.across.widest + col - g.across.window[q].start))
            sum = sum + vselect(viequal(viload_u8(places + at, lanes), here), vloaded(vload_lanes(grad + at, lanes)),
                                vsplat(0))
    return sum
