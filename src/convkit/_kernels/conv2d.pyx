"""Two-dimensional convolution: forward and backward-input, on one register tile.

Images lie as NHWC, weights as the caller has them under the logical shape (K, C/groups, R, S). Forward, and each
phase of backward-input, is a correlation: the weights are packed once into panels that the tile reads from front
to back, then threads take units of work (a group of an image or a few, a strip of its outputs, a share of the output
channels), stage the strip and run tiles over it. Every output is summed in one order, which the shape decides, so
neither the number of threads nor the cut into strips can be seen in the result.

Scratch: the packed weights, and a strip for each thread (STRIP_BYTES, or the input of one tile where that is larger).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._ahead cimport Ahead, Memory, go_ahead, nothing_ahead, pixels_between, spread_over
from convkit._kernels._axis cimport (
    Axis, Range, Spatial, forward_axis, is_identity, leave_out, outputs_between, phase_axis, phase_count,
    phases_with_taps, reads, stays_inside, taps_inside,
)
from convkit._kernels._columns cimport best_width, group_axis, spread, spread_weights
from convkit._kernels._convolution cimport source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish, is_plain, plain
from convkit._kernels._image cimport Image, nhwc
from convkit._kernels._pass cimport Pass, computing, packing
from convkit._kernels._prologue cimport Prologue, maps
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport TILE_ROWS, VBYTES, VLEN, flush_denormals, real, restore_denormals, vstream_end
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport STRIP_BYTES, Strips, cache_sized, ceil_div, cut, merge_pixels, stage
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, is_panel, pack_block, padded, weights_of

cdef enum:
    CACHE_LINE = 64                 # bytes
    # Products summed in registers at a time: the error of a chain grows with its length, and the panel of so many
    # weights stays in first-level cache or near it.
    DEPTH = 768
    SHALLOW = 64                    # the same of weights that are not packed: their rows lie on pages of their own
    FEW_PIXELS = 256                # outputs of a channel for which weights are not worth packing
    LIGHT_BYTES = 128*1024          # weights that need not be fetched: they stay in second-level cache
    EARLY = 2048                    # multiply-adds of vectors in the time that memory takes


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef void blank(Py_ssize_t rows, int vectors, const Product* product) noexcept nogil:
    """A row of empty sums."""
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(product.out + i*product.out_row, product.init + i*product.init_row,
               ((vectors - 1)*VLEN + product.lanes)*sizeof(real))


# ---------------------------------------------------------------------------------------------------------------------
# Forward and backward-input: a correlation


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, groups, channels, lanes     # channels and lanes of one group
    const real* input
    Image source
    real* output
    Image target
    const real* packed              # the weights, packed by an earlier call of `pack`; NULL for none
    # Sums in the order of packed weights, however few the pixels: in programs, an image's outputs do not depend on how
    # many others there are.
    bint constant
    const real* panels              # the weights, packed or as they lie
    Py_ssize_t panel_group, panel_lane      # distance of groups and of lanes there,
    Py_ssize_t panel_row            # and of rows: 0 where those are packed, as wide as their block
    const real* bias                # padded(lanes) of each group
    Prologue prologue
    bint in_place                   # read the image itself: it needs no stage
    bint tall                       # tiles run down columns
    bint streams                    # the output goes past the caches
    bint alone                      # outputs of all other phases have no taps: they become zero along with these
    Strips strips
    const Py_ssize_t* segment       # runs of the sum: where their input begins, from the first tap's,
    const Py_ssize_t* weight        # and their weights, from the panel's first row
    Py_ssize_t runs, length         # so many for each row of taps, and products in each
    Py_ssize_t depth_products       # so many products are summed before the result is added to the output
    Py_ssize_t depth                # so many images share a strip
    bint light                      # weights are few: what is staged next is fetched, not they
    Py_ssize_t shares               # a strip's blocks of lanes are dealt out in so many shares
    bint apart                      # each thread has a share of its own
    bint* spoiled                   # set where a NaN comes out; NULL if nobody asks
    Epilogue epilogue


cdef void divide(Correlation* t, int threads) noexcept nogil:
    """Cut into strips that fit the cache, then smaller until every thread has a few.

    Small images go several to a strip: a panel of weights that has come from memory is used for all of them. Where
    there are few strips, each thread takes all of them for lanes of its own, whose weights then stay with it.
    """
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1, blocks = block_count(t.lanes), outer
    t.strips = cache_sized(&t.y, &t.x, t.channels)
    t.depth = 1
    if t.strips.down*t.strips.across == 1:
        t.depth = STRIP_BYTES // max(<Py_ssize_t>1, t.strips.height*t.strips.width*t.channels*<Py_ssize_t>sizeof(real))
        t.depth = max(<Py_ssize_t>1, min(t.depth, t.images*t.groups // enough))
        t.depth = ceil_div(t.images, ceil_div(t.images, t.depth))
    outer = ceil_div(t.images, t.depth)*t.groups
    t.apart = (outer*t.strips.down*t.strips.across < enough
               and (blocks % threads == 0 or blocks >= 4*threads))
    if t.apart:
        t.shares = threads
        return
    while outer*t.strips.down*t.strips.across < enough and t.strips.rows > 1:
        cut(&t.strips, &t.y, &t.x, ceil_div(t.strips.rows, 2), t.strips.cols)
    while outer*t.strips.down*t.strips.across < enough and t.strips.cols > TILE_ROWS:
        cut(&t.strips, &t.y, &t.x, t.strips.rows, ceil_div(t.strips.cols, 2))
    t.shares = max(<Py_ssize_t>1, min(blocks, enough // max(<Py_ssize_t>1, outer*t.strips.down*t.strips.across)))


cdef void lay_segments(Correlation* t, Py_ssize_t* segment) noexcept nogil:
    """The runs of the sum: one for each tap, or for each row of taps where those lie next to each other."""
    cdef Py_ssize_t row, col, r, s
    if t.in_place:
        row, col = t.source.row*t.y.grain, t.source.col*t.x.grain
    else:
        row, col = t.strips.width*t.channels, t.channels
    cdef bint joined = col == t.channels and (t.x.tap_step == 1 or t.x.taps == 1)
    t.runs = 1 if joined else t.x.taps
    t.length = t.channels*t.x.taps if joined else t.channels
    t.segment, t.weight = segment, segment + t.y.taps*t.runs
    for r in range(t.y.taps):
        for s in range(t.runs):
            segment[r*t.runs + s] = r*t.y.tap_step*row + s*t.x.tap_step*col
    for r in range(t.y.taps*t.runs):
        segment[t.y.taps*t.runs + r] = r*t.length


cdef struct Part:
    # What one unit of work computes: a strip of one group of a few images, for a share of the lanes.
    Py_ssize_t share, group, image, images, row, rows, col, cols
    Py_ssize_t lines, outputs       # tiles run along lines of outputs: rows, or columns where those are longer
    const real* a                   # its first output's first input, staged or in place
    Py_ssize_t a_image, a_line      # distance of images, and of lines of outputs, there
    real* target
    Py_ssize_t target_line
    Ahead ahead                     # what is read and written next


cdef Part part_of(const Correlation* t, Py_ssize_t unit) noexcept nogil:
    """What a unit computes; behind the last, there are no images in it."""
    cdef const Strips* strips = &t.strips
    cdef Part part
    part.share = unit % t.shares
    unit = unit // t.shares
    part.col = (unit % strips.across)*strips.cols
    unit = unit // strips.across
    part.row = (unit % strips.down)*strips.rows
    unit = unit // strips.down
    part.group = unit % t.groups
    part.image = unit // t.groups*t.depth
    part.images = min(t.depth, t.images - part.image)
    part.rows, part.cols = min(strips.rows, t.y.count - part.row), min(strips.cols, t.x.count - part.col)
    part.lines, part.outputs = part.rows, part.cols
    return part


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, Py_ssize_t next, real* strip) noexcept nogil:
    """Compute a unit; `next` is the one that this thread will probably compute next."""
    cdef Part part = part_of(t, unit), then = part_of(t, next)
    cdef Py_ssize_t i, staged = t.strips.height*t.strips.width*t.channels
    cdef Py_ssize_t blocks = block_count(t.lanes), block, piece, pieces = piece_count(t)
    cdef Py_ssize_t first = part.share*blocks // t.shares, behind = (part.share + 1)*blocks // t.shares
    if part.rows <= 0 or part.cols <= 0:
        return
    cdef unsigned long mode = flush_denormals()
    cdef const real* source = t.input + part.image*t.source.image + part.group*t.channels
    cdef Product p
    part.target = (t.output + part.image*t.target.image + (t.y.out_first + t.y.out_step*part.row)*t.target.row
                   + (t.x.out_first + t.x.out_step*part.col)*t.target.col + part.group*t.lanes)
    if t.in_place:
        part.a = (source + (t.y.first + t.y.grain*t.y.in_step*part.row)*t.source.row
                  + (t.x.first + t.x.grain*t.x.in_step*part.col)*t.source.col)
        part.a_image, part.a_line = t.source.image, t.y.grain*t.y.in_step*t.source.row
        p.a_row = t.x.grain*t.x.in_step*t.source.col
    else:
        for i in range(part.images):
            stage(&t.prologue, source + i*t.source.image, &t.source, t.channels, &t.y, &t.x, part.row, part.rows,
                  part.col, part.cols, t.strips.width, strip + i*staged)
        part.a, part.a_image, part.a_line = strip, staged, t.y.in_step*t.strips.width*t.channels
        p.a_row = t.x.in_step*t.channels
    p.a_col, p.out_row, part.target_line = 1, t.x.out_step*t.target.col, t.y.out_step*t.target.row
    if t.tall:
        part.lines, part.outputs = part.cols, part.rows
        part.target_line, p.out_row = p.out_row, part.target_line
        part.a_line, p.a_row = p.a_row, part.a_line
    if t.light:
        part.ahead = look_ahead(t, &part, &then)
    if t.alone:
        clear(t, &part)
    if t.panel_row:
        # Weights as they lie: all lanes of a few rows are neighbours.
        for piece in range(pieces):
            for block in range(first, behind):
                correlate_piece(t, &part, p, block*BLOCK, piece)
    else:
        for block in range(first, behind):
            for piece in range(pieces):
                correlate_piece(t, &part, p, block*BLOCK, piece)
    if t.streams:
        vstream_end()
    if t.spoiled is not NULL and has_nan(t, &part):
        t.spoiled[0] = True
    restore_denormals(mode)


cdef void clear(const Correlation* t, const Part* part) noexcept nogil:
    """Let a unit's outputs be zero, and those of other phases between them and the next unit's."""
    cdef Range rows = outputs_between(&t.y, part.row, part.rows), cols = outputs_between(&t.x, part.col, part.cols)
    cdef Py_ssize_t blocks = block_count(t.lanes), first = part.share*blocks // t.shares*BLOCK, i, j, k
    cdef Py_ssize_t lanes = min(t.lanes, (part.share + 1)*blocks // t.shares*BLOCK) - first
    cdef Py_ssize_t count = cols.behind - cols.first
    cdef real* row
    for i in range(part.image, part.image + part.images):
        for j in range(rows.first, rows.behind):
            row = t.output + i*t.target.image + j*t.target.row + cols.first*t.target.col + part.group*t.lanes + first
            if lanes == t.target.col:
                memset(row, 0, count*lanes*sizeof(real))
            else:
                for k in range(count):
                    memset(row + k*t.target.col, 0, lanes*sizeof(real))


cdef bint has_nan(const Correlation* t, const Part* part) noexcept nogil:
    """Whether a NaN is among a unit's outputs, which lie without gaps in their rows."""
    cdef Py_ssize_t i, j, k
    cdef int found = 0
    cdef const real* row
    for i in range(part.images):
        for j in range(part.rows):
            row = part.target + i*t.target.image + j*t.y.out_step*t.target.row
            for k in range(part.cols*t.lanes):
                found |= row[k] != row[k]
    return found


cdef Ahead look_ahead(const Correlation* t, const Part* part, const Part* next) noexcept nogil:
    """While one part is computed, let another's input and outputs come, if they lie in one piece each."""
    cdef Memory input, output
    cdef Range rows, cols
    cdef bint other = part.image != next.image or part.row != next.row or part.col != next.col
    if next.images <= 0 or not other or t.groups > 1 or (t.strips.across > 1 and t.y.count > 1):
        return nothing_ahead(part.a)
    rows.first, rows.behind = next.row + t.y.out_first, next.row + t.y.out_first + next.rows
    cols.first, cols.behind = next.col + t.x.out_first, next.col + t.x.out_first + next.cols
    output = pixels_between(t.output, &t.target, next.image, next.images, rows, cols)
    rows, cols = reads(&t.y, next.row, next.rows), reads(&t.x, next.col, next.cols)
    input = pixels_between(t.input, &t.source, next.image, next.images, rows, cols)
    if t.streams or t.shares > 1 or t.y.out_step > 1 or t.x.out_step > 1:
        output.behind = output.first
    return spread_over(input, output, products_of(t, part))


cdef Py_ssize_t products_of(const Correlation* t, const Part* part) noexcept nogil:
    """Count the products of all tiles."""
    cdef Py_ssize_t blocks = block_count(t.lanes), block, tiles = 0
    for block in range(part.share*blocks // t.shares, (part.share + 1)*blocks // t.shares):
        tiles += tile_count(part.outputs, tile_vectors(t.lanes - block*BLOCK))
    return tiles*part.lines*part.images*t.y.taps*t.runs*t.length


cdef struct Piece:
    # Of every sum, the products that are taken together: whole segments, or a part of a single one.
    Range segments
    Py_ssize_t start, length


cdef inline Py_ssize_t piece_count(const Correlation* t) noexcept nogil:
    cdef Py_ssize_t together = max(<Py_ssize_t>1, t.depth_products // max(t.length, <Py_ssize_t>1))
    cdef Py_ssize_t parts = max(<Py_ssize_t>1, ceil_div(t.length, t.depth_products))
    return max(<Py_ssize_t>1, ceil_div(t.y.taps*t.runs, together)*parts)


cdef inline Piece piece_of(const Correlation* t, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t together = max(<Py_ssize_t>1, t.depth_products // max(t.length, <Py_ssize_t>1))
    cdef Py_ssize_t parts = max(<Py_ssize_t>1, ceil_div(t.length, t.depth_products)), part = index % parts
    cdef Piece piece
    piece.segments.first = index // parts*together
    piece.segments.behind = min(piece.segments.first + together, t.y.taps*t.runs)
    piece.start = part*t.length // parts
    piece.length = (part + 1)*t.length // parts - piece.start
    return piece


cdef void correlate_piece(
    const Correlation* t, Part* part, Product p, Py_ssize_t first, Py_ssize_t index,
) noexcept nogil:
    """One piece of all of a unit's sums for one block of lanes."""
    cdef Py_ssize_t remaining = min(t.lanes - first, <Py_ssize_t>BLOCK), i
    cdef int vectors = tile_vectors(remaining)
    cdef Piece piece = piece_of(t, index)
    cdef real* target = part.target + first
    p.init, p.init_row = t.bias + part.group*padded(t.lanes) + first, 0
    if index:
        p.init, p.init_row = target, p.out_row
    p.lanes = <int>(remaining - (vectors - 1)*VLEN)
    p.b_row = t.panel_row if t.panel_row else vectors*VLEN
    p.b = t.panels + part.group*t.panel_group + first*t.panel_lane + piece.start*p.b_row
    p.length = piece.length
    p.stream = t.streams and vectors*VBYTES >= CACHE_LINE
    if not t.light:
        fetch_ahead(t, part, piece.segments, vectors, &p)
    for i in range(part.images):
        correlate_lines(t, part, &p, vectors, piece.segments, part.a + i*part.a_image + piece.start,
                        target + i*t.target.image, index == piece_count(t) - 1)


cdef inline void fetch_ahead(
    const Correlation* t, const Part* part, Range segments, int vectors, Product* p,
) noexcept nogil:
    """While this piece of a panel is multiplied, let the next one come; of input read in place, the next tile's."""
    cdef Py_ssize_t products = max(<Py_ssize_t>1, (segments.behind - segments.first)*p.length)
    cdef Py_ssize_t tiles = tile_count(part.outputs, 2)*part.lines*part.images, height
    if t.panel_row:
        p.ahead, p.ahead_step = <const char*>(p.b + BLOCK), p.b_row*<Py_ssize_t>sizeof(real) // tiles
    elif t.in_place:
        height = ceil_div(part.outputs, tile_count(part.outputs, vectors))
        p.ahead = <const char*>(part.a + ceil_div(EARLY, products*height*vectors)*height*p.a_row)
        p.ahead_step = height*p.a_row*<Py_ssize_t>sizeof(real) // products
    else:
        p.ahead = <const char*>(p.b + (segments.first*t.length + products)*p.b_row)
        p.ahead_step = p.b_row*<Py_ssize_t>sizeof(real) // tiles


cdef void correlate_lines(
    const Correlation* t, Part* part, Product* p, int vectors, Range segments, const real* a, real* target,
    bint last,
) noexcept nogil:
    """One piece of the sums of all lines. A row of taps that lies in the padding is left out of them."""
    cdef Py_ssize_t j, first, behind, init_line = part.target_line if p.init_row else 0
    cdef const real* init = p.init if p.init_row == 0 else target
    cdef Py_ssize_t early = 0       # lines that are fetched before they are read
    cdef Range taps
    if t.in_place and not t.panel_row and part.lines > 1:
        early = ceil_div(EARLY, max(<Py_ssize_t>1, t.y.taps*t.runs*p.length*part.outputs*vectors))
    taps.first, taps.behind = 0, t.y.taps
    for j in range(part.lines):
        if not t.tall:
            taps = taps_inside(&t.y, part.row + j)
        first, behind = max(segments.first, taps.first*t.runs), min(segments.behind, taps.behind*t.runs)
        p.a = a + j*part.a_line
        p.init = init + j*init_line
        p.out = target + j*part.target_line
        if first < behind and p.length:
            p.segment, p.b_segment, p.segments = t.segment + first, t.weight + first, behind - first
            if t.light:
                go_ahead(&part.ahead, p)
            elif early:
                p.ahead = <const char*>(p.a + early*part.a_line)
            multiply(vectors, part.outputs, p)
            part.ahead.at = p.ahead
        elif p.init_row == 0:
            blank(part.outputs, vectors, p)
        if last:
            finish(&t.epilogue, part.outputs, p.out_row, (vectors - 1)*VLEN + p.lanes, target + j*part.target_line)


cdef void correlate_share(
    const Correlation* t, const Weights* w, Py_ssize_t share, Py_ssize_t units, real* packed, real* strip,
) noexcept nogil:
    """All units of one share of the lanes; its weights are packed by the thread that uses them, if there are any."""
    cdef Py_ssize_t blocks = block_count(t.lanes), group, block, unit
    if w is not NULL:
        for group in range(t.groups):
            for block in range(share*blocks // t.shares, (share + 1)*blocks // t.shares):
                pack_block(w, &t.y, &t.x, group*blocks + block, packed)
    for unit in range(units):
        correlate_unit(t, unit*t.shares + share, (unit + 1)*t.shares + share, strip)


cdef struct Room:
    # Scratch: the weights, the biases, a strip for each thread, and the segments.
    bint pack
    Py_ssize_t weights, biases, strip
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef Room make_room(Correlation* t, const Weights* w, int threads) noexcept nogil:
    """Divide the work of one phase."""
    cdef Py_ssize_t taps, wide = padded(t.lanes)
    cdef Room room
    room.bytes = 0
    if t.images*t.y.count*t.x.count*t.groups*t.lanes == 0:
        return room
    merge_pixels(&t.images, &t.y, &t.x)
    taps = t.y.taps*t.x.taps
    room.threads = worth(threads, <double>t.images*t.y.count*t.x.count*t.groups*t.lanes*(taps*t.channels + 1))
    # Columns, where rows are shorter than a tile needs to hide the latency of its sums.
    t.tall = t.x.count < 8 and t.y.count > t.x.count
    t.in_place = not maps(&t.prologue) and stays_inside(&t.x) and (stays_inside(&t.y) or not t.tall)
    divide(t, room.threads)
    t.light = not t.in_place and taps*t.channels*ceil_div(wide, t.shares)*<Py_ssize_t>sizeof(real) <= LIGHT_BYTES
    # Packing pays where every weight is used for many pixels: packed, it is next to those used with it.
    room.pack = t.packed is NULL and (
        t.constant or t.images*t.y.count*t.x.count > FEW_PIXELS or not is_panel(w, &t.y, &t.x))
    room.weights = ceil_div(t.groups*wide*taps*t.channels, 64)*64 if room.pack else 0
    room.strip = 0 if t.in_place else ceil_div(t.depth*t.strips.height*t.strips.width*t.channels, 64)*64
    room.biases = ceil_div(t.groups*wide, 64)*64
    room.bytes = ((room.weights + room.biases + room.threads*room.strip)*sizeof(real)
                  + 2*(taps + 1)*sizeof(Py_ssize_t))
    return room


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """One phase: pack, divide the work and run it. `bias` may be NULL."""
    cdef Room room = make_room(t, w, threads)
    if room.bytes == 0:
        return True
    cdef real* memory = <real*>scratch(room.bytes)
    if memory is NULL:
        return False
    cdef Py_ssize_t taps = t.y.taps*t.x.taps, wide = padded(t.lanes), strip = room.strip, unit, g
    cdef bint pack = room.pack
    threads = room.threads
    cdef Py_ssize_t units = ceil_div(t.images, t.depth)*t.groups*t.strips.down*t.strips.across*t.shares
    cdef real* padded_bias = memory + room.weights
    cdef real* strip_memory = padded_bias + room.biases
    lay_segments(t, <Py_ssize_t*>(strip_memory + threads*strip))
    t.depth_products = DEPTH if pack or t.packed is not NULL else SHALLOW
    # Sums that are taken in pieces, or finished afterwards, are read again, and are left to the caches.
    t.streams = (piece_count(t) == 1 and is_plain(&t.epilogue) and t.lanes % VLEN == 0 and t.target.col % VLEN == 0
                 and streams(t.output, t.images*t.y.count*t.x.count*t.groups*t.lanes))
    t.panels, t.panel_group, t.panel_lane, t.panel_row = t.packed, wide*taps*t.channels, taps*t.channels, 0
    if pack:
        t.panels = memory
        if not t.apart:             # a thread packs its own share
            for unit in prange(t.groups*block_count(t.lanes), schedule='static', num_threads=threads):
                pack_block(w, &t.y, &t.x, unit, memory)
    elif t.packed is NULL:
        t.panels, t.panel_group, t.panel_lane, t.panel_row = w.data, w.group, 1, w.channel
    memset(padded_bias, 0, t.groups*wide*sizeof(real))
    if bias is not NULL:
        for g in range(t.groups):
            memcpy(padded_bias + g*wide, bias + g*t.lanes, t.lanes*sizeof(real))
    t.bias = padded_bias
    if t.apart:
        for unit in prange(t.shares, schedule='static', num_threads=threads):
            correlate_share(t, w if pack else NULL, unit, units // t.shares, memory, strip_memory + unit*strip)
    elif threads == 1:              # a team of one waits for itself, in the operating system
        for unit in range(units):
            correlate_unit(t, unit, unit + 1, strip_memory)
    else:
        with parallel(num_threads=threads):
            for unit in prange(units, schedule='dynamic'):
                correlate_unit(t, unit, unit + threads, strip_memory + threadid()*strip)
    free(memory)
    return True


# ---------------------------------------------------------------------------------------------------------------------
# All phases of both axes


cdef void prepare(
    Correlation* t, const Weights* w, const Axis* y, const Axis* x, Py_ssize_t images, bint* spoiled,
) noexcept nogil:
    t.y, t.x, t.images = y[0], x[0], images
    t.groups, t.channels, t.lanes = w.groups, w.channels, w.lanes
    t.spoiled = spoiled


cdef bint is_few(const Weights* w, Py_ssize_t images, const Axis* rows, const Axis* cols) noexcept nogil:
    """Whether this is a matrix, whose rows lie in one piece each, times a few vectors."""
    return (w.groups == 1 and w.channel == 1 and w.lane != 1 and images*rows.count*cols.count <= BLOCK
            and is_identity(rows) and is_identity(cols))


cdef bint convolve(
    Correlation* t, const Weights* w, const real* bias, const Spatial* down, const Spatial* across, int threads,
) noexcept nogil:
    """Correlate every phase of the rows with groups of columns, and with every phase of the columns that remain."""
    cdef Py_ssize_t images = t.images, width = best_width(across, w.lanes) if w.groups == 1 else 0, y, x, left = 0
    cdef bint done = True, spoiled = False
    cdef const real* packed = t.packed
    cdef Axis rows = phase_axis(down, 0), cols = phase_axis(across, 0)
    if not t.constant and is_few(w, images, &rows, &cols):
        return convolve_few(t, w, bias, images*rows.count*cols.count, threads)
    if width:
        t.packed = NULL             # these are not spread out
        done = convolve_groups(t, w, bias, down, across, width, &spoiled, threads)
        left = 0 if spoiled else group_axis(across, width).count*width // phase_count(across)
        t.packed = packed
    t.alone = (width == 0 and bias is NULL and is_plain(&t.epilogue) and phase_count(down)*phase_count(across) > 1
               and phases_with_taps(down)*phases_with_taps(across) == 1)
    for y in range(phase_count(down)):
        for x in range(phase_count(across)):
            rows, cols = phase_axis(down, y), phase_axis(across, x)
            leave_out(&cols, left)
            prepare(t, w, &rows, &cols, images, NULL)
            if not t.alone or rows.taps*cols.taps:
                done = done and correlate(t, w, bias, threads)
    return done


cdef Py_ssize_t convolve_scratch(
    Correlation* t, const Weights* w, const Spatial* down, const Spatial* across, int threads,
) noexcept nogil:
    """The most that `convolve` takes at a time, if there is no NaN."""
    cdef Py_ssize_t images = t.images, width = best_width(across, w.lanes) if w.groups == 1 else 0, y, x, left = 0
    cdef Py_ssize_t most = 0
    cdef Axis rows = phase_axis(down, 0), cols = phase_axis(across, 0)
    cdef Weights other
    if is_few(w, images, &rows, &cols):
        other = turn(t, w, images*rows.count*cols.count)
        return granted(few_bytes(w, other.lanes)) + granted(make_room(t, &other, threads).bytes)
    if width:
        cols = group_axis(across, width)
        other = spread_weights(w, width, cols.taps)
        left = cols.count*width // phase_count(across)
        for y in range(phase_count(down)):
            rows = phase_axis(down, y)
            prepare(t, &other, &rows, &cols, images, NULL)
            most = max(most, granted(make_room(t, &other, threads).bytes))
        most += granted(spread_bytes(&other, down.kernel*cols.taps))
    for y in range(phase_count(down)):
        for x in range(phase_count(across)):
            rows, cols = phase_axis(down, y), phase_axis(across, x)
            leave_out(&cols, left)
            prepare(t, w, &rows, &cols, images, NULL)
            most = max(most, granted(make_room(t, w, threads).bytes))
    return most


cdef Weights turn(Correlation* t, const Weights* w, Py_ssize_t pixels) noexcept nogil:
    """Let the weights, which have no bias, be the input, and the pixels the weights."""
    cdef Weights vectors
    cdef Axis one = forward_axis(1, 1, 1, 1, 0, 1), rows = forward_axis(w.lanes, w.lanes, 1, 1, 0, 1)
    vectors.data, vectors.groups, vectors.channels, vectors.lanes = <real*>t.input, 1, w.channels, pixels
    vectors.group, vectors.channel, vectors.lane, vectors.row, vectors.col = 0, 1, t.source.col, 0, 0
    t.input, t.source = w.data, nhwc(1, w.lanes, w.lane)
    t.target, t.epilogue = nhwc(1, w.lanes, pixels), plain()
    prepare(t, &vectors, &one, &rows, 1, NULL)
    return vectors


cdef Py_ssize_t few_bytes(const Weights* w, Py_ssize_t pixels) noexcept nogil:
    return w.lanes*pixels*sizeof(real)


cdef bint convolve_few(
    const Correlation* t, const Weights* w, const real* bias, Py_ssize_t pixels, int threads,
) noexcept nogil:
    """A matrix times a few vectors: the weights, read once and in order, are the input, and the pixels the weights.

    Each output is still summed over the channels, in pieces of DEPTH.
    """
    cdef Correlation turned = t[0]
    cdef Weights vectors = turn(&turned, w, pixels)
    cdef real* result = <real*>scratch(few_bytes(w, pixels))
    cdef Py_ssize_t i, k
    cdef bint done
    if result is NULL:
        return False
    turned.output = result
    done = correlate(&turned, &vectors, NULL, threads)
    for i in range(pixels):
        for k in range(w.lanes):
            t.output[i*t.target.col + k] = result[k*pixels + i] + (bias[k] if bias is not NULL else 0)
    finish(&t.epilogue, pixels, t.target.col, w.lanes, t.output)
    free(result)
    return done


cdef Py_ssize_t spread_bytes(const Weights* group, Py_ssize_t taps) noexcept nogil:
    """Of a group's weights, and of its biases."""
    return (taps*group.channels + 1)*group.lanes*sizeof(real)


cdef bint convolve_groups(
    Correlation* t, const Weights* w, const real* bias, const Spatial* down, const Spatial* across, Py_ssize_t width,
    bint* spoiled, int threads,
) noexcept nogil:
    """The whole groups of `width` columns, side by side in vectors (see _columns.pxd)."""
    cdef Axis rows, cols = group_axis(across, width)
    cdef Weights group = spread_weights(w, width, cols.taps)
    cdef Py_ssize_t images = t.images, bytes = spread_bytes(&group, down.kernel*cols.taps), y, i
    cdef real* memory = <real*>scratch(bytes)
    cdef real* biases = memory + down.kernel*group.row
    cdef bint done = memory is not NULL
    if memory is NULL:
        return False
    memset(memory, 0, bytes)
    spread(across, width, w, down.kernel, &group, memory)
    group.data = memory
    if bias is not NULL:
        for i in range(width):
            memcpy(biases + i*w.lanes, bias, w.lanes*sizeof(real))
    for y in range(phase_count(down)):
        rows = phase_axis(down, y)
        prepare(t, &group, &rows, &cols, images, spoiled)
        done = done and correlate(t, &group, biases, threads)
    free(memory)
    return done


cdef Correlation begin(const Pass* p) noexcept nogil:
    """All but what differs from one phase to the next."""
    cdef Correlation t
    t.images, t.source, t.target = p.convolution.images, source_image(&p.convolution), target_image(&p.convolution)
    t.input, t.output, t.packed, t.constant = p.input, p.output, p.packed, p.constant
    t.prologue, t.epilogue, t.alone = p.prologue, p.epilogue, False
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p)
    cdef Weights w = weights_of(p)
    return convolve(&t, &w, p.bias, &p.convolution.down, &p.convolution.across, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p)
    cdef Weights w = weights_of(p)
    return convolve_scratch(&t, &w, &p.convolution.down, &p.convolution.across, p.threads)


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    return w.groups*padded(w.lanes)*w.channels*p.convolution.down.kernel*p.convolution.across.kernel


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef Axis y = phase_axis(&p.convolution.down, 0), x = phase_axis(&p.convolution.across, 0)
    cdef Py_ssize_t block
    for block in range(w.groups*block_count(w.lanes)):
        pack_block(&w, &y, &x, block, packed)
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)

#: (rows, lanes) of the register tile: tests take their sizes from it.
TILE = (TILE_ROWS, VLEN)
