"""Adam, and AdamW: one call moves all parameters."""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdlib cimport free

from convkit._kernels._parts cimport Parts, Run, apart, gather, run_of
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload_lanes, vr, vsplat, vsqrt, vstore_lanes,
)
from convkit._kernels._threads cimport worth


cdef struct Options:
    vr sign, weight_decay, kept     # kept: what decoupled decay leaves of a parameter
    vr new1, beta2, new2, root, eps, pace
    bint decays


cdef inline void move(
    const Options* o, real* p, const real* g, real* mean, real* mean_square, int lanes,
) noexcept nogil:
    cdef vr param = vload_lanes(p, lanes)*o.kept, grad = o.sign*vload_lanes(g, lanes)
    cdef vr m = vload_lanes(mean, lanes), v = vload_lanes(mean_square, lanes)
    if o.decays:
        grad = grad + o.weight_decay*param
    m = m + o.new1*(grad - m)
    v = o.beta2*v + o.new2*grad*grad
    vstore_lanes(mean, m, lanes)
    vstore_lanes(mean_square, v, lanes)
    vstore_lanes(p, param - o.pace*(m/(vsqrt(v)/o.root + o.eps)), lanes)


cdef void move_run(const Options* o, Run run) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t i = 0
    while i + VLEN <= run.count:
        move(o, run.at[0] + i, run.at[1] + i, run.at[2] + i, run.at[3] + i, VLEN)
        i += VLEN
    if i < run.count:
        move(o, run.at[0] + i, run.at[1] + i, run.at[2] + i, run.at[3] + i, <int>(run.count - i))
    restore_denormals(mode)


def step(
    list params, list grads, list means, list mean_squares, long count, double lr, double beta1, double beta2,
    double eps, double weight_decay, bint decoupled, bint maximize, int threads,
):
    """Move params against grads; `count` numbers the step, from 1: the means began as zeros, which it corrects."""
    cdef Parts parts
    cdef Options o
    cdef Py_ssize_t run
    if not gather(&parts, (params, grads, means, mean_squares)):
        return False
    o.sign, o.weight_decay, o.kept = vsplat(-1 if maximize else 1), vsplat(<real>weight_decay), vsplat(1)
    o.decays = weight_decay != 0 and not decoupled
    if decoupled:
        o.kept = vsplat(<real>(1 - lr*weight_decay))
    o.new1, o.beta2, o.new2 = vsplat(<real>(1 - beta1)), vsplat(<real>beta2), vsplat(<real>(1 - beta2))
    o.root, o.eps = vsplat(<real>sqrt(1 - beta2**count)), vsplat(<real>eps)
    o.pace = vsplat(<real>(lr/(1 - beta1**count)))
    with nogil:
        threads = worth(threads, <double>parts.elements) if apart(&parts) else 1
        for run in prange(parts.runs, schedule='static', num_threads=threads):
            move_run(&o, run_of(&parts, run))
    free(parts.part)
    return True
