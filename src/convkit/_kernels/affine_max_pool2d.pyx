"""Maximum pooling of act(a(x)), a being an affine map of each channel, straight from x: the image between is never
written.

Each tap is mapped and activated before it is compared, so the bits are those of one operation after the other. Where
the activation has cut the maximum off, no gradient comes back to any tap, and the place says so: NOWHERE. The backward
pass of max-pooling reads such places as they are. That of a batch norm asks for the tap itself, too, as it is in x:
found by its place while both are in cache.

A function returns False where there is no memory for its tables.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t
from libc.stdlib cimport free

from convkit._kernels._affine cimport Affine, tiled
from convkit._kernels._crowd cimport Crowd, Pick, lanes_in, lay_windows, picked, place_of
from convkit._kernels._rectifiers cimport IDENTITY, RELU, RELU6, rectified
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vatmost, vi, viequal, viload_u8, viselect, visplat, vistore_u8,
    vkeep_larger, vload, vload_lanes, vr, vselect, vsplat, vstore_lanes,
)
from convkit._kernels._threads cimport worth
from convkit._kernels._windows cimport Axis, Window, lay_axis, spacing_t

cdef enum:
    VECTORS = 2                     # of channels, kept in registers together with their maps
    NOWHERE = 255                   # a place that no window of at most 255 taps has

KINDS = {"": IDENTITY, "relu": RELU, "relu6": RELU6}


cdef struct Taps:
    # Of one window: those inside the image.
    Py_ssize_t rows, cols           # how many
    Py_ssize_t down, across         # how far apart in memory
    int place, width                # position of the first in the window, and the window's width


cdef struct Source:
    # What the taps are, before they are compared.
    bint affine
    int kind
    Affine map


cdef inline void store_block(const int kind, int lanes, vr best, vi place, real* out, uint8_t* index) noexcept nogil:
    if kind != IDENTITY:
        place = viselect(vatmost(best, vsplat(0)), visplat(NOWHERE), place)
    if kind == RELU6:
        place = viselect(vatmost(vsplat(6), best), visplat(NOWHERE), place)
    vstore_lanes(out, best, lanes)
    vistore_u8(index, place, lanes)


cdef inline void max_block(
    const int vectors, const int lanes, const Py_ssize_t rows, const Py_ssize_t cols, const bint affine,
    const int kind, const Taps* t, const Affine* map, Py_ssize_t c, const real* x, real* out, uint8_t* index,
) noexcept nogil:
    """One window's maxima in so many vectors of channels: they and their places stay in registers over all taps."""
    cdef vr best[VECTORS]
    cdef vi place[VECTORS]
    cdef vr centre[VECTORS]
    cdef vr scale[VECTORS]
    cdef vr shift[VECTORS]
    cdef vr tap
    cdef vi here
    cdef Py_ssize_t r, s
    cdef int v
    for v in range(vectors):
        best[v], place[v] = vsplat(-INFINITY), visplat(t.place)
        if affine:
            centre[v] = vload_lanes(map.centre + c + v*VLEN, lanes)
            scale[v] = vload_lanes(map.scale + c + v*VLEN, lanes)
            shift[v] = vload_lanes(map.shift + c + v*VLEN, lanes)
    for r in range(rows):
        for s in range(cols):
            here = visplat(t.place + <int>(r*t.width + s))
            for v in range(vectors):
                tap = vload_lanes(x + r*t.down + s*t.across + v*VLEN, lanes)
                if affine:
                    tap = tap - centre[v]
                    tap = tap*scale[v] + shift[v]
                vkeep_larger(&best[v], &place[v], rectified(kind, tap, tap), here)
    for v in range(vectors):
        store_block(kind, lanes, best[v], place[v], out + v*VLEN, index + v*VLEN)


cdef inline void max_crowd(
    const Py_ssize_t rows, const Py_ssize_t cols, const bint affine, const int kind, const Taps* t, const Affine* map,
    const Crowd* crowd, Py_ssize_t channels, const real* x, real* out, uint8_t* index,
) noexcept nogil:
    """One row of windows, several pixels on a vector. Sizes must be literals."""
    cdef const Pick* pick = crowd.pick
    cdef Py_ssize_t b, r, s, first, c
    cdef vr best, tap
    cdef vi place
    for b in range(crowd.blocks):
        best, place, first = vsplat(-INFINITY), visplat(t.place) + place_of(pick), crowd.start[b]
        c = first % channels
        for r in range(rows):
            for s in range(cols):
                tap = picked(pick + s, x + r*t.down)
                if affine:
                    tap = tap - vload(map.centre + c)
                    tap = tap*vload(map.scale + c) + vload(map.shift + c)
                vkeep_larger(&best, &place, rectified(kind, tap, tap),
                             visplat(t.place + <int>r*t.width) + place_of(pick + s))
        store_block(kind, lanes_in(crowd, b), best, place, out + first, index + first)
        pick += cols


cdef inline void max_blocks(
    const Py_ssize_t rows, const Py_ssize_t cols, const bint affine, const int kind, const Taps* t, const Affine* map,
    Py_ssize_t channels, const real* x, real* out, uint8_t* index,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + VECTORS*VLEN <= channels:
        max_block(VECTORS, VLEN, rows, cols, affine, kind, t, map, c, x + c, out + c, index + c)
        c += VECTORS*VLEN
    while c + VLEN <= channels:
        max_block(1, VLEN, rows, cols, affine, kind, t, map, c, x + c, out + c, index + c)
        c += VLEN
    if c < channels:
        max_block(1, <int>(channels - c), rows, cols, affine, kind, t, map, c, x + c, out + c, index + c)


cdef inline void max_row(
    const bint affine, const int kind, const Affine* map, const Axis* rows, const Axis* cols, const Crowd* crowd,
    Py_ssize_t channels, const real* x, Py_ssize_t p, real* out, uint8_t* index,
) noexcept nogil:
    """One row of windows. Taps in the padding are never the maximum: they are left out."""
    cdef const Window* down = &rows.window[p]
    cdef const Window* across
    cdef const real* first
    cdef Py_ssize_t q
    cdef Taps t
    t.down, t.across, t.width, t.rows = cols.size*channels, channels, <int>cols.widest, down.taps
    x = x + (down.start + down.first)*t.down
    if crowd.pick is not NULL:
        t.place = <int>(down.first*cols.widest)
        if t.rows == 2 and crowd.taps == 2:
            max_crowd(2, 2, affine, kind, &t, map, crowd, channels, x, out, index)
        else:
            max_crowd(t.rows, crowd.taps, affine, kind, &t, map, crowd, channels, x, out, index)
        return
    for q in range(cols.count):
        across = &cols.window[q]
        t.cols = across.taps
        t.place = <int>(down.first*cols.widest + across.first)
        first = x + (across.start + across.first)*channels
        if t.rows == 2 and t.cols == 2:         # the most usual window: unrolled
            max_blocks(2, 2, affine, kind, &t, map, channels, first, out, index)
        else:
            max_blocks(t.rows, t.cols, affine, kind, &t, map, channels, first, out, index)
        out = out + channels
        index = index + channels


cdef void source_row(
    const Source* s, const Axis* rows, const Axis* cols, const Crowd* crowd, Py_ssize_t channels, const real* x,
    Py_ssize_t p, real* out, uint8_t* index,
) noexcept nogil:
    cdef unsigned long mode
    if not s.affine:                            # no arithmetic: denormals are passed on as they are
        if s.kind == RELU:
            max_row(False, RELU, &s.map, rows, cols, crowd, channels, x, p, out, index)
        else:
            max_row(False, RELU6, &s.map, rows, cols, crowd, channels, x, p, out, index)
        return
    mode = flush_denormals()
    if s.kind == RELU:
        max_row(True, RELU, &s.map, rows, cols, crowd, channels, x, p, out, index)
    elif s.kind == RELU6:
        max_row(True, RELU6, &s.map, rows, cols, crowd, channels, x, p, out, index)
    else:
        max_row(True, IDENTITY, &s.map, rows, cols, crowd, channels, x, p, out, index)
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# The taps that are the maxima


cdef inline void choose(
    const int lanes, const Py_ssize_t rows, const Py_ssize_t cols, const Taps* t, const real* x, const uint8_t* index,
    real* chosen,
) noexcept nogil:
    """One window's, in a vector of channels; where the place is NOWHERE, any."""
    cdef vi place = viload_u8(index, lanes)
    cdef vr value = vload_lanes(x, lanes)
    cdef Py_ssize_t r, s
    for r in range(rows):
        for s in range(cols):
            value = vselect(viequal(place, visplat(t.place + <int>(r*t.width + s))),
                            vload_lanes(x + r*t.down + s*t.across, lanes), value)
    vstore_lanes(chosen, value, lanes)


cdef inline void choose_window(
    const Py_ssize_t rows, const Py_ssize_t cols, const Taps* t, Py_ssize_t channels, const real* x,
    const uint8_t* index, real* chosen,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + VLEN <= channels:
        choose(VLEN, rows, cols, t, x + c, index + c, chosen + c)
        c += VLEN
    if c < channels:
        choose(<int>(channels - c), rows, cols, t, x + c, index + c, chosen + c)


cdef void choose_row(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, const real* x, Py_ssize_t p, const uint8_t* index,
    real* chosen,
) noexcept nogil:
    cdef const Window* down = &rows.window[p]
    cdef const Window* across
    cdef Py_ssize_t q
    cdef Taps t
    t.down, t.across, t.width, t.rows = cols.size*channels, channels, <int>cols.widest, down.taps
    x = x + (down.start + down.first)*t.down
    for q in range(cols.count):
        across = &cols.window[q]
        t.cols, t.place = across.taps, <int>(down.first*cols.widest + across.first)
        if t.rows == 2 and t.cols == 2:
            choose_window(2, 2, &t, channels, x + (across.start + across.first)*channels, index + q*channels,
                          chosen + q*channels)
        else:
            choose_window(t.rows, t.cols, &t, channels, x + (across.start + across.first)*channels, index + q*channels,
                          chosen + q*channels)


# ---------------------------------------------------------------------------------------------------------------------
# All of it


def forward(
    const real[:, :, :, ::1] x_nhwc, const real[:, ::1] map_3c, int kind, real[:, :, :, ::1] out_nhwc,
    uint8_t[:, :, :, ::1] index_nhwc, real[:, :, :, ::1] chosen_nhwc, spacing_t rows_spacing, spacing_t cols_spacing,
    int threads,
):
    """The maximum of each window, and where it stands, of windows that have at most 255 taps, none of them apart.

    `map_3c` may be None, if there is an activation; and `chosen_nhwc`, for the taps that are the maxima.
    """
    cdef Axis rows, cols
    cdef Py_ssize_t channels = x_nhwc.shape[3], out_rows = out_nhwc.shape[1], unit
    cdef Py_ssize_t image = x_nhwc.shape[1]*x_nhwc.shape[2]*channels, row = out_nhwc.shape[2]*channels
    cdef const real* x = &x_nhwc[0, 0, 0, 0]
    cdef real* out = &out_nhwc[0, 0, 0, 0]
    cdef uint8_t* index = &index_nhwc[0, 0, 0, 0]
    cdef real* chosen = &chosen_nhwc[0, 0, 0, 0] if chosen_nhwc is not None else NULL
    cdef Source s
    cdef Crowd crowd
    cdef real[3*(VLEN + 8)*VLEN] memory         # a tiled map: where pixels share vectors, groups of rows are not wider
    cdef bint had
    s.affine, s.kind = map_3c is not None, kind
    if s.affine:
        s.map.centre = <real*>&map_3c[0, 0]
        s.map.scale, s.map.shift = s.map.centre + channels, s.map.centre + 2*channels
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, x_nhwc.shape[1], out_rows, rows_spacing, False)
           and lay_axis(&cols, x_nhwc.shape[2], out_nhwc.shape[2], cols_spacing, False))
    if had:
        lay_windows(&crowd, &cols, channels)
        if s.affine and crowd.pick is not NULL:
            s.map = tiled(s.map.centre, channels, memory)
        threads = worth(threads, <double>x_nhwc.shape[0]*image)
        for unit in prange(x_nhwc.shape[0]*out_rows, nogil=True, schedule='static', num_threads=threads):
            source_row(&s, &rows, &cols, &crowd, channels, x + unit // out_rows*image, unit % out_rows, out + unit*row,
                       index + unit*row)
            if chosen is not NULL:
                choose_row(&rows, &cols, channels, x + unit // out_rows*image, unit % out_rows, index + unit*row,
                           chosen + unit*row)
        free(crowd.pick)
    free(rows.window)
    free(cols.window)
    return had
