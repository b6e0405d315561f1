"""A (rows, channels) matrix, and sums over its rows that are cut by its shape alone.

Rows of few channels do not fill vectors, so rows are taken in groups: the fewest whose elements do, and fill several,
which are worked on side by side. What a kernel knows of each channel is tiled over the group, and the matrix is one run
of elements with that period.

Partial sums are kept in double and added up in order of the rows, so neither the number of threads nor the
instruction set's width in `real` decides how far a sum can drift.
"""

from convkit._kernels._simd cimport VLEN, real

cdef enum:
    CHUNKS = 64                 # parallelism offered, and the most partial sums kept
    CHUNK_ROWS = 64             # fewer rows than this are not worth a chunk of their own
    WIDE = 4*VLEN               # rows of so many channels fill vectors well enough
    STRIP = 4096                # elements in first-level cache, from which one block of columns is summed after another
    BAND = 16384                # elements that a thread takes at a time where nothing is summed; at least one group


cdef inline Py_ssize_t group_width(Py_ssize_t channels) noexcept nogil:
    """Elements of a group of rows: a common multiple of the channels and a vector, and wide, unless rows are wide."""
    cdef Py_ssize_t width = channels
    if 0 < channels < WIDE:
        while width < WIDE or width % VLEN != 0:
            width += channels
    return width


cdef inline void repeat(real* table, Py_ssize_t channels, Py_ssize_t width) noexcept nogil:
    """Copy what a table says of the first row of a group to the others."""
    cdef Py_ssize_t i
    for i in range(channels, width):
        table[i] = table[i - channels]


cdef inline Py_ssize_t chunk_count(Py_ssize_t rows) noexcept nogil:
    return max(<Py_ssize_t>1, min(<Py_ssize_t>CHUNKS, rows // CHUNK_ROWS))


cdef inline Py_ssize_t chunk_start(Py_ssize_t rows, Py_ssize_t chunk) noexcept nogil:
    return chunk*rows // chunk_count(rows)


cdef inline Py_ssize_t strip_groups(Py_ssize_t width) noexcept nogil:
    """Groups in a strip: enough for what is loaded and stored around it to be little."""
    return max(<Py_ssize_t>8, STRIP // width)


cdef inline void add_up(double* partial, Py_ssize_t chunks, Py_ssize_t width) noexcept nogil:
    """Add all chunks into the first."""
    cdef Py_ssize_t chunk, c
    for chunk in range(1, chunks):
        for c in range(width):
            partial[c] += partial[chunk*width + c]


cdef inline void fold(double* sums, Py_ssize_t width, Py_ssize_t channels) noexcept nogil:
    """Add what the rows of a group have summed into the first of them."""
    cdef Py_ssize_t row, c
    for row in range(1, width // channels):
        for c in range(channels):
            sums[c] += sums[row*channels + c]
