"""Maximum pooling of NHWC images, forward and backward, in vectors of channels; pixels of few share a vector.

The backward pass gathers: each input pixel sums, in registers, over the windows that hold it, and is written once. No
two threads write one pixel, and the order of a sum is the shape's.

A function returns False where there is no memory for the tables of windows.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free

from convkit._kernels._call cimport Call, capsule, memory_at
from convkit._kernels._crowd cimport Crowd, Pick, lanes_in, lay_holders, lay_windows, picked, place_of
from convkit._kernels._simd cimport (
    VLEN, real, vi, viequal, viload_i32, viload_u8, vipick, visplat, vistore_i32, vistore_u8, vkeep_larger, vload,
    vload_lanes, vpick, vr, vselect, vsplat, vstore_lanes, vstream_end,
)
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._threads cimport worth
from convkit._kernels._windows cimport Axis, Holders, Window, lay_axis, spacing_t

cdef enum:
    VECTORS = 4                     # of channels, kept in registers together

ctypedef fused index_t:
    # Position in the window, r*width + s: a byte wherever it fits.
    uint8_t
    int32_t


cdef struct Taps:
    # Of one window: those inside the image.
    Py_ssize_t rows, cols           # how many
    Py_ssize_t down, across         # how far apart in memory
    int place, width                # position of the first in the window, and the window's width


# ---------------------------------------------------------------------------------------------------------------------
# Forward


cdef inline void store_places(index_t* index, vi place, int lanes) noexcept nogil:
    if index_t is uint8_t:
        vistore_u8(index, place, lanes)
    else:
        vistore_i32(index, place, lanes)


cdef inline vi load_places(const index_t* index, int lanes) noexcept nogil:
    if index_t is uint8_t:
        return viload_u8(index, lanes)
    else:
        return viload_i32(index, lanes)


cdef inline void max_block(
    const int vectors, const int lanes, const bint placed, const Py_ssize_t rows, const Py_ssize_t cols, const Taps* t,
    const real* x, real* out, index_t* index,
) noexcept nogil:
    """One window's maxima in so many vectors of channels: they and their places stay in registers over all taps.

    Places are written if `placed`, which must be a literal, like the sizes.
    """
    cdef vr best[VECTORS]
    cdef vi place[VECTORS]
    cdef vi here
    cdef Py_ssize_t r, s
    cdef int v
    for v in range(vectors):
        # A window of nothing but -inf has its maximum at its first tap. One that lies in the padding with all its
        # taps, as a dilated one can, has the maximum of no numbers.
        best[v], place[v] = vsplat(-INFINITY), visplat(t.place)
    for r in range(rows):
        for s in range(cols):
            here = visplat(t.place + <int>(r*t.width + s))
            for v in range(vectors):
                vkeep_larger(&best[v], &place[v], vload_lanes(x + r*t.down + s*t.across + v*VLEN, lanes), here)
    for v in range(vectors):
        vstore_lanes(out + v*VLEN, best[v], lanes)
        if placed:
            store_places(index + v*VLEN, place[v], lanes)


cdef inline void max_blocks(
    const bint placed, const Py_ssize_t rows, const Py_ssize_t cols, const Taps* t, const real* x, Py_ssize_t channels,
    real* out, index_t* index,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + VECTORS*VLEN <= channels:
        max_block(VECTORS, VLEN, placed, rows, cols, t, x + c, out + c, index + c)
        c += VECTORS*VLEN
    while c + VLEN <= channels:
        max_block(1, VLEN, placed, rows, cols, t, x + c, out + c, index + c)
        c += VLEN
    if c < channels:
        max_block(1, <int>(channels - c), placed, rows, cols, t, x + c, out + c, index + c)


cdef inline void max_window(
    const bint placed, const Taps* t, const real* x, Py_ssize_t channels, real* out, index_t* index,
) noexcept nogil:
    """One window. The most usual one has a literal size, so that its taps are unrolled."""
    if t.rows == 2 and t.cols == 2:
        max_blocks(placed, 2, 2, t, x, channels, out, index)
    else:
        max_blocks(placed, t.rows, t.cols, t, x, channels, out, index)


cdef inline void max_crowd(
    const bint placed, const Py_ssize_t rows, const Py_ssize_t cols, const Taps* t, const Crowd* crowd, const real* x,
    real* out, index_t* index,
) noexcept nogil:
    """One row of windows, several pixels on a vector. Sizes must be literals."""
    cdef const Pick* pick = crowd.pick
    cdef Py_ssize_t b, r, s
    cdef vr best
    cdef vi place
    for b in range(crowd.blocks):
        best, place = vsplat(-INFINITY), visplat(t.place) + place_of(pick)
        for r in range(rows):
            for s in range(cols):
                vkeep_larger(&best, &place, picked(pick + s, x + r*t.down),
                             visplat(t.place + <int>r*t.width) + place_of(pick + s))
        vstore_lanes(out + crowd.start[b], best, lanes_in(crowd, b))
        if placed:
            store_places(index + crowd.start[b], place, lanes_in(crowd, b))
        pick += cols


cdef inline void max_row(
    const bint placed, const Axis* rows, const Axis* cols, const Crowd* crowd, Py_ssize_t channels, const real* x,
    Py_ssize_t p, real* out, index_t* index,
) noexcept nogil:
    """One row of windows. Taps in the padding are never the maximum: they are left out."""
    cdef const Window* down = &rows.window[p]
    cdef const Window* across
    cdef Py_ssize_t q
    cdef Taps t
    t.down, t.across, t.width = rows.dilation*cols.size*channels, cols.dilation*channels, <int>cols.widest
    t.rows = down.taps
    x = x + (down.start + down.first*rows.dilation)*cols.size*channels
    if crowd.pick is not NULL and t.rows > 0:
        t.place = <int>(down.first*cols.widest)
        if t.rows == 2 and crowd.taps == 2:
            max_crowd(placed, 2, 2, &t, crowd, x, out, index)
        else:
            max_crowd(placed, t.rows, crowd.taps, &t, crowd, x, out, index)
        return
    for q in range(cols.count):
        across = &cols.window[q]
        t.cols = across.taps
        # Of no taps the place is that of the first, where no gradient arrives.
        t.place = <int>(down.first*cols.widest + across.first) if t.rows*t.cols > 0 else 0
        max_window(placed, &t, x + (across.start + across.first*cols.dilation)*channels, channels, out, index)
        out = out + channels
        index = index + (channels if placed else 0)


cdef void values_row(
    const Axis* rows, const Axis* cols, const Crowd* crowd, Py_ssize_t channels, const real* x, Py_ssize_t p, real* out,
) noexcept nogil:
    max_row(False, rows, cols, crowd, channels, x, p, out, <uint8_t*>NULL)


cdef void placed_row(
    const Axis* rows, const Axis* cols, const Crowd* crowd, Py_ssize_t channels, const real* x, Py_ssize_t p, real* out,
    index_t* index,
) noexcept nogil:
    max_row(True, rows, cols, crowd, channels, x, p, out, index)


cdef void values_rows(
    const Call* c, const Axis* rows, const Axis* cols, const Crowd* crowd, const real* x, Py_ssize_t first,
    Py_ssize_t behind, real* out,
) noexcept nogil:
    """Rows [first, behind) of all images."""
    cdef Py_ssize_t image = c.rows*c.cols*c.channels, row = c.out_cols*c.channels, unit
    for unit in range(first, behind):
        values_row(rows, cols, crowd, c.channels, x + unit // c.out_rows*image, unit % c.out_rows, out + unit*row)


cdef bint run(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = the maximum of each window of x."""
    cdef Axis rows, cols
    cdef Crowd crowd
    cdef Py_ssize_t units = c.images*c.out_rows, share
    cdef const real* x = memory_at(memory, c.x)
    cdef real* out = memory_at(memory, c.out)
    cdef bint had
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, c.rows, c.out_rows, c.spacing_h, False)
           and lay_axis(&cols, c.cols, c.out_cols, c.spacing_w, False))
    if had:
        lay_windows(&crowd, &cols, c.channels)
        threads = worth(threads, <double>c.images*c.rows*c.cols*c.channels)
        if threads == 1:            # a team of one waits for itself, in the operating system
            values_rows(c, &rows, &cols, &crowd, x, 0, units, out)
        else:
            for share in prange(threads, schedule='static', num_threads=threads):
                values_rows(c, &rows, &cols, &crowd, x, share*units // threads, (share + 1)*units // threads, out)
        free(crowd.pick)
    free(rows.window)
    free(cols.window)
    return had


CALL = capsule(run)


def forward(
    const real[:, :, :, ::1] x_nhwc, real[:, :, :, ::1] out_nhwc, index_t[:, :, :, ::1] index_nhwc,
    spacing_t rows_spacing, spacing_t cols_spacing, int threads,
):
    """The maximum of each window, and where in the window it stands (the first of equals, the last NaN)."""
    cdef Axis rows, cols
    cdef Crowd crowd
    cdef Py_ssize_t channels = x_nhwc.shape[3], out_rows = out_nhwc.shape[1], unit
    cdef Py_ssize_t image = x_nhwc.shape[1]*x_nhwc.shape[2]*channels, row = out_nhwc.shape[2]*channels
    cdef const real* x = &x_nhwc[0, 0, 0, 0]
    cdef real* out = &out_nhwc[0, 0, 0, 0]
    cdef index_t* index = &index_nhwc[0, 0, 0, 0]
    cdef bint had
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, x_nhwc.shape[1], out_rows, rows_spacing, False)
           and lay_axis(&cols, x_nhwc.shape[2], out_nhwc.shape[2], cols_spacing, False))
    if had:
        lay_windows(&crowd, &cols, channels)
        threads = worth(threads, <double>x_nhwc.shape[0]*image)
        for unit in prange(x_nhwc.shape[0]*out_rows, nogil=True, schedule='static', num_threads=threads):
            placed_row(&rows, &cols, &crowd, channels, x + unit // out_rows*image, unit % out_rows, out + unit*row,
                       index + unit*row)
        free(crowd.pick)
    free(rows.window)
    free(cols.window)
    return had


# ---------------------------------------------------------------------------------------------------------------------
# Backward


cdef inline void gradient_block(
    const int vectors, const int lanes, const bint dilated, Axis rows, Axis cols, Py_ssize_t row, Py_ssize_t col,
    Py_ssize_t channels, const real* grad, const index_t* index, real* grad_x, bint stream,
) noexcept nogil:
    """Sum the gradients of the windows that have their maximum at one pixel."""
    cdef vr sums[VECTORS]
    cdef vi here, place
    cdef Holders down = rows.holders[row], across = cols.holders[col]
    cdef Py_ssize_t p, q, r, s, at
    cdef int v
    for v in range(vectors):
        sums[v] = vsplat(0)
    for p in range(down.first, down.behind):
        r = row - rows.window[p].start
        if dilated:
            if r % rows.dilation != 0:
                continue
            r = r // rows.dilation
        for q in range(across.first, across.behind):
            s = col - cols.window[q].start
            if dilated:
                if s % cols.dilation != 0:
                    continue
                s = s // cols.dilation
            at = (p*cols.count + q)*channels
            here = visplat(<int>(r*cols.widest + s))
            for v in range(vectors):
                place = load_places(index + at + v*VLEN, lanes)
                sums[v] = sums[v] + vselect(viequal(place, here), vload_lanes(grad + at + v*VLEN, lanes), vsplat(0))
    for v in range(vectors):
        put_lanes(grad_x + v*VLEN, sums[v], lanes, stream)


cdef inline void gradient_pixels(
    const bint dilated, Axis rows, Axis cols, Py_ssize_t channels, const real* grad, const index_t* index,
    Py_ssize_t row, real* grad_x, bint stream,
) noexcept nogil:
    cdef Py_ssize_t c, col
    for col in range(cols.size):
        c = 0
        while c + VECTORS*VLEN <= channels:
            gradient_block(
                VECTORS, VLEN, dilated, rows, cols, row, col, channels, grad + c, index + c, grad_x + c, stream)
            c += VECTORS*VLEN
        while c + VLEN <= channels:
            gradient_block(1, VLEN, dilated, rows, cols, row, col, channels, grad + c, index + c, grad_x + c, stream)
            c += VLEN
        if c < channels:
            gradient_block(
                1, <int>(channels - c), dilated, rows, cols, row, col, channels, grad + c, index + c, grad_x + c, False)
        grad_x = grad_x + channels
    if stream:
        vstream_end()


cdef inline void gradient_crowd(
    const Axis* rows, const Crowd* crowd, Py_ssize_t width, Py_ssize_t windows, const real* grad, const index_t* index,
    Py_ssize_t row, real* grad_x,
) noexcept nogil:
    """One row of pixels, several on a vector. A window has `width` taps in a row, a row of windows so many elements."""
    cdef Holders down = rows.holders[row]
    cdef const Pick* pick = crowd.pick
    cdef Py_ssize_t b, p, k, at
    cdef vr sums
    cdef vi lane, here
    for b in range(crowd.blocks):
        sums = vsplat(0)
        for p in range(down.first, down.behind):
            for k in range(crowd.taps):
                at, lane = p*windows + pick[k].at, viload_i32(pick[k].lane, VLEN)
                here = visplat(<int>((row - rows.window[p].start)*width)) + place_of(pick + k)
                sums = sums + vselect(viequal(vipick(load_places(index + at, VLEN), lane), here),
                                      vpick(vload(grad + at), lane), vsplat(0))
        vstore_lanes(grad_x + crowd.start[b], sums, lanes_in(crowd, b))
        pick += crowd.taps


cdef void gradient_row(
    const Axis* rows, const Axis* cols, const Crowd* crowd, Py_ssize_t channels, const real* grad, const index_t* index,
    Py_ssize_t row, real* grad_x, bint stream,
) noexcept nogil:
    """One row of pixels. Only where taps lie apart does it take a division to tell which one lies at a pixel."""
    if crowd.pick is not NULL and rows.dilation == 1 and not stream:
        gradient_crowd(rows, crowd, cols.widest, cols.count*channels, grad, index, row, grad_x)
    elif rows.dilation == 1 and cols.dilation == 1:
        gradient_pixels(False, rows[0], cols[0], channels, grad, index, row, grad_x, stream)
    else:
        gradient_pixels(True, rows[0], cols[0], channels, grad, index, row, grad_x, stream)


def backward(
    const real[:, :, :, ::1] grad_nhwc, const index_t[:, :, :, ::1] index_nhwc, real[:, :, :, ::1] grad_x_nhwc,
    spacing_t rows_spacing, spacing_t cols_spacing, int threads,
):
    """Hand each window's gradient to the pixel that was its maximum."""
    cdef Axis rows, cols
    cdef Crowd crowd
    cdef Py_ssize_t channels = grad_x_nhwc.shape[3], in_rows = grad_x_nhwc.shape[1], unit
    cdef Py_ssize_t image = grad_nhwc.shape[1]*grad_nhwc.shape[2]*channels, row = grad_x_nhwc.shape[2]*channels
    cdef const real* grad = &grad_nhwc[0, 0, 0, 0]
    cdef const index_t* index = &index_nhwc[0, 0, 0, 0]
    cdef real* grad_x = &grad_x_nhwc[0, 0, 0, 0]
    cdef bint had, stream = channels % VLEN == 0 and streams(grad_x, grad_x_nhwc.shape[0]*in_rows*row)
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, in_rows, grad_nhwc.shape[1], rows_spacing, False)
           and lay_axis(&cols, grad_x_nhwc.shape[2], grad_nhwc.shape[2], cols_spacing, False))
    if had:
        lay_holders(&crowd, &cols, channels)
        threads = worth(threads, <double>grad_x_nhwc.shape[0]*in_rows*row)
        for unit in prange(grad_x_nhwc.shape[0]*in_rows, nogil=True, schedule='static', num_threads=threads):
            gradient_row(&rows, &cols, &crowd, channels, grad + unit // in_rows*image, index + unit // in_rows*image,
                         unit % in_rows, grad_x + unit*row, stream)
        free(crowd.pick)
    free(rows.window)
    free(cols.window)
    return had
