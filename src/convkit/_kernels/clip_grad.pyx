"""Gradients that are clipped, all of them in one call: their norm, and what makes them smaller."""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from convkit._kernels._parts cimport Parts, Run, apart, gather, run_of
from convkit._kernels._simd cimport (
    VDLEN, VLEN, flush_denormals, real, restore_denormals, vd, vdload_real, vdsplat, vdstore, vload_lanes, vmax, vmin,
    vr, vsplat, vstore_lanes,
)
from convkit._kernels._threads cimport worth

cdef enum:
    SUMS = 4                        # that are added to in turn: one alone would wait for itself


cdef inline vd square(const real* x) noexcept nogil:
    cdef vd v = vdload_real(x)
    return v*v


cdef double square_sum_run(Run run) noexcept nogil:
    """The sum of squares, in doubles: no square of a float overflows or is lost in them."""
    cdef const real* x = run.at[0]
    cdef vd sums[SUMS]
    cdef double lane[VDLEN]
    cdef double total = 0
    cdef Py_ssize_t i = 0
    cdef int j
    for j in range(SUMS):
        sums[j] = vdsplat(0)
    while i + SUMS*VDLEN <= run.count:
        for j in range(SUMS):
            sums[j] = sums[j] + square(x + i + j*VDLEN)
        i += SUMS*VDLEN
    vdstore(lane, (sums[0] + sums[1]) + (sums[2] + sums[3]))
    for j in range(VDLEN):
        total += lane[j]
    while i < run.count:
        total += <double>x[i]*<double>x[i]
        i += 1
    return total


cdef void scale_run(Run run, real factor) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    cdef vr by = vsplat(factor)
    cdef Py_ssize_t i = 0
    cdef int lanes
    while i < run.count:
        lanes = <int>min(<Py_ssize_t>VLEN, run.count - i)
        vstore_lanes(run.at[0] + i, by*vload_lanes(run.at[0] + i, lanes), lanes)
        i += VLEN
    restore_denormals(mode)


cdef void clamp_run(Run run, real limit) noexcept nogil:
    cdef vr low = vsplat(-limit), high = vsplat(limit)
    cdef Py_ssize_t i = 0
    cdef int lanes
    while i < run.count:
        lanes = <int>min(<Py_ssize_t>VLEN, run.count - i)
        vstore_lanes(run.at[0] + i, vmin(high, vmax(low, vload_lanes(run.at[0] + i, lanes))), lanes)
        i += VLEN


def square_sum(list arrays, double[::1] out, int threads):
    """out[0] = the sum of the squares of all elements: each run's own sum, added up in the order of the runs."""
    cdef Parts parts
    cdef Py_ssize_t run
    if not gather(&parts, (arrays,)):
        return False
    cdef double* sums = <double*>malloc((parts.runs + 1)*sizeof(double))
    if sums is not NULL:
        with nogil:
            threads = worth(threads, <double>parts.elements)
            for run in prange(parts.runs, schedule='static', num_threads=threads):
                sums[run] = square_sum_run(run_of(&parts, run))
            out[0] = 0
            for run in range(parts.runs):
                out[0] += sums[run]
    free(parts.part)
    free(sums)
    return sums is not NULL


def scale(list arrays, double factor, int threads):
    """Multiply all elements by a factor."""
    cdef Parts parts
    cdef Py_ssize_t run
    if not gather(&parts, (arrays,)):
        return False
    with nogil:
        threads = worth(threads, <double>parts.elements) if apart(&parts) else 1
        for run in prange(parts.runs, schedule='static', num_threads=threads):
            scale_run(run_of(&parts, run), <real>factor)
    free(parts.part)
    return True


def clamp(list arrays, double limit, int threads):
    """Cut all elements off at `limit` and its opposite; a NaN stays."""
    cdef Parts parts
    cdef Py_ssize_t run
    if not gather(&parts, (arrays,)):
        return False
    with nogil:
        threads = worth(threads, <double>parts.elements) if apart(&parts) else 1
        for run in prange(parts.runs, schedule='static', num_threads=threads):
            clamp_run(run_of(&parts, run), <real>limit)
    free(parts.part)
    return True
