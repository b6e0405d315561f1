"""A convolution's weights as AMX tiles: how many bytes they are, and how `pack` lays them for the calls of a program.

Packed, in bytes: [group][chunk of channels][block of 32 lanes][step][part][tile], the steps being those of strides and
dilations of 1. Others have the same where channels fill whole blocks; where they do not, a call packs for itself.
"""

from convkit._kernels._amx cimport DEEP, PAIR
from convkit._kernels._amx_strip cimport Correlation, choose_layout, chunk_of, run_of
from convkit._kernels._amx_weights cimport Run, pack_run, step_bytes
from convkit._kernels._axis cimport forward_axis
from convkit._kernels._simd cimport OF_BFLOAT16, flush_denormals, restore_denormals
from convkit._kernels._split cimport least_split
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._weights cimport Weights


cdef inline Py_ssize_t tiles_bytes(const Correlation* t) noexcept nogil:
    """Of one group and one chunk of channels."""
    return ceil_div(t.lanes, PAIR)*t.steps*step_bytes(t.parts)


cdef inline void pack_block(
    const Correlation* t, const Weights* w, Py_ssize_t block, char* tiles, bint* beyond,
) noexcept nogil:
    """Split one block of lanes into tiles; note weights that have no parts."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t step, apart = 1 if t.lined or OF_BFLOAT16 else DEEP // 2
    cdef Run run
    tiles = tiles + block*t.steps*step_bytes(t.parts)
    for step in range(t.steps):
        run = run_of(t, step)
        if pack_run(w, &t.y, &t.x, &run, block*PAIR, t.parts, apart, least_split(t.parts), tiles + t.place[step]):
            beyond[0] = True
    restore_denormals(mode)


cdef inline Correlation unit_steps(const Correlation* t) noexcept nogil:
    """The same taps, with strides and dilations of 1: so `pack` has them."""
    cdef Correlation p = t[0]
    p.y = forward_axis(t.y.taps + 1, 2, t.y.taps, 1, 0, 1)
    p.x = forward_axis(t.x.taps + 1, 2, t.x.taps, 1, 0, 1)
    choose_layout(&p)
    return p


cdef inline bint lies_packed(const Correlation* t) noexcept nogil:
    """Whether these weights lie as `pack` has laid them: but for few channels, strides make no difference."""
    return t.packed is not NULL and unit_steps(t).lined == t.lined


cdef inline Py_ssize_t packed_chunk(const Correlation* t) noexcept nogil:
    """Bytes of a chunk's tiles as `pack` lays them."""
    cdef Correlation p = unit_steps(t)
    return tiles_bytes(&p)


cdef inline Py_ssize_t packed_group(const Correlation* t, const Weights* w) noexcept nogil:
    """Bytes of a group's tiles as `pack` lays them."""
    cdef Correlation p = unit_steps(t)
    cdef Py_ssize_t first = 0, size = chunk_of(&p, w.channels), bytes = 0
    while first < w.channels:
        p.channels = min(size, w.channels - first)
        bytes += packed_chunk(&p)
        first += size
    return bytes
