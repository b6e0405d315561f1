"""The product of AMX tiles that every split-precision pass spends its time in.

    out[i, n] = sum over steps s and k < 32 of  a[a_step[s] + i*a_row][k] * b[b_step[s]][k, n]

for 16 or 32 rows i and 16 or 32 outputs n, where every number is the sum of its parts, bfloat16 each: h, then m, then
l, each the rounded rest of what those before have left. Of the products of parts, those below the precision asked for
are left out:

    parts   products                       left out, relative to the product of the numbers
    1       h h                            2^-8    (plain bfloat16)
    2       h h, h m, m h                  2^-16
    3       h h, h m, m h, h l, m m, l h   2^-24

With three parts, all steps' small products are summed before the large ones. The sum that they are added to is then as
small as they are, and the many roundings of it do not count; those that do count are one a step.

A step of 2 x 2 tiles with three parts is 24 tile products (16 cycles each) and 16 tile loads (8 cycles); with two, 12
and 8; with one, 4 and 4. Both operands come from the second-level cache, and need not be fetched before: the loads do
not wait for products, and to prefetch their lines costs as much as to load them.
"""

from libc.stdint cimport uint32_t

from convkit._kernels._simd cimport real, stored, vi, vr


cdef extern from "_amx.h" nogil:
    void full_tiles_begin()
    void tiles_end()
    void tile_zero(int tile)
    void tile_load(int tile, const void* rows, Py_ssize_t stride)
    void tile_store(int tile, void* rows, Py_ssize_t stride)
    void tile_dpbf16ps(int sum, int a, int b)
    ctypedef struct magnitudes:
        pass
    magnitudes no_magnitudes()
    void vmeasure(magnitudes* seen, vr v)
    bint are_beyond(const magnitudes* seen, uint32_t least, uint32_t most)
    void tile_gap()
    vr vround_bf16(vr v)
    vr vnear_bf16(vr v)
    vr vcut_bf16(vr v)
    void vstore_bf16(void* p, vr v, int lanes)
    vr vpair_bf16(vr first, vr second)
    vi vbeyond(vr v, uint32_t least, uint32_t most)
    bint vany(vi v)
    vr vround_pairs(vr first, vr second)
    vr vround_row(vr first, vr second)
    void vmeasure_row(magnitudes* seen, vr row)
    vr vpair_stored(const stored* first, const stored* second)
    void vquads(const stored* const* first, Py_ssize_t place, Py_ssize_t second, int lanes, vr* rows)
    vr vshuffle_words(vr to, uint32_t where, vr index, const void* source)
    vr vlower_bf16(vr pairs)
    vr vupper_bf16(vr pairs)
    void vnote_least(vi* seen, vr v)
    bint vnoted_less(vi seen, uint32_t than)
    void vnote_least_pairs(vi* seen, vr pairs)
    bint vnoted_less_pairs(vi seen, uint32_t than)


cdef enum:
    TILE = 16                       # rows of a tile, and outputs
    DEEP = 32                       # numbers of a row, summed in one product
    PAIR = 2*TILE                   # rows, and outputs, of two tiles
    TILE_BYTES = 1024


ctypedef void (*Chore)(void* chores) noexcept nogil


cdef struct TileProduct:
    # Distances in bytes: from row to row, from the first tile to the second, and from part to part.
    const char* a                   # tiles of 16 rows of 32 numbers
    Py_ssize_t a_row, a_second, a_part
    const Py_ssize_t* a_step
    const char* b                   # tiles of 16 rows, each of 16 outputs' pairs, one behind the other
    Py_ssize_t b_second, b_part
    const Py_ssize_t* b_step
    Py_ssize_t steps
    real* out                       # PAIR rows of PAIR sums
    Chore chore                     # something else to do, a little with every four products, in their shadow,
    void* chores                    # or NULL


cdef inline void do_chore(const TileProduct* p) noexcept nogil:
    if p.chore is not NULL:
        p.chore(p.chores)


cdef inline void load_a(const bint tall, const TileProduct* p, Py_ssize_t step, Py_ssize_t part) noexcept nogil:
    cdef const char* a = p.a + p.a_step[step] + part*p.a_part
    tile_load(4, a, p.a_row)
    if tall:
        tile_load(5, a + p.a_second, p.a_row)


cdef inline void load_b(const bint wide, const TileProduct* p, Py_ssize_t step, Py_ssize_t part) noexcept nogil:
    cdef const char* b = p.b + p.b_step[step] + part*p.b_part
    tile_load(6, b, 64)
    if wide:
        tile_load(7, b + p.b_second, 64)


cdef inline void multiply_tiles(const bint tall, const bint wide) noexcept nogil:
    """Multiply a part of both operands, apart from each other: with a hyperthread beside, that is faster by a sixth to
    a third."""
    tile_dpbf16ps(0, 4, 6)
    tile_gap()
    if wide:
        tile_dpbf16ps(1, 4, 7)
        tile_gap()
    if tall:
        tile_dpbf16ps(2, 5, 6)
        tile_gap()
    if tall and wide:
        tile_dpbf16ps(3, 5, 7)
        tile_gap()


cdef inline Py_ssize_t chores_of_step(int parts) noexcept nogil:
    """How often a step does a chore: with every four products."""
    return parts*(parts + 1) // 2


cdef inline void small_products(const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """Of three parts, all products but the largest, in an order in which neighbours share an operand."""
    cdef Py_ssize_t k
    for k in range(p.steps):
        load_a(tall, p, k, 0)
        load_b(wide, p, k, 2)
        multiply_tiles(tall, wide)
        do_chore(p)
        load_b(wide, p, k, 1)
        multiply_tiles(tall, wide)
        do_chore(p)
        load_a(tall, p, k, 1)
        multiply_tiles(tall, wide)
        do_chore(p)
        load_b(wide, p, k, 0)
        multiply_tiles(tall, wide)
        do_chore(p)
        load_a(tall, p, k, 2)
        multiply_tiles(tall, wide)
        do_chore(p)


cdef inline void three_products(const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """All products of two parts."""
    cdef Py_ssize_t k
    for k in range(p.steps):
        load_a(tall, p, k, 0)
        load_b(wide, p, k, 1)
        multiply_tiles(tall, wide)
        do_chore(p)
        load_b(wide, p, k, 0)
        multiply_tiles(tall, wide)
        do_chore(p)
        load_a(tall, p, k, 1)
        multiply_tiles(tall, wide)
        do_chore(p)


cdef inline void large_products(const bint tall, const bint wide, const TileProduct* p) noexcept nogil:
    """The products of the first parts alone."""
    cdef Py_ssize_t k
    for k in range(p.steps):
        load_a(tall, p, k, 0)
        load_b(wide, p, k, 0)
        multiply_tiles(tall, wide)
        do_chore(p)


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
        large_products(tall, wide, p)
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
