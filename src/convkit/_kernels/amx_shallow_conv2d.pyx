"""Two-dimensional convolution of images of few channels by AMX tiles of bfloat16 parts: forward, one group.

Of a network's first layers. What an output sums is one range over all its taps (_amx_columns.pxd), and few products of
tiles: one, for each product of parts, of 5x5 taps of one channel or of 3x3 taps of three.

Sums are put into the output while the products of the next block of tiles go on, and a line of columns is shuffled
while those of the line before do.

Numbers that have no parts, and results out of the range in which parts are exact, are told as in amx_conv2d.pyx.

Scratch: the weights' tiles, 2, 4 or 6 bytes for each number of a step and each output, in whole blocks of 32 outputs;
and, for each thread, a strip's rows, two lines of columns and the sums of two blocks of tiles.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from convkit._kernels._amx cimport (
    DEEP, PAIR, TILE, TILE_BYTES, TileProduct, are_beyond, full_tiles_begin, magnitudes, no_magnitudes, sum_product,
    tiles_end,
)
from convkit._kernels._amx_columns cimport (
    Columns, Part, Shuffle, divide, lay_columns, lay_shuffles, part_of, stage_line, stage_rows,
)
from convkit._kernels._amx_put cimport put_ragged, put_whole
from convkit._kernels._amx_weights cimport split_square, step_bytes
from convkit._kernels._axis cimport forward_axis, phase_axis
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish, is_plain
from convkit._kernels._image cimport Image
from convkit._kernels._pass cimport DONE, NO_MEMORY, NOT_FINITE, Pass, computing, packing
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals, vstream_end
from convkit._kernels._split cimport HAS_NO_PARTS, HEAD, MOST_SUM, least_split, least_sum
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    FASTER = 4                      # than the operations that a thread's worth is counted in
    # Lines of columns: each is shuffled so long before its products that it has left the store buffer.
    LINES = 4
    # From one block's sums to the other's. Not 4 KB: what is read of one would seem to be what is written of the other.
    OTHER = PAIR*PAIR + TILE


cdef struct Correlation:
    Columns columns
    Py_ssize_t lanes
    real* output
    Image target
    const real* bias                # NULL if there is none
    Epilogue epilogue
    bint streams                    # the output goes past the caches
    const char* tiles               # of the weights: [block of 32 lanes][step][part][tile]
    const Py_ssize_t* a_step        # bytes from an output's position to a step's numbers,
    const Py_ssize_t* b_step        # and from a block's first tile to a step's


# ---------------------------------------------------------------------------------------------------------------------
# Weights


cdef void gather_step(
    const Weights* w, const Columns* t, Py_ssize_t step, Py_ssize_t lane, real* square,
) noexcept nogil:
    """Collect a step's weights for the lanes of a block: rows are numbers of the range, of which there are DEEP."""
    cdef Py_ssize_t i, k, number, behind = min(step*DEEP + DEEP, t.x.taps*t.column)
    cdef Py_ssize_t lanes = min(w.lanes - lane, <Py_ssize_t>PAIR)
    cdef const real* tap
    memset(square, 0, DEEP*PAIR*sizeof(real))
    for i in range(behind - step*DEEP):
        number = step*DEEP + i
        tap = w.data + lane*w.lane + number // t.column*w.col
        number = number % t.column
        tap = tap + number // t.channels*w.row + number % t.channels*w.channel
        for k in range(lanes):
            square[i*PAIR + k] = tap[k*w.lane]


cdef bint pack_weights(const Weights* w, const Columns* t, char* tiles) noexcept nogil:
    """Split all weights into tiles; return whether one has no parts."""
    cdef real square[DEEP*PAIR]
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t lane = 0, step, lanes
    cdef bint beyond = False
    while lane < w.lanes:
        lanes = min(w.lanes - lane, <Py_ssize_t>PAIR)
        for step in range(t.steps):
            gather_step(w, t, step, lane, square)
            if t.parts == 3:
                beyond |= split_square(3, square, lanes, 1, least_split(3), tiles)
            elif t.parts == 2:
                beyond |= split_square(2, square, lanes, 1, least_split(2), tiles)
            else:
                beyond |= split_square(1, square, lanes, 1, least_split(1), tiles)
            tiles = tiles + step_bytes(t.parts)
        lane += PAIR
    restore_denormals(mode)
    return beyond


# ---------------------------------------------------------------------------------------------------------------------
# Sums


cdef struct Put:
    # The sums of a block of tiles, on their way to the output.
    const real* sums
    real* out
    Py_ssize_t count, lane, lanes


cdef struct Chores:
    # What a thread does in the shadow of its products: put the last block's sums, and shuffle the next line.
    const Correlation* t
    Put put
    real* sums                      # of two blocks of tiles
    char* rows
    char* lines
    Py_ssize_t line                 # bytes of one
    Py_ssize_t row, due             # the row of outputs whose line comes next, and behind those that are due


cdef void put_sums(const Correlation* t, Put* to) noexcept nogil:
    cdef magnitudes seen = no_magnitudes()
    cdef const real* bias = t.bias + to.lane if t.bias is not NULL else NULL
    if to.lanes == PAIR:
        put_whole(2, bias, 0, to.count, to.sums, to.out, t.target.col, t.streams, &seen)
    elif to.lanes == TILE:
        put_whole(1, bias, 0, to.count, to.sums, to.out, t.target.col, t.streams, &seen)
    else:
        put_ragged(bias, 0, to.count, to.lanes, to.sums, to.out, t.target.col, t.streams, &seen)
    finish(&t.epilogue, to.count, t.target.col, to.lanes, to.out)
    if are_beyond(&seen, least_sum(t.columns.parts), MOST_SUM):
        t.columns.beyond[0] = True
    to.count = 0


cdef char* line_of(const Chores* c, Py_ssize_t row) noexcept nogil:
    return c.lines + row % LINES*c.line


cdef void stage_next(Chores* c) noexcept nogil:
    stage_line(&c.t.columns, c.rows, c.row, line_of(c, c.row - 1) if c.row else NULL, line_of(c, c.row))
    c.row += 1


cdef void do_chores(void* chores) noexcept nogil:
    cdef Chores* c = <Chores*>chores
    if c.put.count:
        put_sums(c.t, &c.put)
    if c.row < c.due:
        stage_next(c)


cdef void sum_block(Chores* c, TileProduct* p, const Put* to) noexcept nogil:
    sum_product(c.t.columns.parts, to.count > TILE, to.lanes > TILE, p)
    c.put = to[0]
    c.put.sums = p.out
    p.out = c.sums + OTHER if p.out == c.sums else c.sums


cdef void sum_line(Chores* c, const char* line, Py_ssize_t cols, TileProduct* p, real* out) noexcept nogil:
    """All sums of a row of outputs."""
    cdef const Correlation* t = c.t
    cdef Put to
    cdef Py_ssize_t first
    to.sums, to.lane = NULL, 0
    while to.lane < t.lanes:
        to.lanes = min(t.lanes - to.lane, <Py_ssize_t>PAIR)
        p.b = t.tiles + to.lane // PAIR*t.columns.steps*step_bytes(t.columns.parts)
        first = 0
        while first < cols:
            to.count, to.out = min(cols - first, <Py_ssize_t>PAIR), out + first*t.target.col + to.lane
            p.a = line + first*p.a_row
            sum_block(c, p, &to)
            first += PAIR
        to.lane += PAIR


cdef void correlate_unit(Chores* c, const Part* u) noexcept nogil:
    """A strip, line by line."""
    cdef const Correlation* t = c.t
    cdef TileProduct p
    cdef Py_ssize_t row
    cdef real* out = t.output + u.image*t.target.image + u.row*t.target.row + u.col*t.target.col
    p.a_row, p.a_part, p.a_step = 2*t.columns.x.in_step*t.columns.column, t.columns.line_part, t.a_step
    p.a_second, p.steps = TILE*p.a_row, t.columns.steps
    p.b_second, p.b_part, p.b_step = TILE_BYTES, 2*TILE_BYTES, t.b_step
    p.out, p.chore, p.chores = c.sums, do_chores, c
    stage_rows(&t.columns, u, c.rows)
    c.put.count = c.row = 0
    while c.row < min(u.rows, <Py_ssize_t>LINES - 1):
        stage_next(c)
    for row in range(u.rows):
        c.due = min(u.rows, row + LINES)
        sum_line(c, line_of(c, row), u.cols, &p, out + row*t.target.row)
    put_sums(t, &c.put)


# ---------------------------------------------------------------------------------------------------------------------
# All of it


cdef struct Room:
    # Bytes of scratch: the weights' tiles, tables, and each thread's own.
    Py_ssize_t weights, shuffles, tables, rows, line, own, units, bytes
    int threads


cdef Py_ssize_t tiles_bytes(const Columns* t, Py_ssize_t lanes) noexcept nogil:
    return ceil_div(lanes, PAIR)*t.steps*step_bytes(t.parts)


cdef Room make_room(Correlation* t, bint packed, int threads) noexcept nogil:
    cdef Columns* c = &t.columns
    cdef Room r
    lay_columns(c)
    r.threads = worth(threads, <double>c.images*c.y.count*c.x.count*t.lanes*(c.x.taps*c.column + 1)/FASTER)
    divide(c, r.threads)
    r.units = c.images*c.strips_down*c.strips_across
    r.weights = 0 if packed else tiles_bytes(c, t.lanes)
    r.shuffles = ceil_div(c.column*<Py_ssize_t>sizeof(Shuffle), 64)*64
    r.tables = ceil_div(2*c.steps*<Py_ssize_t>sizeof(Py_ssize_t), 64)*64
    r.rows, r.line = c.height*c.row, c.parts*c.line_part
    r.own = r.rows + LINES*r.line + (OTHER + PAIR*PAIR)*sizeof(real)
    r.bytes = r.weights + r.shuffles + r.tables + r.threads*r.own
    return r


cdef void correlate_units(const Correlation* t, const Room* r, Py_ssize_t first, char* memory) noexcept nogil:
    """Every so many-th unit: a share of the strips."""
    cdef unsigned long mode = flush_denormals()
    cdef Chores c
    cdef Part u
    cdef Py_ssize_t unit = first
    # What lies behind the last column meets weights of zero, and must be a number.
    memset(memory, 0, r.rows + LINES*r.line)
    c.t, c.rows, c.lines, c.line = t, memory, memory + r.rows, r.line
    c.sums = <real*>(c.lines + LINES*r.line)
    full_tiles_begin()
    while unit < r.units:
        u = part_of(&t.columns, unit)
        if u.rows > 0 and u.cols > 0:
            correlate_unit(&c, &u)
        unit += r.threads
    tiles_end()
    if t.streams:
        vstream_end()
    restore_denormals(mode)


cdef int correlate(Correlation* t, const Weights* w, const char* packed, int threads) noexcept nogil:
    cdef Columns* c = &t.columns
    cdef Room r = make_room(t, packed is not NULL, threads)
    cdef Py_ssize_t unit, step
    cdef char* memory = <char*>lend(r.bytes)
    cdef Shuffle* shuffles = <Shuffle*>(memory + r.weights)
    cdef Py_ssize_t* tables = <Py_ssize_t*>(memory + r.weights + r.shuffles)
    cdef char* own = memory + r.weights + r.shuffles + r.tables
    if memory is NULL:
        return NO_MEMORY
    lay_shuffles(c, shuffles)
    for step in range(c.steps):
        tables[step], tables[c.steps + step] = 2*DEEP*step, step*step_bytes(c.parts)
    c.shuffles, t.a_step, t.b_step, t.tiles = shuffles, tables, tables + c.steps, packed
    if packed is NULL:
        t.tiles, c.beyond[0] = memory, pack_weights(w, c, memory)
    if c.beyond[0]:
        r.units = 0
    if r.threads == 1:              # a team of one waits for itself, in the operating system
        correlate_units(t, &r, 0, own)
    else:
        for unit in prange(r.threads, schedule='static', num_threads=r.threads):
            correlate_units(t, &r, unit, own + unit*r.own)
    take_back(memory, r.bytes)
    return NOT_FINITE if c.beyond[0] else DONE


cdef Correlation begin(const Pass* p, bint* beyond) noexcept nogil:
    """From 1, 2 or 3 parts of each number: `extra`."""
    cdef const Convolution* c = &p.convolution
    cdef Correlation t
    t.columns.y, t.columns.x = phase_axis(&c.down, 0), phase_axis(&c.across, 0)
    t.columns.images, t.columns.channels, t.columns.parts, t.columns.beyond = c.images, c.filters, p.extra, beyond
    t.columns.input, t.columns.source = p.input, source_image(c)
    t.lanes, t.output, t.target, t.bias, t.epilogue = c.lanes, p.output, target_image(c), p.bias, p.epilogue
    t.streams = (is_plain(&t.epilogue) and t.lanes % VLEN == 0
                 and streams(t.output, t.columns.images*t.target.image))
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef bint beyond = False
    cdef Correlation t = begin(p, &beyond)
    cdef Weights w = weights_of(p)
    if p.packed is not NULL and p.packed[0] == HAS_NO_PARTS:
        return NOT_FINITE
    return correlate(&t, &w, <const char*>(p.packed + HEAD) if p.packed is not NULL else NULL, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p, NULL)
    return lent(make_room(&t, p.packed is not NULL, p.threads).bytes)


cdef Columns taps_of(const Pass* p) noexcept nogil:
    """What `pack` needs of the columns."""
    cdef Columns t
    t.parts, t.channels = p.extra, p.convolution.filters
    t.y = forward_axis(1, 1, p.convolution.down.kernel, 1, 0, 1)
    t.x = forward_axis(1, 1, p.convolution.across.kernel, 1, 0, 1)
    lay_columns(&t)
    return t


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Columns t = taps_of(p)
    return HEAD + tiles_bytes(&t, p.convolution.lanes) // <Py_ssize_t>sizeof(real)


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    """As tiles of parts; and before them, whether all have parts."""
    cdef Columns t = taps_of(p)
    cdef Weights w = weights_of(p)
    packed[0] = HAS_NO_PARTS if pack_weights(&w, &t, <char*>(packed + HEAD)) else 0
    return True


FORWARD = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
