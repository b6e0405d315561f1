"""Power-average pooling of NHWC images, forward and backward, in vectors of channels.

    out = (S/E * sum over the window's E elements of x^p)^(1/p),  S = elements of a whole window

The sum and the Euclidean norm, p = 1 and p = 2, are literals where they are inlined, and need no power. The backward
pass first takes what each window's elements have in common, grad*S/E*out^(1 - p), into scratch; then it gathers: each
input pixel sums over the windows that hold it, times x^(p - 1), and is written once.

A function returns False where there is no memory for its tables and scratch.
"""

from cython.parallel cimport prange
from libc.math cimport pow, powf, sqrt
from libc.stdlib cimport free, malloc

from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vatmost, vcopysign, vload, vload_lanes, vr, vselect, vsplat,
    vstore, vstore_lanes, vstream_end,
)
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._threads cimport worth
from convkit._kernels._windows cimport Axis, Holders, Window, lay_axis, spacing_t

cdef enum:
    VECTORS = 4                     # of channels, kept in registers together
    MOST_LANES = 64                 # at least VLEN
    MOST_FACTORS = 8                # of a power that is computed as a product

cdef enum:
    ONE                             # the norm p
    TWO
    ANY


cdef struct Part:
    # The elements that are summed: a window's pixels forward, what windows over a pixel have in common backward.
    Py_ssize_t rows, cols           # how many
    Py_ssize_t down, across         # how far apart in memory
    real scale                      # of their sum


cdef inline vr product(vr v, int factors) noexcept nogil:
    cdef vr result = vsplat(1)
    cdef int _
    for _ in range(factors):
        result = result*v
    return result


cdef inline vr power(vr v, real exponent) noexcept nogil:
    """A product where the exponent is a small integer, else lane by lane."""
    cdef real lanes[MOST_LANES]
    cdef int i
    if -MOST_FACTORS <= exponent <= MOST_FACTORS and exponent == <real><int>exponent:
        i = <int>exponent
        return product(v, i) if i >= 0 else vsplat(1)/product(v, -i)
    vstore(lanes, v)
    for i in range(VLEN):
        lanes[i] = <real>powf(<float>lanes[i], <float>exponent) if sizeof(real) == 4 else <real>pow(lanes[i], exponent)
    return vload(lanes)


cdef inline vr root(vr v) noexcept nogil:
    cdef real lanes[MOST_LANES]
    cdef int i
    vstore(lanes, v)
    for i in range(VLEN):
        lanes[i] = <real>sqrt(lanes[i])
    return vload(lanes)


cdef inline int kind_of(real p) noexcept nogil:
    return ONE if p == 1 else TWO if p == 2 else ANY


cdef inline real scale_of(const Axis* rows, const Axis* cols, Py_ssize_t p, Py_ssize_t q) noexcept nogil:
    """S/E: 1, but for windows that ceil_mode lets reach beyond the image."""
    return (<real>(rows.widest*cols.widest))/(<real>(rows.window[p].elements*cols.window[q].elements))


# ---------------------------------------------------------------------------------------------------------------------
# Forward


cdef inline void norm_block(
    const int kind, const int vectors, const int lanes, const Part* t, real p, const real* x, real* out,
) noexcept nogil:
    cdef vr sums[VECTORS]
    cdef vr element
    cdef Py_ssize_t r, s
    cdef int v
    for v in range(vectors):
        sums[v] = vsplat(0)
    for r in range(t.rows):
        for s in range(t.cols):
            for v in range(vectors):
                element = vload_lanes(x + r*t.down + s*t.across + v*VLEN, lanes)
                if kind == TWO:
                    element = element*element
                elif kind == ANY:
                    element = power(element, p)
                sums[v] = sums[v] + element
    for v in range(vectors):
        sums[v] = sums[v]*vsplat(t.scale)
        if kind == TWO:
            sums[v] = root(sums[v])
        elif kind == ANY:
            sums[v] = power(sums[v], 1/p)
        vstore_lanes(out + v*VLEN, sums[v], lanes)


cdef inline void norm_row(
    const int kind, const Axis* rows, const Axis* cols, Py_ssize_t channels, real p, const real* x, Py_ssize_t row,
    real* out,
) noexcept nogil:
    cdef const Window* across
    cdef const real* pixel
    cdef Py_ssize_t col, c
    cdef Part t
    t.rows, t.down, t.across = rows.window[row].taps, cols.size*channels, channels
    for col in range(cols.count):
        across = &cols.window[col]
        t.cols, t.scale = across.taps, scale_of(rows, cols, row, col)
        pixel = x + rows.window[row].start*t.down + across.start*channels
        c = 0
        while c + VECTORS*VLEN <= channels:
            norm_block(kind, VECTORS, VLEN, &t, p, pixel + c, out + c)
            c += VECTORS*VLEN
        while c + VLEN <= channels:
            norm_block(kind, 1, VLEN, &t, p, pixel + c, out + c)
            c += VLEN
        if c < channels:
            norm_block(kind, 1, <int>(channels - c), &t, p, pixel + c, out + c)
        out = out + channels


cdef void norm_row_of_kind(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, real p, const real* x, Py_ssize_t row, real* out,
) noexcept nogil:
    cdef int kind = kind_of(p)
    cdef unsigned long mode = flush_denormals()
    if kind == ONE:
        norm_row(ONE, rows, cols, channels, p, x, row, out)
    elif kind == TWO:
        norm_row(TWO, rows, cols, channels, p, x, row, out)
    else:
        norm_row(ANY, rows, cols, channels, p, x, row, out)
    restore_denormals(mode)


def forward(
    const real[:, :, :, ::1] x_nhwc, real[:, :, :, ::1] out_nhwc, spacing_t rows_spacing, spacing_t cols_spacing,
    real norm_type, int threads,
):
    """The norm of each window."""
    cdef Axis rows, cols
    cdef Py_ssize_t channels = x_nhwc.shape[3], out_rows = out_nhwc.shape[1], unit
    cdef Py_ssize_t image = x_nhwc.shape[1]*x_nhwc.shape[2]*channels, row = out_nhwc.shape[2]*channels
    cdef const real* x = &x_nhwc[0, 0, 0, 0]
    cdef real* out = &out_nhwc[0, 0, 0, 0]
    cdef bint had
    rows.window = cols.window = NULL
    had = (lay_axis(&rows, x_nhwc.shape[1], out_rows, rows_spacing, False)
           and lay_axis(&cols, x_nhwc.shape[2], out_nhwc.shape[2], cols_spacing, False))
    if had:
        threads = worth(threads, <double>x_nhwc.shape[0]*image)
        for unit in prange(x_nhwc.shape[0]*out_rows, nogil=True, schedule='static', num_threads=threads):
            norm_row_of_kind(&rows, &cols, channels, norm_type, x + unit // out_rows*image, unit % out_rows,
                             out + unit*row)
    free(rows.window)
    free(cols.window)
    return had


# ---------------------------------------------------------------------------------------------------------------------
# Backward


cdef inline void common_block(
    const int kind, const int lanes, real p, real scale, const real* grad, const real* out, real* common,
) noexcept nogil:
    """What all elements of a window have in common: nothing where it sums to 0, as in PyTorch."""
    cdef vr g = vload_lanes(grad, lanes)*vsplat(scale)
    cdef vr norm = vload_lanes(out, lanes)
    cdef vr shared
    if kind == ONE:
        shared = g
    elif kind == TWO:
        shared = g/norm
    else:
        shared = g*power(norm, 1 - p)
    vstore_lanes(common, vselect(vatmost(vcopysign(norm, vsplat(1)), vsplat(0)), vsplat(0), shared), lanes)


cdef void common_row(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, real p, const real* grad, const real* out, Py_ssize_t row,
    real* common,
) noexcept nogil:
    cdef int kind = kind_of(p), lanes
    cdef real scale
    cdef Py_ssize_t col, c = 0
    cdef unsigned long mode = flush_denormals()
    for col in range(cols.count):
        scale = scale_of(rows, cols, row, col)
        while c < (col + 1)*channels:
            lanes = <int>min(<Py_ssize_t>VLEN, (col + 1)*channels - c)
            if kind == ONE:
                common_block(ONE, lanes, p, scale, grad + c, out + c, common + c)
            elif kind == TWO:
                common_block(TWO, lanes, p, scale, grad + c, out + c, common + c)
            else:
                common_block(ANY, lanes, p, scale, grad + c, out + c, common + c)
            c += lanes
    restore_denormals(mode)


cdef inline void gradient_block(
    const int kind, const int vectors, const int lanes, const Part* t, real p, const real* common, const real* x,
    real* grad_x, bint stream,
) noexcept nogil:
    cdef vr sums[VECTORS]
    cdef vr element
    cdef Py_ssize_t r, s
    cdef int v
    for v in range(vectors):
        sums[v] = vsplat(0)
    for r in range(t.rows):
        for s in range(t.cols):
            for v in range(vectors):
                sums[v] = sums[v] + vload_lanes(common + r*t.down + s*t.across + v*VLEN, lanes)
    for v in range(vectors):
        if kind == TWO:
            sums[v] = sums[v]*vload_lanes(x + v*VLEN, lanes)
        elif kind == ANY:
            element = power(vload_lanes(x + v*VLEN, lanes), p - 1)
            sums[v] = sums[v]*element
        put_lanes(grad_x + v*VLEN, sums[v], lanes, stream)


cdef inline void gradient_row(
    const int kind, const Axis* rows, const Axis* cols, Py_ssize_t channels, real p, const real* common,
    const real* x, Py_ssize_t row, real* grad_x, bint stream,
) noexcept nogil:
    cdef const Holders* down = &rows.holders[row]
    cdef const Holders* across
    cdef const real* first
    cdef Py_ssize_t col, c
    cdef Part t
    t.rows, t.down, t.across = down.behind - down.first, cols.count*channels, channels
    for col in range(cols.size):
        across = &cols.holders[col]
        t.cols = across.behind - across.first
        first = common + down.first*t.down + across.first*channels
        c = 0
        while c + VECTORS*VLEN <= channels:
            gradient_block(kind, VECTORS, VLEN, &t, p, first + c, x + c, grad_x + c, stream)
            c += VECTORS*VLEN
        while c + VLEN <= channels:
            gradient_block(kind, 1, VLEN, &t, p, first + c, x + c, grad_x + c, stream)
            c += VLEN
        if c < channels:
            gradient_block(kind, 1, <int>(channels - c), &t, p, first + c, x + c, grad_x + c, False)
        x = x + channels
        grad_x = grad_x + channels


cdef void gradient_row_of_kind(
    const Axis* rows, const Axis* cols, Py_ssize_t channels, real p, const real* common, const real* x,
    Py_ssize_t row, real* grad_x, bint stream,
) noexcept nogil:
    cdef int kind = kind_of(p)
    cdef unsigned long mode = flush_denormals()
    if kind == ONE:
        gradient_row(ONE, rows, cols, channels, p, common, x, row, grad_x, stream)
    elif kind == TWO:
        gradient_row(TWO, rows, cols, channels, p, common, x, row, grad_x, stream)
    else:
        gradient_row(ANY, rows, cols, channels, p, common, x, row, grad_x, stream)
    if stream:
        vstream_end()
    restore_denormals(mode)


def backward(
    const real[:, :, :, ::1] grad_nhwc, const real[:, :, :, ::1] x_nhwc, const real[:, :, :, ::1] out_nhwc,
    real[:, :, :, ::1] grad_x_nhwc, spacing_t rows_spacing, spacing_t cols_spacing, real norm_type, int threads,
):
    """The gradient with respect to the input; `out_nhwc` is what the forward pass gave."""
    cdef Axis rows, cols
    cdef Py_ssize_t channels = x_nhwc.shape[3], in_rows = x_nhwc.shape[1], out_rows = grad_nhwc.shape[1]
    cdef Py_ssize_t windows = grad_nhwc.shape[2]*channels, row = x_nhwc.shape[2]*channels, unit
    cdef const real* grad = &grad_nhwc[0, 0, 0, 0]
    cdef const real* x = &x_nhwc[0, 0, 0, 0]
    cdef const real* out = &out_nhwc[0, 0, 0, 0]
    cdef real* grad_x = &grad_x_nhwc[0, 0, 0, 0]
    cdef real* common = <real*>malloc(x_nhwc.shape[0]*out_rows*windows*sizeof(real) + 1)
    cdef bint had, stream = channels % VLEN == 0 and streams(grad_x, x_nhwc.shape[0]*in_rows*row)
    rows.window = cols.window = NULL
    had = (common is not NULL and lay_axis(&rows, in_rows, out_rows, rows_spacing, False)
           and lay_axis(&cols, x_nhwc.shape[2], grad_nhwc.shape[2], cols_spacing, False))
    if had:
        threads = worth(threads, <double>x_nhwc.shape[0]*in_rows*row)
        for unit in prange(x_nhwc.shape[0]*out_rows, nogil=True, schedule='static', num_threads=threads):
            common_row(&rows, &cols, channels, norm_type, grad + unit*windows, out + unit*windows, unit % out_rows,
                       common + unit*windows)
        for unit in prange(x_nhwc.shape[0]*in_rows, nogil=True, schedule='static', num_threads=threads):
            gradient_row_of_kind(&rows, &cols, channels, norm_type, common + unit // in_rows*out_rows*windows,
                                 x + unit*row, unit % in_rows, grad_x + unit*row, stream)
    free(common)
    free(rows.window)
    free(cols.window)
    return had
