"""Staging of a weights' gradient by AMX tiles (_amx_slots.pxd), in pieces small enough to be done between two products.

A strip is staged row by row, each of TILE channels of a column at a time. Of the input, a piece is two slots, which are
paired as they are; of the gradient, it is QUAD outputs of two columns, which are transposed. The sixteen slots are as
many places in memory, far apart: more than the hardware fetches ahead, so that each piece fetches what comes AHEAD
columns later, into the second-level cache, as the first one is full of tiles.

A number that is not finite has parts that are none either, and spoils the sums that it has a part in, where it is seen.
"""

from convkit._kernels._amx cimport TILE, TILE_BYTES, vnote_least, vnoted_less, vpair_stored, vquads
from convkit._kernels._amx_slots cimport COLUMN_BYTES, WeightGradient
from convkit._kernels._phases cimport phases
from convkit._kernels._simd cimport (
    OF_BFLOAT16, VLEN, prefetch_second, real, stored, vi, visplat, vload_stored, vload_stored_lanes, vr, vsplat, vstore,
    vstore_stored_lanes,
)
from convkit._kernels._split cimport least_split, round_pairs
from convkit._kernels._strip cimport ceil_div

cdef enum:
    AHEAD = 2                       # columns
    QUAD = 4


cdef struct Slot:
    # An image, a band of one, or every sixteenth pixel.
    const stored* input
    const stored* grad
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
    u.fresh = strip == first_strip(t, unit)
    u.col = strip % t.strips_across*t.cols
    u.row = strip // t.strips_across % t.strips_down*t.rows
    u.rows = max(<Py_ssize_t>0, min(t.rows, t.band_rows - u.row))
    u.cols = max(<Py_ssize_t>0, min(t.cols, t.x.count - u.col))
    for v in range(TILE):
        u.slot[v] = slot_of(t, strip // t.strips_across // t.strips_down*TILE + v)


# ---------------------------------------------------------------------------------------------------------------------
# A strip, row by row and square by square


cdef enum:
    PAIRS                           # of slots, with TILE channels
    QUADS                           # of channels, of two columns of the gradient
    EDGE_PAIRS, EDGE_QUADS          # of which some numbers are missing
    NOTHING


cdef struct Square:
    # TILE channels of a column of 16 slots, or of two columns of the gradient, in pieces.
    int kind
    const stored* const* source     # a row in each slot,
    Py_ssize_t place, fetched       # elements from there to the square, to one that comes soon,
    Py_ssize_t second               # and from the first column to the second
    int lanes                       # slots of both columns
    char* target
    Py_ssize_t part                 # bytes from part to part
    Py_ssize_t piece, behind


cdef struct Stage:
    # A strip that is being staged: a row of one phase of the input, or a row of the gradient, after the other.
    Square square                   # what is staged of it now
    const stored* nothing[TILE]     # zeros
    Part part
    char* input
    char* grad
    Py_ssize_t lines, line          # how many rows there are, and which comes next
    bint of_input                   # what the row at hand is,
    const stored* source[TILE]      # where it begins in each slot: NULL where that is padding,
    bint whole, blank               # which it is nowhere, or everywhere
    Py_ssize_t size[TILE]           # how many columns there are: beyond them is padding, too
    Py_ssize_t first                # column that is staged
    Py_ssize_t col, step            # elements from column to column that is staged
    Py_ssize_t width, channels      # columns and channels to stage
    Py_ssize_t ahead                # elements from its end to the next row
    char* target
    Py_ssize_t at, channel          # the next square: a column, or two of the gradient, and the first of TILE channels
    Py_ssize_t here, lane           # the same of that at hand


cdef inline void begin_input(const WeightGradient* t, Stage* s) noexcept nogil:
    """Find a row of one phase in each of 16 slots."""
    cdef Py_ssize_t height = s.part.rows + t.height - t.rows, h = s.line % height, phase = s.line // height, row, v
    cdef const Slot* slot
    s.first = t.x.first + t.x.grain*(phase % phases(&t.x) + phases(&t.x)*s.part.col)
    s.step, s.width, s.channels = t.x.grain*phases(&t.x), s.part.cols + t.width - t.cols, s.part.channels
    s.col = s.step*t.source.col
    for v in range(TILE):
        slot = &s.part.slot[v]
        row = t.y.first + t.y.grain*(phases(&t.y)*(slot.row + s.part.row + h) + phase // phases(&t.x))
        s.source[v], s.size[v] = NULL, slot.in_cols
        if slot.rows and 0 <= row < t.y.in_size:
            s.source[v] = slot.input + row*t.source.row + s.first*t.source.col + s.part.channel
    s.ahead = t.y.grain*phases(&t.y)*t.source.row
    s.target = s.input + (phase*t.height + h)*t.width*COLUMN_BYTES


cdef inline void begin_grad(const WeightGradient* t, Stage* s) noexcept nogil:
    """Find a row of the gradient. Columns that are missing are staged, too, as zeros."""
    cdef Py_ssize_t h = s.line - (s.lines - s.part.rows), row = s.part.row + h, v
    cdef const Slot* slot
    s.first, s.step, s.col, s.width, s.channels = s.part.col, 1, t.target.col, 2*t.pairs, s.part.lanes
    for v in range(TILE):
        slot = &s.part.slot[v]
        s.source[v], s.size[v] = NULL, min(slot.cols, s.part.col + s.part.cols)
        if row < slot.rows:
            s.source[v] = slot.grad + (slot.row + row)*t.target.row + s.first*t.target.col + s.part.lane
    s.ahead = t.target.row
    s.target = s.grad + h*t.pairs*t.parts*TILE_BYTES


cdef inline void fetch_begin(const Stage* s) noexcept nogil:
    """Let the first columns of a row come, where no row before it did."""
    cdef Py_ssize_t v, c, i
    for v in range(TILE):
        for i in range(AHEAD):
            c = 0
            while c < s.channels and s.source[v] is not NULL:
                prefetch_second(s.source[v] + i*s.col + c)
                c += TILE


cdef inline void begin_line(const WeightGradient* t, Stage* s) noexcept nogil:
    cdef Py_ssize_t v
    s.at = s.channel = 0
    s.of_input = s.line < s.lines - s.part.rows
    if s.of_input:
        begin_input(t, s)
    else:
        begin_grad(t, s)
    s.line += 1
    # Pixels that are dealt out follow each other from strip to strip, all in one row.
    if t.pixels:
        s.ahead = s.width*s.col
    s.whole = s.blank = True
    for v in range(TILE):
        s.whole, s.blank = s.whole and s.source[v] is not NULL, s.blank and s.source[v] is NULL
    if s.line == 1 or s.line == s.lines - s.part.rows + 1:
        fetch_begin(s)


cdef inline void place_square(const WeightGradient* t, Stage* s, Square* q) noexcept nogil:
    """Find where it is read, and where its parts go. Missing second columns are read as the first, and left out."""
    cdef Py_ssize_t ahead = s.at + AHEAD
    q.source, q.place, q.fetched = s.source, s.at*s.col + s.channel, ahead*s.col + s.channel
    if ahead >= s.width:
        q.fetched += s.ahead - s.width*s.col
    q.second, q.lanes, q.piece = s.col, TILE, 0
    if s.first + s.at + 1 >= s.size[TILE - 1]:
        q.second, q.lanes = 0, TILE // 2
    if s.of_input:
        q.behind, q.part = TILE // 2, t.part
        q.target = s.target + s.channel // TILE*t.block + s.at*COLUMN_BYTES
    else:
        q.behind, q.part = TILE // QUAD, TILE_BYTES
        q.target = s.target + (s.channel // TILE*t.rows*t.pairs + s.at // 2)*t.parts*TILE_BYTES


cdef inline int kind_of_square(Stage* s, Square* q) noexcept nogil:
    """What its pieces are; of padding alone, zeros, from where those are. The first slot has most columns."""
    cdef Py_ssize_t col = s.first + s.at*s.step
    if s.blank or col < 0 or col >= s.size[0]:
        q.source, q.place, q.fetched, q.second = s.nothing, 0, 0, 0
    elif not s.whole or col >= s.size[TILE - 1] or s.channel + TILE > s.channels or (
            not s.of_input and (col + 1 < s.size[0]) != (col + 1 < s.size[TILE - 1])):
        return EDGE_PAIRS if s.of_input else EDGE_QUADS
    return PAIRS if s.of_input else QUADS


cdef inline void next_square(const WeightGradient* t, Stage* s) noexcept nogil:
    """Find the next TILE channels of a column, or of two of the gradient."""
    if s.at >= s.width:
        if s.line == s.lines:
            s.square.kind, s.square.piece, s.square.behind = NOTHING, 0, 1
            return
        begin_line(t, s)
    s.here, s.lane = s.at, s.channel
    place_square(t, s, &s.square)
    s.square.kind = kind_of_square(s, &s.square)
    s.channel += TILE
    if s.channel >= s.channels:
        s.channel = 0
        s.at += 1 if s.of_input else 2


cdef inline void begin_strip(
    const WeightGradient* t, Stage* s, Py_ssize_t unit, Py_ssize_t strip, char* staged, Py_ssize_t input,
) noexcept nogil:
    """Begin to stage a strip, its gradient behind the bytes of its input."""
    set_part(t, unit, strip, &s.part)
    s.input, s.grad = staged, staged + input
    s.lines = phases(&t.y)*phases(&t.x)*(s.part.rows + t.height - t.rows) + s.part.rows
    s.line = s.at = s.width = 0
    next_square(t, s)


# ---------------------------------------------------------------------------------------------------------------------
# Pieces


cdef inline bint stage_pair(const int parts, const Square* q) noexcept nogil:
    """Split TILE channels of a column of two slots, and pair them; return whether a number has no parts."""
    cdef const stored* first = q.source[2*q.piece]
    cdef const stored* second = q.source[2*q.piece + 1]
    prefetch_second(first + q.fetched)
    prefetch_second(second + q.fetched)
    if OF_BFLOAT16:
        vstore(<real*>(q.target + 64*q.piece), vpair_stored(first + q.place, second + q.place))
        return False
    return put_pair(parts, vload_stored(first + q.place), vload_stored(second + q.place), q)


cdef inline bint put_pair(const int parts, vr first, vr second, const Square* q) noexcept nogil:
    cdef vi least = visplat(-1)
    if parts > 1:
        vnote_least(&least, first)
        vnote_least(&least, second)
    round_pairs(parts, first, second, q.target + 64*q.piece, q.part)
    return vnoted_less(least, least_split(parts))


cdef inline bint stage_quad(const int parts, const Square* q) noexcept nogil:
    """Split QUAD outputs of two columns of 16 slots, a row for each output."""
    cdef Py_ssize_t v
    for v in range(q.piece*QUAD, q.piece*QUAD + QUAD):
        prefetch_second(q.source[v] + q.fetched)
        prefetch_second(q.source[v] + q.fetched + q.second)
    return put_quad(parts, q.source, q.place + q.piece*QUAD, q)


cdef inline bint put_quad(
    const int parts, const stored* const* source, Py_ssize_t place, const Square* q,
) noexcept nogil:
    cdef vi least = visplat(-1)
    cdef vr even[QUAD]
    cdef vr odd[QUAD]
    cdef Py_ssize_t v
    vquads(source, place, q.second, q.lanes, even)
    vquads(source + 1, place, q.second, q.lanes, odd)
    for v in range(QUAD):
        if parts > 1:
            vnote_least(&least, even[v])
            vnote_least(&least, odd[v])
        round_pairs(parts, even[v], odd[v], q.target + 64*(q.piece*QUAD + v), q.part)
    return vnoted_less(least, least_split(parts))


cdef inline vr load_slot(const Stage* s, Py_ssize_t slot, Py_ssize_t at, Py_ssize_t channel, int most) noexcept nogil:
    """So many channels of one column of a slot, or less, and zeros."""
    cdef Py_ssize_t col = s.first + at*s.step
    if s.source[slot] is NULL or col < 0 or col >= s.size[slot]:
        return vsplat(0)
    return vload_stored_lanes(s.source[slot] + at*s.col + channel, <int>max(0, min(s.channels - channel, most)))


cdef inline bint stage_edge_pair(int parts, const Stage* s, const Square* q) noexcept nogil:
    return put_pair(parts, load_slot(s, 2*q.piece, s.here, s.lane, VLEN),
                    load_slot(s, 2*q.piece + 1, s.here, s.lane, VLEN), q)


cdef inline bint stage_edge_quad(int parts, const Stage* s, const Square* q) noexcept nogil:
    cdef stored quads[TILE*2*QUAD]
    cdef const stored* source[TILE]
    cdef Square copied = q[0]
    cdef Py_ssize_t v, i
    for v in range(TILE):
        source[v] = quads + v*2*QUAD
        for i in range(2):
            vstore_stored_lanes(quads + (2*v + i)*QUAD, load_slot(s, v, s.here + i, s.lane + q.piece*QUAD, QUAD), QUAD)
    copied.second, copied.lanes = QUAD, TILE
    return put_quad(parts, source, 0, &copied)


cdef inline bint stage_piece(const WeightGradient* t, const Stage* s, const Square* q) noexcept nogil:
    """Stage any piece; return whether a number of it has no parts."""
    if q.kind == PAIRS:
        return stage_pair(t.parts, q)
    if q.kind == QUADS:
        return stage_quad(t.parts, q)
    if q.kind == EDGE_PAIRS:
        return stage_edge_pair(t.parts, s, q)
    return stage_edge_quad(t.parts, s, q)


cdef inline Py_ssize_t pieces_of(const WeightGradient* t, const Stage* s) noexcept nogil:
    """How much all of a strip is."""
    cdef Py_ssize_t input = (s.lines - s.part.rows)*(s.part.cols + t.width - t.cols)*ceil_div(s.part.channels, TILE)
    cdef Py_ssize_t grad = s.part.rows*t.pairs*ceil_div(s.part.lanes, TILE)
    return TILE // 2*input + TILE*grad
