"""Batch normalisation over the rows of a (rows, channels) matrix: an NHWC image is one of N*H*W rows.

A function returns False where there is no memory for its scratch: partial sums, and tables of what it knows of each
channel, tiled over a group of rows.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdlib cimport calloc, free, malloc

from convkit._kernels._rows cimport BAND, WIDE, add_up, chunk_count, chunk_start, fold, group_width, strip_groups
from convkit._kernels._simd cimport (
    VDLEN, VLEN, flush_denormals, real, restore_denormals, vd, vdload, vdload_real, vdstore, vload_lanes, vr,
    vstream_end,
)
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._threads cimport worth

cdef enum:
    # Of doubles, for each of two sums and a centre, in registers together. With eight, memory is read in order up to
    # 64 channels.
    VECTORS = 8
    HALF = 4
    UNROLLED = 4                    # vectors of an element-wise pass


# ---------------------------------------------------------------------------------------------------------------------
# Sums: of z and of z*(x - centre), where z is grad, or x - centre itself


cdef inline void sum_block(
    const int vectors, const bint squares, const real* grad, const real* x, const double* centre, Py_ssize_t groups,
    Py_ssize_t width, double* sums, double* products,
) noexcept nogil:
    cdef vd sum[VECTORS]
    cdef vd product[VECTORS]
    cdef vd middle[VECTORS]
    cdef vd d, z
    cdef Py_ssize_t group
    cdef int v
    for v in range(vectors):
        sum[v], product[v] = vdload(sums + v*VDLEN), vdload(products + v*VDLEN)
        middle[v] = vdload(centre + v*VDLEN)
    for group in range(groups):
        for v in range(vectors):
            d = vdload_real(x + group*width + v*VDLEN) - middle[v]
            z = d if squares else vdload_real(grad + group*width + v*VDLEN)
            sum[v], product[v] = sum[v] + z, product[v] + z*d
    for v in range(vectors):
        vdstore(sums + v*VDLEN, sum[v])
        vdstore(products + v*VDLEN, product[v])


cdef inline void sum_columns(
    const bint squares, const real* grad, const real* x, const double* centre, Py_ssize_t groups, Py_ssize_t width,
    Py_ssize_t columns, double* sums,
) noexcept nogil:
    """Add the first columns of groups, which lie `width` apart, to their sums and products."""
    cdef double* products = sums + width
    cdef double d, z
    cdef Py_ssize_t c = 0, group
    while VDLEN == 8 and c + VECTORS*VDLEN <= columns:      # elsewhere there are too few registers
        sum_block(VECTORS, squares, grad + c, x + c, centre + c, groups, width, sums + c, products + c)
        c += VECTORS*VDLEN
    while c + HALF*VDLEN <= columns:
        sum_block(HALF, squares, grad + c, x + c, centre + c, groups, width, sums + c, products + c)
        c += HALF*VDLEN
    while c + VDLEN <= columns:
        sum_block(1, squares, grad + c, x + c, centre + c, groups, width, sums + c, products + c)
        c += VDLEN
    while c < columns:
        for group in range(groups):
            d = <double>x[group*width + c] - centre[c]
            z = d if squares else <double>grad[group*width + c]
            sums[c] += z
            products[c] += z*d
        c += 1


cdef inline void sum_run(
    const bint squares, const real* grad, const real* x, const double* centre, Py_ssize_t length, Py_ssize_t width,
    double* sums,
) noexcept nogil:
    """Add a run of elements to sums that repeat every `width`."""
    cdef Py_ssize_t groups = length // width, group = 0, strip = strip_groups(width), at
    while group < groups:
        at = group*width
        sum_columns(squares, grad + at, x + at, centre, min(strip, groups - group), width, width, sums)
        group += strip
    at = groups*width
    sum_columns(squares, grad + at, x + at, centre, 1, width, length - at, sums)


cdef void moments_run(
    const real* x, const double* centre, Py_ssize_t length, Py_ssize_t width, double* sums,
) noexcept nogil:
    sum_run(True, x, x, centre, length, width, sums)


cdef void gradient_run(
    const real* grad, const real* x, const double* centre, Py_ssize_t length, Py_ssize_t width, double* sums,
) noexcept nogil:
    sum_run(False, grad, x, centre, length, width, sums)


cdef double* sums_of(
    const real* grad, const real* x, const real* centre_c, Py_ssize_t rows, Py_ssize_t channels, int threads,
) noexcept nogil:
    """Sums of each channel, then products; without a gradient, the moments. NULL where there is no memory."""
    cdef Py_ssize_t width = group_width(channels), chunks = chunk_count(rows), chunk, first, length, c
    cdef double* sums = <double*>calloc((2*chunks + 1)*width + 1, sizeof(double))
    cdef double* centre = sums + 2*chunks*width
    if sums is NULL:
        return NULL
    for c in range(width):
        centre[c] = centre_c[c % channels]
    for chunk in prange(chunks, schedule='static', num_threads=worth(threads, 2.0*rows*channels)):
        first = chunk_start(rows, chunk)*channels
        length = chunk_start(rows, chunk + 1)*channels - first
        if grad is NULL:
            moments_run(x + first, centre, length, width, sums + 2*chunk*width)
        else:
            gradient_run(grad + first, x + first, centre, length, width, sums + 2*chunk*width)
    add_up(sums, chunks, 2*width)
    fold(sums, width, channels)
    fold(sums + width, width, channels)
    return sums


def statistics(const real[:, ::1] x_mc, real[::1] mean_c, real[::1] var_c, int threads):
    """Mean and biased variance of each channel. With a sample as the centre, the squares do not cancel."""
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


# ---------------------------------------------------------------------------------------------------------------------
# Element-wise passes


cdef struct Tables:
    # What is known of each channel, tiled over a group of rows.
    Py_ssize_t width
    real* centre
    real* scale
    real* slope
    real* shift


cdef bint tile(Tables* t, Py_ssize_t channels) noexcept nogil:
    """Have room for the tables."""
    t.width = group_width(channels)
    t.centre = <real*>malloc(4*t.width*sizeof(real) + 1)
    t.scale, t.slope, t.shift = t.centre + t.width, t.centre + 2*t.width, t.centre + 3*t.width
    return t.centre is not NULL


cdef void repeat(Tables* t, Py_ssize_t channels) noexcept nogil:
    """Copy what the tables say of the first row to the other rows of a group."""
    cdef Py_ssize_t i
    for i in range(channels, t.width):
        t.centre[i], t.scale[i] = t.centre[i - channels], t.scale[i - channels]
        t.slope[i], t.shift[i] = t.slope[i - channels], t.shift[i - channels]


cdef inline void normalize_block(
    const int vectors, const int lanes, const Tables* t, Py_ssize_t c, const real* x, real* out, bint stream,
) noexcept nogil:
    cdef vr z
    cdef int v
    for v in range(vectors):
        z = vload_lanes(x + v*VLEN, lanes) - vload_lanes(t.centre + c + v*VLEN, lanes)
        z = z*vload_lanes(t.scale + c + v*VLEN, lanes) + vload_lanes(t.shift + c + v*VLEN, lanes)
        put_lanes(out + v*VLEN, z, lanes, stream)


cdef inline void gradient_block(
    const int vectors, const int lanes, const Tables* t, Py_ssize_t c, const real* grad, const real* x, real* grad_x,
    bint stream,
) noexcept nogil:
    cdef vr z
    cdef int v
    for v in range(vectors):
        z = vload_lanes(x + v*VLEN, lanes) - vload_lanes(t.centre + c + v*VLEN, lanes)
        z = z*vload_lanes(t.slope + c + v*VLEN, lanes) + vload_lanes(t.shift + c + v*VLEN, lanes)
        z = vload_lanes(grad + v*VLEN, lanes)*vload_lanes(t.scale + c + v*VLEN, lanes) + z
        put_lanes(grad_x + v*VLEN, z, lanes, stream)


cdef void normalize_band(
    const Tables* t, const real* x, Py_ssize_t length, real* out, bint stream,
) noexcept nogil:
    cdef Py_ssize_t c, columns
    cdef unsigned long mode = flush_denormals()
    while length > 0:
        columns = min(t.width, length)
        c = 0
        while c + UNROLLED*VLEN <= columns:
            normalize_block(UNROLLED, VLEN, t, c, x + c, out + c, stream)
            c += UNROLLED*VLEN
        while c + VLEN <= columns:
            normalize_block(1, VLEN, t, c, x + c, out + c, stream)
            c += VLEN
        if c < columns:
            normalize_block(1, <int>(columns - c), t, c, x + c, out + c, stream)
        x, out, length = x + columns, out + columns, length - columns
    if stream:
        vstream_end()
    restore_denormals(mode)


cdef void gradient_band(
    const Tables* t, const real* grad, const real* x, Py_ssize_t length, real* grad_x, bint stream,
) noexcept nogil:
    cdef Py_ssize_t c, columns
    cdef unsigned long mode = flush_denormals()
    while length > 0:
        columns = min(t.width, length)
        c = 0
        while c + UNROLLED*VLEN <= columns:
            gradient_block(UNROLLED, VLEN, t, c, grad + c, x + c, grad_x + c, stream)
            c += UNROLLED*VLEN
        while c + VLEN <= columns:
            gradient_block(1, VLEN, t, c, grad + c, x + c, grad_x + c, stream)
            c += VLEN
        if c < columns:
            gradient_block(1, <int>(columns - c), t, c, grad + c, x + c, grad_x + c, stream)
        grad, x, grad_x, length = grad + columns, x + columns, grad_x + columns, length - columns
    if stream:
        vstream_end()
    restore_denormals(mode)


cdef void each_element(
    const Tables* t, const real* grad, const real* x, Py_ssize_t length, Py_ssize_t channels, real* out, int threads,
) noexcept nogil:
    """out = (x - centre)*scale + shift, or with a gradient grad*scale + (x - centre)*slope + shift."""
    cdef Py_ssize_t size = max(<Py_ssize_t>1, BAND // t.width)*t.width, bands = (length + size - 1) // size, band, at
    cdef bint stream = ((channels < WIDE or channels % VLEN == 0)
                        and streams(out, length))
    for band in prange(bands, schedule='static', num_threads=worth(threads, <double>length)):
        at = band*size
        if grad is NULL:
            normalize_band(t, x + at, min(size, length - at), out + at, stream)
        else:
            gradient_band(t, grad + at, x + at, min(size, length - at), out + at, stream)


def normalize(
    const real[:, ::1] x_mc, const real[::1] mean_c, const real[::1] var_c, const real[::1] weight_c,
    const real[::1] bias_c, double eps, real[:, ::1] out_mc, int threads,
):
    """out = (x - mean)/sqrt(var + eps)*weight + bias; weight and bias may be None."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], c
    cdef Tables t
    cdef bint weighted = weight_c is not None, biased = bias_c is not None, had
    if channels == 0:
        return True
    with nogil:
        had = tile(&t, channels)
        if had:
            for c in range(channels):
                t.centre[c], t.slope[c], t.shift[c] = mean_c[c], 0, bias_c[c] if biased else 0
                t.scale[c] = <real>((weight_c[c] if weighted else 1)/sqrt(var_c[c] + eps))
            repeat(&t, channels)
            each_element(&t, NULL, &x_mc[0, 0], rows*channels, channels, &out_mc[0, 0], threads)
    free(t.centre)
    return had


def backward(
    const real[:, ::1] grad_mc, const real[:, ::1] x_mc, const real[::1] mean_c, const real[::1] var_c,
    const real[::1] weight_c, double eps, bint training, real[:, ::1] grad_x_mc, real[::1] grad_weight_c,
    real[::1] grad_bias_c, int threads,
):
    """Gradients of x, weight and bias; that of x flows through mean and var too, if `training`."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], width = group_width(channels), c
    cdef const real* grad = &grad_mc[0, 0]
    cdef Tables t
    cdef bint weighted = weight_c is not None, had
    cdef double inverse, scale
    cdef double* sums = NULL
    if channels == 0:
        return True
    with nogil:
        had = tile(&t, channels)
        if had:
            sums = sums_of(grad, &x_mc[0, 0], &mean_c[0], rows, channels, threads)
            had = sums is not NULL
        if had:
            for c in range(channels):
                inverse = 1/sqrt(var_c[c] + eps)
                scale = inverse*(weight_c[c] if weighted else 1)
                grad_weight_c[c], grad_bias_c[c] = <real>(sums[width + c]*inverse), <real>sums[c]
                t.scale[c] = <real>scale
                t.centre[c] = mean_c[c] if training else 0
                t.slope[c] = <real>(-scale*inverse*inverse*sums[width + c]/rows) if training else 0
                t.shift[c] = <real>(-scale*sums[c]/rows) if training else 0
            repeat(&t, channels)
            if training:
                each_element(&t, grad, &x_mc[0, 0], rows*channels, channels, &grad_x_mc[0, 0], threads)
            else:
                each_element(&t, NULL, grad, rows*channels, channels, &grad_x_mc[0, 0], threads)
    free(t.centre)
    free(sums)
    return had
