"""The gradient that comes back to a batch norm, possibly through an activation, or a max-pooling, or both.

Then it is not in memory: it is made in registers, or in cache, from what is, just before it is used. `at` and `length`
are elements; both are of whole rows.
"""

from libc.stdint cimport uint8_t

from convkit._kernels._affine cimport Affine
from convkit._kernels._simd cimport (
    real, vi, viequal, viload_u8, visplat, vload_lanes, vloaded, vr, vselect, vsplat,
)
from convkit._kernels._windows cimport Axis, Window


cdef struct Incoming:
    const real* grad                # of the batch norm's output, or of what was made of it
    const real* x                   # the batch norm's input; for sums behind a pooling, the maxima in it
    Py_ssize_t rows, channels       # of `grad`
    # Through an activation: its kind and slope, and the map that gives its input.
    int kind
    real slope
    Affine map
    # Through a max-pooling (and the activation before it, which the places tell of): else `places` is NULL.
    const uint8_t* places
    Axis down, across
    bint overlap                    # some pixel lies in two windows


cdef inline bint overlapping(const Axis* axis) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(axis.size):
        if axis.holders[i].behind - axis.holders[i].first > 1:
            return True
    return False


# ---------------------------------------------------------------------------------------------------------------------
# Through a max-pooling


cdef inline vr gathered(
    const int lanes, const Incoming* g, const real* grad, const uint8_t* places, Py_ssize_t row, Py_ssize_t col,
) noexcept nogil:
    """The gradients of the windows that have their maximum at one pixel, in a vector of channels."""
    cdef vr sum = vsplat(0)
    cdef vi here
    cdef Py_ssize_t p, q, at
    for p in range(g.down.holders[row].first, g.down.holders[row].behind):
        for q in range(g.across.holders[col].first, g.across.holders[col].behind):
            at = (p*g.across.count + q)*g.channels
            here = visplat(<int>((row - g.down.window[p].start)*g.across.widest + col - g.across.window[q].start))
            sum = sum + vselect(viequal(viload_u8(places + at, lanes), here), vloaded(vload_lanes(grad + at, lanes)),
                                vsplat(0))
    return sum
