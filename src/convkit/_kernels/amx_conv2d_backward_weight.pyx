"""The gradient of the weights of a float32 convolution, by AMX tiles of bfloat16 parts.

    grad_w[k, c, r, s] = sum over images and outputs of  grad_out[pixel, k] * x[pixel moved by the tap, c]

over the strips of _amx_slots.pxd. Sums are two levels high: tiles begin anew with every strip, of at most STEPS
products, and are added up in float32, in chunks of strips that the shape alone decides; the chunks are added up in
order. The next strip is staged a little with each step of the products.

A call with numbers that have no parts, or with results out of the range in which parts are exact (_split.pxd), is said
to be NOT_FINITE, and computed again in float32.

Scratch: a copy of the weights in float32, in whole blocks of 32 x 32, for each chunk (more than one while all are
within SUMS_BYTES); and for each thread two strips (of STRIP_BYTES, or two columns where those are larger).
"""

from cython.parallel cimport prange
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._amx cimport (
    PAIR, TILE, TILE_BYTES, TileProduct, chores_of_step, full_tiles_begin, sum_product, tiles_end, vany, vbeyond,
)
from convkit._kernels._amx_slots cimport (
    COLUMN_BYTES, Part, Stage, WeightGradient, begin_strip, behind_strip, cut_bands, deal_pixels, divide, first_strip,
    grad_bytes, input_bytes, pieces_of, stage_piece, units_of,
)
from convkit._kernels._axis cimport Range, is_identity, outputs_inside, phase_axis
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing
from convkit._kernels._phases cimport phases, tap_phase, tap_place
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vi, visplat, vload, vr, vsplat, vstore, vstore_lanes, vtranspose,
)
from convkit._kernels._split cimport MOST_SUM, least_sum
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    FASTER = 4                      # than the operations that a thread's worth is counted in


cdef struct Chores:
    # What a thread does in the shadow of its products: stage the next strip, `pieces` of it in `steps` steps.
    const WeightGradient* t
    Stage stage
    Py_ssize_t pieces, steps, due


cdef void do_chores(void* chores) noexcept nogil:
    cdef Chores* c = <Chores*>chores
    c.due += c.pieces
    while c.due >= c.steps:
        c.due -= c.steps
        stage_piece(c.t, &c.stage)


cdef void finish_stage(Chores* c) noexcept nogil:
    while stage_piece(c.t, &c.stage):
        pass


cdef inline void add_sums(real* total, const real* sums, bint fresh, Py_ssize_t lanes) noexcept nogil:
    """Add 32 channels of so many outputs. Those that are not there are never looked at."""
    cdef Py_ssize_t i
    for i in range(lanes*PAIR // VLEN):
        vstore(total + i*VLEN, vload(sums + i*VLEN) if fresh else vload(total + i*VLEN) + vload(sums + i*VLEN))


cdef Range rows_of_tap(const WeightGradient* t, const Part* u, Py_ssize_t tap) noexcept nogil:
    """Rows of a strip's outputs of which a row of taps does not read the padding alone: of bands, all of them."""
    cdef Range rows = outputs_inside(&t.y, tap)
    if t.bands > 1:
        rows.first, rows.behind = u.row, u.row + u.rows
    rows.first = min(max(rows.first - u.row, <Py_ssize_t>0), u.rows)
    rows.behind = min(max(rows.behind - u.row, rows.first), u.rows)
    return rows


cdef void sum_strip(Chores* c, const Part* u, const char* input, const char* grad) noexcept nogil:
    """All taps of all blocks of a staged strip."""
    cdef const WeightGradient* t = c.t
    cdef real sums[PAIR*PAIR]
    cdef TileProduct p
    cdef Range rows
    cdef Py_ssize_t lane, channel, r, s, place, across = ceil_div(t.channels, PAIR), taps = t.y.taps*t.x.taps
    cdef Py_ssize_t lanes = ceil_div(u.lanes, PAIR), channels = ceil_div(u.channels, PAIR)
    cdef real* total
    memset(sums, 0, PAIR*PAIR*sizeof(real))
    p.a_row, p.a_part, p.a_second = 64, TILE_BYTES, t.rows*t.pairs*t.parts*TILE_BYTES
    p.b_part, p.b_second = t.part, t.block
    p.out, p.chore, p.chores = sums, do_chores, c
    c.pieces, c.due = pieces_of(t, &c.stage), 0
    c.steps = max(<Py_ssize_t>1, lanes*channels*taps*u.rows*t.pairs*chores_of_step(t.parts))
    for lane in range(lanes):
        p.a = grad + 2*lane*p.a_second
        for channel in range(channels):
            total = (t.sums + u.chunk*t.chunk
                     + ((u.lane // PAIR + lane)*across + u.channel // PAIR + channel)*taps*PAIR*PAIR)
            for r in range(t.y.taps):
                rows = rows_of_tap(t, u, r)
                p.a_step, p.b_step = t.a_step + rows.first*t.pairs, t.b_step + rows.first*t.pairs
                p.steps = (rows.behind - rows.first)*t.pairs
                for s in range(t.x.taps):
                    place = (tap_phase(&t.y, r)*phases(&t.x) + tap_phase(&t.x, s))*t.height*t.width
                    place += tap_place(&t.y, r)*t.width + tap_place(&t.x, s)
                    p.b = input + 2*channel*t.block + place*COLUMN_BYTES
                    sum_product(t.parts, u.lanes - lane*PAIR > TILE, u.channels - channel*PAIR > TILE, &p)
                    add_sums(total, sums, u.fresh, min(u.lanes - lane*PAIR, <Py_ssize_t>PAIR))
                    total = total + PAIR*PAIR


cdef void sum_units(
    const WeightGradient* t, Py_ssize_t unit, Py_ssize_t apart, char* strip, Py_ssize_t input, Py_ssize_t own,
) noexcept nogil:
    """All strips of every `apart`-th unit."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t other = own // 2, place
    cdef char* staged
    cdef Chores c
    cdef Part part
    if unit >= units_of(t):
        return
    # What is read beside the pixels meets zeros, and must be a number.
    memset(strip, 0, own)
    c.t = t
    full_tiles_begin()
    place = first_strip(t, unit)
    begin_strip(t, &c.stage, unit, place, strip, input)
    finish_stage(&c)
    while unit < units_of(t):
        part, staged = c.stage.part, c.stage.input
        place += 1
        if place == behind_strip(t, unit):
            unit += apart
            place = first_strip(t, unit)
        if unit < units_of(t):
            begin_strip(t, &c.stage, unit, place, staged + other, input)
            other = -other
        sum_strip(&c, &part, staged, staged + input)
        finish_stage(&c)
    tiles_end()
    restore_denormals(mode)


cdef inline void put_square(
    const Weights* w, vr* square, Py_ssize_t lane, Py_ssize_t lanes, Py_ssize_t channel, Py_ssize_t channels, real* out,
) noexcept nogil:
    """Write 16 x 16 gradients, rows of outputs, to wherever the weights lie."""
    cdef Py_ssize_t k, c
    out = out + lane*w.lane + channel*w.channel
    if w.lane == 1 and w.channel != 1:
        vtranspose(square)
        for c in range(channels):
            vstore_lanes(out + c*w.channel, square[c], <int>lanes)
    elif w.channel == 1:
        for k in range(lanes):
            vstore_lanes(out + k*w.lane, square[k], <int>channels)
    else:
        for k in range(lanes):
            for c in range(channels):
                out[k*w.lane + c*w.channel] = (<const real*>&square[k])[c]


cdef void finish_tap(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    """Add up the chunks, in order, for one tap of one block, and write the weights' gradient."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t taps = t.y.taps*t.x.taps, tap = unit % taps, block = unit // taps, k, c, i, chunk, lanes, channels
    cdef Py_ssize_t lane = block // ceil_div(t.channels, PAIR)*PAIR, channel = block % ceil_div(t.channels, PAIR)*PAIR
    cdef real* out = <real*>t.result.data + tap // t.x.taps*t.result.row + tap % t.x.taps*t.result.col
    cdef const real* sums
    cdef vr square[VLEN]
    cdef vi beyond = visplat(0)
    for k in range(0, PAIR, 16):
        for c in range(0, PAIR, 16):
            lanes = min(t.lanes - lane - k, <Py_ssize_t>VLEN)
            channels = min(t.channels - channel - c, <Py_ssize_t>VLEN)
            if lanes <= 0 or channels <= 0:
                continue
            sums = t.sums + unit*PAIR*PAIR + k*PAIR + c
            for i in range(VLEN):
                square[i] = vsplat(0)
            for i in range(lanes):
                square[i] = vload(sums + i*PAIR)
                for chunk in range(1, t.chunks):
                    square[i] = square[i] + vload(sums + chunk*t.chunk + i*PAIR)
                beyond = beyond | vbeyond(square[i], least_sum(t.parts), MOST_SUM)
            put_square(&t.result, square, lane + k, lanes, channel + c, channels, out)
    if vany(beyond):
        t.beyond[0] = True
    restore_denormals(mode)


cdef struct Room:
    # Scratch: the sums, two strips of both operands for each thread, and two tables of the steps.
    Py_ssize_t sums, input, grad, own, bytes
    int threads


cdef Room make_room(WeightGradient* t, int threads) noexcept nogil:
    """Divide the work of one group."""
    cdef Room room
    room.threads = worth(
        threads, <double>t.images*t.y.count*t.x.count*t.lanes*t.y.taps*t.x.taps*t.channels/FASTER)
    t.pixels = 0
    if is_identity(&t.y) and is_identity(&t.x):
        deal_pixels(t)
    else:
        cut_bands(t)
    divide(t, room.threads)
    room.sums = t.chunks*t.chunk*sizeof(real)
    room.input = ceil_div(input_bytes(t, t.share_channels), 64)*64
    room.grad = grad_bytes(t, t.share_lanes)
    room.own = 2*(room.input + room.grad)
    room.bytes = (room.sums + room.threads*room.own
                  + 2*t.rows*t.pairs*<Py_ssize_t>sizeof(Py_ssize_t))
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    """One group."""
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t steps = t.rows*t.pairs, unit, step
    cdef char* memory = <char*>scratch(room.bytes)
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
        sum_units(t, unit, room.threads, strips + unit*room.own, room.input, room.own)
    for unit in prange(t.chunk // (PAIR*PAIR), schedule='static', num_threads=room.threads):
        finish_tap(t, unit)
    free(memory)
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
    return 0 if is_blank(&t) else granted(make_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
