"""Pairs of channels, rounded to bfloat16, that the register tile multiplies in place of numbers.

Of an odd number of channels the last has a zero beside it. Denormals count as zero, and a number that rounds to 2^128
as an Inf: what comes of it is not finite, and is computed again from the numbers themselves.
"""

from libc.string cimport memset

from convkit._kernels._axis cimport Axis
from convkit._kernels._prologue cimport Prologue, map_vector, maps
from convkit._kernels._simd cimport VLEN, real, vload, vload_lanes, vpair_lanes, vpairs, vr, vstore, vstore_lanes
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport BLOCK, tile_vectors
from convkit._kernels._weights cimport (
    Weights, block_count, pack_channels, pack_elements, pack_lanes, padded, tap_at,
)

cdef enum:
    SQUARE = 32                     # channels whose weights are gathered before they are paired


cdef inline vr numbers(
    const bint mapping, const Prologue* p, Py_ssize_t channel, Py_ssize_t count, const real* x,
) noexcept nogil:
    """A vector of neighbours, zeros behind the first `count`."""
    cdef int lanes = <int>max(<Py_ssize_t>0, min(count, <Py_ssize_t>VLEN))
    return map_vector(p, lanes, channel, x) if mapping else vload_lanes(x, lanes)


cdef inline void pair_run(
    const bint mapping, const Prologue* p, const real* x, Py_ssize_t count, real* pairs,
) noexcept nogil:
    """Neighbouring numbers; where they are mapped, those of one pixel."""
    cdef Py_ssize_t i = 0, rest
    while i + 2*VLEN <= count:
        vstore(pairs, vpairs(numbers(mapping, p, i, VLEN, x + i), numbers(mapping, p, i + VLEN, VLEN, x + i + VLEN)))
        i += 2*VLEN
        pairs += VLEN
    rest = count - i
    if rest > 0:
        vstore_lanes(pairs, vpairs(numbers(mapping, p, i, rest, x + i),
                                   numbers(mapping, p, i + VLEN, rest - VLEN, x + i + VLEN)), <int>ceil_div(rest, 2))


cdef inline void copy_pairs(
    const Prologue* p, const real* source, Py_ssize_t step, Py_ssize_t count, Py_ssize_t channels, real* strip,
) noexcept nogil:
    """Stage pixels that are `step` apart."""
    cdef Py_ssize_t i, pairs = ceil_div(channels, 2)
    if maps(p):                     # then there is one group
        for i in range(count):
            pair_run(True, p, source + i*step, channels, strip + i*pairs)
    elif step == channels and channels % 2 == 0:
        pair_run(False, p, source, count*channels, strip)
    else:
        for i in range(count):
            pair_run(False, p, source + i*step, channels, strip + i*pairs)


cdef inline void pack_pairs(
    const Weights* w, const real* tap, Py_ssize_t channels, Py_ssize_t lanes, Py_ssize_t width, real* panel,
) noexcept nogil:
    """At most SQUARE channels of one tap."""
    cdef real square[SQUARE*BLOCK]
    cdef const real* rows
    cdef Py_ssize_t pair, v
    if w.lane == 1:
        pack_lanes(tap, w.channel, channels, lanes, width, square)
    elif w.channel == 1:
        pack_channels(tap, w.lane, channels, lanes, width, square)
    else:
        pack_elements(tap, w.channel, w.lane, channels, lanes, width, square)
    if channels % 2:
        memset(square + channels*width, 0, width*sizeof(real))
    for pair in range(ceil_div(channels, 2)):
        rows = square + 2*pair*width
        for v in range(width // VLEN):
            vstore(panel + v*VLEN, vpair_lanes(vload(rows + v*VLEN), vload(rows + width + v*VLEN)))
        panel += width


cdef inline void pack_block_of_pairs(
    const Weights* w, const Axis* y, const Axis* x, Py_ssize_t index, real* packed,
) noexcept nogil:
    """Pack one block of lanes, as `pack_block` does, with pairs of channels in place of channels."""
    cdef Py_ssize_t pairs = ceil_div(w.channels, 2), block = index % block_count(w.lanes), r, s, c, here
    cdef Py_ssize_t lanes = min(w.lanes - block*BLOCK, <Py_ssize_t>BLOCK), width = tile_vectors(lanes)*VLEN
    cdef const real* source = w.data + index // block_count(w.lanes)*w.group + block*BLOCK*w.lane
    cdef real* panel = packed + (index // block_count(w.lanes)*padded(w.lanes) + block*BLOCK)*y.taps*x.taps*pairs
    for r in range(y.taps):
        for s in range(x.taps):
            c = 0
            while c < w.channels:
                here = min(w.channels - c, <Py_ssize_t>SQUARE)
                pack_pairs(w, source + tap_at(w, y, x, r, s) + c*w.channel, here, lanes, width, panel)
                panel += ceil_div(here, 2)*width
                c += SQUARE
