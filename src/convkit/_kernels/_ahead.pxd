"""What will be read next, fetched from memory evenly over the arithmetic before it.

Memory takes hundreds of cycles, and a processor has few places to note what it waits for: some drop a fetch when all of
them are taken, so a burst of fetches between two pieces of work brings next to nothing. One with each product of the
tile (`Product.ahead`) does, best of memory in its order, which the processor's own prefetchers then follow.
"""

from convkit._kernels._axis cimport Range
from convkit._kernels._image cimport Image
from convkit._kernels._simd cimport real
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport Product


cdef enum:
    CACHE_LINE = 64                 # bytes


cdef struct Memory:
    # One piece, in bytes.
    const char* first
    const char* behind


cdef struct Ahead:
    const char* at                  # where fetching has come to
    Memory now, then                # in the first of two pieces
    Py_ssize_t step                 # so many bytes with each product: 0 when it is done


cdef inline Memory pixels_between(
    const real* images, const Image* lie, Py_ssize_t image, Py_ssize_t count, Range rows, Range cols,
) noexcept nogil:
    """From the first of some rows' pixels in an image to the last in the last of `count` images."""
    cdef Memory m
    m.first = <const char*>(images + image*lie.image + rows.first*lie.row + cols.first*lie.col)
    m.behind = <const char*>(images + (image + count - 1)*lie.image + (rows.behind - 1)*lie.row + cols.behind*lie.col)
    return m


cdef inline Memory share_of(Memory m, Py_ssize_t share, Py_ssize_t shares) noexcept nogil:
    """One of `shares` parts of nearly the same size."""
    cdef Py_ssize_t bytes = m.behind - m.first
    cdef Memory part
    part.first, part.behind = m.first + share*bytes // shares, m.first + (share + 1)*bytes // shares
    return part


cdef inline Ahead nothing_ahead(const void* here) noexcept nogil:
    """Fetch what is there."""
    cdef Ahead a
    a.at = a.now.first = a.now.behind = a.then.first = a.then.behind = <const char*>here
    a.step = 0
    return a


cdef inline Ahead spread_over(Memory one, Memory other, Py_ssize_t products) noexcept nogil:
    """Fetch two pieces of memory along with so many products, or the larger where both take more than a line each."""
    cdef Py_ssize_t size = one.behind - one.first, size_of_other = other.behind - other.first
    cdef Ahead a
    products = max(<Py_ssize_t>1, products)
    if size + size_of_other > CACHE_LINE*products:
        if size < size_of_other:
            one.first, size = one.behind, 0
        else:
            other.first, size_of_other = other.behind, 0
    a.at, a.now, a.then = one.first, one, other
    a.step = ceil_div(size + size_of_other, products)
    return a


cdef inline void go_ahead(Ahead* a, Product* p) noexcept nogil:
    """Let the product's tiles go on fetching."""
    if a.at >= a.now.behind:
        if a.then.first < a.then.behind:
            a.at, a.now, a.then.first = a.then.first, a.then, a.then.behind
        else:
            a.step = 0
    p.ahead, p.ahead_step = a.at, a.step
