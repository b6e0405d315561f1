"""Sum over all rows of a matrix, channel by channel: the gradient of a bias."""

from cython.parallel cimport prange
from libc.stdlib cimport calloc, free

from convkit._kernels._rows cimport add_up, chunk_count, chunk_start, fold, group_width, strip_groups
from convkit._kernels._simd cimport VDLEN, real, vd, vdload, vdload_real, vdstore
from convkit._kernels._threads cimport worth

cdef enum:
    VECTORS = 8                     # of doubles, summed in registers together


cdef inline void sum_block(
    const int vectors, const real* x, Py_ssize_t groups, Py_ssize_t width, double* total,
) noexcept nogil:
    cdef vd sums[VECTORS]
    cdef Py_ssize_t _
    cdef int v
    for v in range(vectors):
        sums[v] = vdload(total + v*VDLEN)
    for _ in range(groups):
        for v in range(vectors):
            sums[v] = sums[v] + vdload_real(x + v*VDLEN)
        x = x + width
    for v in range(vectors):
        vdstore(total + v*VDLEN, sums[v])


cdef void sum_columns(
    const real* x, Py_ssize_t groups, Py_ssize_t width, Py_ssize_t columns, double* total,
) noexcept nogil:
    """Add the first columns of groups, which lie `width` apart, to their totals."""
    cdef Py_ssize_t c = 0, group
    while c + VECTORS*VDLEN <= columns:
        sum_block(VECTORS, x + c, groups, width, total + c)
        c += VECTORS*VDLEN
    while c + VDLEN <= columns:
        sum_block(1, x + c, groups, width, total + c)
        c += VDLEN
    while c < columns:
        for group in range(groups):
            total[c] += x[group*width + c]
        c += 1


cdef void sum_run(const real* x, Py_ssize_t length, Py_ssize_t width, double* total) noexcept nogil:
    """Add a run of elements to totals that repeat every `width`."""
    cdef Py_ssize_t groups = length // width, group = 0, strip = strip_groups(width)
    while group < groups:
        sum_columns(x + group*width, min(strip, groups - group), width, width, total)
        group += strip
    sum_columns(x + groups*width, 1, width, length - groups*width, total)


def channel_sum(const real[:, ::1] x_mc, real[::1] out_c, int threads):
    """out[c] = sum over m of x[m, c]; False where there is no memory for the partial sums."""
    cdef Py_ssize_t rows = x_mc.shape[0], channels = x_mc.shape[1], width = group_width(channels), first, behind, c
    cdef Py_ssize_t chunks = chunk_count(rows), chunk
    cdef const real* x = &x_mc[0, 0]
    if channels == 0:
        return True
    cdef double* partial = <double*>calloc(chunks*width + 1, sizeof(double))
    if partial is NULL:
        return False
    threads = worth(threads, <double>rows*channels)
    with nogil:
        for chunk in prange(chunks, schedule='static', num_threads=threads):
            first = chunk_start(rows, chunk)
            behind = chunk_start(rows, chunk + 1)
            sum_run(x + first*channels, (behind - first)*channels, width, partial + chunk*width)
        add_up(partial, chunks, width)
        fold(partial, width, channels)
        for c in range(channels):
            out_c[c] = <real>partial[c]
    free(partial)
    return True
