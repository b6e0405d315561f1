"""The gradient of the weights of a float32 convolution, by AMX tiles of bfloat16 parts.

    grad_w[k, c, r, s] = sum over images and outputs of  grad_out[pixel, k] * x[pixel moved by the tap, c]

A tile product sums over 32 pairs of pixels: two neighbouring columns of 16 images. A tap moves both columns alike, so
that one staged copy of the input serves all taps, and neither operand is laid out anew for them. Where images are not a
multiple of 16, they are cut into bands of rows, which are images of their own here: 16 of them share a slot. The pixels
of a 1x1 layer are dealt out to 16 such images in turn.

    grad_out  [16 outputs][pair of columns][part][output][2 columns][16 images]     tiles of A, one behind the other
    x         [16 channels][part][phase][row][column][8 pairs of images][channel][2 images]   two columns: a tile of B

Sums are two levels high: tiles begin anew with every strip, of at most STEPS products, and are added up in float32, in
chunks of strips that the shape alone decides; the chunks are added up in order.

A call with numbers that have no parts, or with results out of the range in which parts are exact (_split.pxd), is
computed again by conv2d_backward_weight.pyx.

Scratch: a copy of the weights in float32, in whole blocks of 32 x 32, for each chunk (more than one while all are
within SUMS_BYTES); and for each thread a strip (STRIP_BYTES, or the pixels of two columns where that is larger).
"""

from convkit._kernels.amx_f32 import conv2d_backward_weight as direct

from cython.parallel cimport prange
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._amx cimport (
    PAIR, TILE, TILE_BYTES, TileProduct, full_tiles_begin, sum_product, tiles_end, vany, vbeyond,
)
from convkit._kernels._axis cimport Axis, is_identity, phase_axis
from convkit._kernels._convolution cimport Convolution, convolution
from convkit._kernels._phases cimport phases, tap_phase, tap_place
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vi, visplat, vload, vload_lanes, vr, vsplat, vstore, vstore_lanes,
    vtranspose,
)
from convkit._kernels._split cimport MOST_SUM, least_split, least_sum, splittable, store_pairs, store_parts
from convkit._kernels._strip cimport Image, ceil_div, nhwc
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights

cdef enum:
    STRIP_BYTES = 2*1024*1024
    SUMS_BYTES = 16*1024*1024
    CHUNKS = 16
    FASTER = 4                      # than the operations that a thread's worth is counted in
    STEPS = 64                      # pairs of columns that one strip sums
    SHARE = 256                     # channels, and outputs, that a strip is staged for
    COLUMN_BYTES = 16*2*TILE        # of one part of a staged column: 16 channels of 16 images


cdef struct WeightGradient:
    Axis y, x
    Py_ssize_t images, channels, lanes
    const real* input
    Image source
    const real* grad
    Image target
    Weights result                  # of one group; its data is written
    int parts
    bint* beyond                    # set where parts are not exact
    Py_ssize_t pixels               # of all images, where they are dealt out in turn; else 0
    Py_ssize_t bands, band_rows     # of an image, and outputs' rows of each
    Py_ssize_t slots
    Py_ssize_t rows, cols           # outputs of a strip,
    Py_ssize_t strips_down, strips_across
    Py_ssize_t height, width        # and rows and columns of a phase of its input
    Py_ssize_t pairs                # of its columns
    Py_ssize_t part, block          # bytes of the input staged, of a part and of 16 channels
    Py_ssize_t share_lanes, share_channels, shares_down, shares_across
    Py_ssize_t chunks, chunk        # how many, and floats of each
    const Py_ssize_t* a_step
    const Py_ssize_t* b_step
    real* sums                      # [chunk][32 outputs][32 channels][tap][output][channel]


# ---------------------------------------------------------------------------------------------------------------------
# The plan: bands, strips, chunks and shares. All but the shares depend on the shape alone.


cdef void cut_bands(WeightGradient* t) noexcept nogil:
    """As many bands as fill the slots best. To stage a row of input takes about a quarter of the time to sum one."""
    cdef Py_ssize_t reach = tap_place(&t.y, t.y.taps - 1), bands, rows, cost, least = 0
    for bands in range(1, min(<Py_ssize_t>TILE, t.y.count) + 1):
        rows = ceil_div(t.y.count, bands)
        cost = ceil_div(t.images*bands, TILE)*(4*rows + reach)
        if bands == 1 or cost < least:
            least, t.bands, t.band_rows = cost, bands, rows
    t.slots = ceil_div(t.images*t.bands, TILE)


cdef void deal_pixels(WeightGradient* t) noexcept nogil:
    """Of a 1x1 layer: image i has every sixteenth pixel from the i-th on."""
    t.pixels = t.images*t.y.count*t.x.count
    t.y.count, t.x.count = 1, ceil_div(t.pixels, TILE)
    t.y.in_size, t.x.in_size = 1, t.x.count
    t.y.in_step, t.x.in_step = 0, 1 if t.x.count > 1 else 0
    t.source.image, t.target.image = t.source.col, t.target.col
    t.source.col, t.target.col = TILE*t.source.col, TILE*t.target.col
    t.bands, t.band_rows, t.slots = 1, 1, 1


cdef inline Py_ssize_t blocks_of(Py_ssize_t count, Py_ssize_t size) noexcept nogil:
    return ceil_div(count, size)


cdef inline Py_ssize_t input_bytes(const WeightGradient* t, Py_ssize_t channels) noexcept nogil:
    """Of a strip of so many channels, and one column behind it."""
    return blocks_of(channels, TILE)*t.block + COLUMN_BYTES


cdef inline Py_ssize_t grad_bytes(const WeightGradient* t, Py_ssize_t lanes) noexcept nogil:
    return blocks_of(lanes, TILE)*t.rows*t.pairs*t.parts*TILE_BYTES


cdef void lay_strip(WeightGradient* t, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """Lay out strips of at most rows x cols outputs of a band, all of nearly the same size."""
    t.strips_down, t.strips_across = ceil_div(t.band_rows, rows), ceil_div(t.x.count, cols)
    t.rows, t.cols = ceil_div(t.band_rows, t.strips_down), ceil_div(t.x.count, t.strips_across)
    t.height, t.width = t.rows + tap_place(&t.y, t.y.taps - 1), t.cols + tap_place(&t.x, t.x.taps - 1)
    t.pairs = ceil_div(t.cols, 2)
    t.part = phases(&t.y)*phases(&t.x)*t.height*t.width*COLUMN_BYTES
    t.block = t.parts*t.part


cdef inline bint strip_fits(const WeightGradient* t) noexcept nogil:
    return t.rows*t.pairs <= STEPS and (
        input_bytes(t, t.share_channels) + grad_bytes(t, t.share_lanes) <= STRIP_BYTES)


cdef Py_ssize_t even_share(Py_ssize_t count, Py_ssize_t most) noexcept nogil:
    """Shares of at most so many, in whole blocks, all of nearly the same size."""
    return ceil_div(ceil_div(count, ceil_div(count, most)), PAIR)*PAIR


cdef void divide(WeightGradient* t, int threads) noexcept nogil:
    cdef Py_ssize_t rows, cols, strips, taps = t.y.taps*t.x.taps
    t.share_channels, t.share_lanes = even_share(t.channels, SHARE), even_share(t.lanes, SHARE)
    rows, cols = t.band_rows, t.x.count
    lay_strip(t, rows, cols)
    while rows > 1 and not strip_fits(t):
        rows = ceil_div(rows, 2)
        lay_strip(t, rows, cols)
    while cols > 2 and not strip_fits(t):
        cols = ceil_div(cols, 2)
        lay_strip(t, rows, cols)
    strips = t.slots*t.strips_down*t.strips_across
    t.chunk = blocks_of(t.lanes, PAIR)*blocks_of(t.channels, PAIR)*taps*PAIR*PAIR
    t.chunks = 1
    while 2*t.chunks <= min(strips, <Py_ssize_t>CHUNKS) and 2*t.chunks*t.chunk*<Py_ssize_t>sizeof(real) <= SUMS_BYTES:
        t.chunks *= 2
    t.shares_across = ceil_div(t.channels, t.share_channels)
    while t.share_lanes > PAIR and t.chunks*t.shares_across*ceil_div(t.lanes, t.share_lanes) < 2*threads:
        t.share_lanes = even_share(t.share_lanes, t.share_lanes // 2)
    t.shares_down = ceil_div(t.lanes, t.share_lanes)


# ---------------------------------------------------------------------------------------------------------------------
# Staging


cdef struct Slot:
    # An image, a band of one, or every sixteenth pixel.
    const real* input
    const real* grad
    Py_ssize_t row                  # the first of its outputs
    Py_ssize_t rows, cols           # of its outputs: 0 if there is no such image
    Py_ssize_t in_cols              # of its input


cdef Slot slot_of(const WeightGradient* t, Py_ssize_t index) noexcept nogil:
    cdef Slot s
    cdef Py_ssize_t image = index // t.bands
    s.row = index % t.bands*t.band_rows
    s.rows, s.cols, s.in_cols = min(t.band_rows, t.y.count - s.row), t.x.count, t.x.in_size
    if t.pixels:
        s.cols = s.in_cols = ceil_div(max(<Py_ssize_t>0, t.pixels - index), TILE)
    elif image >= t.images or s.rows < 0:
        s.rows = 0
    s.input, s.grad = t.input + image*t.source.image, t.grad + image*t.target.image
    return s


cdef struct Part:
    # What is staged at a time: a strip of 16 slots, for a share of the outputs and of the channels.
    Py_ssize_t row, rows, col, cols
    Py_ssize_t lane, lanes, channel, channels


cdef inline const real* input_row(
    const WeightGradient* t, const Slot* slot, const Part* u, Py_ssize_t phase, Py_ssize_t h,
) noexcept nogil:
    """A row of a slot's input, NULL if there is none."""
    cdef Py_ssize_t line = t.y.first + t.y.grain*(phases(&t.y)*(slot.row + u.row + h) + phase)
    if slot.rows == 0 or line < 0 or line >= t.y.in_size:
        return NULL
    return slot.input + line*t.source.row + u.channel


cdef inline vr load_input(const Slot* slot, const real* line, Py_ssize_t col, Py_ssize_t at, int lanes) noexcept nogil:
    if line is NULL or col < 0 or col >= slot.in_cols:
        return vsplat(0)
    return vload_lanes(line + at, lanes)


cdef inline void stage_column(
    const WeightGradient* t, const int parts, const Slot* slot, const real** line, Py_ssize_t col, Py_ssize_t channels,
    char* target, vi* beyond,
) noexcept nogil:
    """Split one column of 16 slots, two slots to a pair."""
    cdef Py_ssize_t c = 0
    cdef int i, lanes
    cdef vr even, odd
    while c < channels:
        lanes = <int>min(channels - c, <Py_ssize_t>VLEN)
        for i in range(TILE // 2):
            even = load_input(&slot[2*i], line[2*i], col, col*t.source.col + c, lanes)
            odd = load_input(&slot[2*i + 1], line[2*i + 1], col, col*t.source.col + c, lanes)
            even = splittable(even, least_split(parts), beyond)
            odd = splittable(odd, least_split(parts), beyond)
            store_pairs(parts, even, odd, target + 64*i, t.part)
        c += VLEN
        target = target + t.block


cdef inline void stage_input(
    const WeightGradient* t, const int parts, const Slot* slot, const Part* u, char* staged, vi* beyond,
) noexcept nogil:
    cdef Py_ssize_t down, across, h, i, v, first, step = t.x.grain*phases(&t.x)
    cdef const real* line[TILE]
    cdef char* target
    for down in range(phases(&t.y)):
        for across in range(phases(&t.x)):
            first = t.x.first + t.x.grain*across + step*u.col
            for h in range(u.rows + t.height - t.rows):
                for v in range(TILE):
                    line[v] = input_row(t, &slot[v], u, down, h)
                target = staged + ((down*phases(&t.x) + across)*t.height + h)*t.width*COLUMN_BYTES
                for i in range(u.cols + t.width - t.cols):
                    stage_column(t, parts, slot, line, first + step*i, u.channels, target + i*COLUMN_BYTES, beyond)


cdef inline void stage_outputs(
    const WeightGradient* t, const int parts, const Slot* slot, const Part* u, Py_ssize_t row, Py_ssize_t col,
    Py_ssize_t lane, char* target, vi* beyond,
) noexcept nogil:
    """Split 16 outputs of one column of 16 slots: rows of the tile are outputs."""
    cdef vr square[VLEN]
    cdef Py_ssize_t v
    cdef int lanes = <int>min(u.lane + u.lanes - lane, <Py_ssize_t>VLEN)
    for v in range(VLEN):
        square[v] = vsplat(0)
        if col < u.cols and u.row + row < slot[v].rows and u.col + col < slot[v].cols:
            square[v] = vload_lanes(
                slot[v].grad + (slot[v].row + u.row + row)*t.target.row + (u.col + col)*t.target.col + lane, lanes)
    vtranspose(square)
    for v in range(VLEN):
        store_parts(parts, splittable(square[v], least_split(parts), beyond), target + 64*v, TILE_BYTES, VLEN)


cdef inline void stage_grad(
    const WeightGradient* t, const int parts, const Slot* slot, const Part* u, char* staged, vi* beyond,
) noexcept nogil:
    cdef Py_ssize_t row, col, lane, place
    for row in range(u.rows):
        for col in range(2*t.pairs):
            place = (row*t.pairs + col // 2)*t.parts*TILE_BYTES + 32*(col % 2)
            for lane in range(blocks_of(u.lanes, TILE)):
                stage_outputs(t, parts, slot, u, row, col, u.lane + lane*TILE,
                              staged + lane*t.rows*t.pairs*t.parts*TILE_BYTES + place, beyond)


cdef inline bint stage_parts(
    const WeightGradient* t, const int parts, const Slot* slot, const Part* u, char* input, char* grad,
) noexcept nogil:
    cdef vi beyond = visplat(0)
    stage_input(t, parts, slot, u, input, &beyond)
    stage_grad(t, parts, slot, u, grad, &beyond)
    return vany(beyond)


cdef void stage(const WeightGradient* t, const Slot* slot, const Part* u, char* input, char* grad) noexcept nogil:
    cdef bint beyond
    if t.parts == 3:
        beyond = stage_parts(t, 3, slot, u, input, grad)
    elif t.parts == 2:
        beyond = stage_parts(t, 2, slot, u, input, grad)
    else:
        beyond = stage_parts(t, 1, slot, u, input, grad)
    if beyond:
        t.beyond[0] = True


# ---------------------------------------------------------------------------------------------------------------------
# Sums


cdef inline void add_sums(real* total, const real* sums, bint fresh, Py_ssize_t lanes) noexcept nogil:
    """Add 32 channels of so many outputs. Those that are not there are never looked at."""
    cdef Py_ssize_t i
    for i in range(lanes*PAIR // VLEN):
        vstore(total + i*VLEN, vload(sums + i*VLEN) if fresh else vload(total + i*VLEN) + vload(sums + i*VLEN))


cdef void sum_strip(
    const WeightGradient* t, const Part* u, const char* input, const char* grad, real* totals, bint fresh,
) noexcept nogil:
    """All taps of all blocks of a staged strip."""
    cdef real sums[PAIR*PAIR]
    cdef TileProduct p
    cdef Py_ssize_t lane, channel, r, s, place, across = blocks_of(t.channels, PAIR), taps = t.y.taps*t.x.taps
    cdef real* total
    memset(sums, 0, PAIR*PAIR*sizeof(real))
    p.a_row, p.a_part, p.a_second = 64, TILE_BYTES, t.rows*t.pairs*t.parts*TILE_BYTES
    p.b_part, p.b_second = t.part, t.block
    p.a_step, p.b_step, p.steps, p.out, p.chore = t.a_step, t.b_step, u.rows*t.pairs, sums, NULL
    for lane in range(blocks_of(u.lanes, PAIR)):
        p.a = grad + 2*lane*p.a_second
        for channel in range(blocks_of(u.channels, PAIR)):
            total = totals + ((u.lane // PAIR + lane)*across + u.channel // PAIR + channel)*taps*PAIR*PAIR
            for r in range(t.y.taps):
                for s in range(t.x.taps):
                    place = (tap_phase(&t.y, r)*phases(&t.x) + tap_phase(&t.x, s))*t.height*t.width
                    place += tap_place(&t.y, r)*t.width + tap_place(&t.x, s)
                    p.b = input + 2*channel*t.block + place*COLUMN_BYTES
                    sum_product(t.parts, u.lanes - lane*PAIR > TILE, u.channels - channel*PAIR > TILE, &p)
                    add_sums(total, sums, fresh, min(u.lanes - lane*PAIR, <Py_ssize_t>PAIR))
                    total = total + PAIR*PAIR


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, char* input, char* grad) noexcept nogil:
    """One chunk of strips, for a share of the outputs and of the channels."""
    cdef Py_ssize_t strips = t.slots*t.strips_down*t.strips_across, chunk, strip, first, v, slots
    cdef Slot slot[TILE]
    cdef Part u
    u.channel = unit % t.shares_across*t.share_channels
    u.channels = min(t.share_channels, t.channels - u.channel)
    unit = unit // t.shares_across
    u.lane = unit % t.shares_down*t.share_lanes
    u.lanes = min(t.share_lanes, t.lanes - u.lane)
    chunk = unit // t.shares_down
    first = chunk*strips // t.chunks
    for strip in range(first, (chunk + 1)*strips // t.chunks):
        u.col = strip % t.strips_across*t.cols
        u.row = strip // t.strips_across % t.strips_down*t.rows
        slots = strip // t.strips_across // t.strips_down
        for v in range(TILE):
            slot[v] = slot_of(t, slots*TILE + v)
        u.rows, u.cols = min(t.rows, t.band_rows - u.row), min(t.cols, t.x.count - u.col)
        u.rows, u.cols = max(<Py_ssize_t>0, u.rows), max(<Py_ssize_t>0, u.cols)
        stage(t, slot, &u, input, grad)
        sum_strip(t, &u, input, grad, t.sums + chunk*t.chunk, strip == first)


cdef void sum_units(
    const WeightGradient* t, Py_ssize_t first, Py_ssize_t apart, char* input, char* grad,
) noexcept nogil:
    """Every `apart`-th unit."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t unit = first
    # What is read beside the pixels meets zeros, and must be a number.
    memset(input, 0, input_bytes(t, t.share_channels))
    full_tiles_begin()
    while unit < t.chunks*t.shares_down*t.shares_across:
        sum_unit(t, unit, input, grad)
        unit += apart
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
    cdef Py_ssize_t lane = block // blocks_of(t.channels, PAIR)*PAIR, channel = block % blocks_of(t.channels, PAIR)*PAIR
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
    # Scratch: the sums, a strip of both operands for each thread, and two tables of the steps.
    Py_ssize_t sums, input, grad, bytes
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
    room.bytes = (room.sums + room.threads*(room.input + room.grad)
                  + 2*(t.rows*t.pairs + 1)*<Py_ssize_t>sizeof(Py_ssize_t))
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    """One group."""
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t steps = t.rows*t.pairs, own = room.input + room.grad, unit, step
    cdef char* memory = <char*>scratch(room.bytes)
    cdef char* strips = memory + room.sums
    cdef Py_ssize_t* a_step = <Py_ssize_t*>(strips + room.threads*own)
    cdef Py_ssize_t* b_step = a_step + steps + 1
    if memory is NULL:
        return False
    for step in range(steps):
        a_step[step] = step*t.parts*TILE_BYTES
        b_step[step] = (step // t.pairs*t.width + 2*(step % t.pairs))*COLUMN_BYTES
    a_step[steps] = b_step[steps] = 0
    t.sums, t.a_step, t.b_step = <real*>memory, a_step, b_step
    for unit in prange(room.threads, schedule='static', num_threads=room.threads):
        sum_units(t, unit, room.threads, strips + unit*own, strips + unit*own + room.input)
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


cdef void set_up(WeightGradient* t, const Convolution* c, int parts) noexcept nogil:
    """All but where arrays lie."""
    t.images, t.channels, t.lanes, t.parts = c.images, c.filters, c.lanes, parts
    t.y, t.x = phase_axis(&c.down, 0), phase_axis(&c.across, 0)
    t.source = nhwc(c.down.in_size, c.across.in_size, c.channels)
    t.target = nhwc(c.down.out_size, c.across.out_size, c.outputs)


cdef inline bint is_blank(const WeightGradient* t) noexcept nogil:
    """Whether there is not a single product."""
    return t.images*t.y.count*t.x.count*t.lanes*t.y.taps*t.x.taps*t.channels == 0


def backward_weight(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, ::1] grad_out_nhwc, real[:, :, :, :] grad_w_kcrs,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int parts, int threads,
):
    """The gradient of the weight, from 1, 2 or 3 parts of each number."""
    cdef WeightGradient t
    cdef Weights* w = &t.result
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done = True, beyond
    cdef Convolution c = convolution(x_nhwc.shape, grad_w_kcrs.shape, grad_out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_up(&t, &c, parts)
    t.input, t.grad, t.beyond = &x_nhwc[0, 0, 0, 0], &grad_out_nhwc[0, 0, 0, 0], &beyond
    w.data, w.lane, w.channel = &grad_w_kcrs[0, 0, 0, 0], grad_w_kcrs.strides[0] // size, grad_w_kcrs.strides[1] // size
    w.row, w.col, w.group = grad_w_kcrs.strides[2] // size, grad_w_kcrs.strides[3] // size, t.lanes*w.lane
    beyond = is_blank(&t)
    if not beyond:
        with nogil:
            done = sum_groups(&t, groups, threads)
    if done and beyond:
        done = direct.backward_weight(
            x_nhwc, grad_out_nhwc, grad_w_kcrs,
            stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, threads)
    return done


def backward_weight_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int parts, int threads,
):
    """Bytes of scratch that `backward_weight` takes for arrays of these shapes, if it is not computed again."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef WeightGradient t
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_up(&t, &c, parts)
    if is_blank(&t) or groups == 0:
        return direct.backward_weight_scratch(
            x_nhwc, w_kcrs, out_nhwc, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, threads)
    return granted(make_room(&t, threads).bytes)
