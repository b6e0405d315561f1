"""Passes of convolutions of bfloat16 images, as AMX multiplies them: `passes` for arrays that are not widened before.

Arrays are those of their bits, but for the bias, which is float32 that came of bfloat16. A pass returns whether its
results are finite, or None where there was no memory for its scratch. No kernel of products stands beside, which would
know what an Inf or a NaN has a part in: the caller computes the pass again in float32.
"""

from libc.stdint cimport uint16_t

from convkit._kernels._convolution cimport convolution
from convkit._kernels._pass cimport DONE, NO_MEMORY, Compute, Pass, begin_pass, compute_of, filters_of
from convkit._kernels._simd cimport real, stored


cdef enum:
    PARTS = 1                       # of each number


def forward(
    compute, const uint16_t[:, :, :, ::1] x_nhwc, const uint16_t[:, :, :, :] w_kcrs, const real[::1] bias_k,
    uint16_t[:, :, :, ::1] out_nhwc, tuple geometry, int threads,
):
    """out = x * w + bias."""
    cdef Pass p = begin_pass(PARTS, threads)
    p.convolution = convolution(x_nhwc.shape, w_kcrs.shape, out_nhwc.shape, geometry)
    p.input, p.output = <const stored*>&x_nhwc[0, 0, 0, 0], <stored*>&out_nhwc[0, 0, 0, 0]
    p.filters = filters_of(<const stored*>&w_kcrs[0, 0, 0, 0], w_kcrs.strides)
    p.bias = &bias_k[0] if bias_k.shape[0] else NULL
    return carry_out(compute, &p)


def backward_input(
    compute, const uint16_t[:, :, :, ::1] grad_out_nhwc, const uint16_t[:, :, :, :] w_kcrs,
    uint16_t[:, :, :, ::1] grad_x_nhwc, tuple geometry, int threads,
):
    """The gradient of the input."""
    cdef Pass p = begin_pass(PARTS, threads)
    p.convolution = convolution(grad_x_nhwc.shape, w_kcrs.shape, grad_out_nhwc.shape, geometry)
    p.convolution.down.adjoint = p.convolution.across.adjoint = True
    p.input, p.output = <const stored*>&grad_out_nhwc[0, 0, 0, 0], <stored*>&grad_x_nhwc[0, 0, 0, 0]
    p.filters = filters_of(<const stored*>&w_kcrs[0, 0, 0, 0], w_kcrs.strides)
    return carry_out(compute, &p)


def backward_weight(
    compute, const uint16_t[:, :, :, ::1] x_nhwc, const uint16_t[:, :, :, ::1] grad_out_nhwc,
    uint16_t[:, :, :, :] grad_w_kcrs, tuple geometry, int threads,
):
    """The gradient of the filters."""
    cdef Pass p = begin_pass(PARTS, threads)
    p.convolution = convolution(x_nhwc.shape, grad_w_kcrs.shape, grad_out_nhwc.shape, geometry)
    p.input, p.grad = <const stored*>&x_nhwc[0, 0, 0, 0], <const stored*>&grad_out_nhwc[0, 0, 0, 0]
    p.filters = filters_of(<const stored*>&grad_w_kcrs[0, 0, 0, 0], grad_w_kcrs.strides)
    return carry_out(compute, &p)


cdef object carry_out(object compute, const Pass* p):
    cdef Compute computing = compute_of(compute)
    cdef int done
    with nogil:
        done = computing(p)
    return None if done == NO_MEMORY else done == DONE
