"""The units of a correlation: strips that are staged, and tiles that run over them, on all threads."""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._ahead cimport Ahead, Memory, go_ahead, nothing_ahead, pixels_between, spread_over
from convkit._kernels._axis cimport Range, outputs_between, reads, taps_inside
from convkit._kernels._correlation cimport (
    DEPTH, SHALLOW, Correlation, Part, Piece, Room, lay_segments, make_room, part_of, piece_count, piece_of,
)
from convkit._kernels._epilogue cimport finish, is_plain
from convkit._kernels._scratch cimport scratch
from convkit._kernels._simd cimport (
    NUMBERS, TILE_ROWS, VBYTES, VLEN, flush_denormals, real, restore_denormals, vi, visplat, vsaw_endless, vstream_end,
)
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport ceil_div, stage
from convkit._kernels._tile cimport BLOCK, Product, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, padded

cdef enum:
    CACHE_LINE = 64                 # bytes
    EARLY = 2048                    # multiply-adds of vectors in the time that memory takes


cdef inline void blank(Py_ssize_t rows, int vectors, const Product* product) noexcept nogil:
    """A row of empty sums."""
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(product.out + i*product.out_row, product.init + i*product.init_row,
               ((vectors - 1)*VLEN + product.lanes)*sizeof(real))


cdef inline void clear(const Correlation* t, const Part* part) noexcept nogil:
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


cdef inline bint has_nan(const Correlation* t, const Part* part) noexcept nogil:
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


cdef inline Py_ssize_t products_of(const Correlation* t, const Part* part) noexcept nogil:
    """Count the products of all tiles."""
    cdef Py_ssize_t blocks = block_count(t.lanes), block, tiles = 0
    for block in range(part.share*blocks // t.shares, (part.share + 1)*blocks // t.shares):
        tiles += tile_count(part.abreast*part.outputs, tile_vectors(t.lanes - block*BLOCK))
    return tiles*ceil_div(part.lines, part.abreast)*part.images*t.y.taps*t.runs*t.length


cdef inline Ahead look_ahead(const Correlation* t, const Part* part, const Part* next) noexcept nogil:
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


cdef inline bint line_by_line(const Correlation* t, const Part* part) noexcept nogil:
    """Whether tiles of several lines read the same weights as they lie: each can fetch a piece of every row's next."""
    return t.panel_row > 0 and part.lines > part.abreast


cdef inline void fetch_ahead(
    const Correlation* t, const Part* part, Range segments, int vectors, Product* p,
) noexcept nogil:
    """While this piece of a panel is multiplied, let the next one come; of input read in place, the next tile's."""
    cdef Py_ssize_t products = max(<Py_ssize_t>1, (segments.behind - segments.first)*p.length)
    cdef Py_ssize_t outputs = part.abreast*part.outputs, height
    cdef Py_ssize_t tiles = tile_count(outputs, 2)*ceil_div(part.lines, part.abreast)*part.images
    if t.panel_row:
        p.ahead = <const char*>(p.b + segments.first*t.length*p.b_row + BLOCK)
        p.ahead_step = p.b_row*<Py_ssize_t>sizeof(real) // (1 if line_by_line(t, part) else tiles)
    elif t.in_place:
        height = ceil_div(outputs, tile_count(outputs, vectors))
        p.ahead = <const char*>(part.a + ceil_div(EARLY, products*height*vectors)*height*p.a_row)
        p.ahead_step = height*p.a_row*<Py_ssize_t>sizeof(real) // products
    else:
        p.ahead = <const char*>(p.b + (segments.first*t.length + products)*p.b_row)
        p.ahead_step = p.b_row*<Py_ssize_t>sizeof(real) // tiles


cdef inline Py_ssize_t lines_abreast(const Correlation* t, const Part* part, Py_ssize_t out_row) noexcept nogil:
    """How many lines a tile takes: two of seven outputs, of which the next begins where one ends.

    Weights that are not packed come from far, and half as often.
    """
    return 2 if t.panel_row and TILE_ROWS >= 14 and part.outputs == 7 and part.target_line == 7*out_row else 1


cdef inline Py_ssize_t lines_together(const Correlation* t, const Part* part, Py_ssize_t line) noexcept nogil:
    """The same from a line on, of which the next must not leave other taps out."""
    cdef Range one, other
    if part.abreast == 1 or line + 1 == part.lines:
        return 1
    one, other = taps_inside(&t.y, part.row + line), taps_inside(&t.y, part.row + line + 1)
    return 2 if one.first == other.first and one.behind == other.behind else 1


cdef inline void correlate_lines(
    const Correlation* t, Part* part, Product* p, int vectors, Range segments, const real* a, real* target,
    bint last,
) noexcept nogil:
    """One piece of the sums of all lines. A row of taps that lies in the padding is left out of them."""
    cdef Py_ssize_t j = 0, lines, outputs, first, behind, init_line = part.target_line if p.init_row else 0
    cdef const real* init = p.init if p.init_row == 0 else target
    cdef const char* next = p.ahead
    cdef Py_ssize_t early = 0       # lines that are fetched before they are read
    cdef Range taps
    if t.in_place and not t.panel_row and part.lines > 1:
        early = ceil_div(EARLY, max(<Py_ssize_t>1, t.y.taps*t.runs*p.length*part.outputs*vectors))
    taps.first, taps.behind = 0, t.y.taps
    while j < part.lines:
        if not t.tall:
            taps = taps_inside(&t.y, part.row + j)
        lines = lines_together(t, part, j)
        outputs = lines*part.outputs
        p.a_seven = 7*p.a_row if lines == 1 else part.a_line
        first, behind = max(segments.first, taps.first*t.runs), min(segments.behind, taps.behind*t.runs)
        p.a = a + j*part.a_line
        p.init = init + j*init_line
        p.out = target + j*part.target_line
        if first < behind and p.length:
            p.segment, p.b_segment, p.segments = t.segment + first, t.weight + first, behind - first
            if t.light:
                go_ahead(&part.ahead, p)
            elif line_by_line(t, part):
                p.ahead = next + j // part.abreast*CACHE_LINE % (BLOCK*<Py_ssize_t>sizeof(real))
            elif early:
                p.ahead = <const char*>(p.a + early*part.a_line)
            t.operands.multiply(vectors, outputs, p)
            part.ahead.at = p.ahead
        elif p.init_row == 0:
            blank(outputs, vectors, p)
        if last:
            finish(&t.epilogue, outputs, p.out_row, (vectors - 1)*VLEN + p.lanes, target + j*part.target_line)
        j += lines


cdef inline void correlate_piece(
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


cdef inline void correlate_unit(const Correlation* t, Py_ssize_t unit, Py_ssize_t next, real* strip) noexcept nogil:
    """Compute a unit; `next` is the one that this thread will probably compute next."""
    cdef Part part = part_of(t, unit), then = part_of(t, next)
    cdef Py_ssize_t i, staged = t.strips.height*t.strips.width*t.elements
    cdef Py_ssize_t blocks = block_count(t.lanes), block, piece, pieces = piece_count(t)
    cdef Py_ssize_t first = part.share*blocks // t.shares, behind = (part.share + 1)*blocks // t.shares
    if part.rows <= 0 or part.cols <= 0:
        return
    cdef unsigned long mode = flush_denormals()
    cdef const real* source = t.input + part.image*t.source.image + part.group*t.channels
    cdef vi seen = visplat(0)
    cdef Product p
    p.seen = &seen
    part.target = (t.output + part.image*t.target.image + (t.y.out_first + t.y.out_step*part.row)*t.target.row
                   + (t.x.out_first + t.x.out_step*part.col)*t.target.col + part.group*t.lanes)
    if t.in_place:
        part.a = (source + (t.y.first + t.y.grain*t.y.in_step*part.row)*t.source.row
                  + (t.x.first + t.x.grain*t.x.in_step*part.col)*t.source.col)
        part.a_image, part.a_line = t.source.image, t.y.grain*t.y.in_step*t.source.row
        p.a_row = t.x.grain*t.x.in_step*t.source.col
    else:
        for i in range(part.images):
            stage(t.operands.copy, &t.prologue, source + i*t.source.image, &t.source, t.channels, t.elements, &t.y,
                  &t.x, part.row, part.rows, part.col, part.cols, t.strips.width, strip + i*staged)
        part.a, part.a_image, part.a_line = strip, staged, t.y.in_step*t.strips.width*t.elements
        p.a_row = t.x.in_step*t.elements
    p.a_col, p.out_row, part.target_line = 1, t.x.out_step*t.target.col, t.y.out_step*t.target.row
    if t.tall:
        part.lines, part.outputs = part.cols, part.rows
        part.target_line, p.out_row = p.out_row, part.target_line
        part.a_line, p.a_row = p.a_row, part.a_line
    part.abreast = lines_abreast(t, &part, p.out_row)
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
    if t.spoiled is not NULL and (vsaw_endless(seen) if NUMBERS > 1 else has_nan(t, &part)):
        t.spoiled[0] = True
    restore_denormals(mode)


cdef inline void correlate_share(
    const Correlation* t, const Weights* w, Py_ssize_t share, Py_ssize_t units, real* packed, real* strip,
) noexcept nogil:
    """All units of one share of the lanes; its weights are packed by the thread that uses them, if there are any."""
    cdef Py_ssize_t blocks = block_count(t.lanes), group, block, unit
    if w is not NULL:
        for group in range(t.groups):
            for block in range(share*blocks // t.shares, (share + 1)*blocks // t.shares):
                t.operands.pack(w, &t.y, &t.x, group*blocks + block, packed)
    for unit in range(units):
        correlate_unit(t, unit*t.shares + share, (unit + 1)*t.shares + share, strip)


cdef inline bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
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
    t.panels, t.panel_group, t.panel_lane, t.panel_row = t.packed, wide*taps*t.elements, taps*t.elements, 0
    if pack:
        t.panels = memory
        if not t.apart:             # a thread packs its own share
            for unit in prange(t.groups*block_count(t.lanes), schedule='static', num_threads=threads):
                t.operands.pack(w, &t.y, &t.x, unit, memory)
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
