"""A convolution's sizes: one way in for the arrays of a pass, and for shapes of which only the scratch is asked."""

from convkit._kernels._axis cimport Spatial

cdef enum:
    # What a pass returns. Those that never transform anything say False or True.
    NO_MEMORY = 0
    DONE = 1
    NOT_FINITE = 2                  # a result is not, and a transform may have spread what is not over its neighbours


cdef struct Convolution:
    Py_ssize_t images, groups
    Py_ssize_t channels, outputs            # of all groups
    Py_ssize_t filters, lanes               # of one group: its channels and its outputs
    Spatial down, across


cdef inline Spatial spatial(
    Py_ssize_t in_size, Py_ssize_t out_size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation,
) noexcept nogil:
    cdef Spatial s
    s.in_size, s.out_size, s.kernel = in_size, out_size, kernel
    s.stride, s.padding, s.dilation, s.adjoint = stride, padding, dilation, False
    return s


cdef inline Convolution convolution(
    const Py_ssize_t* x_nhwc, const Py_ssize_t* w_kcrs, const Py_ssize_t* out_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups,
) noexcept nogil:
    """Of arrays of these shapes; `padding` is that of the top and left edge, the others follow from out's size."""
    cdef Convolution c
    c.images, c.groups, c.channels, c.outputs = x_nhwc[0], groups, x_nhwc[3], w_kcrs[0]
    c.filters, c.lanes = w_kcrs[1], w_kcrs[0] // groups
    c.down = spatial(x_nhwc[1], out_nhwc[1], w_kcrs[2], stride_h, padding_h, dilation_h)
    c.across = spatial(x_nhwc[2], out_nhwc[2], w_kcrs[3], stride_w, padding_w, dilation_w)
    return c
