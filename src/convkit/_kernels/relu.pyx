"""The rectifier and its gradient, over elements in the order in which they lie in memory."""

from cython.parallel cimport prange

from convkit._kernels._simd cimport real
from convkit._kernels._threads cimport worth

cdef enum:
    RUN = 4096                      # elements that a thread takes at a time


cdef void relu_run(const real* x, Py_ssize_t count, real* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = 0 if x[i] < 0 else x[i]        # a NaN is not less than zero, and stays


def forward(const real[::1] x, real[::1] out, int threads):
    """out = max(x, 0), and NaN where x is NaN."""
    cdef Py_ssize_t count = x.shape[0], run
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, nogil=True, schedule='static', num_threads=threads):
        relu_run(&x[run*RUN], min(<Py_ssize_t>RUN, count - run*RUN), &out[run*RUN])


cdef void relu_gradient_run(const real* grad, const real* out, Py_ssize_t count, real* grad_x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        grad_x[i] = 0 if out[i] <= 0 else grad[i]


def backward(const real[::1] grad, const real[::1] out, real[::1] grad_x, int threads):
    """grad_x = grad where out is not zero (nor less): the output tells all that the gradient needs."""
    cdef Py_ssize_t count = grad.shape[0], run
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, nogil=True, schedule='static', num_threads=threads):
        relu_gradient_run(&grad[run*RUN], &out[run*RUN], min(<Py_ssize_t>RUN, count - run*RUN), &grad_x[run*RUN])
