"""The sum over pixels that the gradient of a weight is: in which roles, and in which pieces, it is taken.

Rows of the tile are (tap column, channel), lanes are output channels, and the sum runs over output pixels. It is cut
into strips of pixels, panels of a few channels, so narrow that a panel's pixels stay in first-level cache while all
taps pass over them, and blocks of lanes. A unit of work is a chunk of the strips, for some of the panels and some of
the blocks: chunks are cut by the shape alone and added up in order, so no number of threads can be seen in the result.

Scratch: the partial sums (PARTIAL_BYTES, or one copy of the gradient where that is larger), and for each thread a
strip of input (STRIP_BYTES, or one tile's pixels) and of gradient (STRIP_PIXELS*STAGED_LANES elements).
"""

from convkit._kernels._ahead cimport Ahead
from convkit._kernels._axis cimport Axis, is_identity, span, stays_inside
from convkit._kernels._image cimport Image
from convkit._kernels._prologue cimport Prologue, maps
from convkit._kernels._simd cimport TILE_ROWS, VLEN, real
from convkit._kernels._strip cimport STRIP_BYTES, Strips, ceil_div, cut, merge_pixels
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, tile_count
from convkit._kernels._weights cimport Weights, block_count, padded

cdef enum:
    STRIP_PIXELS = 512              # output pixels summed in registers: their gradients stay close to first-level cache
    POINT_PIXELS = 264              # of a 1x1 layer, which reads each few times: there they fit first-level cache
    STAGED_LANES = 128              # of the gradient, copied at a time
    MOST_FOLDED = 16                # rows of taps that are folded into the channels
    CACHE_LINE = 64                 # bytes
    CLOSE_BYTES = 1024              # from pixel to pixel, where tiles read a line of each in place,
    LESS_CLOSE_BYTES = 2048         # or there, if they read it for few lanes: of 4096, all lines would fall into a set
    FEW_LANES = 512
    PARTIAL_BYTES = 8*1024*1024     # all partial sums together, where there is more than one
    ENOUGH_UNITS = 16               # parallelism offered, whatever the number of threads


cdef struct WeightGradient:
    Axis y, x
    Axis folded                     # the rows as they are, where their taps are folded into the channels
    Py_ssize_t fold                 # so many rows of taps are: 1 for none
    Py_ssize_t images, groups, channels, lanes
    const real* input
    Image source
    const real* grad
    Image target
    Strips strips
    Py_ssize_t depth, count         # images in a strip, and strips
    Py_ssize_t wide, panels         # channels are taken in so many panels of so many
    Prologue prologue               # of the input
    bint in_place, grad_in_place    # read the input, or the gradient, as it lies: it needs no stage
    Py_ssize_t panel, image, line, pixel    # distance of panels, images, rows and pixels, staged or in place
    bint joined                     # a row of taps, with all channels of a panel, lies in one piece
    Py_ssize_t chunks, channel_shares, lane_shares
    Weights result
    bint direct                     # there is one sum of each weight, and it can be written where it belongs
    real* sums                      # [chunk][group][block][panel][tap row][tap column][channel][lane]
    Py_ssize_t sums_group, sums_chunk


cdef struct Strip:
    # Outputs of a few images.
    Py_ssize_t image, images, row, rows, col, cols


cdef struct Sums:
    # One unit of work: a chunk of the strips, for some panels and some blocks of lanes of one group.
    Py_ssize_t group, first_panel, behind_panel, first, behind
    real* total
    real* staged                    # memory for panels of the input, and for a block of the gradient
    real* grads
    const real* a                   # where they are: there, or in place
    const real* b
    Py_ssize_t b_row
    Py_ssize_t block                # distance of blocks there
    Ahead ahead                     # what will be read next
    Py_ssize_t* segment             # [tap row][run]: where runs of pixels begin in a panel,
    Py_ssize_t* pixel               # and in the block of the gradient
    Py_ssize_t* segments            # [tap row]: how many there are


cdef struct Room:
    # Scratch: the sums, and for each thread the panels, a block of the gradient, and three tables.
    Py_ssize_t sums, staged, grads, runs
    Py_ssize_t share                # bytes of a thread
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef inline Strip strip_at(const WeightGradient* t, Py_ssize_t index) noexcept nogil:
    cdef Strip s
    s.col = index % t.strips.across*t.strips.cols
    s.row = index // t.strips.across % t.strips.down*t.strips.rows
    s.image = index // t.strips.across // t.strips.down*t.depth
    s.images = min(t.depth, t.images - s.image)
    s.rows, s.cols = min(t.strips.rows, t.y.count - s.row), min(t.strips.cols, t.x.count - s.col)
    if s.rows <= 0 or s.cols <= 0:
        s.rows = s.cols = s.images = 0
    return s


cdef inline Py_ssize_t width_of(const WeightGradient* t, Py_ssize_t panel) noexcept nogil:
    """Channels of a panel: the last one may have fewer."""
    return min(t.wide, t.channels - panel*t.wide)


cdef inline Py_ssize_t runs_of(const WeightGradient* t, Py_ssize_t panel) noexcept nogil:
    """Pieces in which a row of taps lies: a last panel that is not full has gaps between its taps."""
    return 1 if t.joined and width_of(t, panel) == t.wide else t.x.taps


cdef inline Py_ssize_t rows_of(const WeightGradient* t, Py_ssize_t panel) noexcept nogil:
    """Rows of tiles in such a piece."""
    return width_of(t, panel)*t.x.taps // runs_of(t, panel)


cdef inline Py_ssize_t panel_width(const Axis* x, Py_ssize_t channels) noexcept nogil:
    """Channels of a panel: those that need the fewest tiles.

    A panel's pixels stay in first-level cache while all taps pass over them, so it must be narrow.
    """
    cdef Py_ssize_t panels, wide, tiles, fewest = 0, best = channels, taps = x.taps if x.tap_step == 1 else 1
    for panels in range(ceil_div(channels, 2*TILE_ROWS), max(<Py_ssize_t>1, channels // 8) + 1):
        wide = ceil_div(channels, panels)
        tiles = (channels // wide)*tile_count(taps*wide, 2)
        if channels % wide:
            tiles += tile_count(taps*(channels % wide), 2)
        if fewest == 0 or tiles < fewest:
            fewest, best = tiles, wide
    return best


cdef inline void fold_rows(WeightGradient* t) noexcept nogil:
    """Take the taps of a column as channels, where a row of taps is too short for a tile: its sums would be too few.

    Input is then staged once for each row of taps that meets it.
    """
    t.folded, t.fold = t.y, 1
    if 1 < t.y.taps <= MOST_FOLDED and t.x.tap_step == 1 and t.x.taps*t.channels < TILE_ROWS:
        t.fold = t.y.taps
        t.channels *= t.fold
        t.y.taps, t.y.tap_step, t.y.first, t.y.grain, t.y.in_step, t.y.in_size = 1, 0, 0, 1, 1, t.y.count


cdef inline void exchange(WeightGradient* t) noexcept nogil:
    """Let input and output change places, which they can where pixels meet only themselves: lanes of the result then
    lie next to each other where its channels did."""
    t.input, t.grad = t.grad, t.input
    t.source, t.target = t.target, t.source
    t.channels, t.lanes = t.lanes, t.channels
    t.result.channels, t.result.lanes = t.channels, t.lanes
    t.result.channel, t.result.lane = t.result.lane, t.result.channel


cdef inline bint reads_in_place(const WeightGradient* t) noexcept nogil:
    """Whether tiles had better read pixels where they lie: they use most of a cache line, and few lines share a set.

    Those that are to be mapped must lie in one piece.
    """
    if t.y.taps*t.x.taps > 1 or t.fold > 1 or not stays_inside(&t.x) or 2*TILE_ROWS*sizeof(real) < CACHE_LINE:
        return False
    if maps(&t.prologue) and not (is_identity(&t.y) and is_identity(&t.x)):
        return False
    return (t.x.in_step*t.x.grain*t.source.col*<Py_ssize_t>sizeof(real)
            <= (LESS_CLOSE_BYTES if t.lanes <= FEW_LANES else CLOSE_BYTES))


cdef inline Py_ssize_t share_panels(WeightGradient* t, Py_ssize_t pixels) noexcept nogil:
    """Cut the channels into panels, and tell how many are a share: as many as let a strip fit STRIP_BYTES."""
    cdef Py_ssize_t fit
    t.wide = t.channels if t.fold > 1 else panel_width(&t.x, t.channels)       # folded, they are staged as one panel
    t.panels = ceil_div(t.channels, t.wide)
    fit = max(<Py_ssize_t>1, STRIP_BYTES // (pixels*t.wide*<Py_ssize_t>sizeof(real)))
    return ceil_div(t.panels, ceil_div(t.panels, fit))


cdef inline void cut_strips(WeightGradient* t, Py_ssize_t pixels, Py_ssize_t room) noexcept nogil:
    """Cut the outputs into strips of at most so many, whose input fits the room, or is that of one tile."""
    cdef Py_ssize_t cols = min(t.x.count, pixels), rows = min(t.y.count, max(<Py_ssize_t>1, pixels // cols))
    while rows > 1 and span(&t.y, rows)*span(&t.x, cols) > room:
        rows -= 1
    while cols > TILE_ROWS and span(&t.y, rows)*span(&t.x, cols) > room:
        cols = ceil_div(cols, 2)
    cut(&t.strips, &t.y, &t.x, rows, cols)
    t.depth = 1
    if t.strips.down*t.strips.across == 1:
        t.depth = max(<Py_ssize_t>1, min(pixels // (t.strips.rows*t.strips.cols),
                                         room // (t.strips.height*t.strips.width)))
        t.depth = ceil_div(t.images, ceil_div(t.images, t.depth)) if t.images else 1
    t.count = ceil_div(t.images, t.depth)*t.strips.down*t.strips.across


cdef inline void lay_input(WeightGradient* t, Py_ssize_t shared) noexcept nogil:
    """Tell where tiles find the panels of a share, and their pixels."""
    if t.in_place:
        t.panel, t.image = t.wide, t.source.image
        t.line, t.pixel = t.y.grain*t.source.row, t.x.grain*t.source.col
        if maps(&t.prologue):
            t.pixel = min(t.channels, shared*t.wide)
    else:
        t.line, t.pixel = t.strips.width*t.wide, t.wide
        t.image = t.strips.height*t.line
        t.panel = ceil_div(t.depth*t.image + VLEN, VLEN)*VLEN
    t.joined = t.x.taps == 1 or (t.x.tap_step == 1 and t.pixel == t.wide)


cdef inline void divide_sum(WeightGradient* t, int threads) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Py_ssize_t blocks = block_count(t.lanes), taps = t.y.taps*t.x.taps, pixels = STRIP_PIXELS, shared, fit, enough
    cdef Py_ssize_t bytes = taps*t.channels*t.groups*blocks*BLOCK*<Py_ssize_t>sizeof(real)
    if taps == 1 and t.fold == 1:
        pixels = POINT_PIXELS
    shared = share_panels(t, pixels)
    cut_strips(t, pixels, STRIP_BYTES // (shared*t.wide*<Py_ssize_t>sizeof(real)))
    lay_input(t, shared)
    t.channel_shares = ceil_div(t.panels, shared)
    fit = max(<Py_ssize_t>1, PARTIAL_BYTES // bytes)
    t.chunks = ceil_div(ENOUGH_UNITS, t.groups*t.channel_shares*ceil_div(blocks, 4))
    t.chunks = max(<Py_ssize_t>1, min(t.count, min(fit, t.chunks)))
    enough = ceil_div(4*threads, t.chunks*t.groups) if threads > 1 else 1
    if t.in_place and not maps(&t.prologue):
        # Nothing is staged: read all of each pixel, if lanes are enough.
        t.channel_shares = min(t.channel_shares, ceil_div(enough, min(blocks, enough)))
    t.lane_shares = min(blocks, ceil_div(enough, t.channel_shares))


cdef inline Room make_room(WeightGradient* t, int threads) noexcept nogil:
    """Decide in which roles, and in which pieces, the sum is taken."""
    cdef Py_ssize_t taps = t.y.taps*t.x.taps, blocks
    cdef Room room
    room.bytes = 0
    if taps*t.channels*t.lanes*t.groups == 0:
        return room
    room.threads = worth(threads, <double>t.images*t.y.count*t.x.count*t.groups*t.lanes*taps*t.channels)
    if is_identity(&t.y) and is_identity(&t.x) and t.result.channel == 1 and not maps(&t.prologue):
        exchange(t)
    merge_pixels(&t.images, &t.y, &t.x)
    if t.images*t.y.count*t.x.count == 0:
        # Nothing to sum: no image, of any size, leaves zeros.
        t.images = 0
        t.y.count = t.x.count = 1
    fold_rows(t)
    taps, blocks = t.y.taps*t.x.taps, block_count(t.lanes)
    t.in_place = reads_in_place(t)
    t.grad_in_place = t.in_place and t.lanes % VLEN == 0 and t.target.col*<Py_ssize_t>sizeof(real) <= CLOSE_BYTES
    divide_sum(t, room.threads)
    t.sums_group = padded(t.lanes)*taps*t.channels
    t.sums_chunk = t.groups*t.sums_group
    t.direct = t.chunks == 1 and taps == 1 and t.result.lane == 1 and t.images > 0
    room.sums = 0 if t.direct else ceil_div(t.chunks*t.sums_chunk, 64)*64
    room.staged = 0 if t.in_place else ceil_div(ceil_div(t.panels, t.channel_shares)*t.panel, 64)*64
    if t.in_place and maps(&t.prologue):
        room.staged = ceil_div(t.strips.cols*t.pixel, 64)*64
    room.grads = t.depth*t.strips.rows*t.strips.cols*min(blocks*BLOCK, <Py_ssize_t>STAGED_LANES)
    room.runs = t.y.taps*t.depth*t.strips.rows
    room.share = ceil_div((room.staged + room.grads)*sizeof(real)
                          + (2*room.runs + t.y.taps)*sizeof(Py_ssize_t), 64)*64
    room.bytes = room.sums*sizeof(real) + room.threads*room.share
    return room
