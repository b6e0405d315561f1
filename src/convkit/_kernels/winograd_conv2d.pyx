"""Winograd's convolution with filters of 3x3 to 5x5, of stride 1: forward and backward-input, in tiles of m x m.

The weights are transformed once, by all threads, into U[point][channel][output], (m + 2)^2 points a tile; the channels
of a filter's parts (_winograd_parts.pxd) lie side by side. Then threads take units of work: a run of tiles, which may
go on from one image to the next, and a share of the outputs. Of their input they make V[point][tile][channel], multiply
that with U, point by point, into Q[point][tile][output], and make outputs of Q. A point is done with all of its panels
before the next one's: what is in use at a time is small, and every panel that comes from memory serves all tiles of the
unit.

Each output is the same products summed in the same order in whatever unit it is: threads cannot be seen in the result.

An infinite input, and sums near overflow, would give NaN where a direct convolution gives infinity or a number: the
caller is told of outputs that are not finite. Denormals count as zero, in the transforms too: as if inputs and weights
were off by a few times the smallest normal number.

Scratch: U, which is (m + 2)^2/9 times 3x3 weights for each part, and V and Q for each thread, together UNIT_BYTES, or
those of one tile where that has more; and a strip (of _staged_lines.pxd).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, Range, phase_axis
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish, is_plain
from convkit._kernels._image cimport Image
from convkit._kernels._pass cimport DONE, NOT_FINITE, NO_MEMORY, Pass, computing, packing
from convkit._kernels._scratch cimport scratch
from convkit._kernels._simd cimport (
    TILE_ROWS, VLEN, flush_denormals, prefetch, real, restore_denormals, vfold_sum, vload, vr, vsplat, vstore,
    vstream_end,
)
from convkit._kernels._staged_lines cimport lines_of, strip_size
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, pack_block, padded, weights_of
from convkit._kernels._winograd cimport transform_output, transform_weight
from convkit._kernels._winograd_parts cimport MOST_PARTS, Part, Parts, parts_of, parts_with
from convkit._kernels._winograd_tiles cimport (
    LINE, Line, Pixels, Planes, Tiles, line_of, lines_read, read_line, tiles_of, whole_lines,
)

cdef enum:
    # Products summed in registers at a time. The error of a chain grows with its length, and in sums of Winograd's
    # products it counts three times as much as in a direct convolution's, whose chains have 768.
    DEPTH = 128
    # Columns of a unit's outputs, if its tiles were a row. With fewer, panels of deep layers come from memory too
    # often; with more, V and Q of shallow layers leave the second-level cache.
    UNIT_COLUMNS = 112
    UNIT_BYTES = 4*1024*1024
    PAGE_LANES = 256                # rows of so many lanes, or a multiple, would fall into the same few cache sets
    SHARE_BLOCKS = 32               # blocks of lanes of a unit, at most: Q of more would leave no room for tiles


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, channels, lanes
    Pixels source
    real* output
    Image target
    int m                           # 2 or 4
    int points                      # (m + 2)^2
    Tiles tiles
    Py_ssize_t unit                 # tiles of a unit of work
    Py_ssize_t shares               # the blocks of lanes are dealt out in so many shares
    Parts parts                     # of the filters
    Py_ssize_t pieces               # of the channels: what is summed in registers at a time, of all parts
    const real* packed              # U, by an earlier call of `pack`; NULL for none
    real* panels                    # U: [point][block of lanes][piece][part][channel][lanes of the block]
    Py_ssize_t panel_point
    Planes v, q                     # of a thread: where they are laid out, but not where they are
    const real* bias                # padded(lanes)
    bint streams                    # the output goes past the caches
    bint* spoiled                   # set where an output is not finite
    Epilogue epilogue


# ---------------------------------------------------------------------------------------------------------------------
# Weights


cdef inline Range piece_of(const Correlation* t, Py_ssize_t index) noexcept nogil:
    """The channels of a piece."""
    cdef Range piece
    piece.first, piece.behind = index*t.channels // t.pieces, (index + 1)*t.channels // t.pieces
    return piece


cdef inline real* panel_of(
    const Correlation* t, Py_ssize_t block, const Range* piece, Py_ssize_t part, Py_ssize_t width,
) noexcept nogil:
    """Where the weights of one block of lanes, `width` of them, and one piece of a part's channels begin."""
    cdef Py_ssize_t before = block*BLOCK*t.channels + piece.first*width
    return t.panels + t.parts.count*before + part*(piece.behind - piece.first)*width


cdef inline Py_ssize_t piece_room(const Correlation* t) noexcept nogil:
    """Elements of one piece's taps."""
    return t.y.taps*t.x.taps*ceil_div(t.channels, t.pieces)*BLOCK


cdef inline void transform_panel(
    const Correlation* t, const int m, const Part* part, const real* taps, Py_ssize_t size, real* panel,
) noexcept nogil:
    """A part's weights of one piece, `taps` being [tap][channel][lane], `size` elements of each tap."""
    cdef const real* first = taps + (part.row*t.x.taps + part.col)*size
    cdef Py_ssize_t i = 0
    while i < size:
        transform_weight(m, part, first + i, t.x.taps*size, size, panel + i, t.panel_point)
        i += VLEN


cdef void pack_piece(const Correlation* t, const Weights* w, Py_ssize_t index, real* taps) noexcept nogil:
    """Transform the weights of one block of lanes and one piece of the channels; there is room for them at `taps`."""
    cdef Py_ssize_t block = index // t.pieces, k
    cdef Range piece = piece_of(t, index % t.pieces)
    cdef Weights part = w[0]
    part.data = w.data + block*BLOCK*w.lane + piece.first*w.channel
    part.lanes, part.channels = min(w.lanes - block*BLOCK, <Py_ssize_t>BLOCK), piece.behind - piece.first
    cdef Py_ssize_t width = tile_vectors(part.lanes)*VLEN, size = part.channels*width
    cdef unsigned long mode = flush_denormals()
    pack_block(&part, &t.y, &t.x, 0, taps)
    for k in range(t.parts.count):
        if t.m == 2:
            transform_panel(t, 2, &t.parts.part[k], taps, size, panel_of(t, block, &piece, k, width))
        else:
            transform_panel(t, 4, &t.parts.part[k], taps, size, panel_of(t, block, &piece, k, width))
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# Tiles


cdef inline Planes planes_of(Py_ssize_t tiles, Py_ssize_t channels, Py_ssize_t parts) noexcept nogil:
    """Rows and planes that the caches hold side by side."""
    cdef Planes p
    p.data, p.part = NULL, padded(channels)
    p.tile = parts*p.part + (LINE // <Py_ssize_t>sizeof(real) if parts*p.part % PAGE_LANES == 0 else 0)
    p.point = tiles*p.tile + VLEN
    return p


cdef inline void read_tiles(
    const Correlation* t, const int m, Py_ssize_t first, Py_ssize_t tiles, const Planes* v, real* strip,
) noexcept nogil:
    """Transform what a run of tiles reads."""
    cdef Py_ssize_t at = 0
    cdef Pixels source = t.source
    cdef Line line
    source.lines.strip = strip
    while at < tiles:
        line = line_of(&t.tiles, m, first + at, first + tiles)
        read_line(&source, &t.parts, m, &line, at, v)
        at += line.count


cdef inline vr write_tile(
    const Correlation* t, const int m, const Line* tile, Py_ssize_t first, Py_ssize_t behind, const real* q,
) noexcept nogil:
    """Transform lanes [first, behind) of a line's first tile of Q into outputs. Lanes of the result are NaN, or zero
    where all outputs are finite."""
    cdef Py_ssize_t rows = min(<Py_ssize_t>m, t.y.count - tile.row), cols = min(<Py_ssize_t>m, t.x.count - tile.col)
    cdef Py_ssize_t i, j, k = first
    cdef real* out = t.output + tile.image*t.target.image + tile.row*t.target.row + tile.col*t.target.col
    cdef vr zero = vsplat(0), bad = zero, bias
    cdef vr y[16]
    while k < behind:
        transform_output(m, q + k - first, t.q.point, y)
        bias = vload(t.bias + k)
        for i in range(m):
            for j in range(m):
                y[i*m + j] = y[i*m + j] + bias
                bad = bad + y[i*m + j]*zero
                if i < rows and j < cols:
                    put_lanes(out + i*t.target.row + j*t.target.col + k, y[i*m + j],
                              <int>min(behind - k, <Py_ssize_t>VLEN), t.streams)
        k += VLEN
    for i in range(rows):
        finish(&t.epilogue, cols, t.target.col, behind - first, out + i*t.target.row + first)
    return bad


cdef inline void write_tiles(
    const Correlation* t, const int m, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t lane, Py_ssize_t behind,
    const real* q,
) noexcept nogil:
    """Transform Q into outputs of a run of tiles, and note where they are not finite."""
    cdef Line line
    cdef Py_ssize_t at = 0, _
    cdef vr bad = vsplat(0)
    cdef real lanes[VLEN]
    while at < tiles:
        line = line_of(&t.tiles, m, first + at, first + tiles)
        at += line.count
        for _ in range(line.count):
            bad = bad + write_tile(t, m, &line, lane, behind, q)
            line.col += m
            q = q + t.q.tile
    vstore(lanes, vfold_sum(bad))
    if lanes[0] != lanes[0]:
        t.spoiled[0] = True


# ---------------------------------------------------------------------------------------------------------------------
# Products


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef void fetch_outputs(
    const Correlation* t, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t share, Py_ssize_t shares,
) noexcept nogil:
    """Bring near one of so many `shares` of where a run of tiles will be written."""
    cdef Py_ssize_t line = LINE // sizeof(real), image = t.tiles.down*t.tiles.across, i
    cdef Py_ssize_t lines = tiles*t.target.image // (image*line)
    cdef const real* pixels = t.output + first*t.target.image // image
    for i in range(share*lines // shares, (share + 1)*lines // shares):
        prefetch(pixels + i*line)


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
    cdef Py_ssize_t point, block, share = 0, shares = t.points*(behind - first)
    cdef Product p
    p.a_row, p.a_col = t.v.tile, 1
    p.out_row, p.lanes, p.stream = t.q.tile, VLEN, False
    for point in range(t.points):
        for block in range(first, behind):
            if not t.streams:
                fetch_outputs(t, tile, tiles, share, shares)
            share += 1
            p.a, p.out = v + point*t.v.point, q + point*t.q.point + (block - first)*BLOCK
            multiply_block(t, &p, point, block, tiles)


cdef void correlate_unit(const Correlation* t, Py_ssize_t index, real* v) noexcept nogil:
    cdef Py_ssize_t share = index % t.shares, tile = index // t.shares*t.unit, tiles = min(t.unit, t.tiles.count - tile)
    cdef Py_ssize_t blocks = block_count(t.lanes)
    cdef Py_ssize_t first = share*blocks // t.shares, behind = (share + 1)*blocks // t.shares
    cdef Py_ssize_t lane = first*BLOCK, behind_lane = min(behind*BLOCK, t.lanes)
    cdef Planes planes = t.v
    cdef real* q = v + t.points*t.v.point
    cdef real* strip = q + t.points*t.q.point
    if tiles <= 0:
        return
    cdef unsigned long mode = flush_denormals()
    planes.data = v
    if t.m == 2:
        read_tiles(t, 2, tile, tiles, &planes, strip)
    else:
        read_tiles(t, 4, tile, tiles, &planes, strip)
    multiply_points(t, tile, tiles, first, behind, v, q)
    if t.m == 2:
        write_tiles(t, 2, tile, tiles, lane, behind_lane, q)
    else:
        write_tiles(t, 4, tile, tiles, lane, behind_lane, q)
    if t.streams:
        vstream_end()
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# All of it


cdef struct Room:
    Py_ssize_t panels, biases, zeros, unit      # elements; the last for each of the threads
    Py_ssize_t bytes
    int threads


cdef inline void lay_panels(Correlation* t, int m) noexcept nogil:
    """Lay out the transformed weights."""
    t.m, t.points = m, (m + 2)*(m + 2)
    t.pieces = ceil_div(t.parts.count*t.channels, DEPTH)
    t.panel_point = t.parts.count*t.channels*padded(t.lanes) + VLEN


cdef Room divide(Correlation* t, int m, int threads) noexcept nogil:
    """Cut the work into units, about as many for each thread, and lay out the scratch."""
    cdef Py_ssize_t blocks = block_count(t.lanes), tile, share, room
    cdef Room r
    lay_panels(t, m)
    t.tiles = tiles_of(m, t.images, t.y.count, t.x.count)
    r.threads = worth(threads, <double>t.tiles.count*t.points*t.parts.count*t.channels*t.lanes)
    t.shares = ceil_div(blocks, SHARE_BLOCKS)
    if t.tiles.count < r.threads*TILE_ROWS:
        t.shares = min(blocks, max(t.shares, <Py_ssize_t>r.threads))
    share = ceil_div(blocks, t.shares)*BLOCK
    tile = t.points*(planes_of(0, t.channels, t.parts.count).tile + planes_of(0, share, 1).tile)
    room = UNIT_BYTES // (tile*<Py_ssize_t>sizeof(real))
    t.unit = max(<Py_ssize_t>1, min(room, min(t.tiles.count, <Py_ssize_t>(UNIT_COLUMNS//m//TILE_ROWS*TILE_ROWS))))
    if t.shares % r.threads:
        t.unit = ceil_div(t.tiles.count, ceil_div(ceil_div(t.tiles.count, t.unit), r.threads)*r.threads)
    t.v, t.q = planes_of(t.unit, t.channels, t.parts.count), planes_of(t.unit, share, 1)
    r.panels = whole_lines(t.points*t.panel_point) if t.packed is NULL else 0
    r.biases = whole_lines(padded(t.lanes))
    r.zeros = whole_lines(max(padded(t.channels), <Py_ssize_t>BLOCK))
    r.unit = whole_lines(max(t.points*(t.v.point + t.q.point) + strip_size(&t.source.lines), piece_room(t)))
    r.bytes = (r.panels + r.biases + r.zeros + r.threads*r.unit)*sizeof(real)
    return r


cdef int correlate(Correlation* t, const Weights* w, const real* bias, int m, int threads) noexcept nogil:
    """Transform the weights, then share out the units. `bias` may be NULL."""
    cdef bint spoiled = False
    cdef Room r = divide(t, m, threads)
    cdef real* memory = <real*>lend(r.bytes)
    cdef real* biases = memory + r.panels
    cdef real* units = biases + r.biases + r.zeros
    cdef Py_ssize_t unit, count = ceil_div(t.tiles.count, t.unit)*t.shares
    cdef Py_ssize_t pieces = block_count(t.lanes)*t.pieces
    if memory is NULL:
        return NO_MEMORY
    memset(biases, 0, (r.biases + r.zeros)*sizeof(real))
    if bias is not NULL:
        memcpy(biases, bias, t.lanes*sizeof(real))
    t.panels, t.bias, t.source.zeros = memory if t.packed is NULL else <real*>t.packed, biases, biases + r.biases
    t.spoiled = &spoiled
    t.streams = is_plain(&t.epilogue) and t.lanes % VLEN == 0 and streams(t.output, t.images*t.target.image)
    with parallel(num_threads=r.threads):
        if t.packed is NULL:
            for unit in prange(pieces, schedule='static'):
                pack_piece(t, w, unit, units + threadid()*r.unit)
        for unit in prange(count, schedule='dynamic'):
            correlate_unit(t, unit, units + threadid()*r.unit)
    take_back(memory, r.bytes)
    return NOT_FINITE if spoiled else DONE


cdef Correlation begin(const Pass* p) noexcept nogil:
    """For three to five taps an axis; stride, dilation and groups are 1; nothing is empty."""
    cdef const Convolution* c = &p.convolution
    cdef Correlation t
    t.y, t.x, t.images = phase_axis(&c.down, 0), phase_axis(&c.across, 0), c.images
    cdef Image source = source_image(c)
    t.output, t.target = p.output, target_image(c)
    t.channels, t.lanes = source.col, t.target.col
    t.parts = parts_of(t.y.taps, t.x.taps)
    t.source.lines = lines_of(&p.prologue, p.input, &source, t.channels, lines_read(&t.parts, p.extra),
                              t.channels > VLEN and source.cols <= UNIT_COLUMNS)
    t.source.first_row, t.source.first_col = t.y.first, t.x.first
    t.packed, t.epilogue = p.packed, p.epilogue
    return t


cdef int compute(const Pass* p) noexcept nogil:
    """In tiles of `extra` x `extra`."""
    cdef Correlation t = begin(p)
    cdef Weights w = weights_of(p)
    return correlate(&t, &w, p.bias, p.extra, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p)
    return lent(divide(&t, p.extra, p.threads).bytes)


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p)
    lay_panels(&t, p.extra)
    return t.points*t.panel_point


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef Correlation t = begin(p)
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t piece
    cdef real* taps
    lay_panels(&t, p.extra)
    t.panels, taps = packed, <real*>scratch(piece_room(&t)*sizeof(real))
    if taps is NULL:
        return False
    for piece in range(block_count(t.lanes)*t.pieces):
        pack_piece(&t, &w, piece, taps)
    free(taps)
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
