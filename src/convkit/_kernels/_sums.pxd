"""Sums over the rows of a matrix, in double: of z and z*(x - centre), where z is a gradient, or x - centre itself."""

from convkit._kernels._rows cimport strip_groups
from convkit._kernels._simd cimport VDLEN, real, vd, vdload, vdload_real, vdstore

cdef enum:
    # Of doubles, for each of two sums and a centre, in registers together. With eight, memory is read in order up to
    # 64 channels.
    VECTORS = 8
    HALF = 4


cdef inline void sum_block(
    const int vectors, const bint squares, const real* grad, const real* x, const double* centre, Py_ssize_t groups,
    Py_ssize_t width, double* sums, double* products,
) noexcept nogil:
    cdef vd sum[VECTORS]
    cdef vd product[VECTORS]
    cdef vd middle[VECTORS]
    cdef vd d, z
    cdef Py_ssize_t group
    cdef int v
    for v in range(vectors):
        sum[v], product[v] = vdload(sums + v*VDLEN), vdload(products + v*VDLEN)
        middle[v] = vdload(centre + v*VDLEN)
    for group in range(groups):
        for v in range(vectors):
            d = vdload_real(x + group*width + v*VDLEN) - middle[v]
            z = d if squares else vdload_real(grad + group*width + v*VDLEN)
            sum[v], product[v] = sum[v] + z, product[v] + z*d
    for v in range(vectors):
        vdstore(sums + v*VDLEN, sum[v])
        vdstore(products + v*VDLEN, product[v])


cdef inline void sum_columns(
    const bint squares, const real* grad, const real* x, const double* centre, Py_ssize_t groups, Py_ssize_t width,
    Py_ssize_t columns, double* sums,
) noexcept nogil:
    """Add the first columns of groups, which lie `width` apart, to their sums and products."""
    cdef double* products = sums + width
    cdef double d, z
    cdef Py_ssize_t c = 0, group
    while VDLEN == 8 and c + VECTORS*VDLEN <= columns:      # elsewhere there are too few registers
        sum_block(VECTORS, squares, grad + c, x + c, centre + c, groups, width, sums + c, products + c)
        c += VECTORS*VDLEN
    while c + HALF*VDLEN <= columns:
        sum_block(HALF, squares, grad + c, x + c, centre + c, groups, width, sums + c, products + c)
        c += HALF*VDLEN
    while c + VDLEN <= columns:
        sum_block(1, squares, grad + c, x + c, centre + c, groups, width, sums + c, products + c)
        c += VDLEN
    while c < columns:
        for group in range(groups):
            d = <double>x[group*width + c] - centre[c]
            z = d if squares else <double>grad[group*width + c]
            sums[c] += z
            products[c] += z*d
        c += 1


cdef inline void sum_run(
    const bint squares, const real* grad, const real* x, const double* centre, Py_ssize_t length, Py_ssize_t width,
    double* sums,
) noexcept nogil:
    """Add a run of elements to sums that repeat every `width`."""
    cdef Py_ssize_t groups = length // width, group = 0, strip = strip_groups(width), at
    while group < groups:
        at = group*width
        sum_columns(squares, grad + at, x + at, centre, min(strip, groups - group), width, width, sums)
        group += strip
    at = groups*width
    sum_columns(squares, grad + at, x + at, centre, 1, width, length - at, sums)
