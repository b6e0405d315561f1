"""Sums over the rows of a matrix, in double: of z and z*(x - centre), where z is a gradient, or x - centre itself.

A gradient that comes through an activation, or behind a max-pooling (see `_incoming`), passes it in registers.
"""

from libc.stdint cimport uint8_t

from convkit._kernels._affine cimport Affine
from convkit._kernels._rectifiers cimport IDENTITY, rectified_gradient
from convkit._kernels._rows cimport strip_groups
from convkit._kernels._simd cimport (
    HALVES, VDLEN, VLEN, prefetch, real, vd, vdhalf, vdload, vdstore, viequal, viload_u8, visplat, vload, vload_lanes,
    vloaded, vr, vselect, vsplat, vstore,
)

cdef enum:
    # Side by side, each with two sums and a centre in double: with four, memory is read in order up to 64 channels.
    VECTORS = 4
    FEW = 2                         # the same, where registers are few or keep an activation's map, too
    POOLED = -2                     # beside the kinds of activations: places tell which gradients come back
    NOWHERE = 255                   # the place of one that does not


cdef struct Terms:
    const real* x
    const real* grad
    const double* centre            # of each column of a group
    real slope                      # of the activation,
    Affine map                      # and the map that gives its input, of each column
    const uint8_t* places           # of POOLED: where, in its window, x was the maximum


cdef inline Terms from_element(const Terms* t, Py_ssize_t at) noexcept nogil:
    cdef Terms moved = t[0]
    moved.x, moved.grad = t.x + at, t.grad + at
    if t.places is not NULL:
        moved.places = t.places + at
    return moved


cdef inline vr passed(const int kind, int lanes, const Terms* t, Py_ssize_t at, vr grad, vr input) noexcept nogil:
    """What becomes of a gradient on its way back through an activation of this input, or by its place."""
    if kind == POOLED:
        return vselect(viequal(viload_u8(t.places + at, lanes), visplat(NOWHERE)), vsplat(0), vloaded(grad))
    return rectified_gradient(kind, vloaded(grad), input, vsplat(t.slope))


cdef inline Terms from_column(const Terms* t, const int kind, Py_ssize_t c) noexcept nogil:
    cdef Terms moved = from_element(t, c)
    moved.centre = t.centre + c
    if kind != IDENTITY and kind != POOLED:
        moved.map.centre, moved.map.scale, moved.map.shift = t.map.centre + c, t.map.scale + c, t.map.shift + c
    return moved


cdef inline void sum_block(
    const int vectors, const bint squares, const int kind, Terms t, Py_ssize_t groups, Py_ssize_t width,
    Py_ssize_t ahead, double* sums, double* products,
) noexcept nogil:
    """A few vectors of each group; those `ahead` elements further on come near meanwhile."""
    cdef vd sum[VECTORS*HALVES]
    cdef vd product[VECTORS*HALVES]
    cdef vd middle[VECTORS*HALVES]
    cdef vr centre[VECTORS]
    cdef vr scale[VECTORS]
    cdef vr shift[VECTORS]
    cdef vr value, grad, input
    cdef vd d, z
    cdef Py_ssize_t _
    cdef int v, h, i
    for i in range(vectors*HALVES):
        sum[i], product[i], middle[i] = vdload(sums + i*VDLEN), vdload(products + i*VDLEN), vdload(t.centre + i*VDLEN)
    if kind != IDENTITY and kind != POOLED:
        for v in range(vectors):
            centre[v] = vload(t.map.centre + v*VLEN)
            scale[v] = vload(t.map.scale + v*VLEN)
            shift[v] = vload(t.map.shift + v*VLEN)
    for _ in range(groups):
        for v in range(vectors):
            value = grad = vload(t.x + v*VLEN)
            prefetch(t.x + v*VLEN + ahead)
            if not squares:
                grad = vload(t.grad + v*VLEN)
                prefetch(t.grad + v*VLEN + ahead)
            if kind != IDENTITY:
                input = value
                if kind != POOLED:
                    input = (value - centre[v])*scale[v] + shift[v]
                grad = passed(kind, VLEN, &t, v*VLEN, grad, input)
            for h in range(HALVES):
                i = v*HALVES + h
                d = vdhalf(value, h) - middle[i]
                z = d if squares else vdhalf(grad, h)
                sum[i], product[i] = sum[i] + z, product[i] + z*d
        t.x, t.grad = t.x + width, t.grad + width
        if kind == POOLED:
            t.places = t.places + width
    for i in range(vectors*HALVES):
        vdstore(sums + i*VDLEN, sum[i])
        vdstore(products + i*VDLEN, product[i])


cdef inline void sum_rest(
    const bint squares, const int kind, Terms t, int lanes, Py_ssize_t groups, Py_ssize_t width,
    double* sums, double* products,
) noexcept nogil:
    """The last columns, which are fewer than a vector has lanes."""
    cdef real values[VLEN]
    cdef real grads[VLEN]
    cdef vr value, grad, input
    cdef double d, z
    cdef Py_ssize_t _
    cdef int i
    for _ in range(groups):
        value = grad = vload_lanes(t.x, lanes)
        if not squares:
            grad = vload_lanes(t.grad, lanes)
        if kind != IDENTITY:
            input = value
            if kind != POOLED:
                input = value - vload_lanes(t.map.centre, lanes)
                input = input*vload_lanes(t.map.scale, lanes) + vload_lanes(t.map.shift, lanes)
            grad = passed(kind, lanes, &t, 0, grad, input)
        vstore(values, value)
        vstore(grads, grad)
        for i in range(lanes):
            d = <double>values[i] - t.centre[i]
            z = d if squares else <double>grads[i]
            sums[i] += z
            products[i] += z*d
        t.x, t.grad = t.x + width, t.grad + width
        if kind == POOLED:
            t.places = t.places + width


cdef inline void sum_columns(
    const bint squares, const int kind, const Terms* t, Py_ssize_t groups, Py_ssize_t width, Py_ssize_t columns,
    Py_ssize_t ahead, double* sums,
) noexcept nogil:
    """Add the first columns of groups, which lie `width` apart, to their sums and products."""
    cdef double* products = sums + width
    cdef Py_ssize_t c = 0
    while VDLEN == 8 and (kind == IDENTITY or kind == POOLED) and c + VECTORS*VLEN <= columns:
        sum_block(VECTORS, squares, kind, from_column(t, kind, c), groups, width, ahead, sums + c, products + c)
        c += VECTORS*VLEN
    while (VDLEN == 8 or kind == IDENTITY or kind == POOLED) and c + FEW*VLEN <= columns:
        sum_block(FEW, squares, kind, from_column(t, kind, c), groups, width, ahead, sums + c, products + c)
        c += FEW*VLEN
    while c + VLEN <= columns:
        sum_block(1, squares, kind, from_column(t, kind, c), groups, width, ahead, sums + c, products + c)
        c += VLEN
    if c < columns:
        sum_rest(squares, kind, from_column(t, kind, c), <int>(columns - c), groups, width, sums + c, products + c)


cdef inline void sum_run(
    const bint squares, const int kind, const Terms* t, Py_ssize_t length, Py_ssize_t width, double* sums,
) noexcept nogil:
    """Add a run of elements to sums that repeat every `width`."""
    cdef Py_ssize_t groups = length // width, group = 0, strip = strip_groups(width)
    cdef Terms here
    while group < groups:
        here = from_element(t, group*width)
        sum_columns(squares, kind, &here, min(strip, groups - group), width, width, strip*width, sums)
        group += strip
    here = from_element(t, groups*width)
    sum_columns(squares, kind, &here, 1, width, length - groups*width, 0, sums)
