"""Activations that bend what is negative or cut it off: they cost next to nothing on the way of another pass."""

from convkit._kernels._simd cimport vatmost, vless, vmax, vmin, vr, vselect, vsplat

cdef enum:
    # The first kinds of activation.pyx; its others take long enough to be a pass of their own.
    IDENTITY = -1
    RELU = 0
    RELU6 = 1
    LEAKY_RELU = 2


cdef inline vr six_ramp(vr x) noexcept nogil:
    """x between 0 and 6; a NaN stays."""
    return vmin(vsplat(6), vmax(vsplat(0), x))


cdef inline vr rectified(const int kind, vr x, vr p) noexcept nogil:
    """The activation of x; `p` is the slope of LEAKY_RELU."""
    if kind == RELU:
        return vselect(vless(x, vsplat(0)), vsplat(0), x)       # a NaN is not less than zero, and stays
    if kind == RELU6:
        return six_ramp(x)
    if kind == LEAKY_RELU:
        return vselect(vless(x, vsplat(0)), p*x, x)
    return x


cdef inline vr rectified_gradient(const int kind, vr grad, vr v, vr p) noexcept nogil:
    """What becomes of a gradient; `v` is the activation's input. The outputs of RELU and RELU6 tell the same."""
    if kind == RELU:
        return vselect(vatmost(v, vsplat(0)), vsplat(0), grad)
    if kind == RELU6:
        return vselect(vatmost(v, vsplat(0)) | vatmost(vsplat(6), v), vsplat(0), grad)
    if kind == LEAKY_RELU:
        return vselect(vless(vsplat(0), v), grad, p*grad)
    return grad
