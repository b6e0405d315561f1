"""Average pooling of NHWC images, forward and backward, in vectors of channels.

Sums stay in registers from the first pixel to the last, and are divided once. The backward pass gathers: each input
pixel sums over the windows that hold it, and is written once.

A function returns False where there is no memory for the tables of windows.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from convkit._kernels._call cimport Call, capsule, memory_at
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload_lanes, vr, vsplat, vstream_end,
)
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._threads cimport worth
from convkit._kernels._windows cimport Axis, Holders, Window, lay_axis, spacing_t

cdef enum:
    VECTORS = 4                     # of channels, kept in registers together


cdef struct Part:
    # The elements whose sums become one pixel: a window forward, the windows over a pixel backward.
    Py_ssize_t rows, cols           # how many
    Py_ssize_t down, across         # how far apart in memory
    Py_ssize_t divisor              # of their sum


cdef inline void average_block(
    const int vectors, const int lanes, const Py_ssize_t rows, const Py_ssize_t cols, const Part* t, const real* x,
    real* out, bint stream,
) noexcept nogil:
    cdef vr sums[VECTORS]
    cdef Py_ssize_t r, s
    cdef int v
    for v in range(vectors):
        sums[v] = vsplat(0)
    for r in range(rows):
        for s in range(cols):
            for v in range(vectors):
                sums[v] = sums[v] + vload_lanes(x + r*t.down + s*t.across + v*VLEN, lanes)
    if t.divisor & (t.divisor - 1) == 0:            # a power of two has an exact reciprocal, and dividing is slow
        for v in range(vectors):
            put_lanes(out + v*VLEN, sums[v]*vsplat(1/<real>t.divisor), lanes, stream)
    else:
        for v in range(vectors):
            put_lanes(out + v*VLEN, sums[v]/vsplat(<real>t.divisor), lanes, stream)


cdef inline void average_blocks(
    const Py_ssize_t rows, const Py_ssize_t cols, const Part* t, const real* x, Py_ssize_t channels, real* out,
    bint stream,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + VECTORS*VLEN <= channels:
        average_block(VECTORS, VLEN, rows, cols, t, x + c, out + c, stream)
        c += VECTORS*VLEN
    while c + VLEN <= channels:
        average_block(1, VLEN, rows, cols, t, x + c, out + c, stream)
        c += VLEN
    if c < channels:
        average_block(1, <int>(channels - c), rows, cols, t, x + c, out + c, stream)


cdef inline void average(
    const Part* t, const real* x, Py_ssize_t channels, real* out, bint stream,
) noexcept nogil:
    """One pixel: the sum over `t`, divided. The usual sizes are literal, so that they are unrolled."""
    if t.rows == 1 and t.cols == 1:
        average_blocks(1, 1, t, x, channels, out, stream)
    elif t.rows == 2 and t.cols == 2:
        average_blocks(2, 2, t, x, channels, out, stream)
    elif t.rows == 3 and t.cols == 3:
        average_blocks(3, 3, t, x, channels, out, stream)
    else:
        average_blocks(t.rows, t.cols, t, x, channels, out, stream)


cdef void average_row(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, const real* x, Py_ssize_t p, real* out,
) noexcept nogil:
    cdef const Window* down = &rows.window[p]
    cdef const Window* across
    cdef Py_ssize_t q
    cdef Part t
    cdef unsigned long mode = flush_denormals()
    t.rows, t.down, t.across = down.taps, cols.size*channels, channels
    x = x + (down.start + down.first)*t.down
    for q in range(cols.count):
        across = &cols.window[q]
        t.cols, t.divisor = across.taps, down.elements*across.elements
        average(&t, x + (across.start + across.first)*channels, channels, out + q*channels, False)
    restore_denormals(mode)


cdef bint run(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = the mean of each window of x."""
    cdef Axis rows, cols
    cdef Py_ssize_t image = c.rows*c.cols*c.channels, row = c.out_cols*c.channels, unit
    cdef const real* x = memory_at(memory, c.x)
    cdef real* out = memory_at(memory, c.out)
    cdef bint had
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, c.rows, c.out_rows, c.spacing_h, c.count_include_pad)
           and lay_axis(&cols, c.cols, c.out_cols, c.spacing_w, c.count_include_pad))
    if had:
        threads = worth(threads, <double>c.images*image)
        for unit in prange(c.images*c.out_rows, schedule='static', num_threads=threads):
            average_row(&rows, &cols, c.channels, x + unit // c.out_rows*image, unit % c.out_rows, out + unit*row)
    free(rows.window)
    free(cols.window)
    return had


CALL = capsule(run)


def forward(
    const real[:, :, :, ::1] x_nhwc, real[:, :, :, ::1] out_nhwc, spacing_t rows_spacing, spacing_t cols_spacing,
    bint count_include_pad, int threads,
):
    """The mean of each window."""
    cdef Call c
    cdef real* memory[2]
    cdef bint had
    c.x.memory, c.x.offset, c.out.memory, c.out.offset = 0, 0, 1, 0
    c.images, c.rows, c.cols, c.channels = x_nhwc.shape[0], x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3]
    c.out_rows, c.out_cols = out_nhwc.shape[1], out_nhwc.shape[2]
    c.spacing_h, c.spacing_w, c.count_include_pad = rows_spacing, cols_spacing, count_include_pad
    memory[0], memory[1] = <real*>&x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0]
    with nogil:
        had = run(&c, memory, threads)
    return had


# ---------------------------------------------------------------------------------------------------------------------
# Backward: forward again, with the windows over a pixel in the place of the pixels in a window


cdef void divide_row(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, const real* grad, Py_ssize_t p, real* out,
) noexcept nogil:
    """Divide the gradients of a row of windows, each by its own number of elements."""
    cdef Py_ssize_t q
    cdef Part t
    cdef unsigned long mode = flush_denormals()
    t.rows = t.cols = 1
    t.down = t.across = 0
    for q in range(cols.count):
        t.divisor = rows.window[p].elements*cols.window[q].elements
        average(&t, grad + q*channels, channels, out + q*channels, False)
    restore_denormals(mode)


cdef void gradient_row(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, Py_ssize_t divisor, const real* grad, Py_ssize_t row,
    real* grad_x, bint stream,
) noexcept nogil:
    cdef const Holders* down = &rows.holders[row]
    cdef const Holders* across
    cdef Py_ssize_t col
    cdef Part t
    cdef unsigned long mode = flush_denormals()
    t.rows, t.down, t.across, t.divisor = down.behind - down.first, cols.count*channels, channels, divisor
    grad = grad + down.first*t.down
    for col in range(cols.size):
        across = &cols.holders[col]
        t.cols = across.behind - across.first
        average(&t, grad + across.first*channels, channels, grad_x + col*channels, stream)
    if stream:
        vstream_end()
    restore_denormals(mode)


def backward(
    const real[:, :, :, ::1] grad_nhwc, real[:, :, :, ::1] grad_x_nhwc, spacing_t rows_spacing,
    spacing_t cols_spacing, bint count_include_pad, int threads,
):
    """Share each window's gradient among its pixels.

    Where all windows count alike, sums are divided. Else gradients are, beforehand, into scratch of their size.
    """
    cdef Axis rows, cols
    cdef Py_ssize_t channels = grad_x_nhwc.shape[3], in_rows = grad_x_nhwc.shape[1], out_rows = grad_nhwc.shape[1]
    cdef Py_ssize_t windows = grad_nhwc.shape[2]*channels, row = grad_x_nhwc.shape[2]*channels, divisor = 1, unit
    cdef const real* grad = &grad_nhwc[0, 0, 0, 0]
    cdef real* grad_x = &grad_x_nhwc[0, 0, 0, 0]
    cdef real* quotients = NULL
    cdef bint had, stream = channels % VLEN == 0 and streams(grad_x, grad_x_nhwc.shape[0]*in_rows*row)
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, in_rows, out_rows, rows_spacing, count_include_pad)
           and lay_axis(&cols, grad_x_nhwc.shape[2], grad_nhwc.shape[2], cols_spacing, count_include_pad))
    threads = worth(threads, <double>grad_x_nhwc.shape[0]*in_rows*row)
    if had and rows.even and cols.even:
        divisor = rows.window[0].elements*cols.window[0].elements
    elif had:
        quotients = <real*>malloc(grad_x_nhwc.shape[0]*out_rows*windows*sizeof(real) + 1)
        had = quotients is not NULL
        if had:
            for unit in prange(grad_x_nhwc.shape[0]*out_rows, nogil=True, schedule='static', num_threads=threads):
                divide_row(&rows, &cols, channels, grad + unit*windows, unit % out_rows, quotients + unit*windows)
            grad = quotients
    if had:
        for unit in prange(grad_x_nhwc.shape[0]*in_rows, nogil=True, schedule='static', num_threads=threads):
            gradient_row(&rows, &cols, channels, divisor, grad + unit // in_rows*out_rows*windows, unit % in_rows,
                         grad_x + unit*row, stream)
    free(quotients)
    free(rows.window)
    free(cols.window)
    return had
