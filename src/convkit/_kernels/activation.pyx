"""Functions of one element, and their gradients, over elements in the order in which they lie in memory.

An activation is two points: its value, and what becomes of a gradient. `kind` is a literal where they are inlined, so
each loop has one of them and no branch. Some gradients need the input of the forward pass and some its output: the
argument is called so. `p` is the slope of LEAKY_RELU, the alpha of ELU or the beta of SOFTPLUS, whose threshold is
`q`.
"""

from cython.parallel cimport prange

from convkit._kernels._call cimport Call, capsule, memory_at
from convkit._kernels._exp cimport vexp, vexpm1
from convkit._kernels._log1p cimport vlog1p
from convkit._kernels._normal cimport half_square_exp, tail_ratio
from convkit._kernels._rectifiers cimport LEAKY_RELU, RELU, RELU6, rectified, rectified_gradient, six_ramp
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vatmost, vcopysign, vless, vload, vload_lanes, vloaded, vmax,
    vmin, vr, vselect, vsplat, vstore_lanes, vstream_end,
)
from convkit._kernels._stream cimport put, streams
from convkit._kernels._threads cimport worth

cdef enum:
    RUN = 4096                      # elements that a thread takes at a time: a multiple of every VLEN

cdef enum:
    # RELU, RELU6 and LEAKY_RELU are 0, 1 and 2.
    ELU = 3
    SIGMOID
    TANH
    SILU
    HARDSIGMOID
    HARDSWISH
    SOFTPLUS
    GELU
    GELU_TANH

KINDS = {
    "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY_RELU, "elu": ELU, "sigmoid": SIGMOID, "tanh": TANH, "silu": SILU,
    "hardsigmoid": HARDSIGMOID, "hardswish": HARDSWISH, "softplus": SOFTPLUS, "gelu": GELU, "gelu_tanh": GELU_TANH,
}


cdef inline vr sigmoid(vr x) noexcept nogil:
    return vsplat(1) / (vsplat(1) + vexp(-x))


cdef inline vr tanh(vr x) noexcept nogil:
    cdef vr e = vexpm1(vsplat(-2)*vcopysign(x, vsplat(1)))
    return vcopysign(e / (vsplat(2) + e), x)


cdef inline vr softplus(vr x, vr beta, vr threshold) noexcept nogil:
    cdef vr z = beta*x
    cdef vr soft = (vmax(vsplat(0), z) + vlog1p(vexp(-vcopysign(z, vsplat(1))))) / beta
    return vselect(vless(threshold, z), x, soft)


cdef inline vr gelu(vr x) noexcept nogil:
    """x times the normal distribution: from the tail, so that nothing cancels, and no factor underflows before it."""
    cdef vr tail = half_square_exp(x)
    return vselect(vless(x, vsplat(0)), x*tail_ratio(x)*tail, x*(vsplat(1) - tail_ratio(x)*tail))


cdef inline vr gelu_gradient(vr x) noexcept nogil:
    cdef vr tail = half_square_exp(x)
    cdef vr below = tail_ratio(x)*tail
    return vselect(vless(x, vsplat(0)), below, vsplat(1) - below) + x*tail*vsplat(0.3989422804014327)


cdef inline vr gelu_tanh_inside(vr x) noexcept nogil:
    """2*u, with u = sqrt(2/pi)*(x + 0.044715*x^3), of whose tanh (1 + tanh(u))/2 is the sigmoid of 2*u."""
    return vsplat(1.5957691216057308)*(x + vsplat(0.044715)*x*x*x)


cdef inline vr gelu_tanh_gradient(vr x) noexcept nogil:
    cdef vr u = gelu_tanh_inside(x)
    cdef vr small = vexp(-vcopysign(u, vsplat(1)))
    cdef vr s = vselect(vless(u, vsplat(0)), small, vsplat(1)) / (vsplat(1) + small)
    cdef vr slope_of_s = small / ((vsplat(1) + small)*(vsplat(1) + small))
    cdef vr near = vmax(vsplat(-64), vmin(vsplat(64), x))       # beyond, that slope is 0, and must not meet an infinity
    cdef vr slope_of_u = vsplat(1.5957691216057308)*(vsplat(1) + vsplat(0.134145)*near*near)
    return s + x*slope_of_s*slope_of_u


cdef inline vr value(const int kind, vr x, vr p, vr q) noexcept nogil:
    if kind == RELU or kind == RELU6 or kind == LEAKY_RELU:
        return rectified(kind, x, p)
    if kind == ELU:
        return vselect(vless(x, vsplat(0)), p*vexpm1(x), x)
    if kind == SIGMOID:
        return sigmoid(x)
    if kind == TANH:
        return tanh(x)
    if kind == SILU:
        return x / (vsplat(1) + vexp(-x))
    if kind == HARDSIGMOID:
        return six_ramp(x + vsplat(3)) / vsplat(6)
    if kind == HARDSWISH:
        return x*six_ramp(x + vsplat(3)) / vsplat(6)
    if kind == SOFTPLUS:
        return softplus(x, p, q)
    if kind == GELU:
        return gelu(x)
    return x / (vsplat(1) + vexp(-gelu_tanh_inside(x)))


cdef inline vr gradient(const int kind, vr grad, vr v, vr p, vr q) noexcept nogil:
    """What becomes of a gradient. `v` is the output of RELU, RELU6, SIGMOID and TANH, and the input of the others."""
    if kind == RELU or kind == RELU6 or kind == LEAKY_RELU:
        return rectified_gradient(kind, grad, v, p)
    if kind == ELU:
        return vselect(vless(vsplat(0), v), grad, p*vexp(v)*grad)
    if kind == SIGMOID:
        return (vsplat(1) - v)*v*grad
    if kind == TANH:
        return (vsplat(1) - v)*(vsplat(1) + v)*grad         # 1 - v*v would lose what is left of it near 1
    if kind == SILU:
        return (vsplat(1) + v*(vsplat(1) - sigmoid(v)))*sigmoid(v)*grad
    if kind == HARDSIGMOID:
        return vselect(vless(vsplat(-3), v) & vless(v, vsplat(3)), grad / vsplat(6), vsplat(0))
    if kind == HARDSWISH:
        return vselect(vatmost(v, vsplat(-3)), vsplat(0),
                       vselect(vatmost(vsplat(3), v), grad, (v / vsplat(3) + vsplat(0.5))*grad))
    if kind == SOFTPLUS:
        return vselect(vless(q, p*v), grad, sigmoid(p*v)*grad)
    if kind == GELU:
        return gelu_gradient(v)*grad
    return gelu_tanh_gradient(v)*grad


cdef inline void value_loop(
    const int kind, const real* x, Py_ssize_t count, vr p, vr q, real* out, bint stream,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int rest
    while i + VLEN <= count:
        put(out + i, value(kind, vload(x + i), p, q), stream)
        i += VLEN
    if i < count:
        rest = <int>(count - i)
        vstore_lanes(out + i, value(kind, vload_lanes(x + i, rest), p, q), rest)


cdef inline void gradient_loop(
    const int kind, const real* grad, const real* v, Py_ssize_t count, vr p, vr q, real* grad_x, bint stream,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int rest
    while i + VLEN <= count:
        put(grad_x + i, gradient(kind, vloaded(vload(grad + i)), vload(v + i), p, q), stream)
        i += VLEN
    if i < count:
        rest = <int>(count - i)
        vstore_lanes(grad_x + i, gradient(kind, vload_lanes(grad + i, rest), vload_lanes(v + i, rest), p, q), rest)


cdef void value_run(
    int kind, const real* x, Py_ssize_t count, real p, real q, real* out, bint stream,
) noexcept nogil:
    cdef vr a = vsplat(p), b = vsplat(q)
    cdef unsigned long mode = flush_denormals()
    if kind == LEAKY_RELU:
        value_loop(LEAKY_RELU, x, count, a, b, out, stream)
    elif kind == ELU:
        value_loop(ELU, x, count, a, b, out, stream)
    elif kind == SIGMOID:
        value_loop(SIGMOID, x, count, a, b, out, stream)
    elif kind == TANH:
        value_loop(TANH, x, count, a, b, out, stream)
    elif kind == SILU:
        value_loop(SILU, x, count, a, b, out, stream)
    elif kind == HARDSIGMOID:
        value_loop(HARDSIGMOID, x, count, a, b, out, stream)
    elif kind == HARDSWISH:
        value_loop(HARDSWISH, x, count, a, b, out, stream)
    elif kind == SOFTPLUS:
        value_loop(SOFTPLUS, x, count, a, b, out, stream)
    elif kind == GELU:
        value_loop(GELU, x, count, a, b, out, stream)
    elif kind == GELU_TANH:
        value_loop(GELU_TANH, x, count, a, b, out, stream)
    restore_denormals(mode)
    if kind == RELU:                                # no arithmetic: they pass denormals on as they are
        value_loop(RELU, x, count, a, b, out, stream)
    elif kind == RELU6:
        value_loop(RELU6, x, count, a, b, out, stream)
    if stream:
        vstream_end()


cdef void gradient_run(
    int kind, const real* grad, const real* v, Py_ssize_t count, real p, real q, real* grad_x, bint stream,
) noexcept nogil:
    cdef vr a = vsplat(p), b = vsplat(q)
    cdef unsigned long mode = flush_denormals()
    if kind == LEAKY_RELU:
        gradient_loop(LEAKY_RELU, grad, v, count, a, b, grad_x, stream)
    elif kind == ELU:
        gradient_loop(ELU, grad, v, count, a, b, grad_x, stream)
    elif kind == SIGMOID:
        gradient_loop(SIGMOID, grad, v, count, a, b, grad_x, stream)
    elif kind == TANH:
        gradient_loop(TANH, grad, v, count, a, b, grad_x, stream)
    elif kind == SILU:
        gradient_loop(SILU, grad, v, count, a, b, grad_x, stream)
    elif kind == HARDSIGMOID:
        gradient_loop(HARDSIGMOID, grad, v, count, a, b, grad_x, stream)
    elif kind == HARDSWISH:
        gradient_loop(HARDSWISH, grad, v, count, a, b, grad_x, stream)
    elif kind == SOFTPLUS:
        gradient_loop(SOFTPLUS, grad, v, count, a, b, grad_x, stream)
    elif kind == GELU:
        gradient_loop(GELU, grad, v, count, a, b, grad_x, stream)
    elif kind == GELU_TANH:
        gradient_loop(GELU_TANH, grad, v, count, a, b, grad_x, stream)
    restore_denormals(mode)
    if kind == RELU:
        gradient_loop(RELU, grad, v, count, a, b, grad_x, stream)
    elif kind == RELU6:
        gradient_loop(RELU6, grad, v, count, a, b, grad_x, stream)
    if stream:
        vstream_end()


cdef void value_runs(
    int kind, const real* x, Py_ssize_t count, real p, real q, real* out, int threads,
) noexcept nogil:
    cdef Py_ssize_t run
    cdef bint stream = streams(out, count)
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, schedule='static', num_threads=threads):
        value_run(kind, x + run*RUN, min(<Py_ssize_t>RUN, count - run*RUN), p, q, out + run*RUN, stream)


cdef bint run(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = the activation of x, which may be the same memory."""
    cdef Py_ssize_t count = c.images*c.rows*c.cols*c.channels
    value_runs(c.kind, memory_at(memory, c.x), count, c.p, c.q, memory_at(memory, c.out), threads)
    return True


CALL = capsule(run)


def forward(int kind, const real[::1] x, real[::1] out, real p, real q, int threads):
    """out = the activation of x."""
    cdef Py_ssize_t count = x.shape[0]
    with nogil:
        value_runs(kind, &x[0], count, p, q, &out[0], threads)


def backward(int kind, const real[::1] grad, const real[::1] v, real[::1] grad_x, real p, real q, int threads):
    """grad_x = the gradient with respect to the input; v is what `gradient` wants."""
    cdef Py_ssize_t count = grad.shape[0], run
    cdef bint stream = streams(&grad_x[0], count)
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, nogil=True, schedule='static', num_threads=threads):
        gradient_run(kind, &grad[run*RUN], &v[run*RUN], min(<Py_ssize_t>RUN, count - run*RUN), p, q,
                     &grad_x[run*RUN], stream)
