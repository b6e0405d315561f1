"""Memory for a kernel's own use."""

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)


cdef inline Py_ssize_t granted(Py_ssize_t bytes) noexcept nogil:
    """What `scratch` takes for so many: whole cache lines, of which the last is never full."""
    return (bytes // 64 + 1)*64 if bytes else 0


cdef inline void* scratch(Py_ssize_t bytes) noexcept nogil:
    """Memory at the beginning of a cache line, to be freed; NULL where there is none."""
    return aligned_alloc(64, granted(max(bytes, <Py_ssize_t>1)))
