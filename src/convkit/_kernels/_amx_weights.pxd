"""Weights as AMX tiles read them: split into parts, two channels to a pair.

In memory: [block of 32 lanes][step][part][16 lanes of the block][16 pairs of channels][lane][channel of the pair],
zeros behind the last lane and channel. In a block of up to 16 lanes the second half is not written, nor read. A pair is
two channels of a step that are `apart`: 16, as an input's parts are stored, or 1 where that lies without gaps, or is
bfloat16 as it lies in memory.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from convkit._kernels._amx cimport DEEP, PAIR, TILE, TILE_BYTES, are_beyond, magnitudes, no_magnitudes, vmeasure
from convkit._kernels._axis cimport Axis
from convkit._kernels._simd cimport real, stored, vload, vr
from convkit._kernels._split cimport MOST_SPLIT, store_pairs
from convkit._kernels._weights cimport Weights, pack_channels, pack_elements, pack_lanes


cdef struct Run:
    # What a step sums over: neighbours in the (column, channel) range of one row of taps.
    Py_ssize_t row, first, count


cdef inline Py_ssize_t step_bytes(int parts) noexcept nogil:
    return parts*2*TILE_BYTES


cdef inline void gather_run(
    const Weights* w, const Axis* y, const Axis* x, const Run* run, Py_ssize_t first_lane, Py_ssize_t lanes,
    real* square,
) noexcept nogil:
    """Collect the weights of a run: rows are channels, of which there are DEEP, columns are lanes, of which PAIR."""
    cdef Py_ssize_t done = 0, col, channel, here
    cdef const stored* source = w.data + first_lane*w.lane + (y.weight_first + y.weight_step*run.row)*w.row
    cdef const stored* tap
    if lanes < PAIR or run.count < DEEP:
        memset(square, 0, DEEP*PAIR*sizeof(real))
    while done < run.count:
        col, channel = (run.first + done) // w.channels, (run.first + done) % w.channels
        here = min(run.count - done, w.channels - channel)
        tap = source + (x.weight_first + x.weight_step*col)*w.col + channel*w.channel
        if w.lane == 1:
            pack_lanes(tap, w.channel, here, lanes, PAIR, square + done*PAIR)
        elif w.channel == 1:
            pack_channels(tap, w.lane, here, lanes, PAIR, square + done*PAIR)
        else:
            pack_elements(tap, w.channel, w.lane, here, lanes, PAIR, square + done*PAIR)
        done += here


cdef inline bint split_square(
    const int parts, const real* square, Py_ssize_t lanes, Py_ssize_t apart, uint32_t least, char* tiles,
) noexcept nogil:
    """Turn the weights of a run into tiles; return whether one has no parts."""
    cdef Py_ssize_t half, pair, halves = 2 if lanes > TILE else 1, between = 2 if apart == 1 else 1
    cdef magnitudes seen = no_magnitudes()
    cdef vr first, second
    cdef const real* rows
    for half in range(halves):
        for pair in range(DEEP // 2):
            rows = square + pair*between*PAIR + half*TILE
            first, second = vload(rows), vload(rows + apart*PAIR)
            vmeasure(&seen, first)
            vmeasure(&seen, second)
            store_pairs(parts, first, second, tiles + half*TILE_BYTES + pair*64, 2*TILE_BYTES)
    return are_beyond(&seen, least, MOST_SPLIT)


cdef inline bint pack_run(
    const Weights* w, const Axis* y, const Axis* x, const Run* run, Py_ssize_t first_lane, int parts, Py_ssize_t apart,
    uint32_t least, char* tiles,
) noexcept nogil:
    """Pack one step of the block that begins with a lane; return whether a weight has no parts."""
    cdef real square[DEEP*PAIR]
    cdef Py_ssize_t lanes = min(w.lanes - first_lane, <Py_ssize_t>PAIR)
    gather_run(w, y, x, run, first_lane, lanes, square)
    if parts == 3:
        return split_square(3, square, lanes, apart, least, tiles)
    if parts == 2:
        return split_square(2, square, lanes, apart, least, tiles)
    return split_square(1, square, lanes, apart, least, tiles)
