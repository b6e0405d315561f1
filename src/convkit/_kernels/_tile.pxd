"""The register tile that every convolution pass, and every linear layer, spends its time in.

    out[i, :] = init[i, :] + sum over s, k of  a[segment[s] + i*a_row + k*a_col] * b[s*b_segment + k*b_row, :]

One operand is read a scalar at a time and broadcast, the other a row of vectors at a time; the sums stay in
registers from the first product to the last. What i, k and the lanes stand for is the caller's choice:

    pass              i (rows)           k (summed)            lanes
    forward           output columns     tap and channel       output channels
    backward-input    input columns      tap and out channel   input channels
    backward-weight   tap and channel    output columns        output channels
"""

from convkit._kernels._simd cimport (
    NARROW_TILE_ROWS, TILE_ROWS, TILE_VECTORS, VLEN, opaque, opaque_stride, real, vload, vload_lanes, vr,
    vsplat, vstore, vstore_lanes,
)


cdef enum:
    BLOCK = TILE_VECTORS*VLEN       # lanes of a full block


cdef struct Product:
    const real* a
    Py_ssize_t a_row, a_col
    const Py_ssize_t* segment       # where in `a` each run of the sum begins
    Py_ssize_t segments, length     # how many runs, and products in each
    const real* b
    Py_ssize_t b_row, b_segment
    const real* init                # added to the sum, at the end: a long sum taken in parts is then
    Py_ssize_t init_row             # a tree two levels high, not one chain of roundings
    real* out
    Py_ssize_t out_row
    int lanes                       # of the last vector, how many are there


cdef inline int tile_vectors(Py_ssize_t lanes) noexcept nogil:
    """Vectors in the block that covers the first of `lanes` remaining lanes."""
    return 2 if lanes > VLEN else 1


cdef inline Py_ssize_t tile_height(Py_ssize_t rows, int vectors) noexcept nogil:
    """Height of the first of the tiles that cover `rows` rows.

    The rows are divided evenly: 15 rows are 8 and 7, which keep the multipliers busier than 14 and 1.
    """
    cdef Py_ssize_t most = TILE_ROWS if vectors == 2 else NARROW_TILE_ROWS
    cdef Py_ssize_t tiles = (rows + most - 1) // most
    return (rows + tiles - 1) // tiles


cdef inline void quad(
    const int rows, const int vectors, const real* a, Py_ssize_t row, Py_ssize_t row3, const vr* b, vr* acc,
) noexcept nogil:
    """Multiply-add up to four rows, each broadcast from an address that needs no arithmetic of its own."""
    cdef vr x
    cdef int v
    if rows > 0:
        x = vsplat(a[0])
        for v in range(vectors):
            acc[v] = acc[v] + x*b[v]
    if rows > 1:
        x = vsplat(a[row])
        for v in range(vectors):
            acc[vectors + v] = acc[vectors + v] + x*b[v]
    if rows > 2:
        x = vsplat(a[2*row])
        for v in range(vectors):
            acc[2*vectors + v] = acc[2*vectors + v] + x*b[v]
    if rows > 3:
        x = vsplat(a[row3])
        for v in range(vectors):
            acc[3*vectors + v] = acc[3*vectors + v] + x*b[v]


cdef inline void tile(const int rows, const int vectors, const Product* t) noexcept nogil:
    """A tile whose shape is known to the compiler: `rows` and `vectors` must be literals."""
    cdef vr acc[28]
    cdef vr b[2]
    cdef vr x
    cdef Py_ssize_t s, _
    cdef Py_ssize_t step = t.a_col, b_row = t.b_row, length = t.length
    # Four bases four rows apart, and row, 2*row and 3*row as index registers, reach sixteen rows.
    cdef Py_ssize_t row = opaque_stride(t.a_row), row3 = opaque_stride(3*t.a_row)
    cdef const real* a0
    cdef const real* a4
    cdef const real* a8
    cdef const real* a12
    cdef const real* p
    cdef int i, v
    for i in range(rows*vectors):
        acc[i] = vsplat(0)
    for s in range(t.segments):
        a0 = opaque(t.a + t.segment[s])
        a4, a8, a12 = opaque(a0 + 4*row), opaque(a0 + 8*row), opaque(a0 + 12*row)
        p = t.b + s*t.b_segment
        for _ in range(length):
            for v in range(vectors):
                b[v] = vload(p + v*VLEN)
            p = p + b_row
            quad(rows, vectors, a0, row, row3, b, acc)
            a0 = a0 + step
            if rows > 4:
                quad(rows - 4, vectors, a4, row, row3, b, acc + 4*vectors)
                a4 = a4 + step
            if rows > 8:
                quad(rows - 8, vectors, a8, row, row3, b, acc + 8*vectors)
                a8 = a8 + step
            if rows > 12:
                quad(rows - 12, vectors, a12, row, row3, b, acc + 12*vectors)
                a12 = a12 + step
    for i in range(rows):
        for v in range(vectors - 1):
            vstore(t.out + i*t.out_row + v*VLEN, vload(t.init + i*t.init_row + v*VLEN) + acc[i*vectors + v])
        v = vectors - 1
        if t.lanes == VLEN:
            vstore(t.out + i*t.out_row + v*VLEN, vload(t.init + i*t.init_row + v*VLEN) + acc[i*vectors + v])
        else:
            x = vload_lanes(t.init + i*t.init_row + v*VLEN, t.lanes) + acc[i*vectors + v]
            vstore_lanes(t.out + i*t.out_row + v*VLEN, x, t.lanes)


# Every height has a tile of its own, so that no row is computed only to be thrown away. Heights above the
# instruction set's own are compiled to nothing.
cdef inline void wide_tile(Py_ssize_t rows, const Product* t) noexcept nogil:
    if rows == 1:
        tile(1, 2, t)
    elif rows == 2:
        tile(2, 2, t)
    elif rows == 3:
        tile(3, 2, t)
    elif rows == 4:
        tile(4, 2, t)
    elif rows == 5:
        tile(5, 2, t)
    elif rows == 6:
        tile(6, 2, t)
    elif TILE_ROWS > 6:
        if rows == 7:
            tile(7, 2, t)
        elif rows == 8:
            tile(8, 2, t)
        elif rows == 9:
            tile(9, 2, t)
        elif rows == 10:
            tile(10, 2, t)
        elif rows == 11:
            tile(11, 2, t)
        elif rows == 12:
            tile(12, 2, t)
        elif rows == 13:
            tile(13, 2, t)
        elif rows == 14:
            tile(14, 2, t)


cdef inline void narrow_tile(Py_ssize_t rows, const Product* t) noexcept nogil:
    if rows == 1:
        tile(1, 1, t)
    elif rows == 2:
        tile(2, 1, t)
    elif rows == 3:
        tile(3, 1, t)
    elif rows == 4:
        tile(4, 1, t)
    elif rows == 5:
        tile(5, 1, t)
    elif rows == 6:
        tile(6, 1, t)
    elif rows == 7:
        tile(7, 1, t)
    elif rows == 8:
        tile(8, 1, t)
    elif rows == 9:
        tile(9, 1, t)
    elif rows == 10:
        tile(10, 1, t)
    elif rows == 11:
        tile(11, 1, t)
    elif rows == 12:
        tile(12, 1, t)
    elif NARROW_TILE_ROWS > 12:
        if rows == 13:
            tile(13, 1, t)
        elif rows == 14:
            tile(14, 1, t)
