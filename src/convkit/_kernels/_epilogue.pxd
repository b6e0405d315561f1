"""What becomes of a convolution's outputs on their way to memory: the sum with another image, and a rectifier.

A kernel calls `finish` for outputs that it has just written, a line or so at a time, while they are still in the
nearest cache. It computes what adding, and then the activation of activation.pyx, would: to the bit, but that
denormals are flushed.
"""

from convkit._kernels._rectifiers cimport IDENTITY, LEAKY_RELU, RELU, RELU6, rectified
from convkit._kernels._simd cimport VLEN, real, vload, vload_lanes, vr, vsplat, vstore, vstore_lanes


cdef struct Epilogue:
    # output = rectifier(output + residual)
    int kind
    real slope                      # of LEAKY_RELU
    const real* residual            # lies as the output does; NULL for none
    const real* output              # where that begins


cdef inline Epilogue plain() noexcept nogil:
    """Outputs that stay as they are."""
    cdef Epilogue e
    e.kind, e.slope, e.residual, e.output = IDENTITY, 0, NULL, NULL
    return e


cdef inline void finish_run(
    const int kind, const bint adds, const real* residual, Py_ssize_t count, vr slope, real* out,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int rest
    cdef vr x
    while i + VLEN <= count:
        x = vload(out + i)
        if adds:
            x = x + vload(residual + i)
        vstore(out + i, rectified(kind, x, slope))
        i += VLEN
    if i < count:
        rest = <int>(count - i)
        x = vload_lanes(out + i, rest)
        if adds:
            x = x + vload_lanes(residual + i, rest)
        vstore_lanes(out + i, rectified(kind, x, slope), rest)


cdef inline void finish_runs(
    const int kind, const Epilogue* e, Py_ssize_t runs, Py_ssize_t step, Py_ssize_t count, real* out,
) noexcept nogil:
    cdef Py_ssize_t _
    cdef vr slope = vsplat(e.slope)
    for _ in range(runs):
        if e.residual is NULL:
            finish_run(kind, False, NULL, count, slope, out)
        else:
            finish_run(kind, True, e.residual + (out - e.output), count, slope, out)
        out = out + step


cdef inline bint is_plain(const Epilogue* e) noexcept nogil:
    """Whether outputs stay as they are."""
    return e.kind == IDENTITY and e.residual is NULL


cdef inline void finish(
    const Epilogue* e, Py_ssize_t runs, Py_ssize_t step, Py_ssize_t count, real* out,
) noexcept nogil:
    """Finish `runs` runs of `count` outputs, which begin `step` apart."""
    if is_plain(e):
        return
    if count == step:
        runs, count = 1, runs*count
    if e.kind == RELU:
        finish_runs(RELU, e, runs, step, count, out)
    elif e.kind == RELU6:
        finish_runs(RELU6, e, runs, step, count, out)
    elif e.kind == LEAKY_RELU:
        finish_runs(LEAKY_RELU, e, runs, step, count, out)
    else:
        finish_runs(IDENTITY, e, runs, step, count, out)
