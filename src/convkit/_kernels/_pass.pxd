"""A pass of a convolution, as kernels are told of it: its sizes, where data lie, and what becomes of the results.

A kernel has a C function for each pass that it computes, and one that tells how much scratch that takes. It hands both
out together (`computing`), under the name of the pass; forward and backward-input are one function, a correlation.
Where weights can be packed beforehand, it hands out how (`packing`). passes.pyx calls all of these for arrays,
program.pyx as a part of networks.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New

from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, plain
from convkit._kernels._image cimport Image
from convkit._kernels._pending_rows cimport PendingRows
from convkit._kernels._prologue cimport Prologue, nothing
from convkit._kernels._simd cimport real, stored

cdef enum:
    # What a pass returns. Those that never transform anything say False or True.
    NO_MEMORY = 0
    DONE = 1
    NOT_FINITE = 2                  # a result is not, and a transform may have spread what is not over its neighbours


cdef struct Filters:
    # A weight (K, C/groups, R, S), or its gradient: strides in elements.
    stored* data
    Py_ssize_t output, channel, row, col


cdef struct Pass:
    Convolution convolution
    const stored* input             # the images; where their gradient is computed, the gradient of the output
    Prologue prologue               # of the images; kernels that transform them have none
    # The gradient of the output, where that of the filters is computed: in memory, or for kernels that take it so, not.
    const stored* grad
    PendingRows grad_rows
    Filters filters
    const real* packed              # the filters as the kernel itself packs them, or NULL
    const real* bias                # or NULL
    stored* output                  # the images' gradient, where that is computed
    Epilogue epilogue
    int extra                       # what the algorithm takes beside: m of Winograd, parts of AMX
    # Whether an image's bits may not depend on how many others there are: in networks, which are run in pieces.
    bint constant
    int threads


cdef inline Pass begin_pass(int extra, int threads) noexcept nogil:
    """A pass without arrays."""
    cdef Pass p
    p.input = p.grad = p.output = p.filters.data = NULL
    p.grad_rows.make, p.grad_rows.of, p.grad_rows.like = NULL, NULL, NULL
    p.packed = p.bias = NULL
    p.prologue, p.epilogue, p.extra, p.constant, p.threads = nothing(), plain(), extra, False, threads
    return p


cdef inline Filters filters_of(const stored* data, const Py_ssize_t* strides) noexcept nogil:
    """Filters whose strides are given in bytes."""
    cdef Filters f
    cdef Py_ssize_t size = sizeof(stored)
    f.data, f.output, f.channel = <stored*>data, strides[0] // size, strides[1] // size
    f.row, f.col = strides[2] // size, strides[3] // size
    return f


ctypedef int (*Compute)(const Pass* p) noexcept nogil
ctypedef Py_ssize_t (*Tell)(const Pass* p) noexcept nogil           # bytes, or elements; -1 where memory is short
ctypedef bint (*Pack)(const Pass* p, real* packed) noexcept nogil   # whether there was memory


cdef inline tuple computing(Compute compute, Tell scratch):
    """What Python passes on from a kernel: how to compute a pass, and its scratch in bytes."""
    return PyCapsule_New(<void*>compute, "convkit.compute", NULL), PyCapsule_New(<void*>scratch, "convkit.tell", NULL)


cdef inline tuple packing(Pack pack, Tell size):
    """The same of the filters: how to pack them, and into how many elements."""
    return PyCapsule_New(<void*>pack, "convkit.pack", NULL), PyCapsule_New(<void*>size, "convkit.tell", NULL)


cdef inline Compute compute_of(object capsule) except NULL:
    return <Compute>PyCapsule_GetPointer(capsule, "convkit.compute")


cdef inline Tell tell_of(object capsule) except NULL:
    return <Tell>PyCapsule_GetPointer(capsule, "convkit.tell")


cdef inline Pack pack_of(object capsule) except NULL:
    return <Pack>PyCapsule_GetPointer(capsule, "convkit.pack")


cdef inline Pass image_of(const Pass* p, Py_ssize_t image) noexcept nogil:
    """One image of a correlation."""
    cdef Pass one = p[0]
    one.convolution.images = 1
    one.input += image*source_image(&p.convolution).image
    one.output += image*target_image(&p.convolution).image
    if one.epilogue.residual is not NULL:
        one.epilogue.residual += image*target_image(&p.convolution).image
    one.epilogue.output = <const real*>one.output
    return one


cdef inline bint goes_by_image(const Pass* p) noexcept nogil:
    """Whether what is not finite in one image must not, or need not, cost the others their transform."""
    cdef Image image = target_image(&p.convolution)
    return p.grad is NULL and p.convolution.images > 1 and (p.constant or image.rows*image.cols > 1)


cdef inline int compute_unpacked(Compute compute, const Pass* p) noexcept nogil:
    """By another kernel than that which has packed the filters."""
    cdef Pass other = p[0]
    other.packed = NULL
    return compute(&other)


cdef inline int compute_pass(Compute compute, Compute by_products, const Pass* p) noexcept nogil:
    """Compute a pass; by products where a transform spread what is not finite.

    The finite results of a transform are those of a sum of products; but an Inf, a NaN or an overflow reaches
    neighbours that it has no part in.
    """
    cdef int done = compute(p)
    cdef Py_ssize_t image
    cdef Pass one
    if done != NOT_FINITE:
        return done
    if not goes_by_image(p):
        return compute_unpacked(by_products, p)
    for image in range(p.convolution.images):
        one = image_of(p, image)
        done = compute(&one)
        if done == NOT_FINITE:
            done = compute_unpacked(by_products, &one)
        if done == NO_MEMORY:
            return NO_MEMORY
    return DONE
