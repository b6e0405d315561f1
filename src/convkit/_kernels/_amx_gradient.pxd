"""The product of _amx.pxd as a gradient of weights has it, with what is done in its shadow.

The sums are short, and added to others in float32: so all products of a step follow each other, whatever their size. A
step of 2 x 2 tiles with three parts is 24 products and 14 loads; with two, 12 and 8; with one, 4 and 4. Nothing is
fetched before: the loads themselves are early enough where lines are in the second-level cache.

The vector units are idle, and could stage the next strip for nothing, but

- what is done between two products must be little, as few tiles wait for their turn beyond it;
- loads of tiles wait for stores, so that only results are stored: all else stays in registers;
- with another hyperthread beside, products that follow each other at once take half as long again.
"""

from convkit._kernels._amx cimport (
    PAIR, TILE, TILE_BYTES, TileProduct, multiply_tiles, tile_load, tile_store, tile_zero,
)
from convkit._kernels._amx_slots cimport WeightGradient
from convkit._kernels._amx_stage cimport PAIRS, QUAD, QUADS, Square, Stage, stage_pair, stage_quad
from convkit._kernels._simd cimport VLEN, real, vload, vstore

cdef enum:
    ROWS = 4                        # of sums, added in a step
    DELAY = 2                       # steps until the tiles are stored


cdef struct Add:
    # The sums of a block of tiles, on their way to those of all strips.
    const real* sums                # NULL if there are none
    real* total
    bint fresh                      # whether that has none yet


cdef struct Chores:
    # What a thread does in the shadow of its products: add the last ones' sums, and stage the next strip, `pieces` of
    # it in `steps` steps.
    const WeightGradient* t
    Add add
    Stage stage
    Py_ssize_t pieces, steps, due


# What is seldom done, lest it take the room of what is done always: find the next square; stage a piece that is none
# of the usual ones, and return whether a number of it has no parts.
ctypedef void (*NextSquare)(Chores* c) noexcept nogil
ctypedef bint (*StagePiece)(Chores* c) noexcept nogil


cdef struct Step:
    # Where the operands of a step are: the first part of the first tile, and distances, as in TileProduct.
    const char* a
    const char* b
    Py_ssize_t a_second, b_second, b_part


cdef struct Shadow:
    # What chores change with every product: in registers, because stores hold up the loads of tiles.
    Square square
    Py_ssize_t due
    bint beyond


cdef inline void load_a(const bint tall, const Step* s, const int part) noexcept nogil:
    tile_load(4, s.a + part*TILE_BYTES, 64)
    if tall:
        tile_load(5, s.a + part*TILE_BYTES + s.a_second, 64)


cdef inline void load_b(const bint wide, const Step* s, const int part) noexcept nogil:
    tile_load(6, s.b + part*s.b_part, 64)
    if wide:
        tile_load(7, s.b + part*s.b_part + s.b_second, 64)


cdef inline void pair_chore(const int parts, const Chores* c, Shadow* d) noexcept nogil:
    if d.due > 0 and d.square.kind == PAIRS and d.square.piece < d.square.behind:
        if stage_pair(parts, &d.square):
            d.beyond = True
        d.square.piece += 1
        d.due -= c.steps


cdef inline void quad_chore(const int parts, const Chores* c, Shadow* d) noexcept nogil:
    if d.due > 0 and d.square.kind == QUADS and d.square.piece < d.square.behind:
        if stage_quad(parts, &d.square):
            d.beyond = True
        d.square.piece += 1
        d.due -= QUAD*c.steps


cdef inline void multiply_parts(
    const int parts, const bint tall, const bint wide, const Step* s, const Chores* c, Shadow* d,
) noexcept nogil:
    """All products of a step, in an order in which neighbours share an operand."""
    if parts == 3:
        load_a(tall, s, 2)
        load_b(wide, s, 0)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        load_a(tall, s, 0)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        load_b(wide, s, 2)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        load_b(wide, s, 1)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        load_a(tall, s, 1)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        load_b(wide, s, 0)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
    elif parts == 2:
        load_a(tall, s, 1)
        load_b(wide, s, 0)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        pair_chore(parts, c, d)
        load_a(tall, s, 0)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        pair_chore(parts, c, d)
        load_b(wide, s, 1)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        pair_chore(parts, c, d)
    else:
        load_a(tall, s, 0)
        load_b(wide, s, 0)
        multiply_tiles(tall, wide)
        pair_chore(parts, c, d)
        pair_chore(parts, c, d)
        pair_chore(parts, c, d)
        pair_chore(parts, c, d)
    quad_chore(parts, c, d)


cdef inline void add_rows(const Add* a, Py_ssize_t first, Py_ssize_t behind) noexcept nogil:
    """Add rows of 32 channels."""
    cdef real* total = a.total + first*PAIR
    cdef const real* sums = a.sums + first*PAIR
    cdef Py_ssize_t i
    for i in range((behind - first)*PAIR // VLEN):
        vstore(total + i*VLEN, vload(sums + i*VLEN) if a.fresh else vload(total + i*VLEN) + vload(sums + i*VLEN))


cdef inline void add_chore(const Add* a, Py_ssize_t step) noexcept nogil:
    cdef Py_ssize_t row = (step - DELAY)*ROWS
    if a.sums is not NULL and 0 <= row < PAIR:
        add_rows(a, row, row + ROWS)


cdef inline void finish_add(Add* a, Py_ssize_t steps) noexcept nogil:
    """What so many steps have left."""
    if a.sums is not NULL:
        add_rows(a, min(max(<Py_ssize_t>0, steps - DELAY)*ROWS, <Py_ssize_t>PAIR), PAIR)
    a.sums = NULL


cdef inline void clear_tiles(const bint tall, const bint wide) noexcept nogil:
    tile_zero(0)
    if wide:
        tile_zero(1)
    if tall:
        tile_zero(2)
    if tall and wide:
        tile_zero(3)


cdef inline void store_tiles(const bint tall, const bint wide, real* out) noexcept nogil:
    tile_store(0, out, PAIR*sizeof(real))
    if wide:
        tile_store(1, out + TILE, PAIR*sizeof(real))
    if tall:
        tile_store(2, out + TILE*PAIR, PAIR*sizeof(real))
    if tall and wide:
        tile_store(3, out + TILE*PAIR + TILE, PAIR*sizeof(real))


cdef inline void sum_tiles(
    const int parts, const bint tall, const bint wide, const TileProduct* p, Chores* c, NextSquare next_square,
    StagePiece stage_other,
) noexcept nogil:
    """The sums of a block of tiles whose shape the compiler knows."""
    cdef Step s
    cdef Shadow d
    cdef Py_ssize_t k
    s.a_second, s.b_second, s.b_part = p.a_second, p.b_second, p.b_part
    d.square, d.due, d.beyond = c.stage.square, c.due, False
    clear_tiles(tall, wide)
    for k in range(p.steps):
        s.a, s.b = p.a + p.a_step[k], p.b + p.b_step[k]
        d.due += c.pieces
        multiply_parts(parts, tall, wide, &s, c, &d)
        add_chore(&c.add, k)
        if d.square.piece == d.square.behind:
            next_square(c)
            d.square = c.stage.square
        elif d.due > 0 and d.square.kind > QUADS:
            c.stage.square.piece = d.square.piece
            if stage_other(c):
                d.beyond = True
            d.square.piece += 1
            d.due -= c.steps
    store_tiles(tall, wide, p.out)
    finish_add(&c.add, p.steps)
    c.stage.square.piece, c.due = d.square.piece, d.due
    if d.beyond:
        c.t.beyond[0] = True
