"""The gradient of a 3x3 or 5x5 convolution's weight by Winograd's F(3x3, 2x2): 16 products in place of 36.

The gradient of a weight is a correlation of the image with the gradient of the output. Cut into tiles of 2x2 output
pixels, each tile correlates a 4x4 patch of the image with 2x2 gradients to 3x3 taps, which takes 4x4 products of
transformed patches instead of 36 [1]. The transforms are linear, so what is summed over all tiles are the products,
and only the sums are transformed back:

    dW = A' [ sum over tiles of (G g G') * (B' d B) ] A        d: 4x4 patch, g: 2x2 gradients, *: element by element

    B' = 1  0 -1  0        G = 1  0        A' = 1  1  1  0
         0  1  1  0            1  1             0  1 -1  0     with halves in the middle of G; here they stand in A,
         0 -1  1  0            1 -1             0  1  1 -1     where they cost nothing, and sums of integers stay
         0  1  0 -1            0  1                            exact

Filters of five taps an axis are taken in parts (_winograd_parts.pxd): 49 products in place of 100. The parts lie side
by side like channels.

A unit of work is a chunk of the tiles, for a block of a group's channels and one of its lanes: their 16 matrices of
sums stay in second-level cache from the first tile to the last. Chunks are cut by the shape alone and added up in
order, so no number of threads can be seen in the result.

Scratch: for each thread 16 matrices of products' sums, and of TILES transformed patches and gradients (772 KB); and the
partial gradients where there is more than one chunk (PARTIAL_BYTES).

[1] A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memset

from convkit._kernels._axis cimport Range
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload, vr, vsplat, vstore, vstore_lanes,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, padded, weights_of
from convkit._kernels._winograd_gradient cimport POINTS, TILES, contract, plane, transform_grads
from convkit._kernels._winograd_parts cimport Part, Parts, parts_of, parts_with
from convkit._kernels._winograd_tiles cimport (
    Line, NextPixels, Pixels, Planes, Rows, Tiles, fetch, line_of, next_pixels, read_line, rows_of, tiles_of, unread,
)

cdef enum:
    BLOCK_BYTES = 256               # of channels, and of lanes, that a unit takes
    ENOUGH_UNITS = 16               # parallelism offered, whatever the number of threads
    PARTIAL_BYTES = 8*1024*1024     # all partial gradients together, where there is more than one


cdef struct Gradient:
    Py_ssize_t images, groups, channels, lanes  # channels and lanes of one group
    Tiles tiles                                 # of the gradient of the output
    Parts parts                                 # of the filters
    Pixels image, grad                          # grad is the output's
    Py_ssize_t wide, broad                      # channels and lanes of a unit,
    Py_ssize_t channel_blocks, lane_blocks      # and units that all of them make
    Py_ssize_t chunks
    Weights sums                                # of all chunks, or the result itself where there is one
    Py_ssize_t taps_across, chunk               # columns of taps, and distance of chunks there
    bint* spoiled                               # set where a gradient is not finite


cdef struct Unit:
    Py_ssize_t group, channel, channels, lane, lanes    # first, and how many
    Py_ssize_t wide, broad                      # channels of all parts, and lanes, in whole vectors
    Pixels image, grad                          # of the group, from the first channel and lane on
    Planes patches                              # [point][tile][part][channel]
    real* grads                                 # [point][tile][lane]
    real* sums                                  # [point][part][channel][lane]


# ---------------------------------------------------------------------------------------------------------------------
# Transforms


cdef void transform_tiles(const Gradient* t, const Unit* u, const Line* line, Py_ssize_t at) noexcept nogil:
    """Transform the tiles of a line; they become tiles `at` and following of the unit's."""
    cdef Py_ssize_t k = 0
    cdef Rows rows = rows_of(&u.grad, line.image, line.row, 2)
    cdef real* out = u.grads + at*u.broad
    read_line(&u.image, &t.parts, 2, line, u.channels, at, &u.patches)
    while k + VLEN <= u.lanes:
        transform_grads(VLEN, &rows, line.col, line.count, k, u.broad, out + k)
        k += VLEN
    if k < u.lanes:
        transform_grads(<int>(u.lanes - k), &rows, line.col, line.count, k, u.broad, out + k)


# ---------------------------------------------------------------------------------------------------------------------
# Sums of products


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef Py_ssize_t tiles_of_unit(const Unit* u, const Parts* parts) noexcept nogil:
    """Register tiles of the sums of all points, about."""
    cdef Py_ssize_t wide = u.broad // BLOCK, rows = parts.count*u.channels
    return POINTS*(wide*tile_count(rows, 2) + (tile_count(rows, 1) if u.broad % BLOCK else 0))


cdef void add_products(
    const Gradient* t, const Unit* u, Py_ssize_t next, Py_ssize_t tiles, bint fresh,
) noexcept nogil:
    """Add the products of the transformed tiles to the sums of all points; `fresh` sums begin at zero.

    Meanwhile what the tiles from `next` on read comes near: of all of that a unit is the first to read.
    """
    cdef Py_ssize_t point, k, first, rows, count, i, none = 0, times = tiles_of_unit(u, &t.parts)
    cdef NextPixels image = next_pixels(
        &t.tiles, unread(&u.image), t.image.rows*t.image.cols, t.image.strides.col, u.channels, next, tiles, times)
    cdef NextPixels grad = next_pixels(
        &t.tiles, u.grad.data, t.grad.rows*t.grad.cols, t.grad.strides.col, u.lanes, next, tiles, times)
    cdef Product p
    cdef int vectors
    cdef Range parts
    p.a_row, p.a_seven, p.a_col, p.segment, p.b_segment = 1, 7, u.wide, &none, &none
    p.segments, p.length, p.b_row = 1, tiles, u.broad
    p.lanes, p.stream, p.ahead_step = VLEN, False, 0
    for point in range(POINTS):
        parts = parts_with(&t.parts, 4, point)
        first, rows, k = parts.first*u.channels, (parts.behind - parts.first)*u.channels, 0
        while k < u.broad:
            vectors = tile_vectors(u.broad - k)
            p.a, p.b = u.patches.data + point*plane(u.wide) + first, u.grads + point*plane(u.broad) + k
            p.out, p.out_row = u.sums + (point*u.wide + first)*u.broad + k, u.broad
            p.init, p.init_row = p.out, p.out_row
            if fresh:
                p.init, p.init_row = u.image.zeros, 0
            p.ahead, count = <const char*>p.b, tile_count(rows, vectors)
            for i in range(count):
                fetch(&image)
                fetch(&grad)
                multiply(vectors, rows // count + (i < rows % count), &p)
            k += BLOCK


# ---------------------------------------------------------------------------------------------------------------------
# From sums to taps


cdef inline vr write_taps(
    const real* sums, Py_ssize_t point, int lanes, const Part* part, const Weights* taps, real* target,
) noexcept nogil:
    """A part's taps of one channel and one vector of lanes; returns zeros, NaN where a tap is not finite."""
    cdef vr y[12]
    cdef vr z[3]
    cdef vr spread = vsplat(0)
    cdef int i, j
    for i in range(4):
        contract(vload(sums + i*point), vload(sums + (4 + i)*point), vload(sums + (8 + i)*point),
                 vload(sums + (12 + i)*point), y + 3*i)
    for i in range(part.rows):
        contract(y[i], y[3 + i], y[6 + i], y[9 + i], z)
        for j in range(part.cols):
            vstore_lanes(target + i*taps.row + j*taps.col, z[j], lanes)
            spread = spread + (z[j] - z[j])
    return spread


cdef bint write_unit(const Gradient* t, const Unit* u, Py_ssize_t chunk) noexcept nogil:
    """Write the taps of a unit; returns whether all are finite."""
    cdef Py_ssize_t part, c, k, i, point = u.wide*u.broad
    cdef vr spread = vsplat(0)
    cdef real* target
    cdef real lanes[VLEN]
    for part in range(t.parts.count):
        target = (t.sums.data + chunk*t.chunk + t.parts.part[part].row*t.sums.row + t.parts.part[part].col*t.sums.col
                  + u.group*t.sums.group + u.channel*t.sums.channel + u.lane)
        for c in range(u.channels):
            k = 0
            while k < u.lanes:
                spread = spread + write_taps(u.sums + (part*u.channels + c)*u.broad + k, point,
                                             <int>min(u.lanes - k, <Py_ssize_t>VLEN), &t.parts.part[part], &t.sums,
                                             target + c*t.sums.channel + k)
                k += VLEN
    vstore(lanes, spread)
    for i in range(VLEN):
        if lanes[i] != 0:
            return False
    return True


cdef Unit unit_of(const Gradient* t, Py_ssize_t index, real* memory, const real* zeros) noexcept nogil:
    """Blocks of lanes, blocks of channels, groups, and then chunks of the tiles follow each other."""
    cdef Unit u
    u.lane, u.channel = index % t.lane_blocks*t.broad, index // t.lane_blocks % t.channel_blocks*t.wide
    u.group = index // t.lane_blocks // t.channel_blocks % t.groups
    u.channels, u.lanes = min(t.wide, t.channels - u.channel), min(t.broad, t.lanes - u.lane)
    u.wide, u.broad = padded(t.parts.count*u.channels), padded(u.lanes)
    u.image, u.grad = t.image, t.grad
    u.image.data += u.group*t.channels + u.channel
    u.grad.data += u.group*t.lanes + u.lane
    u.image.zeros = u.grad.zeros = zeros
    u.patches.data, u.patches.part, u.patches.tile, u.patches.point = memory, u.channels, u.wide, plane(u.wide)
    u.grads = memory + POINTS*plane(u.wide)
    u.sums = u.grads + POINTS*plane(u.broad)
    return u


cdef void sum_unit(const Gradient* t, Py_ssize_t index, real* memory, const real* zeros) noexcept nogil:
    """One unit, all of its tiles."""
    cdef Unit u = unit_of(t, index, memory, zeros)
    cdef Line line
    cdef Py_ssize_t chunk = index // t.lane_blocks // t.channel_blocks // t.groups, tile, behind, filled
    cdef bint fresh = True
    cdef Py_ssize_t blocks = ceil_div(t.tiles.count, TILES)
    tile, behind = chunk*blocks // t.chunks*TILES, min(t.tiles.count, (chunk + 1)*blocks // t.chunks*TILES)
    cdef unsigned long mode = flush_denormals()
    while tile < behind:
        filled = 0
        while filled < TILES and tile < behind:
            line = line_of(&t.tiles, 2, tile, min(behind, tile + TILES - filled))
            transform_tiles(t, &u, &line, filled)
            filled += line.count
            tile += line.count
        add_products(t, &u, tile, filled, fresh)
        fresh = False
    if not write_unit(t, &u, chunk):
        t.spoiled[0] = True
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# The whole


cdef void divide(Gradient* t) noexcept nogil:
    """Cut into units by the shape alone: the result must not depend on the number of threads."""
    cdef Py_ssize_t most = BLOCK_BYTES // sizeof(real), bytes = t.chunk*<Py_ssize_t>sizeof(real)
    t.channel_blocks = ceil_div(t.channels, most // t.parts.count)
    t.wide = ceil_div(t.channels, t.channel_blocks)
    t.broad = padded(ceil_div(t.lanes, ceil_div(t.lanes, most)))
    t.lane_blocks = ceil_div(t.lanes, t.broad)
    t.chunks = ceil_div(ENOUGH_UNITS, t.groups*t.channel_blocks*t.lane_blocks)
    t.chunks = min(t.chunks, min(ceil_div(t.tiles.count, TILES), PARTIAL_BYTES // bytes))
    t.chunks = max(<Py_ssize_t>1, t.chunks)


cdef void add_chunks(const Gradient* t, const Weights* result, Py_ssize_t unit) noexcept nogil:
    """One channel of one tap of one group: add up the partial gradients, in order."""
    cdef Py_ssize_t c = unit % t.channels, tap = unit // t.channels // t.groups, chunk, k
    cdef Py_ssize_t r = tap // t.taps_across, s = tap % t.taps_across, group = unit // t.channels % t.groups
    cdef real* total = t.sums.data + r*t.sums.row + s*t.sums.col + c*t.sums.channel + group*t.sums.group
    cdef real* target = result.data + r*result.row + s*result.col + c*result.channel + group*result.group
    for chunk in range(1, t.chunks):
        for k in range(t.lanes):
            total[k] += total[chunk*t.chunk + k]
    for k in range(t.lanes):
        target[k*result.lane] = total[k]


cdef struct Room:
    # Scratch, in elements but for the sum of it.
    Py_ssize_t zeros, partial, share        # a share for each thread
    Py_ssize_t bytes
    int threads


cdef Room make_room(const Gradient* t, bint lanes_apart, int threads) noexcept nogil:
    cdef Room room
    cdef Py_ssize_t wide = padded(t.parts.count*t.wide)
    room.threads = worth(threads, 4.0*t.tiles.count*t.chunk)
    room.zeros, room.partial = max(wide, t.broad), 0
    if t.chunks > 1 or lanes_apart:
        room.partial = ceil_div(t.chunks*t.chunk, 64)*64
    room.share = POINTS*(plane(wide) + plane(t.broad) + wide*t.broad)
    room.bytes = (room.zeros + room.partial + room.threads*room.share)*sizeof(real)
    return room


cdef int sum_gradient(Gradient* t, const Weights* result, int threads) noexcept nogil:
    cdef Room room = make_room(t, result.lane != 1, threads)
    cdef bint spoiled = False
    cdef Py_ssize_t unit
    cdef real* memory = <real*>lend(room.bytes)
    cdef real* partial = memory + room.zeros
    cdef real* shares = partial + room.partial
    if memory is NULL:
        return NO_MEMORY
    memset(memory, 0, room.zeros*sizeof(real))
    threads = room.threads
    t.spoiled, t.sums = &spoiled, result[0]
    if room.partial:
        t.sums.data = partial
        t.sums.lane, t.sums.channel, t.sums.group = 1, t.lanes, t.channels*t.lanes
        t.sums.col = t.groups*t.sums.group
        t.sums.row = t.taps_across*t.sums.col
    with parallel(num_threads=threads):
        for unit in prange(t.chunks*t.groups*t.channel_blocks*t.lane_blocks, schedule='dynamic'):
            sum_unit(t, unit, shares + threadid()*room.share, memory)
    for unit in prange(t.chunk // t.lanes if room.partial else 0, schedule='static', num_threads=threads):
        add_chunks(t, result, unit)
    take_back(memory, room.bytes)
    return NOT_FINITE if spoiled else DONE


cdef Gradient begin(const Pass* p) noexcept nogil:
    """For three to five taps an axis; strides and dilations are 1; nothing is empty."""
    cdef const Convolution* c = &p.convolution
    cdef Gradient t
    t.images, t.groups, t.channels, t.lanes = c.images, c.groups, c.filters, c.lanes
    t.image.data, t.image.strides, t.grad.data, t.grad.strides = p.input, input_image(c), p.grad, output_image(c)
    t.image.rows, t.image.cols, t.image.first_row, t.image.first_col = (
        c.down.in_size, c.across.in_size, -c.down.padding, -c.across.padding)
    t.grad.rows, t.grad.cols, t.grad.first_row, t.grad.first_col = c.down.out_size, c.across.out_size, 0, 0
    t.tiles = tiles_of(2, t.images, t.grad.rows, t.grad.cols)
    t.taps_across, t.chunk = c.across.kernel, c.down.kernel*c.across.kernel*t.groups*t.channels*t.lanes
    t.parts = parts_of(c.down.kernel, c.across.kernel)
    divide(&t)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef Gradient t = begin(p)
    cdef Weights result = weights_of(p)
    return sum_gradient(&t, &result, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Gradient t = begin(p)
    return lent(make_room(&t, p.filters.output != 1, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
