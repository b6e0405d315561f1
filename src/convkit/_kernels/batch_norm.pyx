"""Batch normalisation over the rows of a (rows, channels) matrix: an NHWC image is one of N*H*W rows.

A function returns False, or None in place of a result, where there is no memory for its scratch: partial sums, and
tables of what it knows of each channel, tiled over a group of rows.
"""

from cython.parallel cimport parallel, prange
from libc.math cimport sqrt
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc

from convkit._kernels._affine cimport affine_room, tiled
from convkit._kernels._incoming cimport Incoming, overlapping
from convkit._kernels._input_gradient cimport Tables, gradient_elements, gradient_pixels, tile
from convkit._kernels._pending_rows cimport PendingRows, handed_out
from convkit._kernels._rectifiers cimport IDENTITY, LEAKY_RELU, RELU, RELU6
from convkit._kernels._rows cimport BAND, WIDE, add_up, chunk_count, chunk_start, fold, group_width, repeat
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals
from convkit._kernels._stream cimport streams
from convkit._kernels._sums cimport POOLED, Terms, sum_run
from convkit._kernels._threads cimport worth
from convkit._kernels._windows cimport lay_axis, spacing_t

# ---------------------------------------------------------------------------------------------------------------------
# Sums


cdef void moments_run(
    const real* x, const double* centre, Py_ssize_t length, Py_ssize_t width, double* sums,
) noexcept nogil:
    cdef Terms t
    t.x, t.grad, t.centre, t.places = x, x, centre, NULL
    sum_run(True, IDENTITY, &t, length, width, sums)


cdef void gradient_run(
    const Incoming* g, const double* centre, Py_ssize_t at, Py_ssize_t length, double* sums,
) noexcept nogil:
    """Sums of a run of the gradient."""
    cdef Py_ssize_t width = group_width(g.channels)
    cdef unsigned long mode
    cdef Terms t
    t.x, t.grad, t.centre, t.slope, t.map, t.places = g.x + at, g.grad + at, centre, g.slope, g.map, NULL
    if g.places is not NULL:
        t.places = g.places + at
        sum_run(False, POOLED, &t, length, width, sums)
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


cdef double* sums_of(
    const Incoming* g, const real* x, const real* centre_c, Py_ssize_t rows, Py_ssize_t channels, int threads,
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
                gradient_run(g, centre, first, length, sums + 2*chunk*width)
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
        sums = sums_of(NULL, x, x, rows, channels, threads)
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


cdef struct Source:
    # What a gradient of the input is made of.
    Incoming incoming
    Tables tables
    bint training


cdef void write_pixels(
    const Source* s, Py_ssize_t first, Py_ssize_t count, real* out, bint stream,
) noexcept nogil:
    """A run of pixels; of whole rows, where they come through a pooling."""
    cdef const Incoming* g = &s.incoming
    cdef Py_ssize_t line
    if g.places is NULL:
        gradient_elements(g.kind, s.training, &s.tables, g, first*g.channels, count*g.channels, out, stream)
        return
    for line in range(first // g.across.size, (first + count) // g.across.size):
        gradient_pixels(s.training, &s.tables, g, line, out, stream)
        out = out + g.across.size*g.channels


cdef void make_pixels(const void* of, Py_ssize_t first, Py_ssize_t count, real* out) noexcept nogil:
    write_pixels(<const Source*>of, first, count, out, False)


cdef void write_all(const Source* s, Py_ssize_t count, real* out, int threads) noexcept nogil:
    cdef Py_ssize_t channels = s.incoming.channels, width = s.tables.width, band, unit
    cdef bint stream = (channels < WIDE or channels % VLEN == 0) and streams(out, count*channels)
    if s.incoming.places is not NULL:
        stream = stream and channels % VLEN == 0
        band = s.incoming.across.size
    else:
        band = max(<Py_ssize_t>1, BAND // width)*width // channels
    threads = worth(threads, <double>count*channels)
    for unit in prange((count + band - 1) // band, schedule='static', num_threads=threads):
        write_pixels(s, unit*band, min(band, count - unit*band), out + unit*band*channels, stream)


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


cdef class InputGradient:
    """The gradient of a batch norm's input, of which only the last step is left: it keeps what it is made of."""

    cdef Source source
    cdef PendingRows pending
    cdef real* map_room
    cdef tuple arrays

    def __cinit__(self, *arrays):
        self.arrays = arrays
        self.pending.make, self.pending.of = make_pixels, &self.source

    def __dealloc__(self):
        free(self.source.tables.scale)
        free(self.source.incoming.down.window)
        free(self.source.incoming.across.window)
        free(self.map_room)

    @property
    def rows(self):
        """The gradient, for who takes it row by row (see _pending_rows.pxd) while this object lives."""
        self.pending.like = self.source.incoming.x
        return handed_out(&self.pending)

    def write(self, real[:, ::1] grad_x_mc, int threads):
        """The gradient, in memory: where that of the output lies, if that does not come through a pooling."""
        if grad_x_mc.shape[0] and grad_x_mc.shape[1]:
            with nogil:
                write_all(&self.source, grad_x_mc.shape[0], &grad_x_mc[0, 0], threads)


cdef bint take_sums(
    Source* s, const Incoming* g, Py_ssize_t rows, const real[::1] mean_c, const real[::1] var_c,
    const real[::1] weight_c, double eps, real[::1] grad_weight_c, real[::1] grad_bias_c, int threads,
) noexcept nogil:
    """Gradients of weight and bias, from where there are any, and the tables: where x has so many rows."""
    cdef double* sums = NULL
    if tile(&s.tables, g.channels):
        sums = sums_of(g, g.x, &mean_c[0], g.rows, g.channels, threads)
    if sums is not NULL:
        lay_tables(&s.tables, sums, rows, g.channels, &mean_c[0], &var_c[0],
                   &weight_c[0] if weight_c is not None else NULL, eps, &grad_weight_c[0], &grad_bias_c[0])
    free(sums)
    return sums is not NULL


cdef inline Incoming direct(const real* grad, const real* x, Py_ssize_t rows, Py_ssize_t channels) noexcept nogil:
    """A gradient that lies in memory as it is."""
    cdef Incoming g
    g.grad, g.x, g.rows, g.channels, g.kind, g.places = grad, x, rows, channels, IDENTITY, NULL
    g.down.window = g.across.window = NULL
    return g


def backward(
    const real[:, ::1] grad_mc, const real[:, ::1] x_mc, const real[::1] mean_c, const real[::1] var_c,
    const real[::1] weight_c, double eps, bint training, real[::1] grad_weight_c, real[::1] grad_bias_c, int threads,
):
    """Gradients of weight and bias; returned, that of x: it flows through mean and var too, if `training`."""
    cdef InputGradient of = InputGradient(grad_mc, x_mc)
    cdef Source* s = &of.source
    cdef bint had = True
    s.training = training
    if x_mc.shape[1]:
        with nogil:
            s.incoming = direct(&grad_mc[0, 0], &x_mc[0, 0], x_mc.shape[0], x_mc.shape[1])
            had = take_sums(s, &s.incoming, x_mc.shape[0], mean_c, var_c, weight_c, eps, grad_weight_c, grad_bias_c,
                            threads)
    return of if had else None


def activated_backward(
    const real[:, ::1] grad_mc, const real[:, ::1] map_3c, int kind, real slope, const real[:, ::1] x_mc,
    const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c, double eps, bint training,
    real[::1] grad_weight_c, real[::1] grad_bias_c, int threads,
):
    """The same of the gradient behind an activation (of `_rectifiers`) of what the map makes of x."""
    cdef InputGradient of = InputGradient(grad_mc, x_mc)
    cdef Source* s = &of.source
    cdef Incoming* g = &s.incoming
    cdef bint had = True
    s.training = training
    if x_mc.shape[1]:
        with nogil:
            g[0] = direct(&grad_mc[0, 0], &x_mc[0, 0], x_mc.shape[0], x_mc.shape[1])
            of.map_room = <real*>malloc(affine_room(x_mc.shape[1])*sizeof(real))
            had = of.map_room is not NULL
            if had:
                g.kind, g.slope, g.map = kind, slope, tiled(&map_3c[0, 0], x_mc.shape[1], of.map_room)
                had = take_sums(s, g, x_mc.shape[0], mean_c, var_c, weight_c, eps, grad_weight_c, grad_bias_c, threads)
    return of if had else None


def pooled_backward(
    const real[:, :, :, ::1] grad_nhwc, const uint8_t[:, :, :, ::1] places_nhwc,
    const real[:, :, :, ::1] chosen_nhwc, spacing_t rows_spacing, spacing_t cols_spacing,
    const real[:, :, :, ::1] x_nhwc, const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c,
    double eps, bint training, real[::1] grad_weight_c, real[::1] grad_bias_c, int threads,
):
    """The same of the gradient behind `affine_max_pool2d`: the sums are over windows, and the taps that they chose."""
    cdef InputGradient of = InputGradient(grad_nhwc, places_nhwc, x_nhwc)
    cdef Source* s = &of.source
    cdef Incoming* g = &s.incoming
    cdef Incoming summed
    cdef Py_ssize_t windows = grad_nhwc.shape[0]*grad_nhwc.shape[1]*grad_nhwc.shape[2]
    cdef Py_ssize_t pixels = x_nhwc.shape[0]*x_nhwc.shape[1]*x_nhwc.shape[2]
    cdef bint had = True
    s.training = training
    if x_nhwc.shape[3]:
        with nogil:
            g[0] = direct(&grad_nhwc[0, 0, 0, 0], &x_nhwc[0, 0, 0, 0], windows, x_nhwc.shape[3])
            g.places = &places_nhwc[0, 0, 0, 0]
            had = (lay_axis(&g.down, x_nhwc.shape[1], grad_nhwc.shape[1], rows_spacing, False)
                   and lay_axis(&g.across, x_nhwc.shape[2], grad_nhwc.shape[2], cols_spacing, False))
            if had:
                g.overlap = overlapping(&g.down) or overlapping(&g.across)
                summed = g[0]
                summed.x = &chosen_nhwc[0, 0, 0, 0]
                had = take_sums(s, &summed, pixels, mean_c, var_c, weight_c, eps, grad_weight_c, grad_bias_c, threads)
    return of if had else None
