"""Batch normalisation over the rows of a (rows, channels) matrix: an NHWC image is one of N*H*W rows."""

from cython.parallel cimport prange
from libc.stdlib cimport calloc, free

from convkit._kernels._rows cimport add_up, chunk_count
from convkit._kernels._simd cimport flush_denormals, real, restore_denormals
from convkit._kernels._threads cimport worth

cdef enum:
    BAND = 64                       # rows that a thread takes at a time where nothing is summed


cdef void moments_chunk(
    const real* x, const real* shift, Py_ssize_t first, Py_ssize_t behind, Py_ssize_t channels, double* sums,
) noexcept nogil:
    """Sums of x - shift and of its square. With a sample as the shift, the squares do not cancel."""
    cdef Py_ssize_t row, c
    cdef double d
    for row in range(first, behind):
        for c in range(channels):
            d = <double>x[row*channels + c] - <double>shift[c]
            sums[c] += d
            sums[channels + c] += d*d


def statistics(const real[:, ::1] x_mc, real[::1] mean_c, real[::1] var_c, int threads):
    """Mean and biased variance of each channel; False where there is no memory for the partial sums."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], chunks = chunk_count(rows), chunk, c
    cdef const real* x = &x_mc[0, 0]
    cdef double* sums = <double*>calloc(chunks*2*channels + 1, sizeof(double))
    cdef double d
    if sums is NULL:
        return False
    threads = worth(threads, 2.0*rows*channels)
    with nogil:
        for chunk in prange(chunks, schedule='static', num_threads=threads):
            moments_chunk(x, x, chunk*rows // chunks, (chunk + 1)*rows // chunks, channels, sums + chunk*2*channels)
        add_up(sums, chunks, 2*channels)
        for c in range(channels):
            d = sums[c]/rows
            mean_c[c] = <real>(<double>x[c] + d)
            d = sums[channels + c]/rows - d*d
            var_c[c] = <real>(0.0 if d < 0 else d)          # rounding may go below zero; a NaN must not become one
    free(sums)
    return True


cdef void normalize_band(
    const real* x, const real* mean, const real* scale, const real* shift, Py_ssize_t rows, Py_ssize_t channels,
    real* out,
) noexcept nogil:
    cdef Py_ssize_t row, c
    cdef unsigned long mode = flush_denormals()
    for row in range(rows):
        for c in range(channels):
            out[row*channels + c] = (x[row*channels + c] - mean[c])*scale[c] + shift[c]
    restore_denormals(mode)


def normalize(
    const real[:, ::1] x_mc, const real[::1] mean_c, const real[::1] scale_c, const real[::1] shift_c,
    real[:, ::1] out_mc, int threads,
):
    """out = (x - mean)*scale + shift."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], bands = (rows + BAND - 1) // BAND, band
    cdef const real* x = &x_mc[0, 0]
    cdef real* out = &out_mc[0, 0]
    threads = worth(threads, <double>rows*channels)
    for band in prange(bands, nogil=True, schedule='static', num_threads=threads):
        normalize_band(x + band*BAND*channels, &mean_c[0], &scale_c[0], &shift_c[0],
                       min(<Py_ssize_t>BAND, rows - band*BAND), channels, out + band*BAND*channels)


cdef void gradient_chunk(
    const real* grad, const real* x, const real* mean, Py_ssize_t first, Py_ssize_t behind, Py_ssize_t channels,
    double* sums,
) noexcept nogil:
    cdef Py_ssize_t row, c
    cdef double g
    for row in range(first, behind):
        for c in range(channels):
            g = grad[row*channels + c]
            sums[c] += g
            sums[channels + c] += g*(<double>x[row*channels + c] - <double>mean[c])


def gradient_sums(
    const real[:, ::1] grad_mc, const real[:, ::1] x_mc, const real[::1] mean_c, double[::1] grad_sum_c,
    double[::1] grad_x_sum_c, int threads,
):
    """Sums of grad and of grad*(x - mean); False where there is no memory for the partial sums."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], chunks = chunk_count(rows), chunk, c
    cdef const real* grad = &grad_mc[0, 0]
    cdef const real* x = &x_mc[0, 0]
    cdef double* sums = <double*>calloc(chunks*2*channels + 1, sizeof(double))
    if sums is NULL:
        return False
    threads = worth(threads, 2.0*rows*channels)
    with nogil:
        for chunk in prange(chunks, schedule='static', num_threads=threads):
            gradient_chunk(grad, x, &mean_c[0], chunk*rows // chunks, (chunk + 1)*rows // chunks, channels,
                           sums + chunk*2*channels)
        add_up(sums, chunks, 2*channels)
        for c in range(channels):
            grad_sum_c[c] = sums[c]
            grad_x_sum_c[c] = sums[channels + c]
    free(sums)
    return True


cdef void gradient_band(
    const real* grad, const real* x, const real* mean, const real* scale, const real* slope, const real* shift,
    Py_ssize_t rows, Py_ssize_t channels, real* grad_x,
) noexcept nogil:
    cdef Py_ssize_t row, c, i
    cdef unsigned long mode = flush_denormals()
    for row in range(rows):
        for c in range(channels):
            i = row*channels + c
            grad_x[i] = grad[i]*scale[c] + ((x[i] - mean[c])*slope[c] + shift[c])
    restore_denormals(mode)


def gradient_input(
    const real[:, ::1] grad_mc, const real[:, ::1] x_mc, const real[::1] mean_c, const real[::1] scale_c,
    const real[::1] slope_c, const real[::1] shift_c, real[:, ::1] grad_x_mc, int threads,
):
    """grad_x = grad*scale + (x - mean)*slope + shift."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], bands = (rows + BAND - 1) // BAND, band
    cdef const real* grad = &grad_mc[0, 0]
    cdef const real* x = &x_mc[0, 0]
    cdef real* grad_x = &grad_x_mc[0, 0]
    threads = worth(threads, <double>rows*channels)
    for band in prange(bands, nogil=True, schedule='static', num_threads=threads):
        gradient_band(grad + band*BAND*channels, x + band*BAND*channels, &mean_c[0], &scale_c[0], &slope_c[0],
                      &shift_c[0], min(<Py_ssize_t>BAND, rows - band*BAND), channels, grad_x + band*BAND*channels)
