"""The gradient of a 3x3 convolution's weight by Winograd's F(3x3, 2x2), with products by AMX tiles of bfloat16 parts.

The algorithm of winograd_conv2d_backward_weight.pyx, with the operands of _amx_winograd_gradient.pxd: 16 products in
place of 36, where AMX has them from parts. Both operands are transformed and split for each share of the other, so that
shares are large; and all sums of a share are more than a core's cache holds. So a unit of work is one row of four
points of a chunk of the tiles: it stages a strip of them after the other, which sums what fits the second-level cache
beside the row's sums. The transforms of other rows read the same pixels again, three times in all; these come near, and
the sums of the block before are added up, a little with every four products.

Sums are two levels high: tiles begin anew with every strip, and are added up in float32, in chunks of strips that the
shape alone decides; the chunks are added up in order, and what they sum to is transformed into taps.

A call with transformed numbers that have no parts, or with results out of the range in which parts are exact
(_split.pxd), is said to be NOT_FINITE, and computed again in float32.

Scratch: the sums of all chunks of a share (SUMS_BYTES); and for each thread a strip of both operands (STRIP_BYTES), and
where the pixels of two strips are.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from convkit._kernels._amx cimport (
    DEEP, PAIR, TILE, TILE_BYTES, TileProduct, chores_of_step, full_tiles_begin, sum_product, tiles_end, vany, vbeyond,
)
from convkit._kernels._amx_gradient cimport Add, add_chore, finish_add
from convkit._kernels._amx_slots cimport even_share
from convkit._kernels._amx_winograd_gradient cimport GRADS, PATCH, Operand, Strip, find_strip, stage_strip
from convkit._kernels._axis cimport Range
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, prefetch, prefetch_second, real, restore_denormals, vi, visplat, vload, vr,
)
from convkit._kernels._split cimport MOST_SUM, least_sum
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, padded, put_square, weights_of
from convkit._kernels._winograd_gradient cimport POINTS, contract
from convkit._kernels._winograd_rows cimport SIDE
from convkit._kernels._winograd_tiles cimport Pixels, Tiles, tiles_of, whole_lines

cdef enum:
    SHARE = 256                     # channels, and lanes, at most
    STRIP_BYTES = 800*1024
    SUMS_BYTES = 4*1024*1024
    CHUNKS = 4                      # of which each has SIDE units: enough for a few threads
    FASTER = 8                      # than the operations that a thread's worth is counted in
    FRESH = 4                       # pixels of a tile, the last ones, that the tile before it has not read
    ROWS_AHEAD = 6                  # of sums
    TAPS = 3
    BLOCK = PAIR*PAIR               # sums of a block, at one point


cdef struct Gradient:
    Py_ssize_t images, groups
    Tiles tiles
    Operand image, grad             # of a share
    Weights result                  # of a share
    Py_ssize_t channels, lanes      # of a group,
    Py_ssize_t share_channels, share_lanes
    int parts
    Py_ssize_t chunks, strip        # and tiles of a strip, at most
    const Py_ssize_t* step          # bytes from a strip's first step to each
    real* sums                      # [chunk][row of points][block of lanes][block of channels][point][lane][channel]
    bint* beyond                    # set where parts are not exact


cdef inline Py_ssize_t blocks_of(const Gradient* t) noexcept nogil:
    """Blocks of a share's sums."""
    return ceil_div(t.grad.width, PAIR)*ceil_div(t.image.width, PAIR)


cdef inline Py_ssize_t row_floats(const Gradient* t) noexcept nogil:
    """Sums of a row of points."""
    return blocks_of(t)*SIDE*BLOCK


cdef inline Range piece_of(Range tiles, Py_ssize_t index, Py_ssize_t count) noexcept nogil:
    """One of so many pieces of a run of tiles, of whole steps but for the last."""
    cdef Py_ssize_t steps = ceil_div(tiles.behind - tiles.first, DEEP)
    cdef Range piece
    piece.first = tiles.first + index*steps // count*DEEP
    piece.behind = min(tiles.behind, tiles.first + (index + 1)*steps // count*DEEP)
    return piece


# ---------------------------------------------------------------------------------------------------------------------
# What is done in the shadow of products


cdef struct Ahead:
    # Pixels that the next strip reads, to be fetched a few lines at a time.
    const real* const* pixels
    Py_ssize_t of_tile              # how many there are of a tile,
    Py_ssize_t at, behind           # and fresh ones, of all tiles
    Py_ssize_t c, width, lines


cdef struct Chores:
    Ahead patches, grads
    Add add
    Py_ssize_t done                 # since the block before


cdef inline Ahead ahead_of(
    const real* const* pixels, Py_ssize_t of_tile, Py_ssize_t tiles, Py_ssize_t width, Py_ssize_t times,
) noexcept nogil:
    cdef Ahead a
    a.pixels, a.of_tile, a.at, a.behind, a.c, a.width = pixels, of_tile, 0, tiles*FRESH, 0, width
    a.lines = ceil_div(a.behind*ceil_div(width, VLEN), times)
    return a


cdef inline void fetch(Ahead* a) noexcept nogil:
    cdef Py_ssize_t _
    for _ in range(a.lines):
        if a.at == a.behind:
            return
        prefetch_second(a.pixels[(a.at // FRESH + 1)*a.of_tile - FRESH + a.at % FRESH] + a.c)
        a.c += VLEN
        if a.c >= a.width:
            a.at, a.c = a.at + 1, 0


cdef void do_chores(void* chores) noexcept nogil:
    cdef Chores* c = <Chores*>chores
    add_chore(&c.add, c.done)
    fetch(&c.patches)
    fetch(&c.grads)
    c.done += 1


# ---------------------------------------------------------------------------------------------------------------------
# A unit of work


cdef bint stage(const Gradient* t, Py_ssize_t row, const Strip* s, char* v, char* m) noexcept nogil:
    """Transform and split what a strip reads; return whether a number has no parts."""
    if t.parts == 3:
        return stage_strip(3, row, s, &t.image, &t.grad, v, m)
    if t.parts == 2:
        return stage_strip(2, row, s, &t.image, &t.grad, v, m)
    return stage_strip(1, row, s, &t.image, &t.grad, v, m)


cdef void multiply(int parts, bint tall, bint wide, const TileProduct* p) noexcept nogil:
    """The only place where all shapes of blocks are compiled."""
    sum_product(parts, tall, wide, p)


cdef void sum_strip(
    const Gradient* t, const Strip* s, const Strip* next, const char* v, const char* m, bint fresh, real* total,
) noexcept nogil:
    """A row of points of all blocks, added to its sums; `fresh` ones begin with this strip."""
    cdef real sums[2*BLOCK]
    cdef real* other = sums + BLOCK
    cdef Py_ssize_t times = SIDE*blocks_of(t)*ceil_div(s.tiles, DEEP)*chores_of_step(t.parts)
    cdef Py_ssize_t across = ceil_div(t.image.width, PAIR), point, block, lane, channel
    cdef Chores c
    cdef TileProduct p
    memset(sums, 0, sizeof(sums))
    c.patches = ahead_of(next.patches, PATCH, next.tiles, t.image.width, times)
    c.grads = ahead_of(next.grads, GRADS, next.tiles, t.grad.width, times)
    c.add.sums, c.done = NULL, 0
    p.a_row, p.a_part, p.a_second, p.a_step = 64, TILE_BYTES, t.grad.block, t.step
    p.b_part, p.b_second, p.b_step = TILE_BYTES, t.image.block, t.step
    p.steps, p.out, p.chore, p.chores = ceil_div(s.tiles, DEEP), sums, do_chores, &c
    for point in range(SIDE):
        for block in range(blocks_of(t)):
            lane, channel = block // across*PAIR, block % across*PAIR
            p.a = m + point*t.grad.point + lane // TILE*t.grad.block
            p.b = v + point*t.image.point + channel // TILE*t.image.block
            multiply(t.parts, t.grad.width - lane > TILE, t.image.width - channel > TILE, &p)
            finish_add(&c.add, c.done)
            c.add.sums, c.add.total, c.add.fresh, c.done = p.out, total + (block*SIDE + point)*BLOCK, fresh, 0
            p.out = other
            other = <real*>c.add.sums
    finish_add(&c.add, 0)


cdef inline void find(const Gradient* t, Range tiles, Py_ssize_t row, Strip* s) noexcept nogil:
    find_strip(&t.image.pixels, &t.grad.pixels, &t.tiles, tiles, row, s)


cdef inline Py_ssize_t strip_pixels(const Gradient* t) noexcept nogil:
    """How many a strip reads for a row of points."""
    return t.strip*(PATCH + GRADS)


cdef void sum_unit(const Gradient* t, Py_ssize_t unit, char* memory) noexcept nogil:
    """A row of points of a chunk of the tiles, strip by strip."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t row = unit % SIDE, strips, i
    cdef Range tiles
    cdef Strip strip[2]
    cdef Strip* next
    cdef char* v = memory + whole_lines(2*strip_pixels(t)*sizeof(real*))
    cdef char* m = v + SIDE*t.image.point
    tiles.first, tiles.behind = 0, t.tiles.count
    tiles = piece_of(tiles, unit // SIDE, t.chunks)
    strips = ceil_div(tiles.behind - tiles.first, t.strip)
    for i in range(2):
        strip[i].patches = <const real**>memory + i*strip_pixels(t)
        strip[i].grads = strip[i].patches + t.strip*PATCH
    full_tiles_begin()
    find(t, piece_of(tiles, 0, strips), row, &strip[0])
    for i in range(strips):
        next = &strip[1 - i % 2]
        next.tiles = 0
        if i + 1 < strips:
            find(t, piece_of(tiles, i + 1, strips), row, next)
        if stage(t, row, &strip[i % 2], v, m):
            t.beyond[0] = True
        sum_strip(t, &strip[i % 2], next, v, m, i == 0, t.sums + unit*row_floats(t))
    tiles_end()
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# From sums to taps


cdef inline vr add_chunks(const Gradient* t, Py_ssize_t row, Py_ssize_t place) noexcept nogil:
    """In order."""
    cdef vr sum = vload(t.sums + row*row_floats(t) + place)
    cdef Py_ssize_t chunk
    for chunk in range(1, t.chunks):
        sum = sum + vload(t.sums + (chunk*SIDE + row)*row_floats(t) + place)
    return sum


cdef inline vi find_taps(const Gradient* t, Py_ssize_t place, vr* taps) noexcept nogil:
    """The taps of a vector of channels, TILE vectors apart; lanes of the result are set where parts were not exact."""
    cdef vr y[4*TAPS]
    cdef vr z[TAPS]
    cdef vi beyond = visplat(0)
    cdef Py_ssize_t i, j
    for i in range(SIDE):
        contract(add_chunks(t, i, place), add_chunks(t, i, place + BLOCK), add_chunks(t, i, place + 2*BLOCK),
                 add_chunks(t, i, place + 3*BLOCK), y + TAPS*i)
    for j in range(TAPS):
        contract(y[j], y[TAPS + j], y[2*TAPS + j], y[3*TAPS + j], z)
        for i in range(TAPS):
            taps[(i*TAPS + j)*TILE] = z[i]
            beyond = beyond | vbeyond(z[i], least_sum(t.parts), MOST_SUM)
    return beyond


cdef inline void fetch_sums(const Gradient* t, Py_ssize_t place) noexcept nogil:
    """Of a lane's channels, at all points."""
    cdef Py_ssize_t point
    for point in range(POINTS):
        prefetch(t.sums + point // SIDE*row_floats(t) + point % SIDE*BLOCK + place)
        prefetch(t.sums + point // SIDE*row_floats(t) + point % SIDE*BLOCK + place + VLEN)


cdef void finish_half(const Gradient* t, Py_ssize_t block, Py_ssize_t half) noexcept nogil:
    """Write the taps of 16 lanes of a block."""
    cdef vr taps[2][TAPS*TAPS*TILE]
    cdef vi beyond = visplat(0)
    cdef Py_ssize_t across = ceil_div(t.image.width, PAIR), channel = block % across*PAIR, k, i, side, place
    cdef Py_ssize_t lane = block // across*PAIR + half*TILE, lanes = min(t.grad.width - lane, <Py_ssize_t>TILE)
    cdef Py_ssize_t sides = min(ceil_div(t.image.width - channel, TILE), <Py_ssize_t>2)
    if lanes <= 0:
        return
    for k in range(lanes):
        place = (block*SIDE*PAIR + half*TILE + k)*PAIR
        fetch_sums(t, place + ROWS_AHEAD*PAIR)
        for side in range(sides):
            beyond = beyond | find_taps(t, place + side*TILE, taps[side] + k)
    for i in range(TAPS*TAPS):
        for side in range(sides):
            put_square(&t.result, taps[side] + i*TILE, lane, lanes, channel + side*TILE,
                       min(t.image.width - channel - side*TILE, <Py_ssize_t>TILE),
                       t.result.data + i // TAPS*t.result.row + i % TAPS*t.result.col)
    if vany(beyond):
        t.beyond[0] = True


cdef void finish_block(const Gradient* t, Py_ssize_t block) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    finish_half(t, block, 0)
    finish_half(t, block, 1)
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# The whole


cdef struct Room:
    # Bytes of scratch: a pixel of zeros, a table of the steps, the sums, and what each thread has.
    Py_ssize_t zeros, steps, sums, own, bytes
    int threads


cdef void lay(Operand* o, Py_ssize_t share, Py_ssize_t steps, int parts) noexcept nogil:
    o.block = steps*parts*TILE_BYTES
    o.point = share // TILE*o.block


cdef Room divide(Gradient* t, int threads) noexcept nogil:
    """Cut into shares, chunks and strips by the shape alone, and lay out the scratch."""
    cdef Room r
    cdef Py_ssize_t step, steps
    r.threads = worth(threads, <double>t.tiles.count*POINTS*t.channels*t.lanes/FASTER)
    t.share_channels, t.share_lanes = even_share(t.channels, SHARE), even_share(t.lanes, SHARE)
    step = (t.share_channels + t.share_lanes) // TILE*SIDE*t.parts*TILE_BYTES
    steps = min(max(<Py_ssize_t>1, STRIP_BYTES // step), ceil_div(t.tiles.count, DEEP))
    t.strip = steps*DEEP
    lay(&t.image, t.share_channels, steps, t.parts)
    lay(&t.grad, t.share_lanes, steps, t.parts)
    r.sums = POINTS*t.share_channels*t.share_lanes*sizeof(real)
    t.chunks = max(<Py_ssize_t>1, min(min(<Py_ssize_t>CHUNKS, SUMS_BYTES // r.sums), t.tiles.count // t.strip))
    r.sums *= t.chunks
    r.zeros = padded(max(t.channels, t.lanes))*sizeof(real)
    r.steps = whole_lines(steps*sizeof(Py_ssize_t))
    r.own = whole_lines(2*strip_pixels(t)*sizeof(real*)) + steps*step
    r.bytes = r.sums + r.zeros + r.steps + r.threads*r.own
    return r


cdef void sum_share(const Gradient* t, const Room* r, char* memory) noexcept nogil:
    cdef Py_ssize_t unit
    with parallel(num_threads=r.threads):
        for unit in prange(t.chunks*SIDE, schedule='dynamic'):
            sum_unit(t, unit, memory + threadid()*r.own)
        for unit in prange(blocks_of(t), schedule='static'):
            finish_block(t, unit)


cdef Gradient share_of(const Gradient* t, Py_ssize_t index) noexcept nogil:
    """Shares of the lanes, shares of the channels, and groups follow each other."""
    cdef Gradient share = t[0]
    cdef Py_ssize_t down = ceil_div(t.lanes, t.share_lanes), across = ceil_div(t.channels, t.share_channels)
    cdef Py_ssize_t lane = index % down*t.share_lanes, channel = index // down % across*t.share_channels
    cdef Py_ssize_t group = index // down // across
    share.image.pixels.data = t.image.pixels.data + group*t.channels + channel
    share.grad.pixels.data = t.grad.pixels.data + group*t.lanes + lane
    share.result.data = t.result.data + group*t.result.group + channel*t.result.channel + lane*t.result.lane
    share.image.width = min(t.share_channels, t.channels - channel)
    share.grad.width = min(t.share_lanes, t.lanes - lane)
    return share


cdef inline Py_ssize_t shares_of(const Gradient* t) noexcept nogil:
    return t.groups*ceil_div(t.channels, t.share_channels)*ceil_div(t.lanes, t.share_lanes)


cdef int sum_gradient(Gradient* t, int threads) noexcept nogil:
    cdef Room r = divide(t, threads)
    cdef bint beyond = False
    cdef Py_ssize_t index, step
    cdef Gradient share
    cdef char* memory = <char*>lend(r.bytes)
    cdef real* zeros = <real*>(memory + r.sums)
    cdef Py_ssize_t* steps = <Py_ssize_t*>(memory + r.sums + r.zeros)
    if memory is NULL:
        return NO_MEMORY
    memset(zeros, 0, r.zeros)
    for step in range(t.strip // DEEP):
        steps[step] = step*t.parts*TILE_BYTES
    t.sums, t.step, t.beyond, t.image.pixels.zeros, t.grad.pixels.zeros = <real*>memory, steps, &beyond, zeros, zeros
    for index in range(shares_of(t)):
        share = share_of(t, index)
        sum_share(&share, &r, memory + r.sums + r.zeros + r.steps)
    take_back(memory, r.bytes)
    return NOT_FINITE if beyond else DONE


cdef Pixels pixels_of(const real* data, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    cdef Pixels p
    p.data, p.zeros, p.rows, p.cols, p.first_row, p.first_col = data, NULL, rows, cols, 0, 0
    return p


cdef Gradient begin(const Pass* p) noexcept nogil:
    """For three taps an axis; strides and dilations are 1; nothing is empty. From 1, 2 or 3 parts: `extra`."""
    cdef const Convolution* c = &p.convolution
    cdef Gradient t
    t.images, t.groups, t.channels, t.lanes, t.parts = c.images, c.groups, c.filters, c.lanes, p.extra
    t.image.pixels = pixels_of(p.input, c.down.in_size, c.across.in_size)
    t.image.pixels.first_row, t.image.pixels.first_col = -c.down.padding, -c.across.padding
    t.grad.pixels = pixels_of(p.grad, c.down.out_size, c.across.out_size)
    t.image.pixels.strides, t.grad.pixels.strides = input_image(c), output_image(c)
    t.tiles = tiles_of(2, t.images, t.grad.pixels.rows, t.grad.pixels.cols)
    t.result = weights_of(p)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef Gradient t = begin(p)
    return sum_gradient(&t, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Gradient t = begin(p)
    return lent(divide(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
