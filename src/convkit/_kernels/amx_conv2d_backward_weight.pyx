"""The gradient of the weights of a float32 convolution, by AMX tiles of bfloat16 parts.

    grad_w[k, c, r, s] = sum over images and outputs of  grad_out[pixel, k] * x[pixel moved by the tap, c]

over the strips of _amx_slots.pxd. Sums are two levels high: tiles begin anew with every strip, of at most STEPS
products, and are added up in float32, in chunks of strips that the shape alone decides; the chunks are added up in
order. The last sums are added, and the next strip is staged, a little with each step of the products.

Images of bfloat16 have one part, which is paired as it is; the gradient is rounded once.

A call with numbers that have no parts, or with results out of the range in which parts are exact (_split.pxd), is said
to be NOT_FINITE, and computed again in float32.

Scratch: for each thread, two strips (of STRIP_BYTES, or two columns where those are larger) and the sums of a unit; or,
if there are chunks, a copy of the weights in float32 for each (all within SUMS_BYTES), in whole blocks of 32 x 32.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from convkit._kernels._amx cimport (
    PAIR, TILE, TILE_BYTES, TileProduct, full_tiles_begin, tiles_end, vany, vbeyond,
)
from convkit._kernels._amx_gradient cimport Chores, finish_add, sum_tiles
from convkit._kernels._amx_slots cimport (
    COLUMN_BYTES, WeightGradient, blocks_of, cut_bands, deal_pixels, divide, grad_bytes, input_bytes, unit_floats,
)
from convkit._kernels._amx_stage cimport (
    NOTHING, Part, Square, begin_strip, behind_strip, first_strip, next_square, pieces_of, stage_piece, units_of,
)
from convkit._kernels._axis cimport Range, is_identity, outputs_inside, phase_axis
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing
from convkit._kernels._phases cimport phases, tap_phase, tap_place
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, stored, vi, visplat, vload, vr, vsplat,
)
from convkit._kernels._split cimport MOST_SUM, least_sum
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, put_square, weights_of

cdef enum:
    FASTER = 4                      # than the operations that a thread's worth is counted in


cdef struct Add:
    # The sums of a block of tiles, on their way to those of all strips.
    const real* sums
    real* total
    bint fresh                      # whether that has none yet
    Py_ssize_t at, behind           # rows that are left


cdef void find_square(Chores* c) noexcept nogil:
    next_square(c.t, &c.stage)


cdef bint stage_any(Chores* c) noexcept nogil:
    """A piece of the square at hand, unless there is nothing left."""
    return c.stage.square.kind != NOTHING and stage_piece(c.t, &c.stage, &c.stage.square)


cdef void finish_stage(Chores* c) noexcept nogil:
    cdef Square* q = &c.stage.square
    while q.kind != NOTHING:
        if q.piece == q.behind:
            find_square(c)
        else:
            if stage_any(c):
                c.t.beyond[0] = True
            q.piece += 1


cdef inline void sum_parts(const int parts, bint tall, bint wide, const TileProduct* p, Chores* c) noexcept nogil:
    if tall and wide:
        sum_tiles(parts, True, True, p, c, find_square, stage_any)
    elif tall:
        sum_tiles(parts, True, False, p, c, find_square, stage_any)
    elif wide:
        sum_tiles(parts, False, True, p, c, find_square, stage_any)
    else:
        sum_tiles(parts, False, False, p, c, find_square, stage_any)


cdef inline void sum_steps(int parts, bint tall, bint wide, const TileProduct* p, Chores* c) noexcept nogil:
    """The sums of 16 rows, or 32 if `tall`, and of 16 outputs, or 32 if `wide`."""
    if parts == 3:
        sum_parts(3, tall, wide, p, c)
    elif parts == 2:
        sum_parts(2, tall, wide, p, c)
    else:
        sum_parts(1, tall, wide, p, c)


cdef Range rows_of_tap(const WeightGradient* t, const Part* u, Py_ssize_t tap) noexcept nogil:
    """Rows of a strip's outputs of which a row of taps does not read the padding alone: of bands, all of them."""
    cdef Range rows = outputs_inside(&t.y, tap)
    if t.bands > 1:
        rows.first, rows.behind = u.row, u.row + u.rows
    rows.first = min(max(rows.first - u.row, <Py_ssize_t>0), u.rows)
    rows.behind = min(max(rows.behind - u.row, rows.first), u.rows)
    return rows


cdef void sum_strip(Chores* c, const Part* u, const char* input, const char* grad, real* unit) noexcept nogil:
    """All taps of all blocks of a staged strip, added to the unit's sums."""
    cdef const WeightGradient* t = c.t
    cdef real sums[2*PAIR*PAIR]
    cdef TileProduct p
    cdef Range rows
    cdef Py_ssize_t lane, channel, r, s, place, across = t.share_channels // PAIR, taps = t.y.taps*t.x.taps
    cdef Py_ssize_t lanes = ceil_div(u.lanes, PAIR), channels = ceil_div(u.channels, PAIR)
    cdef real* total
    cdef real* other = &sums[PAIR*PAIR]
    memset(sums, 0, 2*PAIR*PAIR*sizeof(real))
    c.add.sums = NULL
    p.a_row, p.a_part, p.a_second = 64, TILE_BYTES, t.rows*t.pairs*t.parts*TILE_BYTES
    p.b_part, p.b_second = t.part, t.block
    p.out = sums
    c.pieces, c.due = pieces_of(t, &c.stage), 0
    c.steps = max(<Py_ssize_t>1, lanes*channels*taps*u.rows*t.pairs)
    for lane in range(lanes):
        p.a = grad + 2*lane*p.a_second
        for channel in range(channels):
            total = unit + (lane*across + channel)*taps*PAIR*PAIR
            for r in range(t.y.taps):
                rows = rows_of_tap(t, u, r)
                p.a_step, p.b_step = t.a_step + rows.first*t.pairs, t.b_step + rows.first*t.pairs
                p.steps = (rows.behind - rows.first)*t.pairs
                for s in range(t.x.taps):
                    place = (tap_phase(&t.y, r)*phases(&t.x) + tap_phase(&t.x, s))*t.height*t.width
                    place += tap_place(&t.y, r)*t.width + tap_place(&t.x, s)
                    p.b = input + 2*channel*t.block + place*COLUMN_BYTES
                    sum_steps(t.parts, u.lanes - lane*PAIR > TILE, u.channels - channel*PAIR > TILE, &p, c)
                    c.add.sums, c.add.total, c.add.fresh = p.out, total, u.fresh
                    p.out = other
                    other = <real*>c.add.sums
                    total = total + PAIR*PAIR
    finish_add(&c.add, 0)


cdef vr add_chunks(const WeightGradient* t, const real* sums, Py_ssize_t apart) noexcept nogil:
    """In order."""
    cdef vr sum = vload(sums)
    cdef Py_ssize_t chunk
    for chunk in range(1, t.chunks):
        sum = sum + vload(sums + chunk*apart)
    return sum


cdef void finish_tap(const WeightGradient* t, Py_ssize_t share, Py_ssize_t index, const real* sums) noexcept nogil:
    """Add up the chunks for one tap of one block of a share, and write the weights' gradient."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t taps = t.y.taps*t.x.taps, tap = index % taps, block = index // taps
    cdef Py_ssize_t across = t.share_channels // PAIR
    cdef Py_ssize_t lane = share // t.shares_across*t.share_lanes + block // across*PAIR
    cdef Py_ssize_t channel = share % t.shares_across*t.share_channels + block % across*PAIR
    cdef Py_ssize_t apart = t.shares_down*t.shares_across*unit_floats(t), k, c, i, lanes, channels
    cdef stored* out = t.result.data + tap // t.x.taps*t.result.row + tap % t.x.taps*t.result.col
    cdef vr square[VLEN]
    cdef vi beyond = visplat(0)
    for k in range(0, PAIR, 16):
        for c in range(0, PAIR, 16):
            lanes = min(t.lanes - lane - k, <Py_ssize_t>VLEN)
            channels = min(t.channels - channel - c, <Py_ssize_t>VLEN)
            if lanes <= 0 or channels <= 0:
                continue
            for i in range(VLEN):
                square[i] = vsplat(0)
            for i in range(lanes):
                square[i] = add_chunks(t, sums + (index*PAIR + k + i)*PAIR + c, apart)
                beyond = beyond | vbeyond(square[i], least_sum(t.parts), MOST_SUM)
            put_square(&t.result, square, lane + k, lanes, channel + c, channels, out)
    if vany(beyond):
        t.beyond[0] = True
    restore_denormals(mode)


cdef void finish_unit(const WeightGradient* t, Py_ssize_t share, const real* sums) noexcept nogil:
    """The same for all of a share."""
    cdef Py_ssize_t index
    for index in range(blocks_of(t)):
        finish_tap(t, share, index, sums)


cdef void sum_units(
    const WeightGradient* t, Py_ssize_t unit, Py_ssize_t apart, char* strip, Py_ssize_t input, Py_ssize_t own,
    real* sums,
) noexcept nogil:
    """All strips of every `apart`-th unit; `sums` are the place of one's, where each is finished by itself."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t other = own // 2, place, done
    cdef char* staged
    cdef stored nothing[VLEN]
    cdef Chores c
    cdef Part part
    if unit >= units_of(t):
        return
    # What is read beside the pixels meets zeros, and must be a number.
    memset(strip, 0, own)
    c.t = t
    memset(nothing, 0, VLEN*sizeof(stored))
    for place in range(TILE):
        c.stage.nothing[place] = nothing
    full_tiles_begin()
    place = first_strip(t, unit)
    begin_strip(t, &c.stage, unit, place, strip, input)
    finish_stage(&c)
    while unit < units_of(t):
        part, staged, done = c.stage.part, c.stage.input, unit
        place += 1
        if place == behind_strip(t, unit):
            unit += apart
            place = first_strip(t, unit)
        if unit < units_of(t):
            begin_strip(t, &c.stage, unit, place, staged + other, input)
            other = -other
        sum_strip(&c, &part, staged, staged + input, sums if t.chunks == 1 else t.sums + done*unit_floats(t))
        finish_stage(&c)
        if t.chunks == 1 and unit != done:
            finish_unit(t, done, sums)
    tiles_end()
    restore_denormals(mode)


cdef struct Room:
    # Scratch: the sums of all units, two tables of the steps, and for each thread two strips of both operands, and the
    # sums of a unit.
    Py_ssize_t sums, input, strips, own, bytes
    int threads


cdef Room make_room(WeightGradient* t, int threads) noexcept nogil:
    """Divide the work of one group."""
    cdef Room room
    cdef Py_ssize_t unit
    room.threads = worth(
        threads, <double>t.images*t.y.count*t.x.count*t.lanes*t.y.taps*t.x.taps*t.channels/FASTER)
    t.pixels = 0
    if is_identity(&t.y) and is_identity(&t.x):
        deal_pixels(t)
    else:
        cut_bands(t)
    divide(t, room.threads)
    unit = unit_floats(t)*sizeof(real)
    room.sums = units_of(t)*unit if t.chunks > 1 else 0
    room.input = ceil_div(input_bytes(t, t.share_channels), 64)*64
    room.strips = 2*(room.input + grad_bytes(t, t.share_lanes))
    room.own = room.strips + (unit if t.chunks == 1 else 0)
    room.bytes = (room.sums + room.threads*room.own
                  + 2*t.rows*t.pairs*<Py_ssize_t>sizeof(Py_ssize_t))
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    """One group."""
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t steps = t.rows*t.pairs, shares = t.shares_down*t.shares_across, unit, step
    cdef char* memory = <char*>lend(room.bytes)
    cdef char* strips = memory + room.sums
    cdef Py_ssize_t* a_step = <Py_ssize_t*>(strips + room.threads*room.own)
    cdef Py_ssize_t* b_step = a_step + steps
    if memory is NULL:
        return False
    for step in range(steps):
        a_step[step] = step*t.parts*TILE_BYTES
        b_step[step] = (step // t.pairs*t.width + 2*(step % t.pairs))*COLUMN_BYTES
    t.sums, t.a_step, t.b_step = <real*>memory, a_step, b_step
    for unit in prange(room.threads, schedule='static', num_threads=room.threads):
        sum_units(t, unit, room.threads, strips + unit*room.own, room.input, room.strips,
                  <real*>(strips + unit*room.own + room.strips))
    for unit in prange(shares*blocks_of(t) if t.chunks > 1 else 0, schedule='static', num_threads=room.threads):
        finish_tap(t, unit // blocks_of(t), unit % blocks_of(t), t.sums + unit // blocks_of(t)*unit_floats(t))
    take_back(memory, room.bytes)
    return True


cdef bint sum_groups(const WeightGradient* call, Py_ssize_t groups, int threads) noexcept nogil:
    cdef WeightGradient t
    cdef Py_ssize_t g
    cdef bint done = True
    for g in range(groups):
        t = call[0]
        t.input, t.grad = call.input + g*t.channels, call.grad + g*t.lanes
        t.result.data = call.result.data + g*t.result.group
        done = done and sum_gradient(&t, threads)
    return done


cdef inline bint is_blank(const WeightGradient* t) noexcept nogil:
    """Whether there is not a single product."""
    return t.images*t.y.count*t.x.count*t.lanes*t.y.taps*t.x.taps*t.channels == 0


cdef void clear(const Convolution* c, const Weights* w) noexcept nogil:
    """Sums of no products."""
    cdef Py_ssize_t k, i, r, s
    for k in range(c.outputs):
        for i in range(c.filters):
            for r in range(c.down.kernel):
                for s in range(c.across.kernel):
                    w.data[k*w.lane + i*w.channel + r*w.row + s*w.col] = 0


cdef WeightGradient begin(const Pass* p) noexcept nogil:
    """From 1, 2 or 3 parts of each number: `extra`."""
    cdef const Convolution* c = &p.convolution
    cdef WeightGradient t
    t.images, t.channels, t.lanes, t.parts = c.images, c.filters, c.lanes, p.extra
    t.y, t.x = phase_axis(&c.down, 0), phase_axis(&c.across, 0)
    t.input, t.grad, t.source, t.target, t.result = p.input, p.grad, input_image(c), output_image(c), weights_of(p)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef WeightGradient t = begin(p)
    cdef bint beyond = False
    t.beyond = &beyond
    if is_blank(&t):
        clear(&p.convolution, &t.result)
    elif not sum_groups(&t, p.convolution.groups, p.threads):
        return NO_MEMORY
    return NOT_FINITE if beyond else DONE


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef WeightGradient t = begin(p)
    return 0 if is_blank(&t) else lent(make_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
