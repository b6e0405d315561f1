"""Batch normalisation over the rows of a (rows, channels) matrix: an NHWC image is one of N*H*W rows.

A function returns False where there is no memory for its scratch: partial sums, and tables of what it knows of each
channel, tiled over a group of rows; for gradients that come through a pooling, two strips of them a thread, of 4 KB of
float32 or a group of rows each.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.math cimport sqrt
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc

from convkit._kernels._affine cimport affine_room, tiled
from convkit._kernels._incoming cimport Incoming, overlapping, picked_strip, strip_length
from convkit._kernels._input_gradient cimport Tables, gradient_elements, gradient_pixels, tile
from convkit._kernels._rectifiers cimport IDENTITY, LEAKY_RELU, RELU, RELU6
from convkit._kernels._rows cimport BAND, WIDE, add_up, chunk_count, chunk_start, fold, group_width, repeat
from convkit._kernels._scratch cimport scratch
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals
from convkit._kernels._stream cimport streams
from convkit._kernels._sums cimport Terms, sum_run
from convkit._kernels._threads cimport worth
from convkit._kernels._windows cimport lay_axis, spacing_t

# ---------------------------------------------------------------------------------------------------------------------
# Sums


cdef void moments_run(
    const real* x, const double* centre, Py_ssize_t length, Py_ssize_t width, double* sums,
) noexcept nogil:
    cdef Terms t
    t.x, t.grad, t.centre = x, x, centre
    sum_run(True, IDENTITY, &t, length, width, sums)


cdef void gradient_run(
    const Incoming* g, const double* centre, Py_ssize_t at, Py_ssize_t length, double* sums, real* strip,
) noexcept nogil:
    """Sums of a run of the gradient."""
    cdef Py_ssize_t width = group_width(g.channels)
    cdef unsigned long mode
    cdef Terms t
    t.x, t.grad, t.centre, t.slope, t.map = g.x + at, g.grad + at, centre, g.slope, g.map
    if g.places is not NULL:
        pooled_run(g, &t, at, length, sums, strip)
    elif g.kind == IDENTITY:
        sum_run(False, IDENTITY, &t, length, width, sums)
    else:
        mode = flush_denormals()    # so that the activation's inputs are what they were in the forward pass
        if g.kind == RELU:
            sum_run(False, RELU, &t, length, width, sums)
        elif g.kind == RELU6:
            sum_run(False, RELU6, &t, length, width, sums)
        else:
            sum_run(False, LEAKY_RELU, &t, length, width, sums)
        restore_denormals(mode)


cdef void pooled_run(
    const Incoming* g, Terms* t, Py_ssize_t at, Py_ssize_t length, double* sums, real* strip,
) noexcept nogil:
    """The same, strip by strip, of a gradient that is not in memory."""
    cdef Py_ssize_t behind = at + length
    t.grad, t.x = strip, strip + strip_length(g.channels)
    while at < behind:
        length = min(strip_length(g.channels), behind - at)
        picked_strip(g, at, length, strip, strip + strip_length(g.channels))
        sum_run(False, IDENTITY, t, length, group_width(g.channels), sums)
        at += length


cdef double* sums_of(
    const Incoming* g, const real* x, const real* centre_c, Py_ssize_t rows, Py_ssize_t channels, int threads,
    real* strips,
) noexcept nogil:
    """Sums of each channel, then products; without a gradient, the moments. NULL where there is no memory."""
    cdef Py_ssize_t width = group_width(channels), chunks = chunk_count(rows), chunk, first, length, c
    cdef double* sums = <double*>calloc((2*chunks + 1)*width + 1, sizeof(double))
    cdef double* centre = sums + 2*chunks*width
    if sums is NULL:
        return NULL
    for c in range(width):
        centre[c] = <double>centre_c[c] if c < channels else centre[c - channels]
    with parallel(num_threads=worth(threads, 2.0*rows*channels)):
        for chunk in prange(chunks, schedule='static'):
            first = chunk_start(rows, chunk)*channels
            length = chunk_start(rows, chunk + 1)*channels - first
            if g is NULL:
                moments_run(x + first, centre, length, width, sums + 2*chunk*width)
            else:
                gradient_run(g, centre, first, length, sums + 2*chunk*width,
                             strips + 2*threadid()*strip_length(channels))
    add_up(sums, chunks, 2*width)
    fold(sums, width, channels)
    fold(sums + width, width, channels)
    return sums


cdef bint take_statistics(const real[:, ::1] x_mc, real[::1] mean_c, real[::1] var_c, int threads) noexcept:
    """With a sample of each channel as its centre, the squares do not cancel."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], width = group_width(channels), c
    cdef const real* x = &x_mc[0, 0]
    cdef double* sums
    cdef double d
    if channels == 0:
        return True
    with nogil:
        sums = sums_of(NULL, x, x, rows, channels, threads, NULL)
        if sums is not NULL:
            for c in range(channels):
                d = sums[c]/rows
                mean_c[c] = <real>(<double>x[c] + d)
                d = sums[width + c]/rows - d*d
                var_c[c] = <real>(0.0 if d < 0 else d)      # rounding may go below zero; a NaN must not become one
    free(sums)
    return sums is not NULL


cdef void lay_map(
    const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c, const real[::1] bias_c, double eps,
    real[:, ::1] map_3c,
) noexcept:
    cdef Py_ssize_t c
    for c in range(mean_c.shape[0]):
        map_3c[0, c] = mean_c[c]
        map_3c[1, c] = <real>((weight_c[c] if weight_c is not None else 1)/sqrt(var_c[c] + eps))
        map_3c[2, c] = bias_c[c] if bias_c is not None else 0


cdef void move(
    real[:] running_mean_c, real[:] running_var_c, const real[::1] mean_c, const real[::1] var_c, double momentum,
    double correction,
) noexcept:
    """Move running averages, each of which may be None, towards a batch's mean and so many times its variance."""
    cdef Py_ssize_t c
    for c in range(mean_c.shape[0]):
        if running_mean_c is not None:
            running_mean_c[c] = <real>((1 - momentum)*running_mean_c[c] + momentum*mean_c[c])
        if running_var_c is not None:
            running_var_c[c] = <real>((1 - momentum)*running_var_c[c] + momentum*(correction*var_c[c]))


def statistics(const real[:, ::1] x_mc, real[::1] mean_c, real[::1] var_c, int threads):
    """Mean and biased variance of each channel."""
    return take_statistics(x_mc, mean_c, var_c, threads)


def affine(
    const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c, const real[::1] bias_c, double eps,
    real[:, ::1] map_3c,
):
    """The normalisation as a map of each channel (see `_affine`); weight and bias may be None."""
    lay_map(mean_c, var_c, weight_c, bias_c, eps, map_3c)


def learn(
    const real[:, ::1] x_mc, const real[::1] weight_c, const real[::1] bias_c, double eps, real[:] running_mean_c,
    real[:] running_var_c, double momentum, double correction, real[::1] mean_c, real[::1] var_c, real[:, ::1] map_3c,
    int threads,
):
    """All that a batch in training is asked for: statistics, running averages, and the map that normalises it."""
    if not take_statistics(x_mc, mean_c, var_c, threads):
        return False
    move(running_mean_c, running_var_c, mean_c, var_c, momentum, correction)
    lay_map(mean_c, var_c, weight_c, bias_c, eps, map_3c)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Gradients


cdef void input_gradients(
    const Tables* t, const Incoming* g, bint training, Py_ssize_t length, real* out, int threads,
) noexcept nogil:
    cdef bint stream = (g.channels < WIDE or g.channels % VLEN == 0) and streams(out, length)
    cdef Py_ssize_t size = max(<Py_ssize_t>1, BAND // t.width)*t.width, unit
    threads = worth(threads, <double>length)
    if g.places is not NULL:
        stream = stream and g.channels % VLEN == 0
        for unit in prange(length // (g.across.size*g.channels), schedule='static', num_threads=threads):
            gradient_pixels(training, t, g, unit, out, stream)
    else:
        for unit in prange((length + size - 1) // size, schedule='static', num_threads=threads):
            gradient_elements(g.kind, training, t, g, unit*size, min(size, length - unit*size), out + unit*size,
                              stream)


cdef void lay_tables(
    Tables* t, const double* sums, Py_ssize_t rows, Py_ssize_t channels, const real* mean, const real* var,
    const real* weight, double eps, real* grad_weight, real* grad_bias,
) noexcept nogil:
    """What the sums of a gradient and its products make of each channel."""
    cdef const double* products = sums + t.width
    cdef double inverse, scale
    cdef Py_ssize_t c
    for c in range(channels):
        inverse = 1/sqrt(var[c] + eps)
        scale = inverse
        if weight is not NULL:
            scale *= weight[c]
        t.scale[c], t.slope[c] = <real>scale, <real>(-scale*inverse*inverse*products[c]/rows)
        t.shift[c], t.centre[c] = <real>(-scale*sums[c]/rows), mean[c]
        grad_weight[c], grad_bias[c] = <real>(products[c]*inverse), <real>sums[c]
    repeat(t.scale, channels, t.width)
    repeat(t.centre, channels, t.width)
    repeat(t.slope, channels, t.width)
    repeat(t.shift, channels, t.width)


cdef bint gradients(
    const Incoming* g, Py_ssize_t rows, const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c,
    double eps, bint training, real[:, ::1] grad_x_mc, real[::1] grad_weight_c, real[::1] grad_bias_c, int threads,
) noexcept nogil:
    """Gradients of x, which has so many rows, weight and bias."""
    cdef Py_ssize_t channels = g.channels
    cdef real* strips = <real*>scratch(2*threads*strip_length(channels)*sizeof(real))
    cdef double* sums = NULL
    cdef Tables t
    cdef bint had = tile(&t, channels) and strips is not NULL
    if had:
        sums = sums_of(g, g.x, &mean_c[0], g.rows, channels, threads, strips)
        had = sums is not NULL
    if had:
        lay_tables(&t, sums, rows, channels, &mean_c[0], &var_c[0], &weight_c[0] if weight_c is not None else NULL, eps,
                   &grad_weight_c[0], &grad_bias_c[0])
        input_gradients(&t, g, training, rows*channels, &grad_x_mc[0, 0], threads)
    free(strips)
    free(t.scale)
    free(sums)
    return had


cdef inline Incoming direct(const real* grad, const real* x, Py_ssize_t rows, Py_ssize_t channels) noexcept nogil:
    """A gradient that lies in memory as it is."""
    cdef Incoming g
    g.grad, g.x, g.rows, g.channels, g.kind, g.places = grad, x, rows, channels, IDENTITY, NULL
    g.down.window = g.across.window = NULL
    return g


def backward(
    const real[:, ::1] grad_mc, const real[:, ::1] x_mc, const real[::1] mean_c, const real[::1] var_c,
    const real[::1] weight_c, double eps, bint training, real[:, ::1] grad_x_mc, real[::1] grad_weight_c,
    real[::1] grad_bias_c, int threads,
):
    """Gradients of x, weight and bias; that of x flows through mean and var too, if `training`."""
    cdef Incoming g
    cdef bint had = True
    if x_mc.shape[1]:
        with nogil:
            g = direct(&grad_mc[0, 0], &x_mc[0, 0], x_mc.shape[0], x_mc.shape[1])
            had = gradients(&g, x_mc.shape[0], mean_c, var_c, weight_c, eps, training, grad_x_mc, grad_weight_c,
                            grad_bias_c, threads)
    return had


def activated_backward(
    const real[:, ::1] grad_mc, const real[:, ::1] map_3c, int kind, real slope, const real[:, ::1] x_mc,
    const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c, double eps, bint training,
    real[:, ::1] grad_x_mc, real[::1] grad_weight_c, real[::1] grad_bias_c, int threads,
):
    """The same of the gradient behind an activation (of `_rectifiers`) of what the map makes of x."""
    cdef Incoming g
    cdef real* memory
    cdef bint had = True
    if x_mc.shape[1]:
        with nogil:
            memory = <real*>malloc(affine_room(x_mc.shape[1])*sizeof(real))
            had = memory is not NULL
            if had:
                g = direct(&grad_mc[0, 0], &x_mc[0, 0], x_mc.shape[0], x_mc.shape[1])
                g.kind, g.slope, g.map = kind, slope, tiled(&map_3c[0, 0], x_mc.shape[1], memory)
                had = gradients(&g, x_mc.shape[0], mean_c, var_c, weight_c, eps, training, grad_x_mc, grad_weight_c,
                                grad_bias_c, threads)
            free(memory)
    return had


def pooled_backward(
    const real[:, :, :, ::1] grad_nhwc, const uint8_t[:, :, :, ::1] places_nhwc, spacing_t rows_spacing,
    spacing_t cols_spacing, const real[:, :, :, ::1] x_nhwc, const real[::1] mean_c, const real[::1] var_c,
    const real[::1] weight_c, double eps, bint training, real[:, ::1] grad_x_mc, real[::1] grad_weight_c,
    real[::1] grad_bias_c, int threads,
):
    """The same of the gradient behind `affine_max_pool2d`: the sums are over windows, not over pixels."""
    cdef Incoming g
    cdef Py_ssize_t windows = grad_nhwc.shape[0]*grad_nhwc.shape[1]*grad_nhwc.shape[2]
    cdef bint had = True
    if x_nhwc.shape[3]:
        with nogil:
            g = direct(&grad_nhwc[0, 0, 0, 0], &x_nhwc[0, 0, 0, 0], windows, x_nhwc.shape[3])
            g.places = &places_nhwc[0, 0, 0, 0]
            had = (lay_axis(&g.down, x_nhwc.shape[1], grad_nhwc.shape[1], rows_spacing, False)
                   and lay_axis(&g.across, x_nhwc.shape[2], grad_nhwc.shape[2], cols_spacing, False))
            if had:
                g.overlap = overlapping(&g.down) or overlapping(&g.across)
                had = gradients(&g, grad_x_mc.shape[0], mean_c, var_c, weight_c, eps, training, grad_x_mc,
                                grad_weight_c, grad_bias_c, threads)
            free(g.down.window)
            free(g.across.window)
    return had
