"""Sums over the rows of a (rows, channels) matrix, cut by its shape alone.

Partial sums are kept in double and added up in order of the rows, so neither the number of threads nor the
instruction set's width in `real` decides how far a sum can drift.
"""

cdef enum:
    CHUNKS = 64                 # parallelism offered, and the most partial sums kept
    CHUNK_ROWS = 64             # fewer rows than this are not worth a chunk of their own


cdef inline Py_ssize_t chunk_count(Py_ssize_t rows) noexcept nogil:
    return max(<Py_ssize_t>1, min(<Py_ssize_t>CHUNKS, rows // CHUNK_ROWS))


cdef inline void add_up(double* partial, Py_ssize_t chunks, Py_ssize_t width) noexcept nogil:
    """Add all chunks into the first."""
    cdef Py_ssize_t chunk, c
    for chunk in range(1, chunks):
        for c in range(width):
            partial[c] += partial[chunk*width + c]
