"""The gradient of a convolution's weight, on the register tile.

Rows of the tile are (tap column, channel), lanes are output channels, and the sum runs over output pixels. A strip of
input is dealt out into panels of a few channels, so narrow that a panel's pixels stay in first-level cache while all
taps pass over them; the gradient of the output is copied in blocks of lanes. A unit of work is a chunk of the strips,
for some of the panels and some of the blocks: chunks are cut by the shape alone and added up in order, so no number of
threads can be seen in the result.

Scratch: the partial sums (PARTIAL_BYTES, or one copy of the gradient where that is larger), and for each thread a
strip of input (STRIP_BYTES, or one tile's pixels) and of gradient (STRIP_PIXELS*STAGED_LANES elements).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._ahead cimport Ahead, Memory, go_ahead, nothing_ahead, pixels_between, share_of, spread_over
from convkit._kernels._axis cimport (
    Axis, Range, inside, is_identity, outputs_inside, phase_axis, reads, span, stays_inside,
)
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._image cimport Image
from convkit._kernels._panels cimport AHEAD, deal, stage_blocks
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._prologue cimport Prologue, map_pixels, maps
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    TILE_ROWS, VLEN, flush_denormals, real, restore_denormals, vload_lanes, vsplat, vstore,
)
from convkit._kernels._strip cimport STRIP_BYTES, Strips, ceil_div, cut, merge_pixels
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, padded, weights_of


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef enum:
    STRIP_PIXELS = 512              # output pixels summed in registers: their gradients stay close to first-level cache
    SHARE_CHANNELS = 128            # channels that a unit of work stages: so many of so many pixels fit the cache
    STAGED_LANES = 128              # of the gradient, copied at a time
    MOST_FOLDED = 16                # rows of taps that are folded into the channels
    FEW_PIXELS = 64                 # of a strip, so few that sums take longer to write than to compute
    CACHE_LINE = 64                 # bytes
    CLOSE_BYTES = 1024              # from pixel to pixel: of 4096, each line would fall into the same set
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


cdef Py_ssize_t panel_width(const Axis* x, Py_ssize_t channels) noexcept nogil:
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


cdef void divide_sum(WeightGradient* t, int threads) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Py_ssize_t blocks = block_count(t.lanes), taps = t.y.taps*t.x.taps, shared, room, rows, cols, fit, enough
    cdef Py_ssize_t bytes = taps*t.channels*t.groups*blocks*BLOCK*<Py_ssize_t>sizeof(real)
    t.wide = t.channels if t.fold > 1 else panel_width(&t.x, t.channels)       # folded, they are staged as one panel
    t.panels = ceil_div(t.channels, t.wide)
    t.channel_shares = ceil_div(t.panels*t.wide, SHARE_CHANNELS)
    shared = ceil_div(t.panels, t.channel_shares)
    room = STRIP_BYTES // (shared*t.wide*<Py_ssize_t>sizeof(real))
    cols = min(t.x.count, <Py_ssize_t>STRIP_PIXELS)
    rows = min(t.y.count, max(<Py_ssize_t>1, STRIP_PIXELS // cols))
    while rows > 1 and span(&t.y, rows)*span(&t.x, cols) > room:
        rows -= 1
    while cols > TILE_ROWS and span(&t.y, rows)*span(&t.x, cols) > room:
        cols = ceil_div(cols, 2)
    cut(&t.strips, &t.y, &t.x, rows, cols)
    t.depth = 1
    if t.strips.down*t.strips.across == 1:
        t.depth = max(<Py_ssize_t>1, min(STRIP_PIXELS // (t.strips.rows*t.strips.cols),
                                         room // (t.strips.height*t.strips.width)))
        t.depth = ceil_div(t.images, ceil_div(t.images, t.depth)) if t.images else 1
    if t.in_place:
        t.panel, t.image = t.wide, t.source.image
        t.line, t.pixel = t.y.grain*t.source.row, t.x.grain*t.source.col
    else:
        t.line, t.pixel = t.strips.width*t.wide, t.wide
        t.image = t.strips.height*t.line
        t.panel = ceil_div(t.depth*t.image + VLEN, VLEN)*VLEN
    t.joined = t.x.taps == 1 or (t.x.tap_step == 1 and t.pixel == t.wide)
    t.count = ceil_div(t.images, t.depth)*t.strips.down*t.strips.across
    fit = max(<Py_ssize_t>1, PARTIAL_BYTES // bytes)
    t.chunks = ceil_div(ENOUGH_UNITS, t.groups*t.channel_shares*ceil_div(blocks, 4))
    t.chunks = max(<Py_ssize_t>1, min(t.count, min(fit, t.chunks)))
    t.channel_shares = ceil_div(t.panels, shared)
    enough = ceil_div(4*threads, t.chunks*t.groups) if threads > 1 else 1
    if t.in_place and not maps(&t.prologue):
        # Nothing is staged: read all of each pixel, if lanes are enough.
        t.channel_shares = min(t.channel_shares, ceil_div(enough, min(blocks, enough)))
    t.lane_shares = min(blocks, ceil_div(enough, t.channel_shares))


cdef void sum_unit(
    const WeightGradient* t, Py_ssize_t unit, real* memory, Py_ssize_t staged, Py_ssize_t grads, Py_ssize_t runs,
    int threads,
) noexcept nogil:
    cdef Sums sums
    cdef Sums* u = &sums
    u.staged, u.grads = memory, memory + staged
    u.segment = <Py_ssize_t*>(u.grads + grads)
    u.pixel, u.segments = u.segment + runs, u.segment + 2*runs
    cdef Py_ssize_t blocks = block_count(t.lanes), shared = ceil_div(t.panels, t.channel_shares), i, chunk
    cdef Py_ssize_t lane_share = unit % t.lane_shares, channel_share, this = unit
    unit = unit // t.lane_shares
    channel_share = unit % t.channel_shares
    unit = unit // t.channel_shares
    u.group, chunk = unit % t.groups, unit // t.groups
    u.first_panel, u.behind_panel = channel_share*shared, min(t.panels, (channel_share + 1)*shared)
    u.first = lane_share*blocks // t.lane_shares*BLOCK
    u.behind = min(t.lanes, (lane_share + 1)*blocks // t.lane_shares*BLOCK)
    u.total = t.sums + chunk*t.sums_chunk + u.group*t.sums_group
    if t.direct:
        u.total = <real*>t.result.data + u.group*t.result.group
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t begin = chunk*t.count // t.chunks, end = (chunk + 1)*t.count // t.chunks
    for i in range(begin, end):
        if i + 1 < end:
            look_ahead(t, u, this, i, i + 1)
        else:
            look_ahead(t, u, this, i, first_strip(t, this + threads))
        sum_strip(t, u, i, i == begin)
    restore_denormals(mode)


cdef Py_ssize_t first_strip(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    """The strip that a unit begins with: behind the last, if there is no such unit."""
    cdef Py_ssize_t chunk = unit // (t.lane_shares*t.channel_shares*t.groups)
    return min(chunk, t.chunks)*t.count // t.chunks


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


cdef void look_ahead(
    const WeightGradient* t, Sums* u, Py_ssize_t unit, Py_ssize_t index, Py_ssize_t next,
) noexcept nogil:
    """While one strip is summed, let another come, if its pixels lie in one piece.

    Units that take channels, or lanes, of the same pixels share those out: they read them in each other's caches.
    """
    cdef Strip s = strip_at(t, index), n = strip_at(t, next)
    cdef Memory input, grad
    cdef Range rows, cols
    u.ahead = nothing_ahead(t.grad)
    if next == index or next >= t.count or n.images <= 0 or t.groups > 1 or (t.strips.across > 1 and t.y.count > 1):
        return
    rows.first, rows.behind, cols.first, cols.behind = n.row, n.row + n.rows, n.col, n.col + n.cols
    grad = pixels_between(t.grad, &t.target, n.image, n.images, rows, cols)
    rows, cols = reads(&t.folded, n.row, n.rows), reads(&t.x, n.col, n.cols)
    input = pixels_between(t.input, &t.source, n.image, n.images, rows, cols)
    if t.folded.grain > 1 or t.x.grain > 1:
        grad.behind = grad.first    # pixels that are apart take longer than those that are not
    u.ahead = spread_over(share_of(input, unit // t.lane_shares % t.channel_shares, t.channel_shares),
                          share_of(grad, unit % t.lane_shares, t.lane_shares),
                          s.images*s.rows*s.cols*tiles_of(t, u))


cdef Py_ssize_t tiles_of(const WeightGradient* t, const Sums* u) noexcept nogil:
    """Count the tiles that pass over each pixel of a unit."""
    cdef Py_ssize_t first = u.first, count = 0, panel
    cdef int vectors
    while first < u.behind:
        vectors = tile_vectors(min(u.behind - first, <Py_ssize_t>BLOCK))
        for panel in range(u.first_panel, u.behind_panel):
            count += t.y.taps*runs_of(t, panel)*tile_count(rows_of(t, panel), vectors)
        first += BLOCK
    return count


cdef inline Py_ssize_t width_of(const WeightGradient* t, Py_ssize_t panel) noexcept nogil:
    """Channels of a panel: the last one may have fewer."""
    return min(t.wide, t.channels - panel*t.wide)


cdef inline Py_ssize_t runs_of(const WeightGradient* t, Py_ssize_t panel) noexcept nogil:
    """Pieces in which a row of taps lies: a last panel that is not full has gaps between its taps."""
    return 1 if t.joined and width_of(t, panel) == t.wide else t.x.taps


cdef inline Py_ssize_t rows_of(const WeightGradient* t, Py_ssize_t panel) noexcept nogil:
    """Rows of tiles in such a piece."""
    return width_of(t, panel)*t.x.taps // runs_of(t, panel)


cdef void sum_strip(const WeightGradient* t, Sums* u, Py_ssize_t index, bint fresh) noexcept nogil:
    """Add the products of one strip; `fresh` sums begin at zero."""
    cdef Strip s = strip_at(t, index)
    cdef Py_ssize_t first = u.first, i, behind, panel
    cdef const real* grad = (t.grad + s.image*t.target.image + s.row*t.target.row + s.col*t.target.col
                             + u.group*t.lanes)
    if t.in_place:
        u.a = (t.input + s.image*t.source.image + u.group*t.channels + u.first_panel*t.wide
               + (t.y.first + t.y.grain*t.y.in_step*s.row)*t.source.row
               + (t.x.first + t.x.grain*t.x.in_step*s.col)*t.source.col)
        if maps(&t.prologue):
            map_in_place(t, u, s.cols)
    else:
        u.a = u.staged
        for i in range(s.images):
            if t.fold > 1:
                stage_folded(t, u, s.image + i, s.row, s.rows, s.col, s.cols, u.staged + i*t.image)
            else:
                stage_panels(t, u, s.image + i, s.row, s.rows, s.col, s.cols, u.staged + i*t.image)
    lay_pixels(t, u, s.images, s.row, s.rows, s.cols)
    while first < u.behind:
        if t.grad_in_place:
            behind, u.block = u.behind, BLOCK
            u.b, u.b_row = grad + first, t.target.col
        else:
            behind, u.block = min(u.behind, first + STAGED_LANES), t.depth*t.strips.rows*t.strips.cols*BLOCK
            stage_blocks(grad + first, &t.target, s.images, s.rows, s.cols, behind - first, u.block, u.grads)
            u.b, u.b_row = u.grads, BLOCK
        if s.images*s.rows*s.cols < FEW_PIXELS:
            # Little is summed: write the sums in the order in which they lie.
            for panel in range(u.first_panel, u.behind_panel):
                sum_blocks(t, u, first, behind, panel, panel + 1, s.cols, fresh)
        else:
            sum_blocks(t, u, first, behind, u.first_panel, u.behind_panel, s.cols, fresh)
        first = behind


cdef void map_in_place(const WeightGradient* t, Sums* u, Py_ssize_t pixels) noexcept nogil:
    """Let a strip of a 1x1 layer's pixels lie as in the image, mapped."""
    cdef Py_ssize_t first = u.first_panel*t.wide
    map_pixels(&t.prologue, first, min(t.channels, u.behind_panel*t.wide) - first, u.a, t.source.col, pixels,
               u.staged + first, t.source.col)
    u.a = u.staged + first


cdef void fold_rows(WeightGradient* t) noexcept nogil:
    """Take the taps of a column as channels, where a row of taps is too short for a tile: its sums would be too few.

    Input is then staged once for each row of taps that meets it.
    """
    t.folded, t.fold = t.y, 1
    if 1 < t.y.taps <= MOST_FOLDED and t.x.tap_step == 1 and t.x.taps*t.channels < TILE_ROWS:
        t.fold = t.y.taps
        t.channels *= t.fold
        t.y.taps, t.y.tap_step, t.y.first, t.y.grain, t.y.in_step, t.y.in_size = 1, 0, 0, 1, 1, t.y.count


cdef void stage_folded(
    const WeightGradient* t, const Sums* u, Py_ssize_t image, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t col,
    Py_ssize_t cols,  real* staged,
) noexcept nogil:
    """Copy the input of a strip, for each row of outputs the columns of all taps."""
    cdef const Axis* y = &t.folded
    cdef Py_ssize_t left = t.x.first + t.x.grain*t.x.in_step*col, wide = span(&t.x, cols), j, r, i, source_row
    cdef Py_ssize_t channels = t.channels // t.fold, apart = t.x.grain*t.source.col
    cdef Range across = inside(left, t.x.grain, t.x.in_size, wide)
    cdef const real* image_at = t.input + image*t.source.image + left*t.source.col + u.group*channels
    cdef const real* source[MOST_FOLDED]
    cdef real* target
    for j in range(rows):
        for r in range(t.fold):
            source_row = y.first + y.grain*(y.in_step*(row + j) + y.tap_step*r)
            source[r] = image_at + source_row*t.source.row if 0 <= source_row < y.in_size else NULL
        target = staged + j*t.line
        memset(target, 0, wide*t.channels*sizeof(real))
        target = target + across.first*t.channels
        for i in range(across.first, across.behind):
            for r in range(t.fold):
                # The zeros behind the channels reach into places that are written later, or are zero.
                vstore(target, vload_lanes(source[r] + i*apart, <int>channels) if source[r] is not NULL else vsplat(0))
                target = target + channels


cdef void stage_panels(
    const WeightGradient* t, const Sums* u, Py_ssize_t image, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t col,
    Py_ssize_t cols, real* staged,
) noexcept nogil:
    """Copy the input of a strip into panels, pixel by pixel."""
    cdef Py_ssize_t h, i, source_row, first = u.first_panel*t.wide, panel
    cdef Py_ssize_t channels = min(t.channels, u.behind_panel*t.wide) - first
    cdef Py_ssize_t left = t.x.first + t.x.grain*t.x.in_step*col, wide = span(&t.x, cols)
    cdef Range across = inside(left, t.x.grain, t.x.in_size, wide)
    cdef const real* source = t.input + image*t.source.image + u.group*t.channels + first
    cdef const real* pixel
    cdef real* target
    for h in range(span(&t.y, rows)):
        source_row = t.y.first + t.y.grain*(t.y.in_step*row + h)
        if source_row < 0 or source_row >= t.y.in_size:
            continue                # nobody reads it
        target = staged + h*t.line
        for panel in range(u.behind_panel - u.first_panel):
            memset(target + panel*t.panel, 0, across.first*t.wide*sizeof(real))
        pixel = source + source_row*t.source.row + left*t.source.col
        if maps(&t.prologue):
            for i in range(across.first, across.behind):
                deal(True, &t.prologue, first, pixel + i*t.x.grain*t.source.col, channels, t.wide, t.panel,
                     target + i*t.wide, AHEAD*t.x.grain*t.source.col)
        elif t.panels == 1 and t.wide == t.source.col and t.x.grain == 1:
            memcpy(target + across.first*t.wide, pixel + across.first*t.wide,
                   (across.behind - across.first)*t.wide*sizeof(real))
        else:
            for i in range(across.first, across.behind):
                deal(False, NULL, 0, pixel + i*t.x.grain*t.source.col, channels, t.wide, t.panel, target + i*t.wide,
                     AHEAD*t.x.grain*t.source.col)
        for panel in range(u.behind_panel - u.first_panel):
            memset(target + panel*t.panel + across.behind*t.wide, 0, (wide - across.behind)*t.wide*sizeof(real))


cdef void lay_pixels(
    const WeightGradient* t, Sums* u, Py_ssize_t images, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t cols,
) noexcept nogil:
    """For each row of taps, the rows of pixels that it meets: those whose input does not lie in the padding."""
    cdef Py_ssize_t r, i, j, n, most = t.depth*t.strips.rows, line = cols, image = rows*cols
    if t.grad_in_place:
        line, image = t.target.row // t.target.col, t.target.image // t.target.col
    cdef Range outputs
    for r in range(t.y.taps):
        outputs = outputs_inside(&t.y, r)
        n = r*most
        for i in range(images):
            for j in range(max(outputs.first - row, <Py_ssize_t>0), min(outputs.behind - row, rows)):
                u.segment[n] = i*t.image + (j*t.y.in_step + r*t.y.tap_step)*t.line
                u.pixel[n] = i*image + j*line
                n += 1
        u.segments[r] = n - r*most


cdef void sum_blocks(
    const WeightGradient* t, Sums* u, Py_ssize_t first, Py_ssize_t behind, Py_ssize_t first_panel,
    Py_ssize_t behind_panel, Py_ssize_t cols, bint fresh,
) noexcept nogil:
    cdef const real* b = u.b
    cdef Py_ssize_t panel
    while first < behind:
        for panel in range(first_panel, behind_panel):
            sum_block(t, u, first, panel, b, cols, fresh)
        first += BLOCK
        b = b + u.block


cdef void sum_block(
    const WeightGradient* t, Sums* u, Py_ssize_t first, Py_ssize_t panel, const real* b, Py_ssize_t cols,
    bint fresh,
) noexcept nogil:
    """All taps of a panel's channels against one block of lanes."""
    cdef Py_ssize_t lanes = min(u.behind - first, <Py_ssize_t>BLOCK), taps = t.y.taps*t.x.taps
    cdef int vectors = tile_vectors(lanes)
    cdef Py_ssize_t width = vectors*VLEN, runs = runs_of(t, panel), rows = rows_of(t, panel), r, s, n
    cdef real zeros[BLOCK]
    cdef Product p
    for n in range(BLOCK):
        zeros[n] = 0
    p.a_row, p.a_seven, p.a_col, p.length, p.stream = 1, 7, t.x.in_step*t.pixel, cols, False
    p.b, p.b_row = b, u.b_row
    p.out, p.out_row, p.lanes = u.total + (first*t.channels + panel*t.wide*width)*taps, width, VLEN
    if t.direct:
        p.out, p.out_row = u.total + panel*t.wide*t.result.channel + first, t.result.channel
        p.lanes = <int>(lanes - (vectors - 1)*VLEN)
    for r in range(t.y.taps):
        n = r*t.depth*t.strips.rows
        p.segment, p.b_segment, p.segments = u.segment + n, u.pixel + n, u.segments[r]
        for s in range(runs):
            p.a = u.a + (panel - u.first_panel)*t.panel + s*t.x.tap_step*t.pixel
            if fresh:
                p.init, p.init_row = zeros, 0
            else:
                p.init, p.init_row = p.out, p.out_row
            if p.segments:
                go_ahead(&u.ahead, &p)
                multiply(vectors, rows, &p)
                u.ahead.at = p.ahead
            else:
                skip_sums(rows, vectors, &p, fresh)


cdef void skip_sums(Py_ssize_t rows, int vectors, Product* p, bint fresh) noexcept nogil:
    """Nothing to add to so many rows of sums; fresh ones become zero."""
    cdef Py_ssize_t i
    for i in range(rows if fresh else 0):
        memset(p.out + i*p.out_row, 0, ((vectors - 1)*VLEN + p.lanes)*sizeof(real))
    p.out = p.out + rows*p.out_row


cdef void finish_unit(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    """Add up the chunks, in order, for one row of taps of one block, and write the weights' gradient."""
    cdef Py_ssize_t blocks = block_count(t.lanes), r = unit % t.y.taps, taps = t.y.taps*t.x.taps
    cdef Py_ssize_t first = unit // t.y.taps % blocks*BLOCK, group = unit // t.y.taps // blocks
    cdef Py_ssize_t lanes = min(t.lanes - first, <Py_ssize_t>BLOCK), width = tile_vectors(lanes)*VLEN
    cdef Py_ssize_t panel, wide, run, s, c, k, n, chunk, channels = t.channels // t.fold
    cdef real* block = t.sums + group*t.sums_group + first*taps*t.channels
    cdef real* total
    cdef const real* part
    cdef real* target = <real*>t.result.data + group*t.result.group + first*t.result.lane + r*t.result.row
    cdef real* tap
    for panel in range(t.panels):
        wide = min(t.wide, t.channels - panel*t.wide)
        run = t.x.taps*wide*width
        total = block + panel*t.wide*taps*width + r*run
        for chunk in range(1, t.chunks):
            part = total + chunk*t.sums_chunk
            for k in range(run):
                total[k] += part[k]
        for s in range(t.x.taps):
            for c in range(wide):
                n = panel*t.wide + c
                tap = target + s*t.result.col + n // channels*t.result.row + n % channels*t.result.channel
                if t.result.lane == 1:
                    memcpy(tap, total, lanes*sizeof(real))
                else:
                    for k in range(lanes):
                        tap[k*t.result.lane] = total[k]
                total = total + width


cdef void exchange(WeightGradient* t) noexcept nogil:
    """Let input and output change places, which they can where pixels meet only themselves: lanes of the result then
    lie next to each other where its channels did."""
    t.input, t.grad = t.grad, t.input
    t.source, t.target = t.target, t.source
    t.channels, t.lanes = t.lanes, t.channels
    t.result.channels, t.result.lanes = t.channels, t.lanes
    t.result.channel, t.result.lane = t.result.lane, t.result.channel


cdef bint lies_close(const WeightGradient* t) noexcept nogil:
    """Whether tiles may read pixels where they lie: they use most of a cache line, and few lines share a cache set."""
    cdef Py_ssize_t apart = t.x.in_step*t.x.grain*t.source.col
    return 2*TILE_ROWS*sizeof(real) >= CACHE_LINE and apart*<Py_ssize_t>sizeof(real) <= CLOSE_BYTES


cdef struct Room:
    # Scratch: the sums, and for each thread the panels, a block of the gradient, and three tables.
    Py_ssize_t sums, staged, grads, runs
    Py_ssize_t share                # bytes of a thread
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef Room make_room(WeightGradient* t, int threads) noexcept nogil:
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
    t.in_place = taps == 1 and t.fold == 1 and stays_inside(&t.x) and lies_close(t)
    if maps(&t.prologue):
        t.in_place = t.in_place and is_identity(&t.y) and is_identity(&t.x)
    t.grad_in_place = t.in_place and t.lanes % VLEN == 0 and t.target.col <= 128
    divide_sum(t, room.threads)
    t.sums_group = padded(t.lanes)*taps*t.channels
    t.sums_chunk = t.groups*t.sums_group
    t.direct = t.chunks == 1 and taps == 1 and t.result.lane == 1 and t.images > 0
    room.sums = 0 if t.direct else ceil_div(t.chunks*t.sums_chunk, 64)*64
    room.staged = 0 if t.in_place else ceil_div(ceil_div(t.panels, t.channel_shares)*t.panel, 64)*64
    if t.in_place and maps(&t.prologue):
        room.staged = ceil_div(t.strips.cols*t.source.col, 64)*64
    room.grads = t.depth*t.strips.rows*t.strips.cols*min(blocks*BLOCK, <Py_ssize_t>STAGED_LANES)
    room.runs = t.y.taps*t.depth*t.strips.rows
    room.share = ceil_div((room.staged + room.grads)*sizeof(real)
                          + (2*room.runs + t.y.taps)*sizeof(Py_ssize_t), 64)*64
    room.bytes = room.sums*sizeof(real) + room.threads*room.share
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t unit
    if room.bytes == 0:
        return True
    t.sums = <real*>scratch(room.bytes)
    if t.sums is NULL:
        return False
    threads = room.threads
    if t.images == 0:
        memset(t.sums, 0, room.sums*sizeof(real))
    with parallel(num_threads=threads):
        for unit in prange(t.chunks*t.groups*t.channel_shares*t.lane_shares, schedule='dynamic'):
            sum_unit(t, unit, <real*>(<char*>(t.sums + room.sums) + threadid()*room.share), room.staged, room.grads,
                     room.runs, threads)
    for unit in prange(0 if t.direct else t.groups*block_count(t.lanes)*t.y.taps, schedule='static',
                       num_threads=threads):
        finish_unit(t, unit)
    free(t.sums)
    return True


cdef WeightGradient begin(const Pass* p) noexcept nogil:
    cdef WeightGradient t
    cdef const Convolution* c = &p.convolution
    t.images, t.groups, t.channels, t.lanes = c.images, c.groups, c.filters, c.lanes
    t.y, t.x = phase_axis(&c.down, 0), phase_axis(&c.across, 0)
    t.input, t.grad, t.source, t.target = p.input, p.grad, input_image(c), output_image(c)
    t.prologue = p.prologue
    t.result = weights_of(p)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef WeightGradient t = begin(p)
    return sum_gradient(&t, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef WeightGradient t = begin(p)
    return granted(make_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
