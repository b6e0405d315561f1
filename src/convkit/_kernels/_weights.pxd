"""Weights, packed into panels that the tile reads from front to back.

In memory: [group][block of lanes][tap row][tap column][channel][lanes of the block, zeros behind the last]. The sums
of a weight's gradient lie in the same order.
"""

from libc.string cimport memcpy

from convkit._kernels._axis cimport Axis
from convkit._kernels._simd cimport VLEN, real
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport BLOCK, tile_vectors


cdef struct Weights:
    # One logical weight, by strides in elements. `lanes` become outputs of the tile, `channels` are summed over.
    const real* data
    Py_ssize_t groups, channels, lanes
    Py_ssize_t group, channel, lane, row, col


cdef inline Py_ssize_t padded(Py_ssize_t lanes) noexcept nogil:
    """Lanes of a group, in whole vectors."""
    return ceil_div(lanes, VLEN)*VLEN


cdef inline Py_ssize_t block_count(Py_ssize_t lanes) noexcept nogil:
    """Blocks of lanes in a group."""
    return ceil_div(lanes, BLOCK)


cdef inline void pack_block(
    const Weights* w, const Axis* y, const Axis* x, Py_ssize_t index, real* packed,
) noexcept nogil:
    """Pack one block of lanes; `index` counts through all groups."""
    cdef Py_ssize_t group = index // block_count(w.lanes), first = index % block_count(w.lanes)*BLOCK
    cdef Py_ssize_t lanes = min(w.lanes - first, <Py_ssize_t>BLOCK), width = tile_vectors(lanes)*VLEN, r, s, c, k
    cdef const real* source = w.data + group*w.group + first*w.lane
    cdef real* panel = packed + (group*padded(w.lanes) + first)*y.taps*x.taps*w.channels
    cdef const real* tap
    for r in range(y.taps):
        for s in range(x.taps):
            tap = source + (y.weight_first + y.weight_step*r)*w.row + (x.weight_first + x.weight_step*s)*w.col
            for c in range(w.channels):
                if w.lane == 1:
                    memcpy(panel, tap + c*w.channel, lanes*sizeof(real))
                else:
                    for k in range(lanes):
                        panel[k] = tap[c*w.channel + k*w.lane]
                for k in range(lanes, width):
                    panel[k] = 0
                panel = panel + width
