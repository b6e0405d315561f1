"""Rows of pixels that are not in memory: whoever reads them has them made, a few at a time, in a cache.

batch_norm.pyx has the gradient of its input so. Between kernels of one variant it goes as a capsule, as passes do
(see _pass.pxd); who hands it on keeps what it is of.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New

from convkit._kernels._simd cimport real

# Write so many pixels, of whole rows, from one on that counts over all images.
ctypedef void (*Make)(const void* of, Py_ssize_t first, Py_ssize_t count, real* out) noexcept nogil


cdef struct PendingRows:
    Make make                       # NULL where rows lie in memory
    const void* of
    const real* like                # what they are made of, for the larger part, lies here as they would


cdef inline object handed_out(const PendingRows* rows):
    return PyCapsule_New(<void*>rows, "convkit.rows", NULL)


cdef inline const PendingRows* rows_of(object capsule) except NULL:
    return <const PendingRows*>PyCapsule_GetPointer(capsule, "convkit.rows")
