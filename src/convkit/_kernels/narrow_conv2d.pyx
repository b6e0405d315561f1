"""Convolution whose groups are narrower than a vector, or fill just one: forward and backward-input.

conv2d.pyx works a group at a time, so a group of four channels uses four lanes. Here whole groups share vectors, and
the tile of _lanewise.pxd works lane by lane; what it reads of a line meets three taps, which is also faster where a
layer's only group fills one vector. Images lie as NHWC, weights as the caller has them under the logical shape
(K, C/groups, R, S).

Threads take units of work: an image, some lines of its outputs, a share of the bundles (see _lanes.pxd). A few lines
at a time, they stage the input of all the bundles, with its padding, in the order in which it lies in memory, and run
tiles over it, which call the next lines into the cache. Every output is summed whole by one thread in an order that
the shape decides.

Scratch: the packed weights, and a ring of staged lines for each thread (STRIP_BYTES, or the input of one line of
outputs where that is larger).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free

from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish, is_plain
from convkit._kernels._image cimport Image
from convkit._kernels._lanes cimport Lanes, groups_of, lanes_of, lay_lanes
from convkit._kernels._lanewise cimport (
    ALONE, LANES, PICKED, RUN, SPREAD, STREAMED, VECTORS, Fetch, LaneProduct, Run, lane_tile_deep, lane_tile_height,
    pass_on,
)
from convkit._kernels._lines cimport (
    Layout, Phase, Side, Window, cut_down, dealt, is_far, lay_out, list_lines, list_windows, panel,
    phases_bytes, rows_of, side_of, stage_lines, staged_at, windows_of,
)
from convkit._kernels._pass cimport Pass, computing, packing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    NARROW_LANE_ROWS, VLEN, flush_denormals, real, restore_denormals, viload_i32, vload_lanes, vr, vsplat, vstore,
    vstream_end,
)
from convkit._kernels._stream cimport streams
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef struct Correlation:
    Side y, x
    Layout layout
    Py_ssize_t images
    const real* input
    Image source
    real* output
    Image target
    const real* packed              # a panel for each vector of each bundle; NULL if they are to be packed
    const real* bias                # a vector for each
    const Run* run                  # of all phases
    Py_ssize_t shares               # a strip's bundles are dealt out in so many shares
    Epilogue epilogue
    bint far                        # images come from memory, not from a cache
    bint streams                    # whole vectors of outputs go past the caches


cdef void divide(Correlation* t, int threads) noexcept nogil:
    """Strips that fit the cache, and smaller until every thread has a few units of work."""
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1
    cdef Layout* lay = &t.layout
    t.shares = 1
    while t.images*lay.down*lay.across*t.shares < enough and t.shares < lay.lanes.bundles:
        t.shares = min(2*t.shares, lay.lanes.bundles)
    while t.images*lay.down*lay.across*t.shares < enough and lay.rows > 1:
        cut_down(lay, &t.y, ceil_div(lay.rows, 2))


cdef void pack_vector(
    const Lanes* lanes, const Weights* w, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t index, real* p,
) noexcept nogil:
    cdef Py_ssize_t bundle = index // lanes.vectors, vector = index % lanes.vectors, r, s, c, g, k
    cdef Py_ssize_t count = min(lanes.lanes - vector*VLEN, <Py_ssize_t>VLEN)
    cdef const real* source
    for r in range(rows):
        for s in range(cols):
            for c in range(lanes.channels):
                vstore(p, vsplat(0))
                source = (w.data + r*w.row + s*w.col + bundle*lanes.together*w.group + c*w.channel
                          + vector*VLEN*w.lane)
                for g in range(groups_of(lanes, bundle)):
                    for k in range(count):
                        p[g*lanes.lanes + k] = source[g*w.group + k*w.lane]
                p = p + VLEN


cdef void list_runs(const Correlation* t, Run* run) noexcept nogil:
    """Where the runs of each phase begin, in the strip and in the weights."""
    cdef const Layout* lay = &t.layout
    cdef const Phase* y
    cdef const Phase* x
    cdef Py_ssize_t i, j, r, first, s, weight
    for i in range(t.y.phases):
        for j in range(t.x.phases):
            y, x = &t.y.phase[i], &t.x.phase[j]
            for r in range(y.taps):
                for first in range(min(x.apart, x.taps)):
                    s = first
                    while s < x.taps:
                        weight = (y.weight_first + r*y.weight_step)*t.x.kernel + x.weight_first + s*x.weight_step
                        run.line, run.x = y.shift + r*y.tap_step, staged_at(lay, x.shift + s*x.tap_step)
                        run.w = weight*lay.lanes.channels*VLEN
                        run.taps = <int>min(<Py_ssize_t>RUN, ceil_div(x.taps - s, x.apart))
                        run += 1
                        s += RUN*x.apart


cdef void call_in(
    const Correlation* t, Py_ssize_t image, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t bundles, Fetch* reads,
    Fetch* writes,
) noexcept nogil:
    """While `lines` lines from `row` on are computed, the next ones come from memory: where they are staged whole."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t next = row + lines, turns, read = (row + lines - 1)*t.y.in_step + t.y.reach
    turns = (lines*ceil_div(lay.cols, lane_tile_height(lay.cols, 1))*bundles*lay.lanes.vectors
             * t.y.taps*t.x.runs*lay.lanes.channels)
    reads[0] = rows_of(t.input, &t.source, image, t.y.first + t.y.grain*read,
                       t.y.first + t.y.grain*(read + lines*t.y.in_step), turns)
    writes[0] = rows_of(t.output, &t.target, image, next*t.y.out_step, (next + lines)*t.y.out_step, turns)
    if lay.across > 1 or bundles < lay.lanes.bundles or not t.far:
        reads.quota = writes.quota = 0
    if t.streams:
        writes.quota = 0


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* strips) noexcept nogil:
    """One strip of one image, for one share of the bundles: a few lines at a time, so that they are still in cache."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t share = unit % t.shares, across, row, image, base, behind, bundles, j, lines, staged, needed, v
    unit = unit // t.shares
    across = unit % lay.across
    unit = unit // lay.across
    row = unit % lay.down*lay.rows
    image = unit // lay.down
    cdef Py_ssize_t rows = min(lay.rows, t.y.count - row)
    cdef Fetch reads, writes
    cdef unsigned long mode = flush_denormals()
    base = share*lay.lanes.bundles // t.shares
    behind = (share + 1)*lay.lanes.bundles // t.shares
    while base < behind:
        bundles = min(lay.abreast, behind - base)
        j = staged = 0
        while j < rows:
            lines = min(lay.together, rows - j)
            needed = (j + lines - 1)*t.y.in_step + t.y.reach
            stage_lines(lay, t.input + image*t.source.image, &t.source, &t.y, &t.x, row, max(staged, j*t.y.in_step),
                        needed, across, base, bundles, strips)
            call_in(t, image, row + j, lines, bundles, &reads, &writes)
            for v in range(bundles*lay.lanes.vectors):
                correlate_lines(t, base*lay.lanes.vectors + v, row + j, lines, across*lay.cols,
                                strips + v // lay.lanes.vectors*lay.strip, j*t.y.in_step,
                                t.output + image*t.target.image, &reads, &writes)
            staged = needed
            j += lines
        base += bundles
    if t.streams:
        vstream_end()
    restore_denormals(mode)


cdef void correlate_lines(
    const Correlation* t, Py_ssize_t index, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t col, const real* strip,
    Py_ssize_t first, real* image, Fetch* reads, Fetch* writes,
) noexcept nogil:
    """A few lines of outputs, of each phase, for one vector; they read staged lines from `first` on."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t bundle = index // lay.lanes.vectors, vector = index % lay.lanes.vectors
    cdef Py_ssize_t i = 0, j, cols = min(lay.cols, t.x.count - col), height
    cdef LaneProduct p
    p.x_pixel, p.x_vector, p.w_vector, p.init_vector, p.out_vector = lay.lanes.pixel, 0, 0, 0, 0
    p.channels, p.piece, p.x_piece = lay.lanes.channels, lay.lanes.piece, VLEN
    p.where = viload_i32(lay.lanes.source, VLEN)
    p.out_pixel, p.lanes[0] = t.x.out_step*t.target.col, lanes_of(&lay.lanes, bundle, vector)
    p.storing = LANES if p.lanes[0] < VLEN else STREAMED if t.streams else VECTORS
    p.blocks = 1
    image = image + bundle*lay.lanes.together*lay.lanes.lanes + vector*VLEN
    # Down each column of tiles: the lines of one window are in first-level cache for the next.
    while i < cols:
        height = lane_tile_height(cols - i, 1)
        for j in range(lines):
            p.x, p.w = strip + i*lay.lanes.pixel, t.packed + index*panel(lay)
            p.line_at = lay.line_at + (first + j*t.y.in_step) % lay.ring
            correlate_phases(t, p, t.bias + index*VLEN, row + j, col + i, height, image, reads, writes)
        i += height
    if not is_plain(&t.epilogue):   # nor are there phases, then
        for j in range(lines):
            finish(&t.epilogue, cols, t.target.col, p.lanes[0], image + (row + j)*t.target.row + col*t.target.col)


cdef inline void correlate_phases(
    const Correlation* t, LaneProduct p, const real* bias, Py_ssize_t row, Py_ssize_t col, Py_ssize_t pixels,
    real* image, Fetch* reads, Fetch* writes,
) noexcept nogil:
    """One tile of each phase."""
    cdef Py_ssize_t i, j, count
    cdef const Phase* y
    cdef const Phase* x
    for i in range(t.y.phases):
        y = &t.y.phase[i]
        if row >= y.count:
            continue
        for j in range(t.x.phases):
            x = &t.x.phase[j]
            count = min(pixels, x.count - col)
            if count <= 0:
                continue
            p.run, p.runs = t.run + y.taps_before*t.x.runs + y.taps*x.runs_before, y.taps*x.runs
            p.w_tap = x.apart*x.weight_step*t.layout.lanes.channels*VLEN
            p.init, p.init_pixel = bias, 0
            p.out = (image + (y.out_first + row*t.y.out_step)*t.target.row
                     + (x.out_first + col*t.x.out_step)*t.target.col)
            p.reads, p.writes = reads[0], writes[0]
            pass_on(reads, p.runs*p.channels)
            pass_on(writes, p.runs*p.channels)
            if t.layout.lanes.together > 1:
                lane_tile_deep(count, PICKED, p)
            elif p.x_pixel == 1 and NARROW_LANE_ROWS > 10:  # with fewer registers, a number takes an instruction
                lane_tile_deep(count, ALONE, p)
            else:
                lane_tile_deep(count, SPREAD, p)


cdef struct Room:
    # Scratch: weights, biases, strips for each thread, and tables.
    Py_ssize_t panels, constant, strips, runs       # the weights alone, and with the biases
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef Room make_room(Correlation* t, int threads) noexcept nogil:
    """Divide the work."""
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t outputs = t.images*t.target.rows*t.target.col*t.target.cols
    cdef Room room
    # A phase has its share of the outputs, and of the taps.
    room.threads = worth(threads, <double>outputs*lay.lanes.channels*(lay.taps/(<double>t.y.phases*t.x.phases) + 1))
    room.bytes = 0
    if outputs == 0:
        return room
    divide(t, room.threads)
    room.panels = lay.lanes.bundles*lay.lanes.vectors*panel(lay) if t.packed is NULL else 0
    room.constant = ceil_div(room.panels + lay.lanes.bundles*lay.lanes.vectors*VLEN, 64)*64
    room.strips = ceil_div(lay.abreast*lay.strip, 64)*64
    room.runs = t.y.taps*t.x.runs
    room.bytes = ((room.constant + room.threads*room.strips)*sizeof(real) + room.runs*sizeof(Run)
                  + windows_of(lay)*sizeof(Window) + 2*lay.ring*sizeof(Py_ssize_t))
    return room


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """Pack, divide the work and run it. `bias` may be NULL."""
    cdef Layout* lay = &t.layout
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t vectors = lay.lanes.bundles*lay.lanes.vectors, pieces, units, i
    cdef Py_ssize_t elements = t.images*(t.source.image + t.target.image)
    if room.bytes == 0:
        return True
    cdef real* memory = <real*>scratch(room.bytes)
    if memory is NULL:
        return False
    threads = room.threads
    t.far = is_far(elements)
    # What is finished afterwards is read again.
    t.streams = (is_plain(&t.epilogue) and t.target.col % VLEN == 0 and lay.lanes.together*lay.lanes.lanes % VLEN == 0
                 and streams(t.output, t.images*t.target.image))
    cdef Run* run = <Run*>(memory + room.constant + threads*room.strips)
    cdef Window* windows = <Window*>(run + room.runs)
    cdef real* biases = memory + room.panels
    list_runs(t, run)
    list_windows(lay, &t.x, &t.source, windows)
    list_lines(lay, <Py_ssize_t*>(windows + windows_of(lay)))
    pieces = vectors if t.packed is NULL else 0
    if t.packed is NULL:
        t.packed = memory
    for i in range(vectors):
        vstore(biases + i*VLEN, vsplat(0) if bias is NULL else bias_of(lay, bias, i))
    t.bias, t.run = biases, run
    units = t.images*lay.down*lay.across*t.shares
    if threads == 1:                # a team of one waits for itself, in the operating system
        for i in range(pieces):
            pack_vector(&lay.lanes, w, t.y.kernel, t.x.kernel, i, memory + i*panel(lay))
        for i in range(units):
            correlate_unit(t, i, memory + room.constant)
    else:
        with parallel(num_threads=threads):
            for i in prange(pieces, schedule='static'):
                pack_vector(&lay.lanes, w, t.y.kernel, t.x.kernel, i, memory + i*panel(lay))
            for i in prange(units, schedule='dynamic', chunksize=dealt(units, threads, elements)):
                correlate_unit(t, i, memory + room.constant + threadid()*room.strips)
    free(memory)
    return True


cdef inline vr bias_of(const Layout* lay, const real* bias, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t bundle = index // lay.lanes.vectors, vector = index % lay.lanes.vectors
    return vload_lanes(bias + bundle*lay.lanes.together*lay.lanes.lanes + vector*VLEN,
                       lanes_of(&lay.lanes, bundle, vector))


cdef void set_up(Correlation* t, const Pass* p, const Weights* w, Phase* phases) noexcept nogil:
    """All phases of both axes."""
    cdef const Convolution* c = &p.convolution
    cdef Lanes lanes = lay_lanes(w.groups, w.lanes, w.channels)
    t.y = side_of(&c.down, phases)
    t.x = side_of(&c.across, phases + t.y.phases)
    t.images, t.source, t.target = c.images, source_image(c), target_image(c)
    t.layout = lay_out(&lanes, &t.y, &t.x)
    t.layout.prologue = p.prologue
    t.input, t.output, t.packed, t.epilogue = p.input, p.output, p.packed, p.epilogue


cdef int compute(const Pass* p) noexcept nogil:
    cdef Phase* phases = <Phase*>scratch(phases_bytes(&p.convolution))
    cdef Weights w = weights_of(p)
    cdef Correlation t
    cdef bint done = phases is not NULL
    if done:
        set_up(&t, p, &w, phases)
        done = correlate(&t, &w, p.bias, p.threads)
    free(phases)
    return done


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Phase* phases = <Phase*>scratch(phases_bytes(&p.convolution))
    cdef Weights w = weights_of(p)
    cdef Correlation t
    cdef Py_ssize_t bytes = -1
    if phases is not NULL:
        set_up(&t, p, &w, phases)
        bytes = granted(phases_bytes(&p.convolution)) + granted(make_room(&t, p.threads).bytes)
    free(phases)
    return bytes


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef const Convolution* c = &p.convolution
    cdef Lanes lanes = lay_lanes(c.groups, c.lanes, c.filters)
    return lanes.bundles*lanes.vectors*c.down.kernel*c.across.kernel*lanes.channels*VLEN


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef const Convolution* c = &p.convolution
    cdef Lanes lanes = lay_lanes(c.groups, c.lanes, c.filters)
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t vectors = lanes.bundles*lanes.vectors, size = packed_size(p) // vectors, vector
    for vector in range(vectors):
        pack_vector(&lanes, &w, c.down.kernel, c.across.kernel, vector, packed + vector*size)
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
