"""Two-dimensional convolution of float32 by AMX tiles of bfloat16 parts: forward and backward-input.

The same correlation as conv2d.pyx, over the strips of _amx_strip.pxd. The weights are split once a call. All sums of a
chunk of channels stay in tiles from the first product to the last. AMX leaves the vector units idle: so the next strip
is staged, and the last block's sums are put into the output, a little with each step of the products.

Images of bfloat16 have one part and are not split: strips are copies of them, results are rounded once.

A call with numbers that have no parts, or with results out of the range in which parts are exact (_split.pxd), is said
to be NOT_FINITE, and computed again in float32.

Scratch: the weights' tiles, 2, 4 or 6 bytes for each weight of a chunk of channels, in whole blocks of 32; and, for
each thread, two strips (of STRIP_BYTES, or the input of one tile where that is larger; of WIDE_STRIP_BYTES where images
lie side by side) and the sums of two blocks of tiles.
"""

from cython.parallel cimport parallel, prange
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._amx cimport (
    PAIR, TILE, TILE_BYTES, TileProduct, chores_of_step, full_tiles_begin, sum_product, tiles_end,
)
from convkit._kernels._amx_packed cimport lies_packed, pack_block, packed_chunk, packed_group, tiles_bytes, unit_steps
from convkit._kernels._amx_put cimport Put, output_at, put_some
from convkit._kernels._amx_strip cimport (
    Correlation, Part, Stage, begin_strip, choose_layout, chunk_of, divide, reach_of, stage_piece, steps_of_row,
    strip_bytes, units_of,
)
from convkit._kernels._amx_weights cimport step_bytes
from convkit._kernels._axis cimport Range, Spatial, is_identity, phase_axis, phase_count, taps_inside
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport finish, is_plain
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing, packing
from convkit._kernels._scratch cimport scratch
from convkit._kernels._simd cimport (
    VBYTES, VLEN, flush_denormals, real, restore_denormals, stored, vload_lanes, vr, vsplat, vstore_stored_lanes,
    vstream_end,
)
from convkit._kernels._split cimport HAS_NO_PARTS, HEAD
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport ceil_div, merge_pixels
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    FASTER = 4                      # than the operations that a thread's worth is counted in
    PUT = 4                         # rows to put at a time


cdef bint stage_more(const Correlation* t, Stage* s) noexcept nogil:
    """The only place where staging is compiled; return whether there was any left to do."""
    return stage_piece(t, s)


cdef void put_rows(const Correlation* t, const Part* u, Put* to, Py_ssize_t count) noexcept nogil:
    """The same of putting sums into the output."""
    put_some(t, u, to, count)


# ---------------------------------------------------------------------------------------------------------------------
# Sums


cdef struct Chores:
    # What a thread does in the shadow of its products: put the last block's sums, and stage the next unit's strip.
    const Correlation* t
    Part part
    Put put
    Stage stage
    real* sums                      # of two blocks of tiles
    Py_ssize_t calls, puts_due      # of a block; and what has come due of PAIR rows, in parts of that
    Py_ssize_t all_calls, pieces    # of a unit, and so many pieces to stage;
    Py_ssize_t pieces_due           # what has come due of them


cdef void do_chores(void* chores) noexcept nogil:
    cdef Chores* c = <Chores*>chores
    c.puts_due += PAIR // PUT
    while c.puts_due >= c.calls:
        c.puts_due -= c.calls
        put_rows(c.t, &c.part, &c.put, PUT)
    c.pieces_due += c.pieces
    while c.pieces_due >= c.all_calls:
        c.pieces_due -= c.all_calls
        if not stage_more(c.t, &c.stage):
            c.pieces_due = c.pieces = 0


cdef void finish_put(Chores* c) noexcept nogil:
    put_rows(c.t, &c.part, &c.put, PAIR)


cdef void finish_stage(Chores* c) noexcept nogil:
    while stage_more(c.t, &c.stage):
        pass


cdef void sum_block(Chores* c, TileProduct* p, Put to, bint tall) noexcept nogil:
    """Sum a block of tiles while the one before is put; then that one's place is free for the next."""
    cdef real* other = p.out + PAIR*PAIR if p.out == c.sums else c.sums
    sum_product(c.t.parts, tall, to.lanes > TILE, p)
    finish_put(c)
    to.sums = p.out
    c.put = to
    p.out = other


cdef void sum_line(Chores* c, const char* strip, TileProduct* p, Put to) noexcept nogil:
    """All sums of a strip for one block of lanes: tiles run over its positions as they lie."""
    cdef const Correlation* t = c.t
    cdef Py_ssize_t positions = (c.part.rows - 1)*t.pitch + c.part.cols
    p.a_row, p.a_second = t.pixel, TILE*t.pixel
    to.first = 0
    while to.first < positions:
        to.row, to.col = to.first // t.pitch, to.first % t.pitch
        to.behind = min(positions - to.first, <Py_ssize_t>PAIR)
        p.a = strip + to.first*t.pixel
        sum_block(c, p, to, to.behind > TILE)
        to.first += PAIR


cdef void sum_side_by_side(Chores* c, const char* strip, TileProduct* p, Put to) noexcept nogil:
    """The same where a tile is one pixel of several images, and two tiles are neighbours."""
    cdef const Correlation* t = c.t
    cdef Range taps
    p.a_row, p.a_second = t.apart, t.pixel
    for to.row in range(c.part.rows):
        # Rows of taps that lie in the padding are left out.
        taps = taps_inside(&t.y, c.part.row + to.row)
        p.a_step, p.b_step = t.reach + taps.first*steps_of_row(t), t.place + taps.first*steps_of_row(t)
        p.steps = (taps.behind - taps.first)*steps_of_row(t)
        to.col = 0
        while to.col < c.part.cols:
            to.behind = PAIR if to.col + 1 < c.part.cols else TILE
            p.a = strip + (to.row*t.line + to.col)*t.pixel
            sum_block(c, p, to, to.behind > TILE)
            to.col += 2


cdef void pace(Chores* c) noexcept nogil:
    """Spread the chores evenly, so that the last is done with the last step."""
    cdef const Correlation* t = c.t
    cdef Py_ssize_t positions = c.part.rows*(c.part.images*c.part.cols if t.together > 1 else t.pitch)
    cdef Py_ssize_t blocks = ceil_div(c.part.behind_lane - c.part.first_lane, PAIR)*ceil_div(positions, PAIR)
    c.calls, c.puts_due = chores_of_step(t.parts)*t.steps, 0
    c.all_calls, c.pieces_due = max(<Py_ssize_t>1, c.calls*blocks), 0
    c.pieces = c.stage.lines*(1 + ceil_div(t.width, t.piece))


cdef void correlate_unit(Chores* c, const char* strip) noexcept nogil:
    cdef const Correlation* t = c.t
    cdef TileProduct p
    cdef Put to
    if c.part.rows == 0 or c.part.cols == 0:
        return
    pace(c)
    p.a_part, p.a_step, p.steps = t.part, t.reach, t.steps
    p.b_second, p.b_part, p.b_step = TILE_BYTES, 2*TILE_BYTES, t.place
    p.out, p.chore, p.chores = c.sums, do_chores, c
    to.row = to.col = to.first = to.at = 0
    to.lane = c.part.first_lane
    while to.lane < c.part.behind_lane:
        to.lanes = min(t.lanes - to.lane, <Py_ssize_t>PAIR)
        p.b = t.tiles + to.lane // PAIR*t.steps*step_bytes(t.parts)
        if t.together > 1:
            sum_side_by_side(c, strip, &p, to)
        else:
            sum_line(c, strip, &p, to)
        to.lane += PAIR
    finish_put(c)


cdef struct Room:
    # Scratch: the weights' tiles, for each thread two strips and two blocks of sums, and two tables of the steps.
    Py_ssize_t weights, strip, own, units, bytes
    int threads


cdef void correlate_units(const Correlation* t, const Room* room, Py_ssize_t thread, char* strip) noexcept nogil:
    """A thread's part of the units, which are neighbours: strips of the same images, or with the same weights.

    The tiles are given back at the end: threads that hold some take longer to switch.
    """
    if t.beyond[0]:                 # a weight has no parts
        return
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t other = room.strip if room.threads < room.units else 0
    cdef Py_ssize_t unit = thread*room.units // room.threads, behind = (thread + 1)*room.units // room.threads
    cdef Chores c
    if t.lined:
        # What lies behind the last channel meets weights of zero, and must be a number.
        memset(strip, 0, room.strip + other)
    c.t, c.sums, c.put.at, c.put.behind = t, <real*>(strip + room.own) - 2*PAIR*PAIR, 0, 0
    full_tiles_begin()
    if unit < behind:
        begin_strip(t, &c.stage, unit, strip)
        finish_stage(&c)
    while unit < behind:
        c.part, strip = c.stage.part, c.stage.strip
        unit += 1
        if unit < behind:
            begin_strip(t, &c.stage, unit, strip + other)
            other = -other
        correlate_unit(&c, strip)
        finish_stage(&c)
    tiles_end()
    if t.streams:
        vstream_end()
    restore_denormals(mode)


cdef Room make_room(Correlation* t, int threads) noexcept nogil:
    """Divide the work of one phase of one group for one chunk of channels."""
    cdef Room room
    t.merged = is_identity(&t.y) and is_identity(&t.x)
    merge_pixels(&t.images, &t.y, &t.x)
    room.threads = worth(
        threads, <double>t.images*t.y.count*t.x.count*t.lanes*(t.y.taps*t.x.taps*t.channels + 1)/FASTER)
    choose_layout(t)
    divide(t, room.threads)
    room.weights = 0 if lies_packed(t) else tiles_bytes(t)
    room.strip = ceil_div(strip_bytes(t), 64)*64
    room.units = units_of(t)
    room.own = (2 if room.units > room.threads else 1)*room.strip + 2*PAIR*PAIR*sizeof(real)
    room.bytes = room.weights + room.threads*room.own + 2*t.steps*<Py_ssize_t>sizeof(Py_ssize_t)
    return room


cdef bint correlate(Correlation* t, const Weights* w, int threads) noexcept nogil:
    """One phase of one group for one chunk of channels."""
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t step, unit, blocks = ceil_div(t.lanes, PAIR) if room.weights else 0
    cdef char* memory = <char*>lend(room.bytes)
    cdef char* strips = memory + room.weights
    cdef Py_ssize_t* reach = <Py_ssize_t*>(strips + room.threads*room.own)
    cdef Py_ssize_t* place = reach + t.steps
    if memory is NULL:
        return False
    for step in range(t.steps):
        reach[step], place[step] = reach_of(t, step), step*step_bytes(t.parts)
    t.reach, t.place, t.tiles = reach, place, t.packed
    if room.weights:
        t.tiles = memory
    if room.threads == 1:           # a team of one waits for itself, in the operating system
        for unit in range(blocks):
            pack_block(t, w, unit, memory, t.beyond)
        correlate_units(t, &room, 0, strips)
    else:
        with parallel(num_threads=room.threads):
            for unit in prange(blocks, schedule='static'):
                pack_block(t, w, unit, memory, t.beyond)
            for unit in prange(room.threads, schedule='static'):
                correlate_units(t, &room, unit, strips + unit*room.own)
    take_back(memory, room.bytes)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# All chunks, groups and phases


cdef bint correlate_chunks(const Correlation* call, const Weights* w, int threads) noexcept nogil:
    """All channels of one phase of one group."""
    cdef Correlation t
    cdef Weights chunk = w[0]
    cdef Py_ssize_t first = 0, size = chunk_of(call, w.channels), line = VBYTES // <Py_ssize_t>sizeof(stored)
    cdef const char* packed = call.packed
    cdef bint done = True
    t = unit_steps(call)
    if chunk_of(&t, w.channels) != size:
        packed = NULL
    while first < w.channels:
        t = call[0]
        t.again, t.last, t.packed = first > 0, first + size >= w.channels, packed
        # Sums that are taken in chunks are read again, and are left to the caches.
        t.streams = (is_plain(&t.epilogue) and size >= w.channels and t.lanes % line == 0 and t.target.col % line == 0
                     and streams(<const real*>t.output, t.images*t.y.count*t.x.count*t.lanes*VLEN // line))
        t.input = call.input + first
        t.channels = chunk.channels = min(size, w.channels - first)
        chunk.data = w.data + first*w.channel
        if packed is not NULL:
            packed = packed + packed_chunk(&t)
        done = done and correlate(&t, &chunk, threads)
        first += size
    return done


cdef void fill(const Correlation* t) noexcept nogil:
    """Outputs that no input reaches."""
    cdef Py_ssize_t image, row, col, k
    cdef stored* out
    cdef int here
    cdef vr v
    for image in range(t.images):
        for row in range(t.y.count):
            for col in range(t.x.count):
                out = output_at(t, image, row, col)
                k = 0
                while k < t.lanes:
                    here = <int>min(t.lanes - k, <Py_ssize_t>VLEN)
                    v = vload_lanes(t.bias + k, here) if t.bias is not NULL else vsplat(0)
                    vstore_stored_lanes(out + k, v, here)
                    k += VLEN
                finish(&t.epilogue, 1, t.lanes, t.lanes, <real*>out)


cdef Correlation phase_of(
    const Correlation* call, const Weights* w, const Spatial* down, const Spatial* across, Py_ssize_t phase,
) noexcept nogil:
    """One phase of both axes."""
    cdef Correlation t = call[0]
    t.y, t.x = phase_axis(down, phase // phase_count(across)), phase_axis(across, phase % phase_count(across))
    t.lanes, t.channels = w.lanes, w.channels
    return t


cdef inline bint is_blank(const Correlation* t) noexcept nogil:
    """Whether no product reaches an output, or there are none."""
    return t.images*t.y.count*t.x.count*t.lanes*t.y.taps*t.x.taps*t.channels == 0


cdef bint convolve(
    Correlation* call, const Weights* w, const real* bias, const Spatial* down, const Spatial* across, int threads,
) noexcept nogil:
    cdef Correlation t
    cdef Weights group = w[0]
    cdef Py_ssize_t g, phase
    cdef bint done = True
    for g in range(w.groups):
        for phase in range(phase_count(down)*phase_count(across)):
            t = phase_of(call, w, down, across, phase)
            t.input, t.output = call.input + g*w.channels, call.output + g*w.lanes
            t.bias = bias + g*w.lanes if bias is not NULL else NULL
            group.data = w.data + g*w.group
            if is_blank(&t):
                fill(&t)
            else:
                if t.packed is not NULL:
                    t.packed = t.packed + g*packed_group(&t, w)
                done = done and correlate_chunks(&t, &group, threads)
    return done


cdef Py_ssize_t convolve_scratch(
    const Correlation* call, const Weights* w, const Spatial* down, const Spatial* across, int threads,
) noexcept nogil:
    """The most that `convolve` takes at a time."""
    cdef Correlation t
    cdef Py_ssize_t phase, first, size, most = 0
    for phase in range(phase_count(down)*phase_count(across) if w.groups else 0):
        t = phase_of(call, w, down, across, phase)
        if is_blank(&t):
            continue
        size = chunk_of(&t, w.channels)
        first = 0
        while first < w.channels:
            t = phase_of(call, w, down, across, phase)
            t.channels = min(size, w.channels - first)
            most = max(most, lent(make_room(&t, threads).bytes))
            first += size
    return most


cdef Correlation begin(const Pass* p) noexcept nogil:
    """From 1, 2 or 3 parts of each number: `extra`."""
    cdef const Convolution* c = &p.convolution
    cdef Correlation t
    t.images, t.parts, t.epilogue, t.beyond = c.images, p.extra, p.epilogue, NULL
    t.input, t.source, t.output, t.target = p.input, source_image(c), p.output, target_image(c)
    t.packed = <const char*>(p.packed + HEAD) if p.packed is not NULL else NULL
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p)
    cdef Weights w = weights_of(p)
    cdef bint beyond = p.packed is not NULL and p.packed[0] == HAS_NO_PARTS
    t.beyond = &beyond
    if not beyond and not convolve(&t, &w, p.bias, &p.convolution.down, &p.convolution.across, p.threads):
        return NO_MEMORY
    return NOT_FINITE if beyond else DONE


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p)
    cdef Weights w = weights_of(p)
    return convolve_scratch(&t, &w, &p.convolution.down, &p.convolution.across, p.threads)


cdef void lay_steps(Correlation* t, const Weights* w, const Pass* p) noexcept nogil:
    """What `pack` needs of a correlation."""
    t.parts, t.lanes, t.channels = p.extra, w.lanes, w.channels
    t.y.taps, t.x.taps = p.convolution.down.kernel, p.convolution.across.kernel
    t[0] = unit_steps(t)


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Correlation t
    cdef Weights w = weights_of(p)
    lay_steps(&t, &w, p)
    return HEAD + w.groups*packed_group(&t, &w) // <Py_ssize_t>sizeof(real)


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    """As tiles of parts; and before them, whether all have parts."""
    cdef Correlation t
    cdef Weights w = weights_of(p), chunk
    cdef Py_ssize_t g, first, size, block, step
    cdef Py_ssize_t* place
    cdef char* tiles = <char*>(packed + HEAD)
    cdef bint beyond = False
    lay_steps(&t, &w, p)
    size = chunk_of(&t, w.channels)
    place = <Py_ssize_t*>scratch(t.steps*sizeof(Py_ssize_t))
    if place is NULL:
        return False
    for step in range(t.steps):
        place[step] = step*step_bytes(t.parts)
    for g in range(w.groups):
        chunk, first = w, 0
        while first < w.channels:
            t.channels = chunk.channels = min(size, w.channels - first)
            t = unit_steps(&t)
            t.place, chunk.data = place, w.data + g*w.group + first*w.channel
            for block in range(ceil_div(w.lanes, PAIR)):
                pack_block(&t, &chunk, block, tiles, &beyond)
            tiles = tiles + tiles_bytes(&t)
            first += size
    free(place)
    packed[0] = HAS_NO_PARTS if beyond else 0
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
