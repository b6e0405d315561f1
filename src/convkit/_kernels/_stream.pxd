"""Stores past the caches, for results that no cache would keep: their lines are then not read before they are written.

A result that fits is stored as usual: whoever reads it next finds it there.
"""

from libc.stdint cimport uintptr_t

from convkit._kernels._simd cimport VBYTES, VLEN, real, vr, vstore, vstore_lanes, vstream

cdef enum:
    # Half of a last-level cache of 32 MB. From here on the call itself takes a tenth to a quarter less time, and so
    # does a chain of calls that read each other's results; below, such a chain is slower.
    STREAM_BYTES = 16*1024*1024


cdef inline bint streams(const real* out, Py_ssize_t count) noexcept nogil:
    """Whether `count` elements at `out` are to be stored past the caches."""
    return count >= STREAM_BYTES // <Py_ssize_t>sizeof(real) and <uintptr_t>out % VBYTES == 0


cdef inline void put(real* out, vr v, bint stream) noexcept nogil:
    if stream:
        vstream(out, v)
    else:
        vstore(out, v)


cdef inline void put_lanes(real* out, vr v, int lanes, bint stream) noexcept nogil:
    """Put a whole vector, or store the first lanes of one."""
    if lanes == VLEN:
        put(out, v, stream)
    else:
        vstore_lanes(out, v, lanes)
