"""Stochastic gradient descent: one call moves all parameters."""

from cython.parallel cimport prange
from libc.stdlib cimport free

from convkit._kernels._parts cimport Parts, Run, apart, gather, run_of
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload_lanes, vr, vsplat, vstore_lanes,
)
from convkit._kernels._threads cimport worth


cdef struct Options:
    vr lr, momentum, undamped, weight_decay, sign
    bint decays, remembers, nesterov


cdef inline void move(const Options* o, real* p, const real* g, real* velocity, int lanes) noexcept nogil:
    cdef vr param = vload_lanes(p, lanes), grad = o.sign*vload_lanes(g, lanes), v
    if o.decays:
        grad = grad + o.weight_decay*param
    if o.remembers:
        v = o.momentum*vload_lanes(velocity, lanes) + o.undamped*grad
        vstore_lanes(velocity, v, lanes)
        grad = grad + o.momentum*v if o.nesterov else v
    vstore_lanes(p, param - o.lr*grad, lanes)


cdef void move_run(const Options* o, Run run) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t i = 0
    while i + VLEN <= run.count:
        move(o, run.at[0] + i, run.at[1] + i, run.at[2] + i, VLEN)
        i += VLEN
    if i < run.count:
        move(o, run.at[0] + i, run.at[1] + i, run.at[2] + i, <int>(run.count - i))
    restore_denormals(mode)


def step(
    list params, list grads, list velocities, double lr, double momentum, double dampening, double weight_decay,
    bint nesterov, bint maximize, int threads,
):
    """Move params against grads; without momentum, `velocities` may be empty."""
    cdef Parts parts
    cdef Options o
    cdef Py_ssize_t run
    if not gather(&parts, (params, grads, velocities) if momentum != 0 else (params, grads)):
        return False
    o.lr, o.momentum, o.undamped = vsplat(<real>lr), vsplat(<real>momentum), vsplat(<real>(1 - dampening))
    o.weight_decay, o.sign = vsplat(<real>weight_decay), vsplat(-1 if maximize else 1)
    o.decays, o.remembers, o.nesterov = weight_decay != 0, momentum != 0, nesterov
    with nogil:
        threads = worth(threads, <double>parts.elements) if apart(&parts) else 1
        for run in prange(parts.runs, schedule='static', num_threads=threads):
            move_run(&o, run_of(&parts, run))
    free(parts.part)
    return True
