"""A kernel's work, written down once so that it can be done again and again without Python.

A kernel that takes part has a C function `run`, and hands it out as the capsule CALL. Its arguments are all in a Call,
but for where data lie: that is an offset in one of a few memories, which each run brings. So a list of calls is never
written to, and several threads can go through it at once, each with memories of its own (see program.pyx).
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New

from convkit._kernels._epilogue cimport Epilogue
from convkit._kernels._pass cimport Compute, Pass
from convkit._kernels._simd cimport real
from convkit._kernels._windows cimport spacing_t

cdef enum:
    NOWHERE = -1


cdef struct Place:
    int memory                      # NOWHERE if there is none
    Py_ssize_t offset               # in elements


cdef struct Call                    # which its own function takes

ctypedef bint (*Run)(const Call* call, real* const* memory, int threads) noexcept nogil


cdef struct Call:
    Run run                         # returns whether it had memory for its scratch
    Place x, residual, out
    Py_ssize_t images
    Py_ssize_t rows, cols, channels             # of x
    Py_ssize_t out_rows, out_cols, out_channels  # of out, or of the image that it is a part of
    # Of a convolution: all but where images lie, and how many threads there are.
    Pass convolution
    Compute compute, by_products
    Py_ssize_t together             # rows of its outputs that it takes at a time, from the first on
    bint pooled                     # the next call is of maxima of its output, which nobody else reads
    # Of a pooling, as in _windows.pxd:
    spacing_t spacing_h, spacing_w
    bint count_include_pad
    # Of a map of each channel, x*scale + shift:
    const real* scale
    const real* shift
    # Of an activation, or of what follows the rest:
    int kind
    real p, q


cdef inline object capsule(Run run):
    """What Python passes from a kernel to a program."""
    return PyCapsule_New(<void*>run, "convkit.run", NULL)


cdef inline real* memory_at(real* const* memory, Place place) noexcept nogil:
    return NULL if place.memory == NOWHERE else memory[place.memory] + place.offset


cdef inline Epilogue epilogue(const Call* c, real* const* memory) noexcept nogil:
    cdef Epilogue e
    e.kind, e.slope = c.kind, c.p
    e.residual, e.output = memory_at(memory, c.residual), memory_at(memory, c.out)
    return e
