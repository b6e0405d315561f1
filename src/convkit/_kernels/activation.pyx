"""Functions of one element, and their gradients, over elements in the order in which they lie in memory.

An activation is two points: its value, and what becomes of a gradient. `kind` is a literal where they are inlined, so
each loop has one of them and no branch. Some gradients need the input of the forward pass and some its output: the
argument is called so. `parameter` is the slope of LEAKY_RELU and the alpha of ELU.
"""

from cython.parallel cimport prange

from convkit._kernels._exp cimport vexp, vexpm1
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vatmost, vcopysign, vless, vload, vload_lanes, vloaded, vmax,
    vmin, vr, vselect, vsplat, vstore_lanes, vstream_end,
)
from convkit._kernels._stream cimport put, streams
from convkit._kernels._threads cimport worth

cdef enum:
    RUN = 4096                      # elements that a thread takes at a time: a multiple of every VLEN

cdef enum:
    RELU
    RELU6
    LEAKY_RELU
    ELU
    SIGMOID
    TANH
    SILU
    HARDSIGMOID
    HARDSWISH

KINDS = {
    "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY_RELU, "elu": ELU, "sigmoid": SIGMOID, "tanh": TANH, "silu": SILU,
    "hardsigmoid": HARDSIGMOID, "hardswish": HARDSWISH,
}


cdef inline vr sigmoid(vr x) noexcept nogil:
    return vsplat(1) / (vsplat(1) + vexp(-x))


cdef inline vr tanh(vr x) noexcept nogil:
    cdef vr e = vexpm1(vsplat(-2)*vcopysign(x, vsplat(1)))
    return vcopysign(e / (vsplat(2) + e), x)


cdef inline vr six_ramp(vr x) noexcept nogil:
    """x between 0 and 6; a NaN stays."""
    return vmin(vsplat(6), vmax(vsplat(0), x))


cdef inline vr value(const int kind, vr x, vr parameter) noexcept nogil:
    if kind == RELU:
        return vselect(vless(x, vsplat(0)), vsplat(0), x)       # a NaN is not less than zero, and stays
    if kind == RELU6:
        return six_ramp(x)
    if kind == LEAKY_RELU:
        return vselect(vless(x, vsplat(0)), parameter*x, x)
    if kind == ELU:
        return vselect(vless(x, vsplat(0)), parameter*vexpm1(x), x)
    if kind == SIGMOID:
        return sigmoid(x)
    if kind == TANH:
        return tanh(x)
    if kind == SILU:
        return x / (vsplat(1) + vexp(-x))
    if kind == HARDSIGMOID:
        return six_ramp(x + vsplat(3)) / vsplat(6)
    return x*six_ramp(x + vsplat(3)) / vsplat(6)


cdef inline vr gradient(const int kind, vr grad, vr v, vr parameter) noexcept nogil:
    """What becomes of a gradient. `v` is the output of RELU, RELU6, SIGMOID and TANH, and the input of the others."""
    if kind == RELU:
        return vselect(vatmost(v, vsplat(0)), vsplat(0), grad)
    if kind == RELU6:
        return vselect(vatmost(v, vsplat(0)) | vatmost(vsplat(6), v), vsplat(0), grad)
    if kind == LEAKY_RELU:
        return vselect(vless(vsplat(0), v), grad, parameter*grad)
    if kind == ELU:
        return vselect(vless(vsplat(0), v), grad, parameter*vexp(v)*grad)
    if kind == SIGMOID:
        return (vsplat(1) - v)*v*grad
    if kind == TANH:
        return (vsplat(1) - v)*(vsplat(1) + v)*grad         # 1 - v*v would lose what is left of it near 1
    if kind == SILU:
        return (vsplat(1) + v*(vsplat(1) - sigmoid(v)))*sigmoid(v)*grad
    if kind == HARDSIGMOID:
        return vselect(vless(vsplat(-3), v) & vless(v, vsplat(3)), grad / vsplat(6), vsplat(0))
    return vselect(vatmost(v, vsplat(-3)), vsplat(0),
                   vselect(vatmost(vsplat(3), v), grad, (v / vsplat(3) + vsplat(0.5))*grad))


cdef inline void value_loop(
    const int kind, const real* x, Py_ssize_t count, vr parameter, real* out, bint stream,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int rest
    while i + VLEN <= count:
        put(out + i, value(kind, vload(x + i), parameter), stream)
        i += VLEN
    if i < count:
        rest = <int>(count - i)
        vstore_lanes(out + i, value(kind, vload_lanes(x + i, rest), parameter), rest)


cdef inline void gradient_loop(
    const int kind, const real* grad, const real* v, Py_ssize_t count, vr parameter, real* grad_x, bint stream,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int rest
    while i + VLEN <= count:
        put(grad_x + i, gradient(kind, vloaded(vload(grad + i)), vload(v + i), parameter), stream)
        i += VLEN
    if i < count:
        rest = <int>(count - i)
        vstore_lanes(grad_x + i, gradient(kind, vload_lanes(grad + i, rest), vload_lanes(v + i, rest), parameter), rest)


cdef void value_run(
    int kind, const real* x, Py_ssize_t count, real parameter, real* out, bint stream,
) noexcept nogil:
    cdef vr p = vsplat(parameter)
    cdef unsigned long mode = flush_denormals()
    if kind == LEAKY_RELU:
        value_loop(LEAKY_RELU, x, count, p, out, stream)
    elif kind == ELU:
        value_loop(ELU, x, count, p, out, stream)
    elif kind == SIGMOID:
        value_loop(SIGMOID, x, count, p, out, stream)
    elif kind == TANH:
        value_loop(TANH, x, count, p, out, stream)
    elif kind == SILU:
        value_loop(SILU, x, count, p, out, stream)
    elif kind == HARDSIGMOID:
        value_loop(HARDSIGMOID, x, count, p, out, stream)
    elif kind == HARDSWISH:
        value_loop(HARDSWISH, x, count, p, out, stream)
    restore_denormals(mode)
    if kind == RELU:                                # no arithmetic: they pass denormals on as they are
        value_loop(RELU, x, count, p, out, stream)
    elif kind == RELU6:
        value_loop(RELU6, x, count, p, out, stream)
    if stream:
        vstream_end()


cdef void gradient_run(
    int kind, const real* grad, const real* v, Py_ssize_t count, real parameter, real* grad_x, bint stream,
) noexcept nogil:
    cdef vr p = vsplat(parameter)
    cdef unsigned long mode = flush_denormals()
    if kind == LEAKY_RELU:
        gradient_loop(LEAKY_RELU, grad, v, count, p, grad_x, stream)
    elif kind == ELU:
        gradient_loop(ELU, grad, v, count, p, grad_x, stream)
    elif kind == SIGMOID:
        gradient_loop(SIGMOID, grad, v, count, p, grad_x, stream)
    elif kind == TANH:
        gradient_loop(TANH, grad, v, count, p, grad_x, stream)
    elif kind == SILU:
        gradient_loop(SILU, grad, v, count, p, grad_x, stream)
    elif kind == HARDSIGMOID:
        gradient_loop(HARDSIGMOID, grad, v, count, p, grad_x, stream)
    elif kind == HARDSWISH:
        gradient_loop(HARDSWISH, grad, v, count, p, grad_x, stream)
    restore_denormals(mode)
    if kind == RELU:
        gradient_loop(RELU, grad, v, count, p, grad_x, stream)
    elif kind == RELU6:
        gradient_loop(RELU6, grad, v, count, p, grad_x, stream)
    if stream:
        vstream_end()


def forward(int kind, const real[::1] x, real[::1] out, real parameter, int threads):
    """out = the activation of x."""
    cdef Py_ssize_t count = x.shape[0], run
    cdef bint stream = streams(&out[0], count)
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, nogil=True, schedule='static', num_threads=threads):
        value_run(kind, &x[run*RUN], min(<Py_ssize_t>RUN, count - run*RUN), parameter, &out[run*RUN], stream)


def backward(int kind, const real[::1] grad, const real[::1] v, real[::1] grad_x, real parameter, int threads):
    """grad_x = the gradient with respect to the input; v is what `gradient` wants."""
    cdef Py_ssize_t count = grad.shape[0], run
    cdef bint stream = streams(&grad_x[0], count)
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, nogil=True, schedule='static', num_threads=threads):
        gradient_run(kind, &grad[run*RUN], &v[run*RUN], min(<Py_ssize_t>RUN, count - run*RUN), parameter,
                     &grad_x[run*RUN], stream)
