"""Sum over all rows of a matrix, channel by channel: the gradient of a bias."""

from cython.parallel cimport prange
from libc.stdlib cimport calloc, free

from convkit._kernels._rows cimport add_up, chunk_count
from convkit._kernels._simd cimport real
from convkit._kernels._threads cimport worth


cdef void sum_chunk(
    const real* x, Py_ssize_t first, Py_ssize_t behind, Py_ssize_t channels, double* total,
) noexcept nogil:
    cdef Py_ssize_t row, c
    for row in range(first, behind):
        for c in range(channels):
            total[c] += x[row*channels + c]


def channel_sum(const real[:, ::1] x_mc, real[::1] out_c, int threads):
    """out[c] = sum over m of x[m, c]; False where there is no memory for the partial sums."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], chunks = chunk_count(rows), chunk, c
    cdef const real* x = &x_mc[0, 0]
    cdef double* partial = <double*>calloc(chunks*channels + 1, sizeof(double))
    if partial is NULL:
        return False
    threads = worth(threads, <double>rows*channels)
    with nogil:
        for chunk in prange(chunks, schedule='static', num_threads=threads):
            sum_chunk(x, chunk*rows // chunks, (chunk + 1)*rows // chunks, channels, partial + chunk*channels)
        add_up(partial, chunks, channels)
        for c in range(channels):
            out_c[c] = <real>partial[c]
    free(partial)
    return True
