"""A convolution's sizes."""

from convkit._kernels._axis cimport Spatial
from convkit._kernels._image cimport Image, nhwc


cdef struct Convolution:
    Py_ssize_t images, groups
    Py_ssize_t channels, outputs            # of all groups
    Py_ssize_t filters, lanes               # of one group: its channels and its outputs
    Spatial down, across                    # adjoint where the gradient of the input is meant


cdef inline Spatial spatial(
    Py_ssize_t in_size, Py_ssize_t out_size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation,
) noexcept nogil:
    cdef Spatial s
    s.in_size, s.out_size, s.kernel = in_size, out_size, kernel
    s.stride, s.padding, s.dilation, s.adjoint = stride, padding, dilation, False
    return s


cdef inline Convolution convolution(
    const Py_ssize_t* x_nhwc, const Py_ssize_t* w_kcrs, const Py_ssize_t* out_nhwc, tuple geometry,
) except *:
    """Of arrays of these shapes; the geometry is (stride, padding, dilation, each of height and width; groups).

    Padding is that of the top and left edge, the others follow from the output's size.
    """
    cdef Py_ssize_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups
    cdef Convolution c
    stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups = geometry
    c.images, c.groups, c.channels, c.outputs = x_nhwc[0], groups, x_nhwc[3], w_kcrs[0]
    c.filters, c.lanes = w_kcrs[1], w_kcrs[0] // groups
    c.down = spatial(x_nhwc[1], out_nhwc[1], w_kcrs[2], stride_h, padding_h, dilation_h)
    c.across = spatial(x_nhwc[2], out_nhwc[2], w_kcrs[3], stride_w, padding_w, dilation_w)
    return c


cdef inline Image input_image(const Convolution* c) noexcept nogil:
    """How the images lie that the forward pass reads."""
    return nhwc(c.down.in_size, c.across.in_size, c.channels)


cdef inline Image output_image(const Convolution* c) noexcept nogil:
    """How the images lie that the forward pass writes."""
    return nhwc(c.down.out_size, c.across.out_size, c.outputs)


cdef inline Image source_image(const Convolution* c) noexcept nogil:
    """How the images lie that a correlation reads: the input, or where its gradient is meant, that of the output."""
    return output_image(c) if c.down.adjoint else input_image(c)


cdef inline Image target_image(const Convolution* c) noexcept nogil:
    """How the images lie that a correlation writes."""
    return input_image(c) if c.down.adjoint else output_image(c)
