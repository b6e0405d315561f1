"""Both operands of a weights' gradient by AMX tiles: how they are cut and laid out, and their staging, piece by piece.

A tile product sums over 32 pairs of pixels: two neighbouring columns of 16 images. A tap moves both columns alike, so
that one staged copy of the input serves all taps, and neither operand is laid out anew for them. Where images are not a
multiple of 16, they are cut into bands of rows, which are images of their own here: each is a slot. The pixels of a 1x1
layer are dealt out to 16 slots in turn.

    grad_out  [16 outputs][pair of columns][part][output][2 columns][16 slots]      tiles of A, one behind the other
    x         [16 channels][part][phase][row][column][8 pairs of slots][channel][2 slots]     two columns: a tile of B
"""

from convkit._kernels._amx cimport PAIR, TILE, TILE_BYTES, vany
from convkit._kernels._axis cimport Axis
from convkit._kernels._image cimport Image
from convkit._kernels._phases cimport phases, tap_place
from convkit._kernels._simd cimport VLEN, real, vi, visplat, vload_lanes, vr, vsplat, vtranspose
from convkit._kernels._split cimport least_split, splittable, store_pairs, store_parts
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._weights cimport Weights

cdef enum:
    STRIP_BYTES = 1792*1024         # of each of two
    SUMS_BYTES = 16*1024*1024
    CHUNKS = 16
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


cdef inline void cut_bands(WeightGradient* t) noexcept nogil:
    """As many bands as fill the slots best. To stage a row of input takes about a quarter of the time to sum one."""
    cdef Py_ssize_t reach = tap_place(&t.y, t.y.taps - 1), bands, rows, cost, least = 0
    for bands in range(1, min(<Py_ssize_t>TILE, t.y.count) + 1):
        rows = ceil_div(t.y.count, bands)
        cost = ceil_div(t.images*bands, TILE)*(4*rows + reach)
        if bands == 1 or cost < least:
            least, t.bands, t.band_rows = cost, bands, rows
    t.slots = ceil_div(t.images*t.bands, TILE)


cdef inline void deal_pixels(WeightGradient* t) noexcept nogil:
    """Of a 1x1 layer: image i has every sixteenth pixel from the i-th on."""
    t.pixels = t.images*t.y.count*t.x.count
    t.y.count, t.x.count = 1, ceil_div(t.pixels, TILE)
    t.y.in_size, t.x.in_size = 1, t.x.count
    t.y.in_step, t.x.in_step = 0, 1 if t.x.count > 1 else 0
    t.source.image, t.target.image = t.source.col, t.target.col
    t.source.col, t.target.col = TILE*t.source.col, TILE*t.target.col
    t.bands, t.band_rows, t.slots = 1, 1, 1


cdef inline Py_ssize_t input_bytes(const WeightGradient* t, Py_ssize_t channels) noexcept nogil:
    """Of a strip of so many channels, and one column behind it."""
    return ceil_div(channels, TILE)*t.block + COLUMN_BYTES


cdef inline Py_ssize_t grad_bytes(const WeightGradient* t, Py_ssize_t lanes) noexcept nogil:
    return ceil_div(lanes, TILE)*t.rows*t.pairs*t.parts*TILE_BYTES


cdef inline void lay_strip(WeightGradient* t, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
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


cdef inline Py_ssize_t even_share(Py_ssize_t count, Py_ssize_t most) noexcept nogil:
    """Shares of at most so many, in whole blocks, all of nearly the same size."""
    return ceil_div(ceil_div(count, ceil_div(count, most)), PAIR)*PAIR


cdef inline void divide(WeightGradient* t, int threads) noexcept nogil:
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
    t.chunk = ceil_div(t.lanes, PAIR)*ceil_div(t.channels, PAIR)*taps*PAIR*PAIR
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


cdef inline Slot slot_of(const WeightGradient* t, Py_ssize_t index) noexcept nogil:
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
    Slot slot[TILE]
    Py_ssize_t row, rows, col, cols
    Py_ssize_t lane, lanes, channel, channels
    Py_ssize_t chunk
    bint fresh                      # the first strip of its chunk


cdef inline Py_ssize_t strips_of(const WeightGradient* t) noexcept nogil:
    return t.slots*t.strips_down*t.strips_across


cdef inline Py_ssize_t units_of(const WeightGradient* t) noexcept nogil:
    """A unit of work is a chunk of strips, for a share of the outputs and of the channels."""
    return t.chunks*t.shares_down*t.shares_across


cdef inline Py_ssize_t first_strip(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    return unit // t.shares_across // t.shares_down*strips_of(t) // t.chunks


cdef inline Py_ssize_t behind_strip(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    return (unit // t.shares_across // t.shares_down + 1)*strips_of(t) // t.chunks


cdef inline void set_part(const WeightGradient* t, Py_ssize_t unit, Py_ssize_t strip, Part* u) noexcept nogil:
    cdef Py_ssize_t v
    u.channel = unit % t.shares_across*t.share_channels
    u.channels = min(t.share_channels, t.channels - u.channel)
    u.lane = unit // t.shares_across % t.shares_down*t.share_lanes
    u.lanes = min(t.share_lanes, t.lanes - u.lane)
    u.chunk = unit // t.shares_across // t.shares_down
    u.fresh = strip == first_strip(t, unit)
    u.col = strip % t.strips_across*t.cols
    u.row = strip // t.strips_across % t.strips_down*t.rows
    u.rows = max(<Py_ssize_t>0, min(t.rows, t.band_rows - u.row))
    u.cols = max(<Py_ssize_t>0, min(t.cols, t.x.count - u.col))
    for v in range(TILE):
        u.slot[v] = slot_of(t, strip // t.strips_across // t.strips_down*TILE + v)


cdef struct Stage:
    # A strip that is being staged: a row of one phase of the input, or a row of the gradient, after the other.
    Part part
    char* input
    char* grad
    Py_ssize_t lines, line          # how many rows there are, and which comes next
    bint of_input                   # what the row at hand is
    const real* source[TILE]        # of the input: its row in each slot, NULL where that is padding
    Py_ssize_t row, col             # of the gradient: the row; of the input: the column of the first position
    char* target
    Py_ssize_t at, behind           # squares of 16 numbers in 16 slots that are left of it


cdef inline void begin_strip(
    const WeightGradient* t, Stage* s, Py_ssize_t unit, Py_ssize_t strip, char* staged, Py_ssize_t input,
) noexcept nogil:
    """Begin to stage a strip, its gradient behind the bytes of its input."""
    set_part(t, unit, strip, &s.part)
    s.input, s.grad = staged, staged + input
    s.lines = phases(&t.y)*phases(&t.x)*(s.part.rows + t.height - t.rows) + s.part.rows
    s.line = s.at = s.behind = 0


cdef inline void begin_input(const WeightGradient* t, Stage* s, Py_ssize_t line) noexcept nogil:
    """Find a row of one phase in each of 16 slots."""
    cdef Py_ssize_t height = s.part.rows + t.height - t.rows, h = line % height, phase = line // height, row, v
    for v in range(TILE):
        row = t.y.first + t.y.grain*(phases(&t.y)*(s.part.slot[v].row + s.part.row + h) + phase // phases(&t.x))
        s.source[v] = NULL
        if s.part.slot[v].rows and 0 <= row < t.y.in_size:
            s.source[v] = s.part.slot[v].input + row*t.source.row + s.part.channel
    s.col = t.x.first + t.x.grain*(phase % phases(&t.x) + phases(&t.x)*s.part.col)
    s.target = s.input + (phase*t.height + h)*t.width*COLUMN_BYTES
    s.behind = (s.part.cols + t.width - t.cols)*ceil_div(s.part.channels, TILE)


cdef inline void begin_line(const WeightGradient* t, Stage* s) noexcept nogil:
    s.at = 0
    s.of_input = s.line < s.lines - s.part.rows
    if s.of_input:
        begin_input(t, s, s.line)
    else:
        s.row = s.line - (s.lines - s.part.rows)
        s.target = s.grad + s.row*t.pairs*t.parts*TILE_BYTES
        s.behind = 2*t.pairs*ceil_div(s.part.lanes, TILE)
    s.line += 1


cdef inline vr load_input(const Stage* s, Py_ssize_t slot, Py_ssize_t col, Py_ssize_t at, int lanes) noexcept nogil:
    if s.source[slot] is NULL or col < 0 or col >= s.part.slot[slot].in_cols:
        return vsplat(0)
    return vload_lanes(s.source[slot] + at, lanes)


cdef inline bint stage_input(const WeightGradient* t, const int parts, const Stage* s) noexcept nogil:
    """Split 16 channels of one column of 16 slots, two slots to a pair; return whether one has no parts."""
    cdef Py_ssize_t blocks = ceil_div(s.part.channels, TILE), block = s.at % blocks, i = s.at // blocks
    cdef Py_ssize_t col = s.col + t.x.grain*phases(&t.x)*i, at = col*t.source.col + block*TILE, pair
    cdef int lanes = <int>min(s.part.channels - block*TILE, <Py_ssize_t>VLEN)
    cdef char* target = s.target + block*t.block + i*COLUMN_BYTES
    cdef vi beyond = visplat(0)
    cdef vr first, second
    for pair in range(TILE // 2):
        first = splittable(load_input(s, 2*pair, col, at, lanes), least_split(parts), &beyond)
        second = splittable(load_input(s, 2*pair + 1, col, at, lanes), least_split(parts), &beyond)
        store_pairs(parts, first, second, target + 64*pair, t.part)
    return vany(beyond)


cdef inline bint stage_grad(const WeightGradient* t, const int parts, const Stage* s) noexcept nogil:
    """Split 16 outputs of one column of 16 slots, a row for each output; return whether one has no parts."""
    cdef Py_ssize_t blocks = ceil_div(s.part.lanes, TILE), block = s.at % blocks, i = s.at // blocks, v
    cdef Py_ssize_t row = s.part.row + s.row, col = s.part.col + i, lane = s.part.lane + block*TILE
    cdef int lanes = <int>min(s.part.lanes - block*TILE, <Py_ssize_t>VLEN)
    cdef char* target = s.target + (block*t.rows*t.pairs + i // 2)*t.parts*TILE_BYTES + 32*(i % 2)
    cdef vi beyond = visplat(0)
    cdef vr square[VLEN]
    cdef const Slot* slot
    for v in range(VLEN):
        slot = &s.part.slot[v]
        square[v] = vsplat(0)
        if i < s.part.cols and row < slot.rows and col < slot.cols:
            square[v] = vload_lanes(
                slot.grad + (slot.row + row)*t.target.row + col*t.target.col + lane, lanes)
    vtranspose(square)
    for v in range(VLEN):
        store_parts(parts, splittable(square[v], least_split(parts), &beyond), target + 64*v, TILE_BYTES, VLEN)
    return vany(beyond)


cdef inline bint stage_parts(const WeightGradient* t, const int parts, const Stage* s) noexcept nogil:
    return stage_input(t, parts, s) if s.of_input else stage_grad(t, parts, s)


cdef inline bint stage_piece(const WeightGradient* t, Stage* s) noexcept nogil:
    """Stage one square, or find the next row; return whether there was anything to do."""
    cdef bint beyond
    if s.at == s.behind:
        if s.line == s.lines:
            return False
        begin_line(t, s)
        return True
    if t.parts == 3:
        beyond = stage_parts(t, 3, s)
    elif t.parts == 2:
        beyond = stage_parts(t, 2, s)
    else:
        beyond = stage_parts(t, 1, s)
    if beyond:
        t.beyond[0] = True
    s.at += 1
    return True


cdef inline Py_ssize_t pieces_of(const WeightGradient* t, const Stage* s) noexcept nogil:
    cdef Py_ssize_t inputs = s.lines - s.part.rows
    return (inputs*(1 + t.width*ceil_div(s.part.channels, TILE))
            + s.part.rows*(1 + 2*t.pairs*ceil_div(s.part.lanes, TILE)))
