"""Weights, packed into panels that the tile reads from front to back.

In memory: [group][block of lanes][tap row][tap column][channel][lanes of the block, zeros behind the last]. The sums
of a weight's gradient lie in the same order.
"""

from convkit._kernels._axis cimport Axis
from convkit._kernels._convolution cimport Convolution
from convkit._kernels._pass cimport Filters, Pass
from convkit._kernels._simd cimport (
    VLEN, prefetch, real, real_of, stored, stored_of, vload_stored, vload_stored_lanes, vr, vsplat, vstore,
    vstore_stored_lanes, vtranspose,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport BLOCK, tile_vectors

cdef enum:
    FILTER_ROW = 16                 # elements of a filter's row, at most, for filters to be read whole
    AHEAD = 4                       # channels that filters are fetched ahead


cdef struct Weights:
    # Filters as a correlation meets them, by strides in elements. `lanes` are its outputs, `channels` are summed over.
    stored* data
    Py_ssize_t groups, channels, lanes
    Py_ssize_t group, channel, lane, row, col


cdef inline Weights weights_of(const Pass* p) noexcept nogil:
    """The gradient of the input is a correlation whose outputs are the channels."""
    cdef const Convolution* c = &p.convolution
    cdef const Filters* f = &p.filters
    cdef Weights w
    w.data, w.groups, w.group, w.row, w.col = f.data, c.groups, c.lanes*f.output, f.row, f.col
    if c.down.adjoint:
        w.channels, w.channel, w.lanes, w.lane = c.lanes, f.output, c.filters, f.channel
    else:
        w.channels, w.channel, w.lanes, w.lane = c.filters, f.channel, c.lanes, f.output
    return w


cdef inline Py_ssize_t padded(Py_ssize_t lanes) noexcept nogil:
    """Lanes of a group, in whole vectors."""
    return ceil_div(lanes, VLEN)*VLEN


cdef inline Py_ssize_t block_count(Py_ssize_t lanes) noexcept nogil:
    """Blocks of lanes in a group."""
    return ceil_div(lanes, BLOCK)


cdef inline bint is_panel(const Weights* w, const Axis* y, const Axis* x) noexcept nogil:
    """Whether the weights lie as (R, S, C, K), so that the tile can read whole vectors of them as they are."""
    return (w.lane == 1 and w.channel > 0 and w.lanes % VLEN == 0 and y.weight_first == 0 and x.weight_first == 0
            and (x.taps == 1 or x.weight_step == 1 and w.col == w.channels*w.channel)
            and (y.taps == 1 or y.weight_step == 1 and w.row == x.taps*w.channels*w.channel))


cdef inline void pack_lanes(
    const stored* tap, Py_ssize_t channel, Py_ssize_t channels, Py_ssize_t lanes, Py_ssize_t width, real* panel,
) noexcept nogil:
    """The lanes of each channel lie next to each other."""
    cdef Py_ssize_t _, k
    for _ in range(channels):
        k = 0
        while k + VLEN <= lanes:
            prefetch(tap + k + 2*AHEAD*channel)
            vstore(panel + k, vload_stored(tap + k))
            k += VLEN
        if k < lanes:
            vstore(panel + k, vload_stored_lanes(tap + k, <int>(lanes - k)))
        tap = tap + channel
        panel = panel + width


cdef inline void pack_channels(
    const stored* tap, Py_ssize_t lane, Py_ssize_t channels, Py_ssize_t lanes, Py_ssize_t width, real* panel,
) noexcept nogil:
    """The channels of each lane lie next to each other: transpose squares of VLEN channels by VLEN lanes."""
    cdef vr square[VLEN]
    cdef Py_ssize_t c = 0, k, i
    cdef int here
    while c < channels:
        here = <int>min(channels - c, <Py_ssize_t>VLEN)
        k = 0
        while k < width:
            for i in range(VLEN):
                prefetch(tap + (k + i)*lane + c + VLEN)
                square[i] = vload_stored_lanes(tap + (k + i)*lane + c, here) if k + i < lanes else vsplat(0)
            vtranspose(square)
            for i in range(here):
                vstore(panel + (c + i)*width + k, square[i])
            k += VLEN
        c += VLEN


cdef inline void pack_elements(
    const stored* tap, Py_ssize_t channel, Py_ssize_t lane, Py_ssize_t channels, Py_ssize_t lanes, Py_ssize_t width,
    real* panel,
) noexcept nogil:
    """Nothing lies next to anything."""
    cdef Py_ssize_t c, k
    for c in range(channels):
        for k in range(width):
            panel[c*width + k] = real_of(tap[c*channel + k*lane]) if k < lanes else 0


cdef inline Py_ssize_t tap_at(
    const Weights* w, const Axis* y, const Axis* x, Py_ssize_t r, Py_ssize_t s,
) noexcept nogil:
    """Where tap (r, s) lies in a filter."""
    return (y.weight_first + y.weight_step*r)*w.row + (x.weight_first + x.weight_step*s)*w.col


cdef inline Py_ssize_t filter_reach(const Weights* w, const Axis* y, const Axis* x) noexcept nogil:
    """From a filter's first element to behind the last that is a tap."""
    cdef Py_ssize_t reach = 0, r, s
    for r in range(y.taps):
        for s in range(x.taps):
            reach = max(reach, tap_at(w, y, x, r, s) + 1)
    return reach


cdef inline void pack_square(
    const stored* filters, Py_ssize_t lane, Py_ssize_t lanes, int here, Py_ssize_t ahead, const Py_ssize_t* place,
    real* panel,
) noexcept nogil:
    """Elements of the filters of a vector of lanes, each to its place, or to none below zero."""
    cdef vr square[VLEN]
    cdef Py_ssize_t i
    for i in range(VLEN):
        prefetch(filters + i*lane + ahead)
        square[i] = vload_stored_lanes(filters + i*lane, here) if i < lanes else vsplat(0)
    vtranspose(square)
    for i in range(VLEN):
        if place[i] >= 0:
            vstore(panel + place[i], square[i])


cdef inline void pack_filters(
    const Weights* w, const Axis* y, const Axis* x, const stored* source, Py_ssize_t lanes, Py_ssize_t width,
    real* panel,
) noexcept nogil:
    """The taps of each filter lie next to each other: transpose squares of VLEN elements of filters by VLEN lanes."""
    cdef Py_ssize_t place[VLEN]
    cdef Py_ssize_t reach = filter_reach(w, y, x), first = 0, c, k, i, r, s
    cdef int here
    while first < reach:
        here = <int>min(reach - first, <Py_ssize_t>VLEN)
        for i in range(VLEN):
            place[i] = -1
        for r in range(y.taps):
            for s in range(x.taps):
                i = tap_at(w, y, x, r, s) - first
                if 0 <= i < here:
                    place[i] = (r*x.taps + s)*w.channels*width
        for c in range(w.channels):
            k = 0
            while k < width:
                pack_square(source + first + c*w.channel + k*w.lane, w.lane, lanes - k, here, AHEAD*w.channel, place,
                            panel + c*width + k)
                k += VLEN
        first += VLEN


cdef inline void pack_block(
    const Weights* w, const Axis* y, const Axis* x, Py_ssize_t index, real* packed,
) noexcept nogil:
    """Pack one block of lanes; `index` counts through all groups."""
    cdef Py_ssize_t group = index // block_count(w.lanes), first = index % block_count(w.lanes)*BLOCK
    cdef Py_ssize_t lanes = min(w.lanes - first, <Py_ssize_t>BLOCK), width = tile_vectors(lanes)*VLEN, r, s
    cdef const stored* source = w.data + group*w.group + first*w.lane
    cdef real* panel = packed + (group*padded(w.lanes) + first)*y.taps*x.taps*w.channels
    cdef const stored* tap
    if w.lane != 1 and w.channel != 1 and w.col == 1 and 0 < w.row <= FILTER_ROW and y.taps*x.taps > 1:
        pack_filters(w, y, x, source, lanes, width, panel)
        return
    for r in range(y.taps):
        for s in range(x.taps):
            tap = source + tap_at(w, y, x, r, s)
            if w.lane == 1:
                pack_lanes(tap, w.channel, w.channels, lanes, width, panel)
            elif w.channel == 1:
                pack_channels(tap, w.lane, w.channels, lanes, width, panel)
            else:
                pack_elements(tap, w.channel, w.lane, w.channels, lanes, width, panel)
            panel = panel + w.channels*width


cdef inline void put_square(
    const Weights* w, vr* square, Py_ssize_t lane, Py_ssize_t lanes, Py_ssize_t channel, Py_ssize_t channels,
    stored* out,
) noexcept nogil:
    """Write a square of a gradient, rows of lanes, to wherever the weights lie."""
    cdef Py_ssize_t k, c
    out = out + lane*w.lane + channel*w.channel
    if w.lane == 1 and w.channel != 1:
        vtranspose(square)
        for c in range(channels):
            vstore_stored_lanes(out + c*w.channel, square[c], <int>lanes)
    elif w.channel == 1:
        for k in range(lanes):
            vstore_stored_lanes(out + k*w.lane, square[k], <int>channels)
    else:
        for k in range(lanes):
            for c in range(channels):
                out[k*w.lane + c*w.channel] = stored_of((<const real*>&square[k])[c])
