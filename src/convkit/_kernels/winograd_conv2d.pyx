"""Winograd's convolution with filters of 3x3 to 5x5, of stride 1: forward and backward-input, in tiles of m x m.

The weights are transformed once, by all threads, into U[point][channel][output], (m + 2)^2 points a tile; the channels
of a filter's parts (_winograd_parts.pxd) lie side by side. Then threads take units of work: a run of tiles, which may
go on from one image to the next, and a share of the outputs. Of their input they make V[point][tile][channel], multiply
that with U, point by point, into Q[point][tile][output], and make outputs of Q. A point is done with all of its panels
before the next one's: what is in use at a time is small, and every panel that comes from memory serves all tiles of the
unit. Where channels are few, with AVX-512, tiles go by rows of points instead (_winograd_rows.pxd).

Groups are convolutions of their own, side by side: a unit of work is of one of them.

Each output is the same products summed in the same order in whatever unit it is: threads cannot be seen in the result.

An infinite input, and sums near overflow, would give NaN where a direct convolution gives infinity or a number: the
caller is told of outputs that are not finite. Denormals count as zero, in the transforms too: as if inputs and weights
were off by a few times the smallest normal number.

Scratch: U, which is (m + 2)^2/9 times 3x3 weights for each part, and V and Q for each thread, together UNIT_BYTES, or
those of one tile where that has more.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Range
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._epilogue cimport is_plain
from convkit._kernels._lines cimport dealt
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing, packing
from convkit._kernels._scratch cimport scratch
from convkit._kernels._simd cimport TILE_ROWS, VLEN, flush_denormals, real, restore_denormals, vr, vsplat, vstream_end
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, pack_block, padded, weights_of
from convkit._kernels._winograd cimport transform_output
from convkit._kernels._winograd_correlation cimport (
    Correlation, correlation_of, finish_tile, group_of, inputs_ahead, lay_panels, note, outputs_ahead, panel_of,
    piece_of, piece_room, planes_of, put_outputs, transform_panel, transform_rows,
)
from convkit._kernels._winograd_parts cimport MOST_PARTS, parts_with
from convkit._kernels._winograd_rows cimport COLUMNS, SIDE, PointRow, outputs_of, read_row, sum_run, sums_of
from convkit._kernels._winograd_tiles cimport Line, NextPixels, Planes, fetch, line_of, read_line, tiles_of, whole_lines

cdef enum:
    # Columns of a unit's outputs, if its tiles were a row. With fewer, panels of deep layers come from memory too
    # often; with more, V and Q of shallow layers leave the second-level cache.
    UNIT_COLUMNS = 112
    UNIT_BYTES = 4*1024*1024
    # By rows of points: tiles of a run and of a unit.
    RUN_TILES = 24
    UNIT_TILES = 128
    SHARE_BLOCKS = 32               # blocks of lanes of a unit, at most: Q of more would leave no room for tiles


# ---------------------------------------------------------------------------------------------------------------------
# Weights


cdef void pack_piece(const Correlation* all_groups, const Weights* w, Py_ssize_t index, real* taps) noexcept nogil:
    """Transform the weights of one block of a group's lanes and one piece of its channels; there is room at `taps`."""
    cdef Correlation t = all_groups[0]
    cdef Py_ssize_t blocks = block_count(t.lanes), block = index // t.pieces % blocks, k
    cdef Py_ssize_t group = index // t.pieces // blocks
    cdef Range piece = piece_of(&t, index % t.pieces)
    cdef Weights part = w[0]
    t.panels += group*t.panel_group
    part.data = w.data + group*w.group + block*BLOCK*w.lane + piece.first*w.channel
    part.lanes, part.channels = min(w.lanes - block*BLOCK, <Py_ssize_t>BLOCK), piece.behind - piece.first
    cdef Py_ssize_t width = tile_vectors(part.lanes)*VLEN, size = part.channels*width
    cdef unsigned long mode = flush_denormals()
    pack_block(&part, &t.y, &t.x, 0, taps)
    for k in range(t.parts.count):
        if t.by_rows:
            transform_rows(&t, taps, width, t.panels + block*BLOCK*t.points*t.channels)
        elif t.m == 2:
            transform_panel(&t, 2, &t.parts.part[k], taps, size, panel_of(&t, block, &piece, k, width))
        else:
            transform_panel(&t, 4, &t.parts.part[k], taps, size, panel_of(&t, block, &piece, k, width))
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# Tiles


cdef inline void read_tiles(
    const Correlation* t, const int m, Py_ssize_t first, Py_ssize_t tiles, const Planes* v,
) noexcept nogil:
    """Transform what a run of tiles reads."""
    cdef Py_ssize_t at = 0
    cdef Line line
    while at < tiles:
        line = line_of(&t.tiles, m, first + at, first + tiles)
        read_line(&t.source, &t.parts, m, &line, t.channels, at, v)
        at += line.count


cdef inline vr write_tile(
    const Correlation* t, const int m, const Line* tile, Py_ssize_t first, Py_ssize_t behind, const real* q,
) noexcept nogil:
    """Transform lanes [first, behind) of a line's first tile of Q into outputs, and tell whether all are finite."""
    cdef Py_ssize_t k = first
    cdef vr bad = vsplat(0)
    cdef vr y[16]
    while k < behind:
        transform_output(m, q + k - first, t.q.point, y)
        bad = bad + put_outputs(t, m, tile, k, behind, y)
        k += VLEN
    finish_tile(t, m, tile, first, behind)
    return bad


cdef inline void write_tiles(
    const Correlation* t, const int m, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t lane, Py_ssize_t behind,
    const real* q,
) noexcept nogil:
    """Transform Q into outputs of a run of tiles, and note where they are not finite."""
    cdef Line line
    cdef Py_ssize_t at = 0, _
    cdef vr bad = vsplat(0)
    while at < tiles:
        line = line_of(&t.tiles, m, first + at, first + tiles)
        at += line.count
        for _ in range(line.count):
            bad = bad + write_tile(t, m, &line, lane, behind, q)
            line.col += m
            q = q + t.q.tile
    note(t, bad)


# ---------------------------------------------------------------------------------------------------------------------
# Products


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef inline void multiply_block(
    const Correlation* t, Product* p, Py_ssize_t point, Py_ssize_t block, Py_ssize_t tiles,
) noexcept nogil:
    """One block of lanes of all tiles at one point, piece by piece; `a` and `out` are where the first one begins."""
    cdef int vectors = tile_vectors(t.lanes - block*BLOCK)
    cdef Py_ssize_t width = vectors*VLEN, index, k
    cdef Py_ssize_t segment[MOST_PARTS]
    cdef Py_ssize_t b_segment[MOST_PARTS]
    cdef const real* v = p.a
    cdef real* q = p.out
    cdef Range piece, parts = parts_with(&t.parts, t.m + 2, point)
    p.segment, p.b_segment, p.segments = segment, b_segment, parts.behind - parts.first
    p.b_row, p.ahead_step = width, width*<Py_ssize_t>sizeof(real) // tile_count(tiles, vectors)
    p.init, p.init_row = t.source.zeros, 0
    for index in range(t.pieces):
        piece = piece_of(t, index)
        p.length = piece.behind - piece.first
        for k in range(p.segments):
            segment[k], b_segment[k] = (parts.first + k)*t.v.part, k*p.length
        p.a, p.out = v + piece.first, q
        p.b = panel_of(t, block, &piece, parts.first, width) + point*t.panel_point
        p.ahead = <const char*>(p.b + p.segments*p.length*width)
        multiply(vectors, tiles, p)
        p.init, p.init_row = q, p.out_row


cdef void multiply_points(
    const Correlation* t, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t behind, const real* v,
    real* q,
) noexcept nogil:
    """V times U into Q for blocks [first, behind) of lanes.

    Meanwhile the next panel comes near, and the lines of these tiles' outputs.
    """
    cdef Py_ssize_t point, block
    cdef NextPixels outputs = outputs_ahead(t, tile, tiles, t.points*(behind - first))
    cdef Product p
    p.a_row, p.a_seven, p.a_col = t.v.tile, 7*t.v.tile, 1
    p.out_row, p.lanes, p.stream = t.q.tile, VLEN, False
    for point in range(t.points):
        for block in range(first, behind):
            fetch(&outputs)
            p.a, p.out = v + point*t.v.point, q + point*t.q.point + (block - first)*BLOCK
            multiply_block(t, &p, point, block, tiles)


cdef void correlate_tiles(
    const Correlation* t, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t behind, real* v,
) noexcept nogil:
    """A run of tiles, for blocks [first, behind) of lanes."""
    cdef Py_ssize_t lane = first*BLOCK, behind_lane = min(behind*BLOCK, t.lanes)
    cdef Planes planes = t.v
    cdef real* q = v + t.points*t.v.point
    planes.data = v
    if t.m == 2:
        read_tiles(t, 2, tile, tiles, &planes)
    else:
        read_tiles(t, 4, tile, tiles, &planes)
    multiply_points(t, tile, tiles, first, behind, v, q)
    if t.m == 2:
        write_tiles(t, 2, tile, tiles, lane, behind_lane, q)
    else:
        write_tiles(t, 4, tile, tiles, lane, behind_lane, q)


# ---------------------------------------------------------------------------------------------------------------------
# The same by rows of points


cdef void sum_row(int vectors, Py_ssize_t tiles, PointRow* p) noexcept nogil:
    """The only place where all blocks of tiles are compiled."""
    sum_run(vectors, tiles, p)


cdef inline void write_run(
    const Correlation* t, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t lane, Py_ssize_t behind, const real* z,
) noexcept nogil:
    """Make lanes [lane, behind) of outputs of Z, [block of lanes][row of points][tile][column][lanes of the block]."""
    cdef Py_ssize_t at = 0, k, width, _
    cdef Line line
    cdef const real* block
    cdef vr bad = vsplat(0)
    cdef vr y[4]
    while at < tiles:
        line = line_of(&t.tiles, 2, tile + at, tile + tiles)
        for _ in range(line.count):
            k = lane
            while k < behind:
                block = z + (k // BLOCK*BLOCK - lane)*SIDE*COLUMNS*tiles
                width = tile_vectors(t.lanes - k // BLOCK*BLOCK)*VLEN
                outputs_of(block + at*COLUMNS*width + k % BLOCK, COLUMNS*tiles*width, width, y)
                bad = bad + put_outputs(t, 2, &line, k, behind, y)
                k += VLEN
            finish_tile(t, 2, &line, lane, behind)
            line.col += 2
            at += 1
    note(t, bad)


cdef void correlate_run(
    const Correlation* t, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t lane, Py_ssize_t behind, real* memory,
) noexcept nogil:
    """A run of tiles, from pixels to lanes [lane, behind) of outputs."""
    cdef Py_ssize_t row, at, k, times = SIDE*ceil_div(behind - lane, BLOCK)*sums_of(1, tiles)
    cdef int vectors
    cdef real* z = memory + SIDE*t.v.point
    cdef Planes v = t.v
    cdef Line line
    cdef PointRow p
    p.inputs, p.outputs = inputs_ahead(t, tile + tiles, tiles, times), outputs_ahead(t, tile, tiles, times)
    v.data = memory
    for row in range(SIDE):
        at = 0
        while at < tiles:
            line = line_of(&t.tiles, 2, tile + at, tile + tiles)
            read_row(&t.source, &line, row, t.channels, at, &v)
            at += line.count
        k = lane
        while k < behind:
            vectors = tile_vectors(t.lanes - k)
            p.v, p.tile, p.point, p.channels = memory, v.tile, v.point, t.channels
            p.u = t.panels + (k*t.points + row*SIDE*vectors*VLEN)*t.channels
            p.z = z + ((k - lane)*SIDE + row*vectors*VLEN)*COLUMNS*tiles
            sum_row(vectors, tiles, &p)
            k += BLOCK
    write_run(t, tile, tiles, lane, behind, z)


cdef void correlate_runs(
    const Correlation* t, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t behind, real* memory,
) noexcept nogil:
    """A unit's tiles, for blocks [first, behind) of lanes."""
    cdef Py_ssize_t at = 0
    while at < tiles:
        correlate_run(t, tile + at, min(t.run, tiles - at), first*BLOCK, min(behind*BLOCK, t.lanes), memory)
        at += t.run


# ---------------------------------------------------------------------------------------------------------------------
# All of it


cdef void correlate_unit(const Correlation* all_groups, Py_ssize_t index, real* memory) noexcept nogil:
    """Some tiles of a group, for a share of its lanes."""
    cdef Py_ssize_t share = index % all_groups.shares, outer = index // all_groups.shares
    cdef Correlation t = group_of(all_groups, outer % all_groups.groups)
    cdef Py_ssize_t tile = outer // t.groups*t.unit, tiles = min(t.unit, t.tiles.count - tile)
    cdef Py_ssize_t blocks = block_count(t.lanes)
    cdef Py_ssize_t first = share*blocks // t.shares, behind = (share + 1)*blocks // t.shares
    if tiles <= 0:
        return
    cdef unsigned long mode = flush_denormals()
    if t.by_rows:
        correlate_runs(&t, tile, tiles, first, behind, memory)
    else:
        correlate_tiles(&t, tile, tiles, first, behind, memory)
    if t.streams:
        vstream_end()
    restore_denormals(mode)


cdef struct Room:
    Py_ssize_t panels, biases, zeros, unit      # elements; the last for each of the threads
    Py_ssize_t bytes
    int threads


cdef inline void cut_runs(Correlation* t) noexcept nogil:
    """Runs of whole lines of tiles, or of parts of one, as even as can be; a few of them make a unit."""
    cdef Py_ssize_t across = t.tiles.across
    t.run = RUN_TILES // across*across if across <= RUN_TILES else ceil_div(across, ceil_div(across, RUN_TILES))
    t.unit = min(t.tiles.count, max(<Py_ssize_t>1, UNIT_TILES // t.run)*t.run)
    t.v, t.q = planes_of(t.run, t.channels, 1), planes_of(0, 0, 1)


cdef inline void cut_units(Correlation* t, Py_ssize_t share) noexcept nogil:
    """Units of which V and Q, for so many lanes, are as large as they may be."""
    cdef Py_ssize_t tile = t.points*(planes_of(0, t.channels, t.parts.count).tile + planes_of(0, share, 1).tile)
    cdef Py_ssize_t room = UNIT_BYTES // (tile*<Py_ssize_t>sizeof(real))
    t.unit = max(<Py_ssize_t>1, min(room, min(t.tiles.count, <Py_ssize_t>(UNIT_COLUMNS//t.m//TILE_ROWS*TILE_ROWS))))


cdef inline Py_ssize_t unit_room(const Correlation* t, Py_ssize_t share) noexcept nogil:
    """Elements of V and Q, or of what is kept of them by rows."""
    if t.by_rows:
        return SIDE*t.v.point + SIDE*COLUMNS*t.run*share
    return t.points*(t.v.point + t.q.point)


cdef Room divide(Correlation* t, int m, int threads) noexcept nogil:
    """Cut the work into units, about as many for each thread, and lay out the scratch."""
    cdef Py_ssize_t blocks = block_count(t.lanes), share, units
    cdef Room r
    lay_panels(t, m)
    t.tiles = tiles_of(m, t.images, t.y.count, t.x.count)
    r.threads = worth(threads, <double>t.tiles.count*t.points*t.parts.count*t.channels*t.lanes*t.groups)
    t.shares = ceil_div(blocks, SHARE_BLOCKS)
    if t.tiles.count*t.groups < r.threads*TILE_ROWS:
        t.shares = min(blocks, max(t.shares, <Py_ssize_t>r.threads))
    share = ceil_div(blocks, t.shares)*BLOCK
    if t.by_rows:
        cut_runs(t)
    else:
        cut_units(t, share)
    if t.groups > 1 or t.shares % r.threads:
        units = ceil_div(ceil_div(t.tiles.count, t.unit), r.threads)*r.threads
        t.unit = ceil_div(t.tiles.count, units)
    if not t.by_rows:
        t.v, t.q = planes_of(t.unit, t.channels, t.parts.count), planes_of(t.unit, share, 1)
    r.panels = whole_lines(t.groups*t.panel_group) if t.packed is NULL else 0
    r.biases = whole_lines(t.groups*padded(t.lanes))
    r.zeros = whole_lines(max(padded(t.channels), <Py_ssize_t>BLOCK))
    r.unit = whole_lines(max(unit_room(t, share), piece_room(t)))
    r.bytes = (r.panels + r.biases + r.zeros + r.threads*r.unit)*sizeof(real)
    return r


cdef inline Py_ssize_t run_of(const Correlation* t, Py_ssize_t units, int threads) noexcept nogil:
    """Units that a thread takes at a time. Groups of the same pixels go together: caches fetch their neighbours' lines
    too, and cores would take them from each other."""
    if t.groups == 1:
        return dealt(units, threads, t.images*(t.source.strides.image + t.target.image))
    return min(t.groups*t.shares, ceil_div(units, threads))


cdef int correlate(Correlation* t, const Weights* w, const real* bias, int m, int threads) noexcept nogil:
    """Transform the weights, then share out the units. `bias` may be NULL."""
    cdef bint spoiled = False
    cdef Room r = divide(t, m, threads)
    cdef real* memory = <real*>lend(r.bytes)
    cdef real* biases = memory + r.panels
    cdef real* units = biases + r.biases + r.zeros
    cdef Py_ssize_t unit, count = ceil_div(t.tiles.count, t.unit)*t.groups*t.shares
    cdef Py_ssize_t pieces = t.groups*block_count(t.lanes)*t.pieces if t.packed is NULL else 0, group
    if memory is NULL:
        return NO_MEMORY
    memset(biases, 0, (r.biases + r.zeros)*sizeof(real))
    if bias is not NULL:
        for group in range(t.groups):
            memcpy(biases + group*padded(t.lanes), bias + group*t.lanes, t.lanes*sizeof(real))
    t.panels, t.bias, t.source.zeros = memory if t.packed is NULL else <real*>t.packed, biases, biases + r.biases
    t.spoiled = &spoiled
    t.streams = is_plain(&t.epilogue) and t.lanes % VLEN == 0 and streams(t.output, t.images*t.target.image)
    if r.threads == 1:              # a team of one waits for itself, in the operating system
        for unit in range(pieces):
            pack_piece(t, w, unit, units)
        for unit in range(count):
            correlate_unit(t, unit, units)
    else:
        with parallel(num_threads=r.threads):
            for unit in prange(pieces, schedule='static'):
                pack_piece(t, w, unit, units + threadid()*r.unit)
            for unit in prange(count, schedule='dynamic', chunksize=run_of(t, count, r.threads)):
                correlate_unit(t, unit, units + threadid()*r.unit)
    take_back(memory, r.bytes)
    return NOT_FINITE if spoiled else DONE


cdef int compute(const Pass* p) noexcept nogil:
    """In tiles of `extra` x `extra`."""
    cdef Correlation t = correlation_of(p)
    cdef Weights w = weights_of(p)
    return correlate(&t, &w, p.bias, p.extra, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = correlation_of(p)
    return lent(divide(&t, p.extra, p.threads).bytes)


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Correlation t = correlation_of(p)
    lay_panels(&t, p.extra)
    return t.groups*t.panel_group


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef Correlation t = correlation_of(p)
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t piece
    cdef real* taps
    lay_panels(&t, p.extra)
    t.panels, taps = packed, <real*>scratch(piece_room(&t)*sizeof(real))
    if taps is NULL:
        return False
    for piece in range(t.groups*block_count(t.lanes)*t.pieces):
        pack_piece(&t, &w, piece, taps)
    free(taps)
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
