"""bfloat16 and float32, as bits: a bfloat16 is the upper half of a float32.

Widening is exact. Narrowing rounds to the nearest bfloat16, of two to the one whose last bit is 0; numbers beyond the
largest become infinite, and NaN stays NaN. Denormals are numbers like others.
"""

from cython.parallel cimport prange
from libc.stdint cimport uint16_t, uint32_t

from convkit._kernels._threads cimport worth

cdef enum:
    CHUNK = 16384                   # numbers that a thread takes at a time


cdef void widen_part(const uint16_t* x, Py_ssize_t size, uint32_t* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        out[i] = <uint32_t>x[i] << 16


cdef void narrow_part(const uint32_t* x, Py_ssize_t size, uint16_t* out) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t rounded, quiet
    for i in range(size):
        # Just under a half is added, and the last bit that stays: that carries where more than a half is cut off, and
        # where just a half is, behind a 1. It would carry a NaN into infinity: that is cut, and kept from becoming one.
        rounded = x[i] + 0x7fff + (x[i] >> 16 & 1)
        quiet = x[i] | 0x400000
        out[i] = <uint16_t>((quiet if (x[i] & 0x7fffffff) > 0x7f800000 else rounded) >> 16)


def widen(const uint16_t[::1] x, uint32_t[::1] out, int threads):
    """out[i] = x[i]: bits of bfloat16 into bits of float32."""
    cdef Py_ssize_t size = x.shape[0], chunks = (size + CHUNK - 1) // CHUNK, i
    threads = worth(threads, <double>size)
    for i in prange(chunks, nogil=True, schedule='static', num_threads=threads):
        widen_part(&x[i*CHUNK], min(size - i*CHUNK, <Py_ssize_t>CHUNK), &out[i*CHUNK])


def narrow(const uint32_t[::1] x, uint16_t[::1] out, int threads):
    """out[i] = x[i], rounded: bits of float32 into bits of bfloat16."""
    cdef Py_ssize_t size = x.shape[0], chunks = (size + CHUNK - 1) // CHUNK, i
    threads = worth(threads, <double>size)
    for i in prange(chunks, nogil=True, schedule='static', num_threads=threads):
        narrow_part(&x[i*CHUNK], min(size - i*CHUNK, <Py_ssize_t>CHUNK), &out[i*CHUNK])
