"""Two-dimensional convolution of float32 by AMX tiles of bfloat16 parts: forward and backward-input.

The same correlation as conv2d.pyx. An input is split into its parts once, while its strip is staged, and serves all taps
and all outputs; the weights are split once a call. A tile's 16 rows are positions of outputs:

    in a line       neighbouring positions of the staged strip, across the ends of its rows: what lies between two
                    images' rows is computed and thrown away, one column where both have a column of padding to share
    side by side    the same pixel of 16 images, where images are so small that ends would be many

With a stride, the strip is staged in its phases, so that neighbouring outputs always read neighbouring positions.

Staged, in bytes: [block of 32 channels][phase][row][image][column][part][32 channels]. Channels that would leave much of
the last block empty lie without gaps, [part][phase][row][column][channels], and are summed over along with the columns
of taps, as one range. All sums of a chunk of channels stay in tiles from the first product to the last.

Images with numbers that have no parts, or with results out of the range in which parts are exact (_split.pxd), are
marked, and then computed by conv2d.pyx. Neither threads nor, up to MARKS of them, other images decide about that.

Scratch: the weights' tiles, 2, 4 or 6 bytes for each weight of at most CHUNK channels, in whole blocks of 32; and, for
each thread, two strips (STRIP_BYTES, or the input of one tile where that is larger; WIDE_STRIP_BYTES where images lie
side by side) and the sums of two blocks of tiles. One strip is staged, and one block's sums are put, while products of
the other go on, a little with each step: AMX leaves the vector units idle.
"""

from convkit._kernels.amx_f32 import conv2d as direct

from cython.parallel cimport prange
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._amx cimport (
    DEEP, PAIR, TILE, TILE_BYTES, TileProduct, full_tiles_begin, sum_product, tiles_end, vany, vbeyond,
)
from convkit._kernels._amx_weights cimport Run, pack_run, step_bytes
from convkit._kernels._axis cimport Axis, Range, Spatial, is_identity, phase_axis, phase_count
from convkit._kernels._convolution cimport Convolution, convolution
from convkit._kernels._phases cimport phase_inside, phases, tap_phase, tap_place
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vi, visplat, vload, vload_lanes, vr, vstore_lanes,
)
from convkit._kernels._split cimport MOST_SUM, least_split, least_sum, splittable, store_parts
from convkit._kernels._strip cimport Image, ceil_div, merge_pixels, nhwc
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights

cdef enum:
    STRIP_BYTES = 512*1024
    # Sixteen images' strip of one row: more than that, and they are not laid side by side.
    WIDE_STRIP_BYTES = 1536*1024
    PIECE = 128                     # elements to split at a time, while products go on
    CHUNK = 2048                    # channels summed before the result is added to the output
    FASTER = 4                      # than the operations that a thread's worth is counted in
    MARKS = 64                      # images are marked one by one, or so many groups of neighbours


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, channels, lanes
    Py_ssize_t marked               # images that share a mark
    const real* input
    Image source
    real* output
    Image target
    const real* bias                # NULL if there is none
    bint again                      # add to what the output holds
    int parts
    uint8_t* marks
    Py_ssize_t pixels               # of an image, where all images were merged into one row; else 0
    # How the input is staged. Positions are counted in staged columns.
    bint lined                      # channels without gaps, summed along with columns
    Py_ssize_t together             # images side by side: 1 or TILE
    Py_ssize_t down, across         # phases of the stride
    Py_ssize_t rows, cols           # outputs of a strip,
    Py_ssize_t strips_down, strips_across
    Py_ssize_t height, width        # and rows and columns of a phase of its input
    Py_ssize_t pitch                # positions from one image's row to the next image's, or the next row
    Py_ssize_t plane                # positions of a phase
    Py_ssize_t pixel, part, block   # bytes from position to position, part to part, block to block of channels
    # The weights, and what each step reads.
    Py_ssize_t steps
    const Py_ssize_t* reach         # bytes from a position to what a step reads for it
    const Py_ssize_t* place         # bytes from a block's first tile to a step's
    const char* tiles
    Py_ssize_t shares               # a strip's blocks of lanes are dealt out in so many shares


# ---------------------------------------------------------------------------------------------------------------------
# The plan: how a strip lies, and what the steps of a sum are


cdef inline Py_ssize_t runs_of_row(const Correlation* t) noexcept nogil:
    """Steps for a row of taps, where channels lie without gaps."""
    return ceil_div(t.x.taps*t.channels, DEEP)


cdef Run run_of(const Correlation* t, Py_ssize_t step) noexcept nogil:
    cdef Run run
    cdef Py_ssize_t per_row = runs_of_row(t), taps = t.y.taps*t.x.taps, channel
    if t.lined:
        run.row, run.first = step // per_row, step % per_row*DEEP
        run.count = min(<Py_ssize_t>DEEP, t.x.taps*t.channels - run.first)
    else:
        channel = step // taps*DEEP
        run.row, run.first = step % taps // t.x.taps, step % t.x.taps*t.channels + channel
        run.count = min(<Py_ssize_t>DEEP, t.channels - channel)
    return run


cdef Py_ssize_t reach_of(const Correlation* t, Py_ssize_t step) noexcept nogil:
    """Bytes from an output's position to what a step reads for it."""
    cdef Run run = run_of(t, step)
    cdef Py_ssize_t col = 0 if t.lined else run.first // t.channels
    cdef Py_ssize_t phase = tap_phase(&t.y, run.row)*t.across + tap_phase(&t.x, col)
    cdef Py_ssize_t place = tap_place(&t.y, run.row)*t.together*t.pitch + tap_place(&t.x, col)
    cdef Py_ssize_t rest = 2*run.first if t.lined else step // (t.y.taps*t.x.taps)*t.block
    return (phase*t.plane + place)*t.pixel + rest


cdef Py_ssize_t shared_columns(const Correlation* t) noexcept nogil:
    """Columns of padding that the end of a row and the beginning of the next have in common, behind its outputs."""
    cdef Py_ssize_t phase, shared = t.width - t.cols
    cdef Range across
    if t.strips_across > 1 or t.together > 1:
        return 0
    for phase in range(t.across):
        across = phase_inside(&t.x, phase, 0, t.width)
        shared = min(shared, min(across.first, t.width - across.behind))
    return shared


cdef void lay_strip(Correlation* t, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """Lay out strips of at most rows x cols outputs, all of nearly the same size."""
    cdef Py_ssize_t blocks = ceil_div(t.channels, DEEP), reach, slack
    t.strips_down, t.strips_across = ceil_div(t.y.count, rows), ceil_div(t.x.count, cols)
    t.rows, t.cols = ceil_div(t.y.count, t.strips_down), ceil_div(t.x.count, t.strips_across)
    reach = tap_place(&t.x, t.x.taps - 1)
    t.height, t.width = t.rows + tap_place(&t.y, t.y.taps - 1), t.cols + reach
    t.pitch = t.width - shared_columns(t)
    if t.together > 1:
        t.pitch |= 1                # an even number of lines between a tile's rows would crowd them into few sets
    # Behind the last row: what it has in common with a next one, and the rest of the last tile.
    slack = t.width + PAIR
    t.plane = t.height*t.together*t.pitch + slack
    if t.lined:
        t.pixel = 2*t.channels
        t.part = ceil_div(t.down*t.across*t.plane*t.pixel, 64)*64 + 64
        t.block = 0
    else:
        t.pixel, t.part = 2*DEEP*t.parts, 2*DEEP
        t.block = t.down*t.across*t.plane*t.pixel


cdef inline Py_ssize_t strip_bytes(const Correlation* t) noexcept nogil:
    return t.parts*t.part if t.lined else ceil_div(t.channels, DEEP)*t.block


cdef inline Py_ssize_t tiles_of(const Correlation* t) noexcept nogil:
    """Tiles of rows that all images need, in strips as they are laid out."""
    if t.together > 1:
        return ceil_div(t.images, TILE)*t.y.count*t.x.count
    return t.images*t.strips_down*t.strips_across*ceil_div((t.rows - 1)*t.pitch + t.cols, TILE)


cdef void lay_side_by_side(Correlation* t) noexcept nogil:
    """Lay images side by side if that takes fewer tiles, and sixteen rows of them fit."""
    cdef Correlation other = t[0]
    lay_strip(t, t.y.count, t.x.count)
    other.together = TILE
    lay_strip(&other, 1, other.x.count)
    if tiles_of(&other) < tiles_of(t) and strip_bytes(&other) <= WIDE_STRIP_BYTES:
        t.together = TILE


cdef void divide(Correlation* t, int threads) noexcept nogil:
    """Cut into strips that fit the cache, then smaller until every thread has a few."""
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1, blocks = ceil_div(t.lanes, PAIR), groups
    cdef Py_ssize_t rows = t.y.count, cols = t.x.count
    cdef bint row_fits
    t.together = 1
    if t.pixels == 0:
        lay_side_by_side(t)
    groups = ceil_div(t.images, t.together)
    lay_strip(t, 1, cols)
    row_fits = strip_bytes(t) <= STRIP_BYTES or t.together > 1
    while not row_fits and cols > PAIR:
        cols = max(<Py_ssize_t>PAIR, ceil_div(cols, 2))
        lay_strip(t, 1, cols)
        row_fits = strip_bytes(t) <= STRIP_BYTES
    lay_strip(t, rows, cols)
    while rows > 1 and (strip_bytes(t) > STRIP_BYTES or groups*t.strips_down*t.strips_across < enough):
        rows = ceil_div(rows, 2)
        lay_strip(t, rows, cols)
    while cols > 2*PAIR and t.together == 1 and groups*t.strips_down*t.strips_across < enough:
        cols = ceil_div(cols, 2)
        lay_strip(t, rows, cols)
    t.shares = max(<Py_ssize_t>1, min(blocks, enough // max(<Py_ssize_t>1, groups*t.strips_down*t.strips_across)))


# ---------------------------------------------------------------------------------------------------------------------
# Staging


cdef void blank(const Correlation* t, Py_ssize_t count, char* target) noexcept nogil:
    """Zeros in so many positions."""
    cdef Py_ssize_t i
    if t.lined:
        for i in range(t.parts):
            memset(target + i*t.part, 0, count*t.pixel)
    else:
        for i in range(ceil_div(t.channels, DEEP)):
            memset(target + i*t.block, 0, count*t.pixel)


cdef inline void split_pixel(
    const Correlation* t, const int parts, const real* pixel, char* target, vi* beyond,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    cdef int lanes
    cdef vr v
    if t.lined:
        while c < t.channels:
            lanes = <int>min(t.channels - c, <Py_ssize_t>VLEN)
            v = splittable(vload_lanes(pixel + c, lanes), least_split(parts), beyond)
            store_parts(parts, v, target + 2*c, t.part, lanes)
            c += VLEN
        return
    while c < ceil_div(t.channels, DEEP)*DEEP:
        lanes = <int>max(<Py_ssize_t>0, min(t.channels - c, <Py_ssize_t>VLEN))
        v = splittable(vload_lanes(pixel + c, lanes), least_split(parts), beyond)
        store_parts(parts, v, target + c // DEEP*t.block + 2*(c % DEEP), t.part, VLEN)
        c += VLEN


cdef inline bint split_pixels(
    const Correlation* t, const int parts, const real* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    """Split a run of pixels; return whether one of them has no parts."""
    cdef vi beyond = visplat(0)
    cdef Py_ssize_t i
    for i in range(count):
        split_pixel(t, parts, pixel + i*step, target + i*t.pixel, &beyond)
    return vany(beyond)


cdef void stage_run(
    const Correlation* t, Py_ssize_t image, const real* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    """Split a run of one image's pixels, and mark it if it cannot be."""
    cdef bint beyond
    if t.parts == 3:
        beyond = split_pixels(t, 3, pixel, step, count, target)
    elif t.parts == 2:
        beyond = split_pixels(t, 2, pixel, step, count, target)
    else:
        beyond = split_pixels(t, 1, pixel, step, count, target)
    if beyond:
        t.marks[image // t.marked] = True


cdef struct Part:
    # What one unit of work computes: a strip of an image, or of TILE of them, for a share of the lanes.
    Py_ssize_t image, images, row, rows, col, cols, first_lane, behind_lane


cdef Part part_of(const Correlation* t, Py_ssize_t unit) noexcept nogil:
    cdef Part u
    cdef Py_ssize_t blocks = ceil_div(t.lanes, PAIR), share = unit % t.shares
    u.first_lane, u.behind_lane = share*blocks // t.shares*PAIR, min(t.lanes, (share + 1)*blocks // t.shares*PAIR)
    unit = unit // t.shares
    u.col = unit % t.strips_across*t.cols
    unit = unit // t.strips_across
    u.row = unit % t.strips_down*t.rows
    u.image = unit // t.strips_down*t.together
    u.images = min(t.together, t.images - u.image)
    u.rows, u.cols = max(<Py_ssize_t>0, min(t.rows, t.y.count - u.row)), max(<Py_ssize_t>0, min(t.cols, t.x.count - u.col))
    return u


cdef struct Stage:
    # A strip that is being staged: the line at hand, and how far it has come.
    Part part
    char* strip
    Py_ssize_t lines, line          # how many there are, and which comes next
    Py_ssize_t image, col           # of the line: its image, and the input's column of its first position
    const real* source
    char* target
    Py_ssize_t at, behind           # positions of it that are left


cdef void begin_strip(const Correlation* t, Stage* s, Py_ssize_t unit, char* strip) noexcept nogil:
    s.part, s.strip = part_of(t, unit), strip
    s.lines = s.part.images*t.down*t.across*(s.part.rows + t.height - t.rows)
    if s.part.rows == 0 or s.part.cols == 0:
        s.lines = 0
    s.line = s.at = s.behind = 0


cdef void begin_line(const Correlation* t, Stage* s) noexcept nogil:
    """Find the next line: one phase of a row of one image. Where it lies in the padding it becomes zeros."""
    cdef Py_ssize_t rest = s.line, width = s.part.cols + t.width - t.cols, across, down, h, row
    cdef Range inside
    across = rest % t.across
    rest = rest // t.across
    down = rest % t.down
    rest = rest // t.down
    s.image = rest % s.part.images
    h = rest // s.part.images
    s.line += 1
    s.target = s.strip + ((down*t.across + across)*t.plane + (h*t.together + s.image)*t.pitch)*t.pixel
    s.image += s.part.image
    row = t.y.first + t.y.grain*(phases(&t.y)*(s.part.row + h) + down)
    if row < 0 or row >= t.y.in_size:
        blank(t, width, s.target)
        return
    inside = phase_inside(&t.x, across, s.part.col, width)
    blank(t, inside.first, s.target)
    blank(t, width - inside.behind, s.target + inside.behind*t.pixel)
    s.at, s.behind = inside.first, inside.behind
    s.col = t.x.first + t.x.grain*(across + phases(&t.x)*s.part.col)
    s.source = t.input + s.image*t.source.image + row*t.source.row


cdef bint stage_piece(const Correlation* t, Stage* s) noexcept nogil:
    """Stage a few pixels, or find the next line; return whether there was anything to do.

    Merged images are told apart again: each is marked for itself.
    """
    cdef Py_ssize_t step = t.x.grain*phases(&t.x), col = s.col + step*s.at, count = s.behind - s.at, image = s.image
    if count == 0:
        if s.line == s.lines:
            return False
        begin_line(t, s)
        return True
    count = min(count, max(<Py_ssize_t>1, PIECE // t.channels))
    if t.pixels:
        count, image = min(count, t.pixels - col % t.pixels), col // t.pixels
    stage_run(t, image, s.source + col*t.source.col, step*t.source.col, count, s.target + s.at*t.pixel)
    s.at += count
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Sums


cdef inline void put_sums(
    const Correlation* t, Py_ssize_t image, Py_ssize_t lane, Py_ssize_t lanes, const real* sums, real* out,
) noexcept nogil:
    """Write one position's sums; mark its image if one is out of range."""
    cdef Py_ssize_t k = 0
    cdef int here
    cdef vi beyond = visplat(0)
    cdef vr v
    while k < lanes:
        here = <int>min(lanes - k, <Py_ssize_t>VLEN)
        v = vload(sums + k)
        if t.again:
            v = v + vload_lanes(out + k, here)
        elif t.bias is not NULL:
            v = v + vload_lanes(t.bias + lane + k, here)
        beyond = beyond | vbeyond(v, least_sum(t.parts), MOST_SUM)
        vstore_lanes(out + k, v, here)
        k += VLEN
    if vany(beyond):
        t.marks[image // t.marked] = True


cdef inline real* output_at(const Correlation* t, Py_ssize_t image, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    return (t.output + image*t.target.image + (t.y.out_first + t.y.out_step*row)*t.target.row
            + (t.x.out_first + t.x.out_step*col)*t.target.col)


cdef struct Put:
    # The sums of a block of tiles, on their way to the output: rows are positions in a line, or pixels of TILE images.
    const real* sums
    Py_ssize_t first, row, col      # the position in the line; or the output that the first tile is
    Py_ssize_t lane, lanes
    Py_ssize_t at, behind           # rows that are left


cdef void put_row(const Correlation* t, const Part* u, Put* put) noexcept nogil:
    """Write the sums of one position, unless it lies between two rows, or belongs to no image."""
    cdef Py_ssize_t i = put.at, image = u.image, mark, row, col
    put.at += 1
    if t.together > 1:
        image, row, col = u.image + i % TILE, put.row, put.col + i // TILE
        if image >= u.image + u.images:
            return
        mark = image
    else:
        row, col = (put.first + i) // t.pitch, (put.first + i) % t.pitch
        if col >= u.cols:
            return
        mark = (u.col + col) // t.pixels if t.pixels else image
    put_sums(t, mark, put.lane, put.lanes, put.sums + i*PAIR, output_at(t, image, u.row + row, u.col + col) + put.lane)


cdef struct Chores:
    # What a thread does in the shadow of its products: put the last block's sums, and stage the next unit's strip.
    const Correlation* t
    Part part
    Put put
    Stage stage
    real* sums                      # of two blocks of tiles
    Py_ssize_t puts, pieces         # so many rows, and pieces, with every step


cdef void do_chores(void* chores) noexcept nogil:
    cdef Chores* c = <Chores*>chores
    cdef Py_ssize_t i
    for i in range(min(c.puts, c.put.behind - c.put.at)):
        put_row(c.t, &c.part, &c.put)
    for i in range(c.pieces):
        if not stage_piece(c.t, &c.stage):
            return


cdef void finish_put(Chores* c) noexcept nogil:
    while c.put.at < c.put.behind:
        put_row(c.t, &c.part, &c.put)


cdef void finish_stage(Chores* c) noexcept nogil:
    while stage_piece(c.t, &c.stage):
        pass


cdef void sum_block(Chores* c, TileProduct* p, Put put, bint tall) noexcept nogil:
    """Sum a block of tiles while the one before is put; then that one's place is free for the next."""
    cdef real* other = p.out + PAIR*PAIR if p.out == c.sums else c.sums
    sum_product(c.t.parts, tall, put.lanes > TILE, p)
    finish_put(c)
    put.sums = p.out
    c.put = put
    p.out = other


cdef void sum_line(Chores* c, const char* strip, TileProduct* p, Put put) noexcept nogil:
    """All sums of a strip for one block of lanes: tiles run over its positions as they lie."""
    cdef const Correlation* t = c.t
    cdef Py_ssize_t positions = (c.part.rows - 1)*t.pitch + c.part.cols
    p.a_row, p.a_second = t.pixel, TILE*t.pixel
    put.first = 0
    while put.first < positions:
        put.behind = min(positions - put.first, <Py_ssize_t>PAIR)
        p.a = strip + put.first*t.pixel
        sum_block(c, p, put, put.behind > TILE)
        put.first += PAIR


cdef void sum_side_by_side(Chores* c, const char* strip, TileProduct* p, Put put) noexcept nogil:
    """The same where a tile is one pixel of several images, and two tiles are neighbours."""
    cdef const Correlation* t = c.t
    p.a_row, p.a_second = t.pitch*t.pixel, t.pixel
    for put.row in range(c.part.rows):
        put.col = 0
        while put.col < c.part.cols:
            put.behind = PAIR if put.col + 1 < c.part.cols else TILE
            p.a = strip + (put.row*t.together*t.pitch + put.col)*t.pixel
            sum_block(c, p, put, put.behind > TILE)
            put.col += 2


cdef void pace(Chores* c) noexcept nogil:
    """Do as much with each step as will be done when the last one is."""
    cdef const Correlation* t = c.t
    cdef Py_ssize_t steps = 2*t.steps if t.parts == 3 else t.steps
    cdef Py_ssize_t positions = c.part.rows*(c.part.images*c.part.cols if t.together > 1 else t.pitch)
    cdef Py_ssize_t blocks = ceil_div(c.part.behind_lane - c.part.first_lane, PAIR)*ceil_div(positions, PAIR)
    cdef Py_ssize_t pieces = c.stage.lines*(1 + ceil_div(t.width*t.channels, PIECE))
    if t.channels > PIECE:
        pieces = c.stage.lines*(1 + t.width)
    c.puts, c.pieces = ceil_div(PAIR, steps), ceil_div(pieces, max(<Py_ssize_t>1, steps*blocks))


cdef void correlate_unit(Chores* c, const char* strip) noexcept nogil:
    cdef const Correlation* t = c.t
    cdef TileProduct p
    cdef Put put
    if c.part.rows == 0 or c.part.cols == 0:
        return
    pace(c)
    p.a_part, p.a_step, p.steps = t.part, t.reach, t.steps
    p.b_second, p.b_part, p.b_step = TILE_BYTES, 2*TILE_BYTES, t.place
    p.out, p.chore, p.chores = c.sums, do_chores, c
    put.row = put.col = put.first = put.at = 0
    put.lane = c.part.first_lane
    while put.lane < c.part.behind_lane:
        put.lanes = min(t.lanes - put.lane, <Py_ssize_t>PAIR)
        p.b = t.tiles + put.lane // PAIR*t.steps*step_bytes(t.parts)
        if t.together > 1:
            sum_side_by_side(c, strip, &p, put)
        else:
            sum_line(c, strip, &p, put)
        put.lane += PAIR
    finish_put(c)


cdef void correlate_units(
    const Correlation* t, Py_ssize_t first, Py_ssize_t units, Py_ssize_t apart, char* strip, Py_ssize_t strip_size,
    real* sums,
) noexcept nogil:
    """Every `apart`-th unit. The tiles are given back at the end: threads that hold some take longer to switch."""
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t unit = first, other = strip_size if apart < units else 0
    cdef Chores c
    if t.lined:
        # What lies behind the last channel meets weights of zero, and must be a number.
        memset(strip, 0, strip_size + other)
    c.t, c.sums, c.put.at, c.put.behind = t, sums, 0, 0
    full_tiles_begin()
    if unit < units:
        begin_strip(t, &c.stage, unit, strip)
        finish_stage(&c)
    while unit < units:
        c.part, strip = c.stage.part, c.stage.strip
        unit += apart
        if unit < units:
            begin_strip(t, &c.stage, unit, strip + other)
            other = -other
        correlate_unit(&c, strip)
        finish_stage(&c)
    tiles_end()
    restore_denormals(mode)


cdef void pack_block(
    const Correlation* t, const Weights* w, Py_ssize_t block, char* tiles, bint* beyond,
) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t step
    cdef Run run
    tiles = tiles + block*t.steps*step_bytes(t.parts)
    for step in range(t.steps):
        run = run_of(t, step)
        if pack_run(w, &t.y, &t.x, &run, block*PAIR, t.parts, least_split(t.parts), tiles + t.place[step]):
            beyond[0] = True
    restore_denormals(mode)


cdef void choose_layout(Correlation* t) noexcept nogil:
    """Channels without gaps where that takes fewer steps, and taps that lie side by side read one range."""
    t.down, t.across = phases(&t.y), phases(&t.x)
    t.lined = t.across == 1 and (t.x.tap_step == 1 or t.x.taps == 1) and (
        runs_of_row(t) < t.x.taps*ceil_div(t.channels, DEEP))
    t.steps = t.y.taps*(runs_of_row(t) if t.lined else t.x.taps*ceil_div(t.channels, DEEP))


cdef struct Room:
    # Scratch: the weights' tiles, for each thread two strips and two blocks of sums, and two tables of the steps.
    Py_ssize_t weights, strip, own, units, bytes
    int threads


cdef Room make_room(Correlation* t, int threads) noexcept nogil:
    """Divide the work of one phase of one group for one chunk of channels."""
    cdef Room room
    t.pixels = t.y.count*t.x.count if is_identity(&t.y) and is_identity(&t.x) else 0
    merge_pixels(&t.images, &t.y, &t.x)
    room.threads = worth(
        threads, <double>t.images*t.y.count*t.x.count*t.lanes*(t.y.taps*t.x.taps*t.channels + 1)/FASTER)
    choose_layout(t)
    divide(t, room.threads)
    room.weights = ceil_div(t.lanes, PAIR)*t.steps*step_bytes(t.parts)
    room.strip = ceil_div(strip_bytes(t), 64)*64
    room.units = ceil_div(t.images, t.together)*t.strips_down*t.strips_across*t.shares
    room.own = (2 if room.units > room.threads else 1)*room.strip + 2*PAIR*PAIR*sizeof(real)
    room.bytes = room.weights + room.threads*room.own + 2*(t.steps + 1)*<Py_ssize_t>sizeof(Py_ssize_t)
    return room


cdef bint correlate(Correlation* t, const Weights* w, int threads) noexcept nogil:
    """One phase of one group for one chunk of channels."""
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t step, unit
    cdef bint beyond = False
    cdef char* memory = <char*>scratch(room.bytes)
    cdef char* strips = memory + room.weights
    cdef Py_ssize_t* reach = <Py_ssize_t*>(strips + room.threads*room.own)
    cdef Py_ssize_t* place = reach + t.steps + 1
    if memory is NULL:
        return False
    for step in range(t.steps):
        reach[step], place[step] = reach_of(t, step), step*step_bytes(t.parts)
    reach[t.steps] = place[t.steps] = 0
    t.reach, t.place, t.tiles = reach, place, memory
    for unit in prange(ceil_div(t.lanes, PAIR), schedule='static', num_threads=room.threads):
        pack_block(t, w, unit, memory, &beyond)
    if beyond:
        memset(t.marks, True, MARKS)
    else:
        for unit in prange(room.threads, schedule='static', num_threads=room.threads):
            correlate_units(t, unit, room.units, room.threads, strips + unit*room.own, room.strip,
                            <real*>(strips + (unit + 1)*room.own) - 2*PAIR*PAIR)
    free(memory)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# All chunks, groups and phases


cdef Py_ssize_t chunk_of(const Correlation* t, Py_ssize_t channels) noexcept nogil:
    """Channels to sum at a time: so few that the input of two tiles fits a strip, and all chunks nearly the same."""
    cdef Py_ssize_t columns = (PAIR + tap_place(&t.x, t.x.taps - 1))*(1 + tap_place(&t.y, t.y.taps - 1))
    cdef Py_ssize_t most = STRIP_BYTES // (2*DEEP*t.parts*columns*phases(&t.y)*phases(&t.x))*DEEP
    most = max(<Py_ssize_t>DEEP, min(<Py_ssize_t>CHUNK, most))
    return ceil_div(ceil_div(channels, ceil_div(channels, most)), DEEP)*DEEP


cdef bint correlate_chunks(const Correlation* call, const Weights* w, int threads) noexcept nogil:
    """All channels of one phase of one group."""
    cdef Correlation t
    cdef Weights chunk = w[0]
    cdef Py_ssize_t first = 0, size = chunk_of(call, w.channels)
    cdef bint done = True
    while first < w.channels:
        t = call[0]
        t.again = first > 0
        t.input = call.input + first
        t.channels = chunk.channels = min(size, w.channels - first)
        chunk.data = w.data + first*w.channel
        done = done and correlate(&t, &chunk, threads)
        first += size
    return done


cdef void fill(const Correlation* t) noexcept nogil:
    """Outputs that no input reaches."""
    cdef Py_ssize_t image, row, col, k
    cdef real* out
    for image in range(t.images):
        for row in range(t.y.count):
            for col in range(t.x.count):
                out = output_at(t, image, row, col)
                for k in range(t.lanes):
                    out[k] = t.bias[k] if t.bias is not NULL else 0


cdef Correlation phase_of(
    const Correlation* call, const Weights* w, const Spatial* down, const Spatial* across, Py_ssize_t phase,
) noexcept nogil:
    """One phase of both axes."""
    cdef Correlation t = call[0]
    t.y, t.x = phase_axis(down, phase // phase_count(across)), phase_axis(across, phase % phase_count(across))
    t.lanes, t.channels, t.marked = w.lanes, w.channels, ceil_div(t.images, MARKS)
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
    memset(call.marks, False, MARKS)
    for g in range(w.groups):
        for phase in range(phase_count(down)*phase_count(across)):
            t = phase_of(call, w, down, across, phase)
            t.input, t.output = call.input + g*w.channels, call.output + g*w.lanes
            t.bias = bias + g*w.lanes if bias is not NULL else NULL
            group.data = w.data + g*w.group
            if is_blank(&t):
                fill(&t)
            else:
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
            most = max(most, granted(make_room(&t, threads).bytes))
            first += size
    return most


cdef list marked_images(const Correlation* t):
    """(first, behind) of every run of images that are marked."""
    cdef Py_ssize_t mark = 0, first, together = ceil_div(t.images, MARKS)
    cdef list runs = []
    while mark*together < t.images:
        first = mark
        while mark*together < t.images and t.marks[mark]:
            mark += 1
        if mark > first:
            runs.append((first*together, min(mark*together, t.images)))
        mark += 1
    return runs


cdef void set_forward(Correlation* t, Weights* w, const Convolution* c, int parts) noexcept nogil:
    """All but where arrays lie."""
    t.images, t.parts = c.images, parts
    t.source = nhwc(c.down.in_size, c.across.in_size, c.channels)
    t.target = nhwc(c.down.out_size, c.across.out_size, c.outputs)
    w.groups, w.channels, w.lanes = c.groups, c.filters, c.lanes


cdef void set_backward_input(Correlation* t, Weights* w, Convolution* c, int parts) noexcept nogil:
    """All but where arrays lie."""
    c.down.adjoint = c.across.adjoint = True
    t.images, t.parts = c.images, parts
    t.source = nhwc(c.down.out_size, c.across.out_size, c.outputs)
    t.target = nhwc(c.down.in_size, c.across.in_size, c.channels)
    w.groups, w.channels, w.lanes = c.groups, c.lanes, c.filters


def forward(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, :] w_kcrs, const real[::1] bias_k, real[:, :, :, ::1] out_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int parts, int threads,
):
    """out = x * w + bias, from 1, 2 or 3 parts of each number."""
    cdef Correlation t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real), first, behind
    cdef uint8_t[MARKS] marks
    cdef bint done
    cdef Convolution c = convolution(x_nhwc.shape, w_kcrs.shape, out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_forward(&t, &w, &c, parts)
    t.input, t.output, t.marks = &x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0], marks
    w.data, w.lane, w.channel = &w_kcrs[0, 0, 0, 0], w_kcrs.strides[0] // size, w_kcrs.strides[1] // size
    w.row, w.col, w.group = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size, w.lanes*w.lane
    with nogil:
        done = convolve(&t, &w, &bias_k[0] if bias_k.shape[0] else NULL, &c.down, &c.across, threads)
    for first, behind in marked_images(&t) if done else ():
        done = done and direct.forward(
            x_nhwc[first:behind], w_kcrs, bias_k, out_nhwc[first:behind],
            stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, threads)
    return done


def forward_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int parts, int threads,
):
    """Bytes of scratch that `forward` takes for arrays of these shapes, if no image has to be computed again."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Correlation t
    cdef Weights w
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_forward(&t, &w, &c, parts)
    return convolve_scratch(&t, &w, &c.down, &c.across, threads)


def backward_input(
    const real[:, :, :, ::1] grad_out_nhwc, const real[:, :, :, :] w_kcrs, real[:, :, :, ::1] grad_x_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int parts, int threads,
):
    """The gradient of the input: for each phase of the stride, a correlation with the taps that belong to it."""
    cdef Correlation t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real), first, behind
    cdef uint8_t[MARKS] marks
    cdef bint done
    cdef Convolution c = convolution(grad_x_nhwc.shape, w_kcrs.shape, grad_out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_backward_input(&t, &w, &c, parts)
    t.input, t.output, t.marks = &grad_out_nhwc[0, 0, 0, 0], &grad_x_nhwc[0, 0, 0, 0], marks
    w.data, w.lane, w.channel = &w_kcrs[0, 0, 0, 0], w_kcrs.strides[1] // size, w_kcrs.strides[0] // size
    w.row, w.col, w.group = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size, w.channels*w.channel
    with nogil:
        done = convolve(&t, &w, NULL, &c.down, &c.across, threads)
    for first, behind in marked_images(&t) if done else ():
        done = done and direct.backward_input(
            grad_out_nhwc[first:behind], w_kcrs, grad_x_nhwc[first:behind],
            stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups, threads)
    return done


def backward_input_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int parts, int threads,
):
    """Bytes of scratch that `backward_input` takes for arrays of these shapes, if no image has to be computed again."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Correlation t
    cdef Weights w
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_backward_input(&t, &w, &c, parts)
    return convolve_scratch(&t, &w, &c.down, &c.across, threads)
