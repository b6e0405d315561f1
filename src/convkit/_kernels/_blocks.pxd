"""Blocks of memory that are used again, lent to kernels for their own use."""

cdef void* lend(Py_ssize_t bytes) noexcept nogil
cdef Py_ssize_t lent(Py_ssize_t bytes) noexcept nogil
cdef void take_back(void* start, Py_ssize_t bytes) noexcept nogil
