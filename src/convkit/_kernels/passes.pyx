"""Passes of convolutions, for arrays: what a kernel is told of where they lie and how large they are.

`compute`, `tell` and `pack` are capsules that kernels hand out (see _pass.pxd). Images lie as NHWC, filters as they may
under the logical shape (K, C/groups, R, S). Arguments are trusted. A pass returns whether there was memory for its
scratch.
"""

from convkit._kernels._convolution cimport convolution
from convkit._kernels._pass cimport (
    NO_MEMORY, Compute, Filters, Pass, begin_pass, compute_of, compute_pass, filters_of, pack_of, tell_of,
)
from convkit._kernels._pending_rows cimport rows_of
from convkit._kernels._prologue cimport prologue
from convkit._kernels._simd cimport real


def forward(
    compute, by_products, const real[:, :, :, ::1] x_nhwc, const real[:, :, :, :] w_kcrs, const real[::1] bias_k,
    real[:, :, :, ::1] out_nhwc, tuple geometry, int extra, int threads, const real[:, ::1] map_3c=None, int kind=-1,
):
    """out = x * w + bias; of what a map and an activation make of x, if there is a map and the kernel can do that."""
    cdef Pass p = begin_pass(extra, threads)
    p.convolution = convolution(x_nhwc.shape, w_kcrs.shape, out_nhwc.shape, geometry)
    p.input, p.output = &x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0]
    if map_3c is not None:
        p.prologue = prologue(&map_3c[0, 0], p.convolution.channels, kind)
    p.filters = filters_of(&w_kcrs[0, 0, 0, 0], w_kcrs.strides)
    p.bias = &bias_k[0] if bias_k.shape[0] else NULL
    return carry_out(compute, by_products, &p)


def backward_input(
    compute, by_products, const real[:, :, :, ::1] grad_out_nhwc, const real[:, :, :, :] w_kcrs,
    real[:, :, :, ::1] grad_x_nhwc, tuple geometry, int extra, int threads,
):
    """The gradient of the input."""
    cdef Pass p = begin_pass(extra, threads)
    p.convolution = convolution(grad_x_nhwc.shape, w_kcrs.shape, grad_out_nhwc.shape, geometry)
    p.convolution.down.adjoint = p.convolution.across.adjoint = True
    p.input, p.output = &grad_out_nhwc[0, 0, 0, 0], &grad_x_nhwc[0, 0, 0, 0]
    p.filters = filters_of(&w_kcrs[0, 0, 0, 0], w_kcrs.strides)
    return carry_out(compute, by_products, &p)


def backward_weight(
    compute, by_products, const real[:, :, :, ::1] x_nhwc, const real[:, :, :, ::1] grad_out_nhwc,
    real[:, :, :, :] grad_w_kcrs, tuple geometry, int extra, int threads, const real[:, ::1] map_3c=None, int kind=-1,
    grad_out_rows=None, tuple grad_out_sizes=None,
):
    """The gradient of the filters, summed over images and positions in an order that the shape alone decides.

    The map and its activation are as for `forward`. The gradient of the output may be None, if its rows are to be made,
    of such sizes (see _pending_rows.pxd), and the kernel can do that.
    """
    cdef Pass p = begin_pass(extra, threads)
    cdef Py_ssize_t[4] out_sizes
    if grad_out_nhwc is not None:
        p.convolution = convolution(x_nhwc.shape, grad_w_kcrs.shape, grad_out_nhwc.shape, geometry)
        p.grad = &grad_out_nhwc[0, 0, 0, 0]
    else:
        out_sizes = grad_out_sizes
        p.convolution = convolution(x_nhwc.shape, grad_w_kcrs.shape, out_sizes, geometry)
        p.grad_rows = rows_of(grad_out_rows)[0]
    p.input = &x_nhwc[0, 0, 0, 0]
    if map_3c is not None:
        p.prologue = prologue(&map_3c[0, 0], p.convolution.channels, kind)
    p.filters = filters_of(&grad_w_kcrs[0, 0, 0, 0], grad_w_kcrs.strides)
    return carry_out(compute, by_products, &p)


cdef bint carry_out(object compute, object by_products, const Pass* p) except -1:
    cdef Compute first = compute_of(compute), second = compute_of(by_products)
    cdef int done
    with nogil:
        done = compute_pass(first, second, p)
    return done != NO_MEMORY


def scratch(tell, x_nhwc, w_kcrs, out_nhwc, tuple geometry, bint adjoint, int extra, int threads):
    """Bytes of scratch of a pass of arrays of these shapes; filters lie as (R, S, C, K), all results are finite."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Pass p = begin_pass(extra, threads)
    cdef Filters* f = &p.filters
    p.convolution = convolution(x_sizes, w_sizes, out_sizes, geometry)
    p.convolution.down.adjoint = p.convolution.across.adjoint = adjoint
    f.output, f.channel = 1, w_sizes[0]
    f.col = w_sizes[1]*f.channel
    f.row = w_sizes[3]*f.col
    return told(tell, &p)


cdef Py_ssize_t told(object tell, const Pass* p) except -1:
    cdef Py_ssize_t count = tell_of(tell)(p)
    if count < 0:
        raise MemoryError
    return count


cdef Pass of_filters(const real[:, :, :, :] w_kcrs, Py_ssize_t groups, int extra) noexcept:
    """A forward pass as far as filters know it: over images of their size, without padding."""
    cdef Pass p = begin_pass(extra, 1)
    cdef Py_ssize_t[4] x_sizes = [1, w_kcrs.shape[2], w_kcrs.shape[3], groups*w_kcrs.shape[1]]
    cdef Py_ssize_t[4] out_sizes = [1, 1, 1, w_kcrs.shape[0]]
    p.convolution = convolution(x_sizes, w_kcrs.shape, out_sizes, (1, 1, 0, 0, 1, 1, groups))
    p.filters = filters_of(&w_kcrs[0, 0, 0, 0], w_kcrs.strides)
    return p


def packed_size(tell, const real[:, :, :, :] w_kcrs, Py_ssize_t groups, int extra):
    """Elements that `pack` writes."""
    cdef Pass p = of_filters(w_kcrs, groups, extra)
    return told(tell, &p)


def pack(pack, const real[:, :, :, :] w_kcrs, real[::1] packed, Py_ssize_t groups, int extra):
    """Write filters in the order in which a kernel's forward pass reads them."""
    cdef Pass p = of_filters(w_kcrs, groups, extra)
    if not pack_of(pack)(&p, &packed[0]):
        raise MemoryError
