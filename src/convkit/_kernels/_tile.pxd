"""The register tile that every convolution pass, and every linear layer, spends its time in.

    out[i, :] = init[i, :] + sum over s, k of  a[segment[s] + i*a_row + k*a_col] * b[b_segment[s] + k, :]

One operand is read a scalar at a time and broadcast, the other a row of vectors at a time; the sums stay in
registers from the first product to the last. What i, k and the lanes stand for is the caller's choice:

    pass              i (rows)           k (summed)            lanes
    forward           output columns     tap and channel       output channels
    backward-input    input columns      tap and out channel   input channels
    backward-weight   tap and channel    output pixels         output channels
"""

from convkit._kernels._simd cimport (
    NARROW_TILE_ROWS, TILE_ROWS, TILE_VECTORS, VLEN, opaque, opaque_stride, prefetch, real, vload, vload_lanes, vr,
    vsplat, vstore, vstore_lanes,
)


cdef enum:
    BLOCK = TILE_VECTORS*VLEN       # lanes of a full block


cdef struct Product:
    const real* a
    Py_ssize_t a_row, a_col
    const Py_ssize_t* segment       # where in `a` each run of the sum begins
    Py_ssize_t segments, length     # how many runs, and products in each: at least one
    const real* b
    Py_ssize_t b_row
    const Py_ssize_t* b_segment     # and in `b`, in rows
    const real* init                # added to the sum, at the end: a long sum taken in parts is then
    Py_ssize_t init_row             # a tree two levels high, not one chain of roundings
    real* out
    Py_ssize_t out_row
    int lanes                       # of the last vector, how many are there
    const char* ahead               # memory that will be read soon, and how many bytes of it to
    Py_ssize_t ahead_step           # fetch with each product


cdef inline int tile_vectors(Py_ssize_t lanes) noexcept nogil:
    """Vectors in the block that covers the first of `lanes` remaining lanes."""
    return 2 if lanes > VLEN else 1


cdef inline Py_ssize_t tile_count(Py_ssize_t rows, int vectors) noexcept nogil:
    """Tiles that cover `rows` rows."""
    cdef Py_ssize_t most = TILE_ROWS if vectors == 2 else NARROW_TILE_ROWS
    return (rows + most - 1) // most


cdef inline void multiply_row(
    const int vectors, const bint first, real a, const vr* b, vr* acc,
) noexcept nogil:
    """One row's products. The first ones start the sums: registers need no zeros then."""
    cdef vr x = vsplat(a)
    cdef int v
    for v in range(vectors):
        acc[v] = x*b[v] if first else acc[v] + x*b[v]


cdef inline void quad(
    const int rows, const int vectors, const bint first, const real* a, Py_ssize_t row, Py_ssize_t row3, const vr* b,
    vr* acc,
) noexcept nogil:
    """Multiply-add up to four rows, each broadcast from an address that needs no arithmetic of its own."""
    if rows > 0:
        multiply_row(vectors, first, a[0], b, acc)
    if rows > 1:
        multiply_row(vectors, first, a[row], b, acc + vectors)
    if rows > 2:
        multiply_row(vectors, first, a[2*row], b, acc + 2*vectors)
    if rows > 3:
        multiply_row(vectors, first, a[row3], b, acc + 3*vectors)


cdef inline void tile(const int rows, const int vectors, Product* t, Py_ssize_t tiles) noexcept nogil:
    """Neighbouring tiles of a shape that is known to the compiler: `rows` and `vectors` must be literals.

    `a`, `init`, `out` and `ahead` of the product are left where the next tile begins.
    """
    cdef vr acc[28]
    cdef vr b[2]
    cdef vr x
    cdef Py_ssize_t s, _
    cdef Py_ssize_t step = t.a_col, b_row = t.b_row, length, remaining
    # Four bases four rows apart, and row, 2*row and 3*row as index registers, reach sixteen rows.
    cdef Py_ssize_t row = opaque_stride(t.a_row), row3 = opaque_stride(3*t.a_row)
    cdef const real* a0
    cdef const real* a4
    cdef const real* a8
    cdef const real* a12
    cdef const real* p
    cdef const char* ahead = t.ahead
    cdef Py_ssize_t ahead_step = t.ahead_step
    cdef int i, v
    for _ in range(tiles):
        s = 0
        a0, p = opaque(t.a + t.segment[0]), t.b + t.b_segment[0]*b_row
        a4, a8, a12 = opaque(a0 + 4*row), opaque(a0 + 8*row), opaque(a0 + 12*row)
        for v in range(vectors):
            b[v] = vload(p + v*VLEN)
        quad(rows, vectors, True, a0, row, row3, b, acc)
        quad(rows - 4, vectors, True, a4, row, row3, b, acc + 4*vectors)
        quad(rows - 8, vectors, True, a8, row, row3, b, acc + 8*vectors)
        quad(rows - 12, vectors, True, a12, row, row3, b, acc + 12*vectors)
        a0, a4, a8, a12, p = a0 + step, a4 + step, a8 + step, a12 + step, p + b_row
        remaining = t.length - 1
        while True:
            while remaining > 0:
                for v in range(vectors):
                    b[v] = vload(p + v*VLEN)
                p = p + b_row
                prefetch(ahead)
                ahead = ahead + ahead_step
                quad(rows, vectors, False, a0, row, row3, b, acc)
                a0 = a0 + step
                if rows > 4:
                    quad(rows - 4, vectors, False, a4, row, row3, b, acc + 4*vectors)
                    a4 = a4 + step
                if rows > 8:
                    quad(rows - 8, vectors, False, a8, row, row3, b, acc + 8*vectors)
                    a8 = a8 + step
                if rows > 12:
                    quad(rows - 12, vectors, False, a12, row, row3, b, acc + 12*vectors)
                    a12 = a12 + step
                remaining -= 1
            s += 1
            if s >= t.segments:
                break
            a0, p = opaque(t.a + t.segment[s]), t.b + t.b_segment[s]*b_row
            a4, a8, a12 = opaque(a0 + 4*row), opaque(a0 + 8*row), opaque(a0 + 12*row)
            remaining = t.length
        for i in range(rows):
            for v in range(vectors - 1):
                vstore(t.out + i*t.out_row + v*VLEN, vload(t.init + i*t.init_row + v*VLEN) + acc[i*vectors + v])
            v = vectors - 1
            if t.lanes == VLEN:
                vstore(t.out + i*t.out_row + v*VLEN, vload(t.init + i*t.init_row + v*VLEN) + acc[i*vectors + v])
            else:
                x = vload_lanes(t.init + i*t.init_row + v*VLEN, t.lanes) + acc[i*vectors + v]
                vstore_lanes(t.out + i*t.out_row + v*VLEN, x, t.lanes)
        t.a = t.a + rows*row
        t.init = t.init + rows*t.init_row
        t.out = t.out + rows*t.out_row
    t.ahead = ahead


# Every height has a tile of its own, so that no row is computed only to be thrown away. Heights above the
# instruction set's own are compiled to nothing.
cdef inline void wide_tile(Py_ssize_t rows, Product* t, Py_ssize_t tiles) noexcept nogil:
    if rows == 1:
        tile(1, 2, t, tiles)
    elif rows == 2:
        tile(2, 2, t, tiles)
    elif rows == 3:
        tile(3, 2, t, tiles)
    elif rows == 4:
        tile(4, 2, t, tiles)
    elif rows == 5:
        tile(5, 2, t, tiles)
    elif rows == 6:
        tile(6, 2, t, tiles)
    elif TILE_ROWS > 6:
        if rows == 7:
            tile(7, 2, t, tiles)
        elif rows == 8:
            tile(8, 2, t, tiles)
        elif rows == 9:
            tile(9, 2, t, tiles)
        elif rows == 10:
            tile(10, 2, t, tiles)
        elif rows == 11:
            tile(11, 2, t, tiles)
        elif rows == 12:
            tile(12, 2, t, tiles)
        elif rows == 13:
            tile(13, 2, t, tiles)
        elif rows == 14:
            tile(14, 2, t, tiles)


cdef inline void narrow_tile(Py_ssize_t rows, Product* t, Py_ssize_t tiles) noexcept nogil:
    if rows == 1:
        tile(1, 1, t, tiles)
    elif rows == 2:
        tile(2, 1, t, tiles)
    elif rows == 3:
        tile(3, 1, t, tiles)
    elif rows == 4:
        tile(4, 1, t, tiles)
    elif rows == 5:
        tile(5, 1, t, tiles)
    elif rows == 6:
        tile(6, 1, t, tiles)
    elif rows == 7:
        tile(7, 1, t, tiles)
    elif rows == 8:
        tile(8, 1, t, tiles)
    elif rows == 9:
        tile(9, 1, t, tiles)
    elif rows == 10:
        tile(10, 1, t, tiles)
    elif rows == 11:
        tile(11, 1, t, tiles)
    elif rows == 12:
        tile(12, 1, t, tiles)
    elif NARROW_TILE_ROWS > 12:
        if rows == 13:
            tile(13, 1, t, tiles)
        elif rows == 14:
            tile(14, 1, t, tiles)


cdef inline void equal_tiles(int vectors, Py_ssize_t height, Product* t, Py_ssize_t tiles) noexcept nogil:
    if vectors == 2:
        wide_tile(height, t, tiles)
    else:
        narrow_tile(height, t, tiles)
