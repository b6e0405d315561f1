"""What one core can do at most: the yardstick of the benchmarks."""

from convkit._kernels._simd cimport VLEN, real, vr, vsplat, vstore

cdef enum:
    CHAINS = 12                     # independent sums: enough to hide the latency, few enough for sixteen registers


def multiply_adds(Py_ssize_t rounds, real[::1] sink):
    """Run `rounds` rounds of vector multiply-adds in registers; return how many scalar multiply-adds that were.

    `sink` takes the sums (CHAINS*VLEN at least), so that they are computed.
    """
    cdef vr acc[CHAINS]
    cdef vr x = vsplat(sink[0]), y = vsplat(sink[1])
    cdef Py_ssize_t _
    cdef int i
    with nogil:
        for i in range(CHAINS):
            acc[i] = vsplat(<real>i)
        for _ in range(rounds):
            for i in range(CHAINS):
                acc[i] = acc[i]*x + y
        for i in range(CHAINS):
            vstore(&sink[i*VLEN], acc[i])
    return rounds*CHAINS*VLEN
