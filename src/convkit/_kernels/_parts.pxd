"""Lists of arrays, read side by side as one range of elements: what would be a call an array becomes one call.

Each list has an array for each parameter: its values, its gradient, what an optimizer remembers of it. Arrays of one
parameter are dense and lie in the same order. Their elements are cut into runs, and threads share out the runs of all
parameters, so that many small ones cost no more than a large one.
"""

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free, malloc, qsort

from convkit._kernels._simd cimport real

cdef enum:
    RUN = 8192                      # elements that a thread takes at a time: a multiple of every VLEN
    LISTS = 4


cdef struct Part:                   # the arrays of one parameter
    real* at[LISTS]
    Py_ssize_t count, first_run     # elements, and how many runs come before

cdef struct Parts:
    Part* part
    Py_ssize_t count, runs, elements
    int lists

cdef struct Run:                    # a stretch of the arrays of one parameter
    real* at[LISTS]
    Py_ssize_t count


cdef inline bint gather(Parts* parts, tuple lists) except -1:
    """Find where the arrays of `lists` begin, whose objects have to stay; whether there was memory for it."""
    cdef list first = lists[0]
    cdef Py_ssize_t i
    cdef int j
    cdef Py_buffer buffer
    cdef Part* part
    parts.lists = <int>len(lists)
    parts.count = len(first)
    parts.runs = parts.elements = 0
    parts.part = <Part*>malloc((parts.count + 1)*sizeof(Part))
    if parts.part is NULL:
        return False
    for i in range(parts.count):
        part = parts.part + i
        for j in range(parts.lists):
            PyObject_GetBuffer((<list>lists[j])[i], &buffer, PyBUF_STRIDED_RO)
            part.at[j], part.count = <real*>buffer.buf, buffer.len // <Py_ssize_t>sizeof(real)
            PyBuffer_Release(&buffer)
        part.first_run = parts.runs
        parts.runs += (part.count + RUN - 1) // RUN
        parts.elements += part.count
    return True


cdef inline Run run_of(const Parts* parts, Py_ssize_t number) noexcept nogil:
    """Return run `number` of all: it belongs to the last part that begins at or before it."""
    cdef Py_ssize_t low = 0, high = parts.count, middle, start
    cdef Run run
    cdef int j
    while high - low > 1:
        middle = (low + high) // 2
        if parts.part[middle].first_run <= number:
            low = middle
        else:
            high = middle
    start = (number - parts.part[low].first_run)*RUN
    for j in range(parts.lists):
        run.at[j] = parts.part[low].at[j] + start
    run.count = min(<Py_ssize_t>RUN, parts.part[low].count - start)
    return run


cdef inline int by_address(const void* a, const void* b) noexcept nogil:
    return (<const Part*>a).at[0] > (<const Part*>b).at[0]


cdef inline bint apart(const Parts* parts) noexcept nogil:
    """Whether no two arrays of the first list share memory, where threads would race; unknown counts as no."""
    cdef Part* part = <Part*>malloc((parts.count + 1)*sizeof(Part))
    cdef Py_ssize_t i
    cdef bint result = part is not NULL
    if result:
        for i in range(parts.count):
            part[i] = parts.part[i]
        qsort(part, parts.count, sizeof(Part), by_address)
        for i in range(1, parts.count):
            result = result and part[i - 1].at[0] + part[i - 1].count <= part[i].at[0]
    free(part)
    return result
