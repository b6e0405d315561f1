"""Winograd's F(2x2, 3x3) of float32 with its products by AMX tiles of bfloat16 parts: forward and backward-input.

The algorithm of winograd_conv2d.pyx, with the operands of _amx_winograd.pxd: the products are those of tiles of
bfloat16, of which a sum of all products would take 2.25 times as many. Threads take units of work: a run of tiles, and
a share of the lanes. Of a run's input they make V, for a row of four points at a time; then, for 32 lanes at a time, Q,
the sums of these points, and add them to the outputs, Y. V stays in the second-level cache; U, which in deep layers is
more than any cache, passes through it once a unit.

A call with numbers that have no parts, or with results out of the range in which parts are exact (_split.pxd), is said
to be NOT_FINITE, and computed again in float32.

Scratch: U, which is 16/9 times 3x3 weights, of 2, 4 or 6 bytes; and for each thread V and Y, together UNIT_BYTES, or
those of 32 tiles where these have more, and Q of 32 lanes.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from convkit._kernels._amx cimport (
    PAIR, TILE, TILE_BYTES, TileProduct, are_beyond, chores_of_step, full_tiles_begin, magnitudes, no_magnitudes,
    sum_product, tiles_end, vmeasure,
)
from convkit._kernels._amx_weights cimport step_bytes
from convkit._kernels._amx_winograd cimport (
    POINTS, Split, add_row, line_has_no_parts, pack_step, panel_bytes, read_step, row_bytes, split_of, taps_room,
)
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._epilogue cimport is_plain
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing, packing
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, prefetch_second, real, restore_denormals, vr, vsplat, vstream_end,
)
from convkit._kernels._split cimport HAS_NO_PARTS, HEAD, MOST_SUM, least_sum
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport tile_vectors
from convkit._kernels._weights cimport Weights, block_count, padded, weights_of
from convkit._kernels._winograd_correlation cimport (
    Correlation, correlation_of, finish_tile, group_of, note, put_outputs,
)
from convkit._kernels._winograd_parts cimport parts_of
from convkit._kernels._winograd_rows cimport SIDE
from convkit._kernels._winograd_tiles cimport Line, line_of, tiles_of, whole_lines

cdef enum:
    UNIT_BYTES = 1536*1024
    UNIT_TILES = 128
    FASTER = 8                      # than the operations that a thread's worth is counted in


cdef struct Call:
    # A correlation, as it is computed here.
    Correlation t
    Split split                     # of a unit's tiles
    const char* panels              # U
    const Py_ssize_t* a_step        # of the steps, from a point's first one
    const Py_ssize_t* b_step


# ---------------------------------------------------------------------------------------------------------------------
# A unit of work


cdef void note_inputs(const Call* c, Py_ssize_t first, Py_ssize_t tiles) noexcept nogil:
    """Note numbers that have no parts, in what a run of tiles reads."""
    cdef Py_ssize_t at = 0
    cdef Line line
    while at < tiles:
        line = line_of(&c.t.tiles, 2, first + at, first + tiles)
        if line_has_no_parts(&c.t, &line):
            c.t.spoiled[0] = True
        at += line.count


cdef inline void read_tiles(
    const Call* c, const int parts, Py_ssize_t row, Py_ssize_t first, Py_ssize_t tiles, char* v,
) noexcept nogil:
    cdef Py_ssize_t at = 0, step
    cdef Line line
    while at < tiles:
        line = line_of(&c.t.tiles, 2, first + at, first + tiles)
        for step in range(c.split.steps):
            read_step(&c.t, &c.split, parts, &line, row, step, v + at*64 + step*c.split.step)
        at += line.count


cdef void read_row(const Call* c, Py_ssize_t row, Py_ssize_t first, Py_ssize_t tiles, char* v) noexcept nogil:
    """Transform and split what a run of tiles reads, for a row of points."""
    if c.split.parts == 3:
        read_tiles(c, 3, row, first, tiles, v)
    elif c.split.parts == 2:
        read_tiles(c, 2, row, first, tiles, v)
    else:
        read_tiles(c, 1, row, first, tiles, v)


cdef void multiply(int parts, bint tall, bint wide, const TileProduct* p) noexcept nogil:
    """The only place where all shapes of blocks are compiled."""
    sum_product(parts, tall, wide, p)


cdef struct NextPanel:
    # Weights that come after those at hand, and how many lines of them to fetch at a time.
    const char* line
    Py_ssize_t each


cdef void fetch_panel(void* chores) noexcept nogil:
    """Bring the next lines into the second-level cache: no prefetcher foresees what tiles load."""
    cdef NextPanel* n = <NextPanel*>chores
    cdef Py_ssize_t i
    for i in range(n.each):
        prefetch_second(n.line + i*64)
    n.line = n.line + n.each*64


cdef void multiply_row(
    const Call* c, Py_ssize_t row, Py_ssize_t block, Py_ssize_t tiles, const char* v, real* q,
) noexcept nogil:
    """V times U into Q: a row of points of one block of lanes."""
    cdef Py_ssize_t point, tile, times = ceil_div(tiles, PAIR)*c.split.steps*chores_of_step(c.split.parts)
    cdef NextPanel ahead
    cdef TileProduct p
    ahead.each = ceil_div(panel_bytes(&c.split), 64*times)
    p.a_row, p.a_second, p.a_part, p.a_step = 64, TILE_BYTES, c.split.part, c.a_step
    p.b = c.panels + row*row_bytes(&c.t, &c.split) + block*SIDE*panel_bytes(&c.split)
    p.b_second, p.b_part, p.b_step = TILE_BYTES, 2*TILE_BYTES, c.b_step
    p.steps, p.chore, p.chores = c.split.steps, fetch_panel, &ahead
    for point in range(SIDE):
        ahead.line = p.b + panel_bytes(&c.split)
        tile = 0
        while tile < tiles:
            p.a, p.out = v + point*c.split.point + tile*64, q + point*c.t.q.point + tile*PAIR
            multiply(c.split.parts, tiles - tile > TILE, c.t.lanes - block*PAIR > TILE, &p)
            tile += PAIR
        p.b = p.b + panel_bytes(&c.split)


cdef inline void add_tiles(
    const Call* c, const int row, Py_ssize_t tiles, Py_ssize_t lanes, const real* q, real* y,
) noexcept nogil:
    """Add a row of points to the outputs of a run of tiles."""
    cdef Py_ssize_t tile, k
    for tile in range(tiles):
        for k in range(tile_vectors(lanes)):
            add_row(row, q + tile*PAIR + k*VLEN, c.t.q.point, y + tile*4*PAIR + k*VLEN, NULL)


cdef inline void write_tiles(
    const Call* c, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t lane, Py_ssize_t behind, const real* q, real* y,
) noexcept nogil:
    """Write lanes [lane, behind) of outputs; note where they are not finite, or lost parts of products."""
    cdef Py_ssize_t at = 0, k, _
    cdef Line line
    cdef vr bad = vsplat(0)
    cdef vr out[4]
    cdef magnitudes seen = no_magnitudes()
    cdef int i
    while at < tiles:
        line = line_of(&c.t.tiles, 2, first + at, first + tiles)
        at += line.count
        for _ in range(line.count):
            k = lane
            while k < behind:
                add_row(3, q + k - lane, c.t.q.point, y + k - lane, out)
                for i in range(4):
                    vmeasure(&seen, out[i])
                bad = bad + put_outputs(&c.t, 2, &line, k, behind, out)
                k += VLEN
            finish_tile(&c.t, 2, &line, lane, behind)
            line.col += 2
            q = q + PAIR
            y = y + 4*PAIR
    note(&c.t, bad)
    if are_beyond(&seen, least_sum(c.split.parts), MOST_SUM):
        c.t.spoiled[0] = True


cdef void finish_row(
    const Call* c, Py_ssize_t row, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t block, const real* q, real* y,
) noexcept nogil:
    """What becomes of a row of points of one block of lanes."""
    cdef Py_ssize_t lane = block*PAIR, behind = min(lane + PAIR, c.t.lanes)
    if row == 0:
        add_tiles(c, 0, tiles, behind - lane, q, y)
    elif row == 1:
        add_tiles(c, 1, tiles, behind - lane, q, y)
    elif row == 2:
        add_tiles(c, 2, tiles, behind - lane, q, y)
    else:
        write_tiles(c, first, tiles, lane, behind, q, y)


cdef void correlate_tiles(
    const Call* c, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t behind, char* memory,
) noexcept nogil:
    """A run of tiles, for blocks [first, behind) of lanes."""
    cdef real* q = <real*>(memory + SIDE*c.split.point)
    cdef real* y = q + SIDE*c.t.q.point
    cdef Py_ssize_t row, block
    note_inputs(c, tile, tiles)
    full_tiles_begin()
    for row in range(SIDE):
        read_row(c, row, tile, tiles, memory)
        for block in range(first, behind):
            multiply_row(c, row, block, tiles, memory, q)
            finish_row(c, row, tile, tiles, block, q, y + (block - first)*c.t.unit*4*PAIR)
    tiles_end()


cdef void correlate_unit(const Call* all_groups, Py_ssize_t index, char* memory) noexcept nogil:
    """Some tiles of a group, for a share of its lanes."""
    cdef Call c = all_groups[0]
    cdef Py_ssize_t share = index % c.t.shares, outer = index // c.t.shares, group = outer % c.t.groups
    cdef Py_ssize_t tile = outer // c.t.groups*c.t.unit, tiles = min(c.t.unit, c.t.tiles.count - tile)
    cdef Py_ssize_t blocks = block_count(c.t.lanes)
    cdef unsigned long mode = flush_denormals()
    c.t = group_of(&all_groups.t, group)
    c.panels = c.panels + group*SIDE*row_bytes(&c.t, &c.split)
    correlate_tiles(&c, tile, tiles, share*blocks // c.t.shares, (share + 1)*blocks // c.t.shares, memory)
    if c.t.streams:
        vstream_end()
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# All of it


cdef struct Room:
    # Bytes of scratch.
    Py_ssize_t panels, biases, zeros, tables, unit, bytes
    int threads


cdef inline Py_ssize_t outputs_bytes(Py_ssize_t tiles, Py_ssize_t lanes) noexcept nogil:
    """Of Y."""
    return 4*tiles*lanes*sizeof(real)


cdef void lay_steps(Correlation* t) noexcept nogil:
    t.m, t.points = 2, POINTS
    t.parts = parts_of(t.y.taps, t.x.taps)


cdef Room divide(Call* c, int parts, int threads) noexcept nogil:
    """Cut the work into units, about as many for each thread, and lay out the scratch."""
    cdef Correlation* t = &c.t
    cdef Py_ssize_t blocks = block_count(t.lanes), share, units
    cdef Room r
    lay_steps(t)
    t.tiles = tiles_of(2, t.images, t.y.count, t.x.count)
    r.threads = worth(
        threads, <double>t.tiles.count*POINTS*t.parts.count*t.channels*t.lanes*t.groups/FASTER)
    t.unit = UNIT_TILES
    t.shares = 1
    if t.tiles.count*t.groups <= PAIR*(r.threads - 1):
        t.shares = min(blocks, <Py_ssize_t>r.threads)
    share = ceil_div(blocks, t.shares)*PAIR
    while t.unit > PAIR and SIDE*split_of(t, parts, t.unit).point + outputs_bytes(t.unit, share) > UNIT_BYTES:
        t.unit -= PAIR
    units = ceil_div(t.tiles.count, t.unit)
    if t.groups*t.shares % r.threads:
        units = ceil_div(units, r.threads)*r.threads
    t.unit = ceil_div(ceil_div(t.tiles.count, units), TILE)*TILE
    c.split = split_of(t, parts, t.unit)
    t.q.point = t.unit*PAIR + VLEN
    r.panels = 0 if t.packed is not NULL else t.groups*SIDE*row_bytes(t, &c.split)
    r.biases = whole_lines(t.groups*padded(t.lanes))*sizeof(real)
    r.zeros = whole_lines(padded(t.channels))*sizeof(real)
    r.tables = whole_lines(2*c.split.steps)*sizeof(Py_ssize_t)
    r.unit = SIDE*(c.split.point + t.q.point*<Py_ssize_t>sizeof(real))
    r.unit = whole_lines(max(r.unit + outputs_bytes(t.unit, share), taps_room(t)*<Py_ssize_t>sizeof(real)))
    r.bytes = r.panels + r.biases + r.zeros + r.tables + r.threads*r.unit
    return r


cdef void lay_tables(const Call* c, Py_ssize_t* a_step, Py_ssize_t* b_step) noexcept nogil:
    """How far steps are from a point's first one."""
    cdef Py_ssize_t step
    for step in range(c.split.steps):
        a_step[step], b_step[step] = step*c.split.step, step*step_bytes(c.split.parts)


cdef bint pack_unit(const Call* c, const Weights* w, Py_ssize_t index, char* room, char* panels) noexcept nogil:
    """One step of one block of lanes of a group."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t step = index % c.split.steps, blocks = block_count(c.t.lanes)
    cdef Py_ssize_t block = index // c.split.steps % blocks, group = index // c.split.steps // blocks
    cdef Weights part = w[0]
    cdef bint beyond
    part.data = w.data + group*w.group
    beyond = pack_step(&c.t, &c.split, &part, block, step, <real*>room, panels + group*SIDE*row_bytes(&c.t, &c.split))
    restore_denormals(mode)
    return beyond


cdef int correlate(Call* c, const Weights* w, const real* bias, int parts, int threads) noexcept nogil:
    """Transform the weights, then share out the units. `bias` may be NULL."""
    cdef Correlation* t = &c.t
    cdef bint spoiled = False
    cdef Room r = divide(c, parts, threads)
    cdef char* memory = <char*>lend(r.bytes)
    cdef real* biases = <real*>(memory + r.panels)
    cdef char* tables = memory + r.panels + r.biases + r.zeros
    cdef char* units = tables + r.tables
    cdef Py_ssize_t unit, count = ceil_div(t.tiles.count, t.unit)*t.groups*t.shares, group
    cdef Py_ssize_t pieces = t.groups*block_count(t.lanes)*c.split.steps if t.packed is NULL else 0
    if memory is NULL:
        return NO_MEMORY
    memset(biases, 0, r.biases + r.zeros)
    if bias is not NULL:
        for group in range(t.groups):
            memcpy(biases + group*padded(t.lanes), bias + group*t.lanes, t.lanes*sizeof(real))
    t.bias, t.source.zeros, t.spoiled = biases, biases + r.biases // <Py_ssize_t>sizeof(real), &spoiled
    t.streams = is_plain(&t.epilogue) and t.lanes % VLEN == 0 and streams(t.output, t.images*t.target.image)
    c.a_step = <Py_ssize_t*>tables
    c.b_step = c.a_step + c.split.steps
    lay_tables(c, <Py_ssize_t*>c.a_step, <Py_ssize_t*>c.b_step)
    c.panels = <const char*>(t.packed + HEAD) if t.packed is not NULL else memory
    if r.threads == 1:              # a team of one waits for itself, in the operating system
        for unit in range(pieces):
            spoiled |= pack_unit(c, w, unit, units, memory)
        for unit in range(count):
            correlate_unit(c, unit, units)
    else:
        with parallel(num_threads=r.threads):
            for unit in prange(pieces, schedule='static'):
                if pack_unit(c, w, unit, units + threadid()*r.unit, memory):
                    t.spoiled[0] = True
            for unit in prange(count, schedule='dynamic'):
                correlate_unit(c, unit, units + threadid()*r.unit)
    take_back(memory, r.bytes)
    return NOT_FINITE if spoiled else DONE


cdef int compute(const Pass* p) noexcept nogil:
    """From 1, 2 or 3 parts of each number: `extra`."""
    cdef Call c
    cdef Weights w = weights_of(p)
    if p.packed is not NULL and p.packed[0] == HAS_NO_PARTS:
        return NOT_FINITE
    c.t = correlation_of(p)
    return correlate(&c, &w, p.bias, p.extra, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Call c
    c.t = correlation_of(p)
    return lent(divide(&c, p.extra, p.threads).bytes)


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Correlation t = correlation_of(p)
    cdef Split s
    lay_steps(&t)
    s = split_of(&t, p.extra, PAIR)
    return HEAD + t.groups*SIDE*row_bytes(&t, &s) // <Py_ssize_t>sizeof(real)


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    """As tiles of parts; and before them, whether all have parts."""
    cdef Call c
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t unit
    cdef bint beyond = False
    cdef char* room
    c.t = correlation_of(p)
    lay_steps(&c.t)
    c.split = split_of(&c.t, p.extra, PAIR)
    room = <char*>lend(taps_room(&c.t)*sizeof(real))
    if room is NULL:
        return False
    for unit in range(c.t.groups*block_count(c.t.lanes)*c.split.steps):
        if pack_unit(&c, &w, unit, room, <char*>(packed + HEAD)):
            beyond = True
    take_back(room, taps_room(&c.t)*sizeof(real))
    packed[0] = HAS_NO_PARTS if beyond else 0
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
