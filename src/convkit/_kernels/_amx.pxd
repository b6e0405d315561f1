"""The product of AMX tiles that every split-precision pass spends its time in.

    out[i, n] = sum over steps s and k < 32 of  a[i*a_row + a_step[s] + k] * b[s][k][n]

for 16 or 32 rows i and 16 or 32 outputs n, where every number is the sum of its parts, bfloat16 each: h, then m, then l,
each the rounded rest of what those before have left. Of the products of parts, those below the float's own
precision are left out:

    parts   products                       left out, relative to the product of the numbers
    1       h h                            2^-8    (plain bfloat16)
    2       h h, h m, m h                  2^-16
    3       h h, h m, m h, h l, m m, l h   2^-24

With three parts, all steps' small products are summed before the large ones. The sum that they are added to is then as
small as they are, and the many roundings of it do not count; those that do count are one a step.

A step of 2 x 2 tiles with three parts is 24 tile products (16 cycles each) and 16 tile loads (8 cycles); with two, 12
and 8; with one, 4 and 4. `b` is read once from front to back, 6, 4 or 2 KB a step, and fetched a step ahead.
"""

from libc.stdint cimport uint32_t

from convkit._kernels._simd cimport prefetch, real, vi, vr


cdef extern from "_amx.h" nogil:
    void full_tiles_begin()
    void tiles_end()
    void tile_zero(int tile)
    void tile_load(int tile, const void* rows, Py_ssize_t stride)
    void tile_store(int tile, void* rows, Py_ssize_t stride)
    void tile_dpbf16ps(int sum, int a, int b)
    vr vround_bf16(vr v)
    void vstore_bf16(void* p, vr v, int lanes)
    vr vpair_bf16(vr first, vr second)
    vi vbeyond(vr v, uint32_t least, uint32_t most)
    bint vany(vi v)


cdef enum:
    TILE = 16                       # rows of a tile, and outputs
    DEEP = 32                       # numbers of a row, summed in one product
    PAIR = 2*TILE                   # rows, and outputs, of two tiles
    TILE_BYTES = 1024


cdef struct TileProduct:
    const char* a                   # distances in bytes
    Py_ssize_t a_row, a_second      # from row to row, and from the first tile's rows to the second's
    Py_ssize_t a_part
    const Py_ssize_t* a_step        # one more than there are steps: what is fetched ahead must exist
    Py_ssize_t steps
    const char* b                   # for each step, part, and 16 outputs: a tile of 16 pairs
    real* out                       # PAIR rows of PAIR sums


cdef inline void load_a(const bint tall, const TileProduct* p, const char* a) noexcept nogil:
    tile_load(4, a, p.a_row)
    if tall:
        tile_load(5, a + p.a_second, p.a_row)


cdef inline void load_b(const bint wide, const char* b) noexcept nogil:
    tile_load(6, b, 64)
    if wide:
        tile_load(7, b + TILE_BYTES, 64)


cdef inline void multiply_tiles(const bint tall, const bint wide) noexcept nogil:
    tile_dpbf16ps(0, 4, 6)
    if wide:
        tile_dpbf16ps(1, 4, 7)
    if tall:
        tile_dpbf16ps(2, 5, 6)
    if tall and wide:
        tile_dpbf16ps(3, 5, 7)


cdef inline void fetch_lines(const char* first, Py_ssize_t apart, const int lines) noexcept nogil:
    cdef int i
    for i in range(lines):
        prefetch(first + i*apart)


cdef inline void fetch_part(
    const bint tall, const bint wide, const TileProduct* p, const char* a, const char* b,
) noexcept nogil:
    """Let one part's tiles of the next step come."""
    fetch_lines(a, p.a_row, TILE)
    if tall:
        fetch_lines(a + p.a_second, p.a_row, TILE)
    fetch_lines(b, 64, PAIR if wide else TILE)


cdef inline void small_products(const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """Of three parts, all products but the largest, in an order in which neighbours share an operand."""
    cdef Py_ssize_t k, part = 2*TILE_BYTES if wide else TILE_BYTES
    cdef const char* a
    cdef const char* b = p.b
    cdef const char* next_a
    cdef const char* next_b
    for k in range(p.steps):
        a, next_a, next_b = p.a + p.a_step[k], p.a + p.a_step[k + 1], b + 3*part
        load_a(tall, p, a)
        load_b(wide, b + 2*part)
        multiply_tiles(tall, wide)
        fetch_part(tall, wide, p, next_a, next_b + 2*part)
        load_b(wide, b + part)
        multiply_tiles(tall, wide)
        fetch_part(tall, wide, p, next_a + p.a_part, next_b + part)
        load_a(tall, p, a + p.a_part)
        multiply_tiles(tall, wide)
        fetch_part(tall, wide, p, next_a + 2*p.a_part, next_b)
        load_b(wide, b)
        multiply_tiles(tall, wide)
        load_a(tall, p, a + 2*p.a_part)
        multiply_tiles(tall, wide)
        b = next_b


cdef inline void three_products(const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """All products of two parts."""
    cdef Py_ssize_t k, part = 2*TILE_BYTES if wide else TILE_BYTES
    cdef const char* a
    cdef const char* b = p.b
    cdef const char* next_a
    cdef const char* next_b
    for k in range(p.steps):
        a, next_a, next_b = p.a + p.a_step[k], p.a + p.a_step[k + 1], b + 2*part
        load_a(tall, p, a)
        load_b(wide, b + part)
        multiply_tiles(tall, wide)
        fetch_part(tall, wide, p, next_a, next_b + part)
        load_b(wide, b)
        multiply_tiles(tall, wide)
        fetch_part(tall, wide, p, next_a + p.a_part, next_b)
        load_a(tall, p, a + p.a_part)
        multiply_tiles(tall, wide)
        b = next_b


cdef inline void large_products(const int parts, const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """The products of the first parts alone."""
    cdef Py_ssize_t k, step = parts*(2*TILE_BYTES if wide else TILE_BYTES)
    cdef const char* b = p.b
    for k in range(p.steps):
        load_a(tall, p, p.a + p.a_step[k])
        load_b(wide, b)
        multiply_tiles(tall, wide)
        fetch_part(tall, wide, p, p.a + p.a_step[k + 1], b + step)
        b = b + step


cdef inline void sum_tiles(const int parts, const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """The sums of a block of tiles whose shape the compiler knows."""
    tile_zero(0)
    if wide:
        tile_zero(1)
    if tall:
        tile_zero(2)
    if tall and wide:
        tile_zero(3)
    if parts == 3:
        small_products(tall, wide, p)
    if parts == 2:
        three_products(tall, wide, p)
    else:
        large_products(parts, tall, wide, p)
    tile_store(0, p.out, PAIR*sizeof(real))
    if wide:
        tile_store(1, p.out + TILE, PAIR*sizeof(real))
    if tall:
        tile_store(2, p.out + TILE*PAIR, PAIR*sizeof(real))
    if tall and wide:
        tile_store(3, p.out + TILE*PAIR + TILE, PAIR*sizeof(real))


cdef inline void sum_parts(const int parts, bint tall, bint wide, const TileProduct* p) noexcept nogil:
    if tall and wide:
        sum_tiles(parts, True, True, p)
    elif tall:
        sum_tiles(parts, True, False, p)
    elif wide:
        sum_tiles(parts, False, True, p)
    else:
        sum_tiles(parts, False, False, p)


cdef inline void sum_product(int parts, bint tall, bint wide, const TileProduct* p) noexcept nogil:
    """The sums of 16 rows, or 32 if `tall`, and of 16 outputs, or 32 if `wide`."""
    if parts == 3:
        sum_parts(3, tall, wide, p)
    elif parts == 2:
        sum_parts(2, tall, wide, p)
    else:
        sum_parts(1, tall, wide, p)
