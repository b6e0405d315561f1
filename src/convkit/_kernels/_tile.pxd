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
    NARROW_TILE_ROWS, TILE_ROWS, TILE_VECTORS, VLEN, opaque, opaque_pointer, opaque_stride, prefetch, real, velement,
    vi, vload, vload_lanes, vmultiply, vmultiply_add, vr, vsee, vstore, vstore_lanes, vstream,
)


cdef enum:
    BLOCK = TILE_VECTORS*VLEN       # lanes of a full block


cdef struct Product:
    const real* a
    Py_ssize_t a_row, a_col
    Py_ssize_t a_seven              # from a row to the seventh behind it: a tile may be two lines of seven rows
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
    bint stream                     # store whole vectors past the caches
    vi* seen                        # of pairs: the sums, as `vsee` notes them
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
    cdef vr x = velement(a)
    cdef int v
    for v in range(vectors):
        acc[v] = vmultiply(x, b[v]) if first else vmultiply_add(acc[v], x, b[v])


cdef struct Rows:
    # Multiples of the distance of two rows: as index registers they spare each broadcast an addition.
    Py_ssize_t one, two, three, four, five, six


cdef inline void seven_rows(
    const int rows, const int vectors, const bint first, const real* a, const Rows* row, const vr* b, vr* acc,
) noexcept nogil:
    """Multiply-add up to seven rows, each broadcast from an address that needs no arithmetic of its own."""
    if rows > 0:
        multiply_row(vectors, first, a[0], b, acc)
    if rows > 1:
        multiply_row(vectors, first, a[row.one], b, acc + vectors)
    if rows > 2:
        multiply_row(vectors, first, a[row.two], b, acc + 2*vectors)
    if rows > 3:
        multiply_row(vectors, first, a[row.three], b, acc + 3*vectors)
    if rows > 4:
        multiply_row(vectors, first, a[row.four], b, acc + 4*vectors)
    if rows > 5:
        multiply_row(vectors, first, a[row.five], b, acc + 5*vectors)
    if rows > 6:
        multiply_row(vectors, first, a[row.six], b, acc + 6*vectors)


cdef inline vr total(const Product* t, vr sum, vr init) noexcept nogil:
    """A sum, plus what was there before."""
    sum = init + sum
    vsee(t.seen, sum)
    return sum


cdef inline void finish_row(
    const int vectors, const bint stream, const Product* t, const real* init, real* out, const vr* acc,
) noexcept nogil:
    """Write one row's sums."""
    cdef int v
    if stream:
        for v in range(vectors):
            vstream(out + v*VLEN, total(t, acc[v], vload(init + v*VLEN)))
        return
    for v in range(vectors - 1):
        vstore(out + v*VLEN, total(t, acc[v], vload(init + v*VLEN)))
    v = vectors - 1
    vstore_lanes(out + v*VLEN, total(t, acc[v], vload_lanes(init + v*VLEN, t.lanes)), t.lanes)


cdef inline void finish_rows(
    const int rows, const int vectors, const bint stream, const Product* t, const vr* acc,
) noexcept nogil:
    """Row by row, not in a loop: accumulators that are indexed in one would live in memory."""
    if rows > 0:
        finish_row(vectors, stream, t, t.init + 0*t.init_row, t.out + 0*t.out_row, acc + 0*vectors)
    if rows > 1:
        finish_row(vectors, stream, t, t.init + 1*t.init_row, t.out + 1*t.out_row, acc + 1*vectors)
    if rows > 2:
        finish_row(vectors, stream, t, t.init + 2*t.init_row, t.out + 2*t.out_row, acc + 2*vectors)
    if rows > 3:
        finish_row(vectors, stream, t, t.init + 3*t.init_row, t.out + 3*t.out_row, acc + 3*vectors)
    if rows > 4:
        finish_row(vectors, stream, t, t.init + 4*t.init_row, t.out + 4*t.out_row, acc + 4*vectors)
    if rows > 5:
        finish_row(vectors, stream, t, t.init + 5*t.init_row, t.out + 5*t.out_row, acc + 5*vectors)
    if rows > 6:
        finish_row(vectors, stream, t, t.init + 6*t.init_row, t.out + 6*t.out_row, acc + 6*vectors)
    if rows > 7:
        finish_row(vectors, stream, t, t.init + 7*t.init_row, t.out + 7*t.out_row, acc + 7*vectors)
    if rows > 8:
        finish_row(vectors, stream, t, t.init + 8*t.init_row, t.out + 8*t.out_row, acc + 8*vectors)
    if rows > 9:
        finish_row(vectors, stream, t, t.init + 9*t.init_row, t.out + 9*t.out_row, acc + 9*vectors)
    if rows > 10:
        finish_row(vectors, stream, t, t.init + 10*t.init_row, t.out + 10*t.out_row, acc + 10*vectors)
    if rows > 11:
        finish_row(vectors, stream, t, t.init + 11*t.init_row, t.out + 11*t.out_row, acc + 11*vectors)
    if rows > 12:
        finish_row(vectors, stream, t, t.init + 12*t.init_row, t.out + 12*t.out_row, acc + 12*vectors)
    if rows > 13:
        finish_row(vectors, stream, t, t.init + 13*t.init_row, t.out + 13*t.out_row, acc + 13*vectors)
    if rows > 14:
        finish_row(vectors, stream, t, t.init + 14*t.init_row, t.out + 14*t.out_row, acc + 14*vectors)
    if rows > 15:
        finish_row(vectors, stream, t, t.init + 15*t.init_row, t.out + 15*t.out_row, acc + 15*vectors)


cdef inline void tile(const int rows, const int vectors, Product* t, Py_ssize_t tiles) noexcept nogil:
    """Neighbouring tiles of a shape that is known to the compiler: `rows` and `vectors` must be literals.

    `a`, `init`, `out` and `ahead` of the product are left where the next tile begins.
    """
    cdef vr acc[28]
    cdef vr b[2]
    cdef Py_ssize_t s, _, __
    cdef Py_ssize_t remaining
    # Bases seven rows apart and six index registers reach all rows. The steps are read from memory for
    # each product: in registers they would drive the pointers onto the stack, and stores to the stack wait in line
    # behind those of the tile before, which may have to wait for memory.
    cdef Rows row
    cdef const Product* steps = t
    row.one, row.two, row.three = opaque_stride(t.a_row), opaque_stride(2*t.a_row), opaque_stride(3*t.a_row)
    row.four, row.five, row.six = opaque_stride(4*t.a_row), opaque_stride(5*t.a_row), opaque_stride(6*t.a_row)
    cdef const real* a0
    cdef const real* a7
    cdef const real* a14
    cdef const real* p
    cdef const char* ahead = t.ahead
    cdef int v
    for _ in range(tiles):
        a0, p = opaque(t.a + t.segment[0]), t.b + t.b_segment[0]*t.b_row
        a7, a14 = opaque(a0 + t.a_seven), opaque(a0 + 14*t.a_row)
        for v in range(vectors):
            b[v] = vload(p + v*VLEN)
        seven_rows(rows, vectors, True, a0, &row, b, acc)
        seven_rows(rows - 7, vectors, True, a7, &row, b, acc + 7*vectors)
        seven_rows(rows - 14, vectors, True, a14, &row, b, acc + 14*vectors)
        a0, a7, a14, p = a0 + t.a_col, a7 + t.a_col, a14 + t.a_col, p + t.b_row
        remaining = t.length - 1
        for s in range(1, t.segments + 1):
            for __ in range(remaining):
                for v in range(vectors):
                    b[v] = vload(p + v*VLEN)
                prefetch(ahead)
                steps = <const Product*>opaque_pointer(steps)
                p = p + steps.b_row
                ahead = ahead + steps.ahead_step
                seven_rows(rows, vectors, False, a0, &row, b, acc)
                a0 = a0 + steps.a_col
                if rows > 7:
                    seven_rows(rows - 7, vectors, False, a7, &row, b, acc + 7*vectors)
                    a7 = a7 + steps.a_col
                if rows > 14:
                    seven_rows(rows - 14, vectors, False, a14, &row, b, acc + 14*vectors)
                    a14 = a14 + steps.a_col
            if s < t.segments:
                a0, p = opaque(t.a + t.segment[s]), t.b + t.b_segment[s]*t.b_row
                a7, a14 = opaque(a0 + t.a_seven), opaque(a0 + 14*t.a_row)
                remaining = t.length
        if t.stream:
            finish_rows(rows, vectors, True, t, acc)
        else:
            finish_rows(rows, vectors, False, t, acc)
        t.a = t.a + rows*t.a_row
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
        elif NARROW_TILE_ROWS > 14:
            if rows == 15:
                tile(15, 1, t, tiles)
            elif rows == 16:
                tile(16, 1, t, tiles)


cdef inline void equal_tiles(int vectors, Py_ssize_t height, Product* t, Py_ssize_t tiles) noexcept nogil:
    if vectors == 2:
        wide_tile(height, t, tiles)
    else:
        narrow_tile(height, t, tiles)


cdef inline void even_tiles(int vectors, Py_ssize_t rows, Product* t) noexcept nogil:
    """A row of tiles, as even in height as can be: 15 rows are 8 and 7, which are faster than 14 and 1."""
    cdef Py_ssize_t tiles = tile_count(rows, vectors), height = rows // tiles, taller = rows % tiles
    if taller:
        equal_tiles(vectors, height + 1, t, taller)
    equal_tiles(vectors, height, t, tiles - taller)
