"""Blocks of memory that are used again, for a kernel's own use."""

cdef void* lend(Py_ssize_t bytes) noexcept nogil
cdef void take_back(void* start, Py_ssize_t bytes) noexcept nogil
