"""Groups of one channel: vectors of channels, and their weights.

Images lie as NHWC, so a vector of channels of any pixel is whole where it lies. The last vector of channels ends where
the channels end: it overlaps the one before, and what they share is computed twice. There must be channels for one
vector.
"""

from convkit._kernels._axis cimport Axis, Range, outputs_inside
from convkit._kernels._lanewise cimport CACHE_LINE, Fetch
from convkit._kernels._pass cimport Filters, Pass
from convkit._kernels._simd cimport VLEN, real
from convkit._kernels._strip cimport ceil_div

cdef enum:
    # Products summed in registers at a time: the error of a chain grows with its length.
    DEPTH = 768


cdef struct Weights:
    # One logical weight (C, 1, rows, cols), by strides in elements.
    real* data
    Py_ssize_t channel, row, col, rows, cols, channels


cdef inline Weights weights_of(const Pass* p) noexcept nogil:
    cdef const Filters* f = &p.filters
    cdef Weights w
    w.data, w.channel, w.row, w.col = f.data, f.output, f.row, f.col
    w.channels, w.rows, w.cols = p.convolution.outputs, p.convolution.down.kernel, p.convolution.across.kernel
    return w


cdef inline Py_ssize_t vectors_of(Py_ssize_t channels) noexcept nogil:
    return ceil_div(channels, VLEN)


cdef inline Py_ssize_t first_channel(Py_ssize_t channels, Py_ssize_t vector) noexcept nogil:
    return min(vector*VLEN, channels - VLEN)


cdef inline Py_ssize_t panel(const Weights* w) noexcept nogil:
    """Weights of one vector: [row][col][lane]."""
    return w.rows*w.cols*VLEN


cdef inline Py_ssize_t reach(const Axis* axis) noexcept nogil:
    """Inputs from the first tap of an output to its last."""
    return (axis.taps - 1)*axis.grain*axis.tap_step + 1


cdef inline Range inner_outputs(const Axis* axis) noexcept nogil:
    """Outputs none of whose taps reads the padding."""
    cdef Range inner, last
    inner.first, inner.behind = 0, axis.count
    if axis.taps:
        inner, last = outputs_inside(axis, 0), outputs_inside(axis, axis.taps - 1)
        inner.first, inner.behind = max(inner.first, last.first), min(inner.behind, last.behind)
    inner.first = min(inner.first, axis.count)
    inner.behind = max(inner.first, inner.behind)
    return inner


cdef inline Fetch fetch_of(const real* first, const real* behind, Py_ssize_t blocks) noexcept nogil:
    """Memory that so many blocks call in, all of them together."""
    cdef Fetch f
    f.quota = ceil_div(ceil_div((behind - first)*<Py_ssize_t>sizeof(real), CACHE_LINE), blocks)
    f.next, f.step = <const char*>first, CACHE_LINE
    return f
