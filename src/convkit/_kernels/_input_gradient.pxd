"""The gradient of a batch norm's input, element by element: grad*scale + (x - centre)*slope + shift, or grad*scale
where the statistics are constants.

What it is computed from may come through an activation or a max-pooling (see `_incoming`): then it is made in
registers.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport malloc

from convkit._kernels._incoming cimport Incoming, gathered
from convkit._kernels._rectifiers cimport IDENTITY, LEAKY_RELU, RELU, RELU6, rectified_gradient
from convkit._kernels._rows cimport group_width, strip_groups
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, prefetch, real, restore_denormals, vi, viequal, viload_u8, visplat, vload_lanes, vloaded, vr,
    vselect, vsplat, vstream_end,
)
from convkit._kernels._stream cimport put_lanes
from convkit._kernels._windows cimport Window

cdef enum:
    VECTORS = 4                     # side by side
    FEW = 2                         # the same, where windows are walked along


cdef struct Tables:
    # What is known of each channel, tiled over a group of rows.
    Py_ssize_t width
    real* scale
    real* centre
    real* slope
    real* shift


cdef inline bint tile(Tables* t, Py_ssize_t channels) noexcept nogil:
    """Have room for the tables."""
    t.width = group_width(channels)
    t.scale = <real*>malloc(4*t.width*sizeof(real) + 1)
    t.centre, t.slope, t.shift = t.scale + t.width, t.scale + 2*t.width, t.scale + 3*t.width
    return t.scale is not NULL


cdef inline vr input_gradient(
    const bint training, vr grad, vr deviation, vr scale, vr slope, vr shift,
) noexcept nogil:
    if not training:
        return grad*scale
    deviation = deviation*slope + shift
    return grad*scale + deviation


cdef inline void columns(
    const int vectors, const int lanes, const int kind, const bint training, const Tables* t, const Incoming* g,
    Py_ssize_t c, Py_ssize_t at, Py_ssize_t groups, Py_ssize_t ahead, real* out, bint stream,
) noexcept nogil:
    """A few vectors of each group of rows, from channel c on: what is known of the channels stays in registers.

    An activation's map has the centre of the batch norm that it is of. What lies `ahead`, if so many elements are
    given, comes near meanwhile.
    """
    cdef const real* grad = g.grad + at
    cdef const real* x = g.x + at
    cdef vr scale[VECTORS]
    cdef vr centre[VECTORS]
    cdef vr slope[VECTORS]
    cdef vr shift[VECTORS]
    cdef vr map_scale[VECTORS]
    cdef vr map_shift[VECTORS]
    cdef vr value, incoming, leak = vsplat(g.slope)
    cdef Py_ssize_t _, width = t.width
    cdef int v
    for v in range(vectors):
        scale[v] = vload_lanes(t.scale + c + v*VLEN, lanes)
        centre[v] = vload_lanes(t.centre + c + v*VLEN, lanes)
        slope[v] = vload_lanes(t.slope + c + v*VLEN, lanes)
        shift[v] = vload_lanes(t.shift + c + v*VLEN, lanes)
        if kind != IDENTITY:
            map_scale[v] = vload_lanes(g.map.scale + c + v*VLEN, lanes)
            map_shift[v] = vload_lanes(g.map.shift + c + v*VLEN, lanes)
    for _ in range(groups):
        for v in range(vectors):
            value = vload_lanes(x + v*VLEN, lanes) - centre[v]
            incoming = vloaded(vload_lanes(grad + v*VLEN, lanes))
            if ahead:
                prefetch(x + v*VLEN + ahead)
                prefetch(grad + v*VLEN + ahead)
            if kind != IDENTITY:
                incoming = rectified_gradient(kind, incoming, value*map_scale[v] + map_shift[v], leak)
            value = input_gradient(training, incoming, value, scale[v], slope[v], shift[v])
            put_lanes(out + v*VLEN, value, lanes, stream)
        grad, x, out = grad + width, x + width, out + width


cdef inline void group_columns(
    const int kind, const bint training, const Tables* t, const Incoming* g, Py_ssize_t at, Py_ssize_t groups,
    Py_ssize_t count, Py_ssize_t ahead, real* out, bint stream,
) noexcept nogil:
    """The first columns of groups of rows."""
    cdef Py_ssize_t c = 0
    while c + VECTORS*VLEN <= count:
        columns(VECTORS, VLEN, kind, training, t, g, c, at + c, groups, ahead, out + c, stream)
        c += VECTORS*VLEN
    while c + VLEN <= count:
        columns(1, VLEN, kind, training, t, g, c, at + c, groups, ahead, out + c, stream)
        c += VLEN
    if c < count:
        columns(1, <int>(count - c), kind, training, t, g, c, at + c, groups, ahead, out + c, False)


cdef inline void element_band(
    const int kind, const bint training, const Tables* t, const Incoming* g, Py_ssize_t at, Py_ssize_t length,
    real* out, bint stream,
) noexcept nogil:
    """A run of elements: in order, or where rows are wider than what is worked on, a strip of them at a time."""
    cdef bint in_order = t.width == VECTORS*VLEN
    cdef Py_ssize_t groups = length // t.width, group = 0, strip = groups if in_order else strip_groups(t.width)
    cdef Py_ssize_t ahead = 0 if in_order else strip*t.width
    while group < groups:
        group_columns(kind, training, t, g, at + group*t.width, min(strip, groups - group), t.width, ahead,
                      out + group*t.width, stream)
        group += strip
    group_columns(kind, training, t, g, at + groups*t.width, 1, length - groups*t.width, 0, out + groups*t.width,
                  stream)


cdef inline void gradient_elements(
    const int kind, const bint training, const Tables* t, const Incoming* g, Py_ssize_t at, Py_ssize_t length,
    real* out, bint stream,
) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    if kind == RELU:
        if training:
            element_band(RELU, True, t, g, at, length, out, stream)
        else:
            element_band(RELU, False, t, g, at, length, out, stream)
    elif kind == RELU6:
        if training:
            element_band(RELU6, True, t, g, at, length, out, stream)
        else:
            element_band(RELU6, False, t, g, at, length, out, stream)
    elif kind == LEAKY_RELU:
        if training:
            element_band(LEAKY_RELU, True, t, g, at, length, out, stream)
        else:
            element_band(LEAKY_RELU, False, t, g, at, length, out, stream)
    else:
        if training:
            element_band(IDENTITY, True, t, g, at, length, out, stream)
        else:
            element_band(IDENTITY, False, t, g, at, length, out, stream)
    if stream:
        vstream_end()
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# Through a max-pooling


cdef inline void pixel(
    const int vectors, const int lanes, const bint training, const vr* incoming, const real* x, const vr* scale,
    const vr* centre, const vr* slope, const vr* shift, real* out, bint stream,
) noexcept nogil:
    cdef int v
    for v in range(vectors):
        put_lanes(out + v*VLEN, input_gradient(training, incoming[v], vload_lanes(x + v*VLEN, lanes) - centre[v],
                                               scale[v], slope[v], shift[v]), lanes, stream)


cdef inline void pixels(
    const int vectors, const int lanes, const bint overlap, const bint training, const Tables* t, const Incoming* g,
    const real* grad, const uint8_t* places, Py_ssize_t row, Py_ssize_t c, const real* x, real* out, bint stream,
) noexcept nogil:
    """A few vectors of channels of a row of pixels. Where windows do not overlap, each is read once."""
    cdef vr scale[FEW]
    cdef vr centre[FEW]
    cdef vr slope[FEW]
    cdef vr shift[FEW]
    cdef vr window_grad[FEW]
    cdef vi found[FEW]
    cdef vr incoming[FEW]
    cdef const Window* window
    cdef Py_ssize_t p = g.down.holders[row].first, channels = g.channels, cols = g.across.size, col = 0, begin, behind
    cdef Py_ssize_t windows = 0 if p == g.down.holders[row].behind else g.across.count, q = 0, place
    cdef int v
    for v in range(vectors):
        scale[v] = vload_lanes(t.scale + c + v*VLEN, lanes)
        centre[v] = vload_lanes(t.centre + c + v*VLEN, lanes)
        slope[v] = vload_lanes(t.slope + c + v*VLEN, lanes)
        shift[v] = vload_lanes(t.shift + c + v*VLEN, lanes)
    while overlap and col < cols:
        for v in range(vectors):
            incoming[v] = gathered(lanes, g, grad + v*VLEN, places + v*VLEN, row, col)
        pixel(vectors, lanes, training, incoming, x + col*channels, scale, centre, slope, shift, out + col*channels,
              stream)
        col += 1
    while col < cols:
        begin = behind = cols
        if q < windows:
            window = &g.across.window[q]
            begin = window.start + window.first
            behind = begin + window.taps
        for v in range(vectors):
            incoming[v] = vsplat(0)
        while col < begin:                          # between windows
            pixel(vectors, lanes, training, incoming, x + col*channels, scale, centre, slope, shift,
                  out + col*channels, stream)
            col += 1
        if q < windows:
            place = (row - g.down.window[p].start)*g.across.widest - window.start
            for v in range(vectors):                # adding to zero leaves no negative one
                window_grad[v] = vsplat(0) + vload_lanes(grad + (p*g.across.count + q)*channels + v*VLEN, lanes)
                found[v] = viload_u8(places + (p*g.across.count + q)*channels + v*VLEN, lanes)
        while col < behind:
            for v in range(vectors):
                incoming[v] = vselect(viequal(found[v], visplat(<int>(place + col))), window_grad[v], vsplat(0))
            pixel(vectors, lanes, training, incoming, x + col*channels, scale, centre, slope, shift,
                  out + col*channels, stream)
            col += 1
        q += 1


cdef inline void pixel_row(
    const bint overlap, const bint training, const Tables* t, const Incoming* g, const real* grad,
    const uint8_t* places, Py_ssize_t row, const real* x, real* out, bint stream,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + FEW*VLEN <= g.channels:
        pixels(FEW, VLEN, overlap, training, t, g, grad + c, places + c, row, c, x + c, out + c, stream)
        c += FEW*VLEN
    while c + VLEN <= g.channels:
        pixels(1, VLEN, overlap, training, t, g, grad + c, places + c, row, c, x + c, out + c, stream)
        c += VLEN
    if c < g.channels:
        pixels(1, <int>(g.channels - c), overlap, training, t, g, grad + c, places + c, row, c, x + c, out + c, False)


cdef inline void gradient_pixels(
    const bint training, const Tables* t, const Incoming* g, Py_ssize_t line, real* out, bint stream,
) noexcept nogil:
    """A row of pixels: `line` counts them over all images."""
    cdef Py_ssize_t image = line // g.down.size, row = line % g.down.size
    cdef const real* x = g.x + line*g.across.size*g.channels
    cdef Py_ssize_t windows = image*g.down.count*g.across.count*g.channels
    cdef unsigned long mode = flush_denormals()
    if g.overlap:
        if training:
            pixel_row(True, True, t, g, g.grad + windows, g.places + windows, row, x, out, stream)
        else:
            pixel_row(True, False, t, g, g.grad + windows, g.places + windows, row, x, out, stream)
    elif training:
        pixel_row(False, True, t, g, g.grad + windows, g.places + windows, row, x, out, stream)
    else:
        pixel_row(False, False, t, g, g.grad + windows, g.places + windows, row, x, out, stream)
    if stream:
        vstream_end()
    restore_denormals(mode)
