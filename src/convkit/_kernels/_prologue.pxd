"""What becomes of a convolution's input on its way from memory: a map of each channel and a rectifier, which a batch
norm and an activation before it have left to be computed.

Kernels apply it where they stage the input, so what lies between is never in memory. It computes what affine.pyx would
in a pass of its own, to the bit. Padding is what a kernel takes it for, zero: only pixels of the image are mapped.
"""

from libc.math cimport INFINITY

from convkit._kernels._rectifiers cimport RELU, RELU6
from convkit._kernels._simd cimport (
    VLEN, real, vload, vload_lanes, vmax, vmin, vr, vsplat, vstore, vstore_lanes,
)


cdef struct Prologue:
    # input = min(high, max(low, (input - centre)*scale + shift)), of each channel
    const real* centre              # NULL where the input stays as it is
    const real* scale
    const real* shift
    real low, high


cdef inline Prologue nothing() noexcept nogil:
    """Input that stays as it is."""
    cdef Prologue p
    p.centre = p.scale = p.shift = NULL
    p.low, p.high = -INFINITY, INFINITY
    return p


cdef inline Prologue prologue(const real* map_3c, Py_ssize_t channels, int kind) noexcept nogil:
    """A map, and one of the activations IDENTITY, RELU and RELU6."""
    cdef Prologue p
    p.centre, p.scale, p.shift = map_3c, map_3c + channels, map_3c + 2*channels
    p.low = 0 if kind == RELU or kind == RELU6 else -INFINITY
    p.high = 6 if kind == RELU6 else INFINITY
    return p


cdef inline bint maps(const Prologue* p) noexcept nogil:
    """Whether there is anything to do."""
    return p.centre is not NULL


cdef inline vr mapped(vr x, vr centre, vr scale, vr shift, vr low, vr high) noexcept nogil:
    x = x - centre
    x = x*scale + shift
    return vmin(high, vmax(low, x))         # a NaN stays one


cdef inline vr map_vector(const Prologue* p, const int lanes, Py_ssize_t channel, const real* x) noexcept nogil:
    """Some neighbouring channels of a pixel, from `channel` on, which lie at x."""
    return mapped(vload_lanes(x, lanes), vload_lanes(p.centre + channel, lanes), vload_lanes(p.scale + channel, lanes),
                  vload_lanes(p.shift + channel, lanes), vsplat(p.low), vsplat(p.high))


cdef inline void map_pixels(
    const Prologue* p, Py_ssize_t channel, Py_ssize_t channels, const real* x, Py_ssize_t step, Py_ssize_t pixels,
    real* out, Py_ssize_t out_step,
) noexcept nogil:
    """Some channels of pixels that are `step` apart; x and out are where the first of them lies, and is to lie."""
    cdef Py_ssize_t _, c
    for _ in range(pixels):
        c = 0
        while c + VLEN <= channels:
            vstore(out + c, map_vector(p, VLEN, channel + c, x + c))
            c += VLEN
        if c < channels:
            vstore_lanes(out + c, map_vector(p, <int>(channels - c), channel + c, x + c), <int>(channels - c))
        x, out = x + step, out + out_step
