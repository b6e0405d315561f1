"""Grouped convolution whose groups are narrower than a vector, depthwise above all: forward and both backward passes.

conv2d.pyx works a group at a time, so a group of one channel uses one lane. Here whole groups share vectors, and the
tiles of _lanewise.pxd work lane by lane. Images lie as NHWC, weights as the caller has them under the logical shape
(K, C/groups, R, S).

Threads take units of work: an image, a strip of its outputs, a share of the vectors. A few lines at a time, they stage
the input of all the vectors, with its padding, in the order in which it lies in memory, and run tiles over it, which
call the next lines into the cache. Staged input of backward-input serves all phases of the stride. Every output is
summed whole by one thread in an order that the shape decides.

Scratch: the packed weights, or for backward-weight the partial sums (a sixteenth of the input, or a few copies of the
weights where those are larger); and a strip for each thread (STRIP_BYTES, or the input of one line of a tile where
that is larger). A function returns False where there is no memory for them, True otherwise.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._axis cimport Axis, adjoint_axis, forward_axis
from convkit._kernels._lanewise cimport (
    RUN, LaneProduct, LaneSum, Lanes, Run, groups_of, lane_tile_height, lane_tile_of, lanes_of, lay_lanes, spread,
    sum_tile_of, sum_tile_taps,
)
from convkit._kernels._scratch cimport scratch
from convkit._kernels._simd cimport (
    TILE_ROWS, VLEN, flush_denormals, prefetch, real, restore_denormals, vload, vload_lanes, vsplat, vstore,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    # Products summed in registers at a time: the error of a chain grows with its length.
    DEPTH = 768
    DEPTH_RUNS = DEPTH // RUN
    STRIP_BYTES = 512*1024          # staged at a time: most of the smallest second-level cache
    PIXELS = 192                    # staged, and then read by tiles, at a time
    CACHE_LINE = 64                 # bytes
    SPREAD = 8                      # pixels of a plane that are staged before those of the next
    LEAST_LINES = 4                 # of outputs in a strip, or too much is staged twice
    WIDE_CHANNELS = 4               # with more channels, blocks are one vector wide, or tiles outgrow their window


# ---------------------------------------------------------------------------------------------------------------------
# What is common to the passes: images, axes, blocks, weights, strips


cdef struct Image:
    # Where pixels lie: NHWC, strides in elements.
    Py_ssize_t image, row, col, rows, cols


cdef Image nhwc(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t channels) noexcept nogil:
    cdef Image strides
    strides.image, strides.row, strides.col = rows*cols*channels, cols*channels, channels
    strides.rows, strides.cols = rows, cols
    return strides


cdef struct Phase:
    # Outputs out_first, out_first + step, ...: output j reads staged input shift + in_step*j + tap_step*t.
    Py_ssize_t count, out_first, shift, taps, tap_step, weight_first, weight_step
    Py_ssize_t apart                        # taps that read neighbouring inputs, if any, are so many apart
    Py_ssize_t runs                         # of such taps
    Py_ssize_t taps_before, runs_before     # in the phases before


cdef struct Side:
    # One axis of a pass: its phases, and the input that they read together.
    Phase* phase
    Py_ssize_t phases, count, out_step      # `count` is that of the longest phase
    Py_ssize_t first, in_step, grain
    Py_ssize_t reach                        # grains that one output of every phase reads
    Py_ssize_t taps, runs, kernel           # of all phases; taps of the kernel


cdef Phase phase_of(const Axis* axis, Py_ssize_t grain) noexcept nogil:
    cdef Phase p
    p.count, p.out_first, p.shift = axis.count, axis.out_first, 0
    p.taps, p.tap_step = axis.taps, axis.tap_step*grain
    p.weight_first, p.weight_step = axis.weight_first, axis.weight_step
    p.apart = p.runs = p.taps_before = p.runs_before = 0
    return p


cdef void count_runs(Side* s) noexcept nogil:
    """Taps whose inputs are neighbours for the tile, which takes every in_step-th grain, go in runs."""
    cdef Py_ssize_t i, first
    cdef Phase* p
    s.runs = s.taps = 0
    for i in range(s.phases):
        p = &s.phase[i]
        p.taps_before, p.runs_before = s.taps, s.runs
        p.apart = s.in_step // p.tap_step if p.tap_step > 0 and s.in_step % p.tap_step == 0 else max(p.taps, 1)
        for first in range(min(p.apart, p.taps)):
            p.runs += ceil_div(ceil_div(p.taps - first, p.apart), RUN)
        s.runs += p.runs
        s.taps += p.taps


cdef Side forward_side(const Axis* axis, Py_ssize_t kernel, Phase* phase) noexcept nogil:
    cdef Side s
    phase[0] = phase_of(axis, 1)
    s.phase, s.phases, s.count, s.out_step = phase, 1, axis.count, 1
    s.first, s.grain, s.in_step = axis.first, axis.grain, max(axis.in_step, <Py_ssize_t>1)
    s.reach = (axis.taps - 1)*axis.tap_step + 1
    s.kernel = kernel
    count_runs(&s)
    return s


cdef Side adjoint_side(
    Py_ssize_t in_size, Py_ssize_t out_size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation, Phase* phase,
) noexcept nogil:
    """All phases of the stride. Their windows overlap: the strip holds the union, and each knows where it begins."""
    cdef Side s
    cdef Axis axis
    cdef Py_ssize_t i, behind = 0
    s.phase, s.phases, s.out_step = phase, min(stride, in_size), stride
    s.count, s.first, s.grain, s.in_step = ceil_div(in_size, stride), 0, 1, 1
    s.taps, s.kernel = 0, kernel
    for i in range(s.phases):
        axis = adjoint_axis(i, in_size, out_size, kernel, stride, padding, dilation)
        phase[i] = phase_of(&axis, axis.grain)
        phase[i].shift = axis.first
        if axis.taps == 0:
            continue
        if s.taps == 0:
            s.first = behind = axis.first
        s.first = min(s.first, axis.first)
        behind = max(behind, axis.first + (axis.taps - 1)*phase[i].tap_step)
        s.taps += axis.taps
    s.reach = behind - s.first + 1
    for i in range(s.phases):
        phase[i].shift = phase[i].shift - s.first if phase[i].taps else 0
    count_runs(&s)
    return s


cdef struct Weights:
    # One logical weight, by strides in elements. Lanes become outputs, channels are summed over.
    real* data
    Py_ssize_t group, channel, lane, row, col


cdef struct Window:
    # Of a line's staged columns in one plane: how many there are, and which lie inside of the image, from `source` on.
    Py_ssize_t staged, before, behind, source


cdef struct Layout:
    # How outputs and staged input are cut.
    Lanes lanes
    int block                               # vectors that a tile takes at a time
    Py_ssize_t abreast                      # vectors that are staged at the same time
    Py_ssize_t rows, cols, down, across     # down x across strips of at most rows x cols outputs of each phase
    Py_ssize_t together                     # lines of outputs that are staged, and then computed, at a time
    Py_ssize_t planes                       # staged columns, taken apart by their phase of in_step
    Py_ssize_t plane, line, strip           # elements of a plane, a line and the strip, for one vector
    Py_ssize_t taps                         # of the whole kernel
    const Window* window                    # of each strip across, of each plane


cdef void cut(Layout* lay, const Side* y, const Side* x, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """Cut into strips of about, and at most, rows x cols outputs: all of nearly the same size."""
    lay.down, lay.across = ceil_div(y.count, rows), ceil_div(x.count, cols)
    lay.rows = ceil_div(y.count, lay.down) if lay.down else 0
    lay.cols = ceil_div(x.count, lay.across) if lay.across else 0
    lay.together = PIXELS // max(lay.cols, <Py_ssize_t>1)
    lay.together = min(max(lay.together, <Py_ssize_t>1 if lay.lanes.channels == 1 else LEAST_LINES), lay.rows)
    lay.planes = x.in_step
    lay.plane = ceil_div((lay.cols - 1)*x.in_step + x.reach, x.in_step)*VLEN
    lay.line = lay.plane*lay.planes*lay.lanes.channels
    # An odd number of vectors: neighbours' strips lie in other sets of the cache.
    lay.strip = (((lay.rows - 1)*y.in_step + y.reach)*lay.line // VLEN | 1)*VLEN


cdef Layout lay_out(const Lanes* lanes, const Side* y, const Side* x) noexcept nogil:
    """Strips that fit STRIP_BYTES: of whole lines, for as many vectors as possible, and then as high as possible."""
    cdef Layout lay
    cdef Py_ssize_t rows = max(y.count, <Py_ssize_t>1), cols = max(x.count, <Py_ssize_t>1)
    cdef Py_ssize_t least = min(rows, <Py_ssize_t>LEAST_LINES), room = STRIP_BYTES // sizeof(real)
    lay.lanes = lanes[0]
    lay.block = 2 if TILE_ROWS > 6 and lanes.vectors > 1 and lanes.channels <= WIDE_CHANNELS else 1
    lay.taps = y.kernel*x.kernel
    cut(&lay, y, x, least, cols)
    while lay.strip*lay.block > room and cols > TILE_ROWS:
        cols = max(<Py_ssize_t>TILE_ROWS, ceil_div(cols, 2))
        cut(&lay, y, x, least, cols)
    lay.abreast = min(lanes.vectors, max(<Py_ssize_t>lay.block, room // lay.strip // lay.block*lay.block))
    cut(&lay, y, x, rows, cols)
    while lay.abreast*lay.strip > room and rows > least:
        rows = max(least, ceil_div(rows, 2))
        cut(&lay, y, x, rows, cols)
    return lay


cdef inline Py_ssize_t blocks_of(const Layout* lay) noexcept nogil:
    return ceil_div(lay.lanes.vectors, lay.block)


cdef inline Py_ssize_t panel(const Layout* lay) noexcept nogil:
    """Weights of one vector: [tap][channel][lanes, zeros behind the last]."""
    return lay.taps*lay.lanes.channels*VLEN


cdef void pack_vector(
    const Layout* lay, const Weights* w, const Side* y, const Side* x, Py_ssize_t vector, real* p,
) noexcept nogil:
    cdef Py_ssize_t r, s, c, g, k
    cdef const real* source
    for r in range(y.kernel):
        for s in range(x.kernel):
            for c in range(lay.lanes.channels):
                vstore(p, vsplat(0))
                source = w.data + r*w.row + s*w.col + vector*lay.lanes.together*w.group + c*w.channel
                for g in range(groups_of(&lay.lanes, vector)):
                    for k in range(lay.lanes.lanes):
                        p[g*lay.lanes.lanes + k] = source[g*w.group + k*w.lane]
                p = p + VLEN


cdef inline Py_ssize_t windows_of(const Layout* lay) noexcept nogil:
    return lay.across*lay.planes


cdef void list_windows(Layout* lay, const Side* x, const Image* image, Window* window) noexcept nogil:
    cdef Py_ssize_t strip, u, first, wide, apart = x.in_step*x.grain, col
    lay.window = window
    for strip in range(lay.across):
        col = strip*lay.cols
        wide = (min(lay.cols, x.count - col) - 1)*x.in_step + x.reach
        for u in range(lay.planes):
            first = x.first + x.grain*(x.in_step*col + u)
            window.staged = max(<Py_ssize_t>0, ceil_div(wide - u, x.in_step))
            window.before = min(window.staged, ceil_div(-first, apart)) if first < 0 else 0
            window.behind = min(window.staged, ceil_div(image.cols - first, apart)) if image.cols > first else 0
            window.behind = max(window.before, window.behind)
            window.source = (first + window.before*apart)*image.col
            window += 1


cdef void clear(real* p, Py_ssize_t count) noexcept nogil:
    memset(p, 0, count*sizeof(real))


cdef void stage_line(
    const Layout* lay, const real* image, const Image* strides, const Side* y, const Side* x, Py_ssize_t h,
    Py_ssize_t col, Py_ssize_t vector, Py_ssize_t vectors, real* line,
) noexcept nogil:
    """Copy the h-th line of a strip `col`, for a number of vectors, with zeros where the image ends."""
    cdef Py_ssize_t row = y.first + y.grain*h, apart = x.in_step*x.grain*strides.col, u, v, c, i, before, behind
    cdef const Window* window = lay.window + col*lay.planes
    cdef real* plane
    if row < 0 or row >= strides.rows:
        for v in range(vectors):
            clear(line + v*lay.strip, lay.line)
        return
    image = image + row*strides.row + vector*lay.lanes.together*lay.lanes.channels
    for u in range(lay.planes):
        for v in range(vectors):
            for c in range(lay.lanes.channels):
                plane = line + v*lay.strip + (c*lay.planes + u)*lay.plane
                for i in range(window[u].before):
                    vstore(plane + i*VLEN, vsplat(0))
                for i in range(window[u].behind, window[u].staged):
                    vstore(plane + i*VLEN, vsplat(0))
    # A few pixels of each plane in turn, so that memory is read from front to back.
    for i in range(ceil_div(lay.plane, SPREAD*VLEN)):
        for u in range(lay.planes):
            before, behind = max(i*SPREAD, window[u].before), min((i + 1)*SPREAD, window[u].behind)
            if before < behind:
                spread(&lay.lanes, vector, vectors, image + window[u].source + (before - window[u].before)*apart, apart,
                       behind - before, lay.planes*lay.plane, lay.strip, line + u*lay.plane + before*VLEN)


cdef inline void stage_lines(
    const Layout* lay, const real* image, const Image* strides, const Side* y, const Side* x, Py_ssize_t row,
    Py_ssize_t staged, Py_ssize_t needed, Py_ssize_t col, Py_ssize_t vector, Py_ssize_t vectors, real* strip,
) noexcept nogil:
    """Stage lines [staged, needed) of the strip whose first output is in line `row`."""
    cdef Py_ssize_t h
    for h in range(staged, needed):
        stage_line(lay, image, strides, y, x, y.in_step*row + h, col, vector, vectors, strip + h*lay.line)


cdef inline Py_ssize_t staged_at(const Layout* lay, Py_ssize_t u) noexcept nogil:
    """Where in a staged line the u-th grain lies."""
    return u % lay.planes*lay.plane + u // lay.planes*VLEN


# ---------------------------------------------------------------------------------------------------------------------
# Forward and backward-input


cdef struct Fetch:
    # Input that the next lines will need, called into the cache a little with every tile: memory never rests.
    const real* next
    Py_ssize_t left, quota          # cache lines: in all, and with a tile


cdef inline void fetch(Fetch* f) noexcept nogil:
    cdef Py_ssize_t i, line = CACHE_LINE // sizeof(real)
    for i in range(min(f.quota, f.left)):
        prefetch(f.next + i*line)
    f.next = f.next + f.quota*line
    f.left -= f.quota


cdef struct Correlation:
    Side y, x
    Layout layout
    Py_ssize_t images
    const real* input
    Image source
    real* output
    Image target
    const real* packed
    const real* bias                # as lanes of vectors
    const Run* run                  # of all phases
    Py_ssize_t shares               # a strip's blocks are dealt out in so many shares


cdef void divide(Correlation* t, int threads) noexcept nogil:
    """Strips that fit the cache, and smaller until every thread has a few units of work."""
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1, blocks = blocks_of(&t.layout)
    cdef Layout* lay = &t.layout
    t.shares = 1
    while t.images*lay.down*lay.across*t.shares < enough and t.shares < blocks:
        t.shares = min(2*t.shares, blocks)
    while t.images*lay.down*lay.across*t.shares < enough and lay.rows > 1:
        cut(lay, &t.y, &t.x, ceil_div(lay.rows, 2), lay.cols)


cdef void list_runs(const Correlation* t, Run* run) noexcept nogil:
    """Where the runs of each phase begin, in the strip and in the weights."""
    cdef const Layout* lay = &t.layout
    cdef const Phase* y
    cdef const Phase* x
    cdef Py_ssize_t i, j, r, first, s, c, weight
    for i in range(t.y.phases):
        for j in range(t.x.phases):
            y, x = &t.y.phase[i], &t.x.phase[j]
            for r in range(y.taps):
                for first in range(min(x.apart, x.taps)):
                    s = first
                    while s < x.taps:
                        weight = (y.weight_first + r*y.weight_step)*t.x.kernel + x.weight_first + s*x.weight_step
                        for c in range(lay.lanes.channels):
                            run.x = ((y.shift + r*y.tap_step)*lay.line + c*lay.planes*lay.plane
                                     + staged_at(lay, x.shift + s*x.tap_step))
                            run.w = (weight*lay.lanes.channels + c)*VLEN
                            run.taps = <int>min(<Py_ssize_t>RUN, ceil_div(x.taps - s, x.apart))
                            run += 1
                        s += RUN*x.apart


cdef Fetch fetch_of(const Correlation* t, Py_ssize_t image, Py_ssize_t h, Py_ssize_t lines) noexcept nogil:
    """The input lines behind those that are staged, if they will be staged whole."""
    cdef const Layout* lay = &t.layout
    cdef Fetch f
    cdef Py_ssize_t row = t.y.first + t.y.grain*h, behind = min(row + lines*t.y.in_step*t.y.grain, t.source.rows)
    cdef Py_ssize_t tiles = lines*t.y.phases*t.x.phases*blocks_of(lay)*ceil_div(lay.cols, TILE_ROWS)
    f.next = t.input + image*t.source.image + row*t.source.row
    f.left = 0
    if row >= 0 and row < behind and lay.across == 1 and lay.abreast == lay.lanes.vectors and t.shares == 1:
        f.left = (behind - row)*t.source.row*<Py_ssize_t>sizeof(real) // CACHE_LINE
    f.quota = ceil_div(f.left, tiles)
    return f


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* strips) noexcept nogil:
    """One strip of one image, for one share of the blocks: a few lines at a time, so that they are still in cache."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t share = unit % t.shares, across, row, image, base, behind, vectors, j, lines, staged, needed, v
    unit = unit // t.shares
    across = unit % lay.across
    unit = unit // lay.across
    row = unit % lay.down*lay.rows
    image = unit // lay.down
    cdef Py_ssize_t rows = min(lay.rows, t.y.count - row), blocks = blocks_of(lay)
    cdef Fetch ahead
    cdef unsigned long mode = flush_denormals()
    base = share*blocks // t.shares*lay.block
    behind = min((share + 1)*blocks // t.shares*lay.block, lay.lanes.vectors)
    while base < behind:
        vectors = min(lay.abreast, behind - base)
        j = staged = 0
        while j < rows:
            lines = min(lay.together, rows - j)
            needed = (j + lines - 1)*t.y.in_step + t.y.reach
            stage_lines(lay, t.input + image*t.source.image, &t.source, &t.y, &t.x, row, max(staged, j*t.y.in_step),
                        needed, across, base, vectors, strips)
            ahead = fetch_of(t, image, row*t.y.in_step + needed, lines)
            v = 0
            while v < vectors:
                correlate_lines(t, base + v, min(<Py_ssize_t>lay.block, vectors - v), row + j, lines, across*lay.cols,
                                strips + v*lay.strip + j*t.y.in_step*lay.line, t.output + image*t.target.image, &ahead)
                v += lay.block
            staged = needed
            j += lines
        base += vectors
    restore_denormals(mode)


cdef void correlate_lines(
    const Correlation* t, Py_ssize_t vector, Py_ssize_t vectors, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t col,
    const real* strip, real* image, Fetch* ahead,
) noexcept nogil:
    """A few lines of outputs, of each phase, for one block."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t i = 0, j, v, cols = min(lay.cols, t.x.count - col), height
    cdef LaneProduct p
    p.x_pixel, p.x_vector = VLEN, lay.strip
    p.w, p.w_vector = t.packed + vector*panel(lay), panel(lay)
    p.out_pixel, p.out_vector, p.whole = t.x.out_step*t.target.col, lay.lanes.width, True
    p.blocks = 1
    p.reads.quota = p.writes.quota = 0
    for v in range(vectors):
        p.lanes[v] = lanes_of(&lay.lanes, vector + v)
        p.whole = p.whole and p.lanes[v] == VLEN
    image = image + vector*lay.lanes.width
    # Down each column of tiles: the lines of one window are in first-level cache for the next.
    while i < cols:
        height = lane_tile_height(cols - i, <int>vectors)
        for j in range(lines):
            p.x = strip + j*t.y.in_step*lay.line + i*VLEN
            correlate_phases(t, &p, vectors, t.bias + vector*VLEN, row + j, col + i, height, image, ahead)
        i += height


cdef inline void correlate_phases(
    const Correlation* t, LaneProduct* p, Py_ssize_t vectors, const real* bias, Py_ssize_t row, Py_ssize_t col,
    Py_ssize_t pixels, real* image, Fetch* ahead,
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
            p.run = t.run + (y.taps_before*t.x.runs + y.taps*x.runs_before)*t.layout.lanes.channels
            p.runs = y.taps*x.runs*t.layout.lanes.channels
            p.w_tap = x.apart*x.weight_step*t.layout.lanes.channels*VLEN
            p.init, p.init_pixel, p.init_vector = bias, 0, VLEN
            p.out = (image + (y.out_first + row*t.y.out_step)*t.target.row
                     + (x.out_first + col*t.x.out_step)*t.target.col)
            fetch(ahead)
            if vectors == 2:
                correlate_tile(p, 2, count)
            else:
                correlate_tile(p, 1, count)


cdef inline void correlate_tile(LaneProduct* p, const int vectors, Py_ssize_t pixels) noexcept nogil:
    """DEPTH products of the sums at a time."""
    cdef Py_ssize_t count = p.runs
    while True:
        p.runs = min(count, <Py_ssize_t>DEPTH_RUNS)
        lane_tile_of(pixels, vectors, p)
        count -= DEPTH_RUNS
        if count <= 0:
            return
        p.run = p.run + DEPTH_RUNS
        p.init, p.init_pixel, p.init_vector = p.out, p.out_pixel, p.out_vector


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """Pack, divide the work and run it. `bias` may be NULL."""
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t outputs = t.images*t.target.rows*t.target.col*t.target.cols, v
    if outputs == 0:
        return True
    # A phase has its share of the outputs, and of the taps.
    threads = worth(threads, <double>outputs*lay.lanes.channels*(lay.taps/(<double>t.y.phases*t.x.phases) + 1))
    divide(t, threads)
    cdef Py_ssize_t weights = lay.lanes.vectors*panel(lay)
    cdef Py_ssize_t constant = ceil_div(weights + lay.lanes.vectors*VLEN, 64)*64
    cdef Py_ssize_t strips = ceil_div(lay.abreast*lay.strip, 64)*64, runs = t.y.taps*t.x.runs*lay.lanes.channels
    cdef real* memory = <real*>scratch((constant + threads*strips)*sizeof(real) + runs*sizeof(Run)
                                       + windows_of(lay)*sizeof(Window))
    if memory is NULL:
        return False
    cdef Run* run = <Run*>(memory + constant + threads*strips)
    list_runs(t, run)
    list_windows(lay, &t.x, &t.source, <Window*>(run + runs))
    for v in prange(lay.lanes.vectors, schedule='static', num_threads=threads):
        pack_vector(lay, w, &t.y, &t.x, v, memory + v*panel(lay))
    for v in range(lay.lanes.vectors):
        vstore(memory + weights + v*VLEN, vsplat(0) if bias is NULL else
               vload_lanes(bias + v*lay.lanes.width, lanes_of(&lay.lanes, v)))
    t.packed, t.bias, t.run = memory, memory + weights, run
    with parallel(num_threads=threads):
        for v in prange(t.images*lay.down*lay.across*t.shares, schedule='dynamic'):
            correlate_unit(t, v, memory + constant + threadid()*strips)
    free(memory)
    return True


def forward(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, :] w_kcrs, const real[::1] bias_k, real[:, :, :, ::1] out_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """out = x * w + bias; `padding` is that of the top and left edge, the others follow from out's size."""
    cdef Correlation t
    cdef Weights w
    cdef Axis y, x
    cdef Phase phases[2]
    cdef Lanes lanes = lay_lanes(groups, w_kcrs.shape[0] // groups, w_kcrs.shape[1])
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done
    y = forward_axis(x_nhwc.shape[1], out_nhwc.shape[1], w_kcrs.shape[2], stride_h, padding_h, dilation_h)
    x = forward_axis(x_nhwc.shape[2], out_nhwc.shape[2], w_kcrs.shape[3], stride_w, padding_w, dilation_w)
    t.y, t.x = forward_side(&y, w_kcrs.shape[2], phases), forward_side(&x, w_kcrs.shape[3], phases + 1)
    t.images, t.layout = x_nhwc.shape[0], lay_out(&lanes, &t.y, &t.x)
    t.source = nhwc(x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3])
    t.target = nhwc(out_nhwc.shape[1], out_nhwc.shape[2], out_nhwc.shape[3])
    t.input, t.output = &x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0]
    w.data = <real*>&w_kcrs[0, 0, 0, 0]
    w.lane, w.channel = w_kcrs.strides[0] // size, w_kcrs.strides[1] // size
    w.row, w.col, w.group = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size, lanes.lanes*w.lane
    with nogil:
        done = correlate(&t, &w, &bias_k[0] if bias_k.shape[0] else NULL, threads)
    return done


def backward_input(
    const real[:, :, :, ::1] grad_out_nhwc, const real[:, :, :, :] w_kcrs, real[:, :, :, ::1] grad_x_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """The gradient of the input: the input's channels are the lanes, each summed over its group's outputs."""
    cdef Correlation t
    cdef Weights w
    cdef Lanes lanes = lay_lanes(groups, w_kcrs.shape[1], w_kcrs.shape[0] // groups)
    cdef Py_ssize_t size = sizeof(real), down = min(stride_h, grad_x_nhwc.shape[1])
    cdef Py_ssize_t across = min(stride_w, grad_x_nhwc.shape[2])
    cdef Phase* phases
    cdef bint done
    t.images = grad_x_nhwc.shape[0]
    t.source = nhwc(grad_out_nhwc.shape[1], grad_out_nhwc.shape[2], grad_out_nhwc.shape[3])
    t.target = nhwc(grad_x_nhwc.shape[1], grad_x_nhwc.shape[2], grad_x_nhwc.shape[3])
    t.input, t.output = &grad_out_nhwc[0, 0, 0, 0], &grad_x_nhwc[0, 0, 0, 0]
    w.data = <real*>&w_kcrs[0, 0, 0, 0]
    w.lane, w.channel = w_kcrs.strides[1] // size, w_kcrs.strides[0] // size
    w.row, w.col, w.group = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size, lanes.channels*w.channel
    with nogil:
        phases = <Phase*>scratch((down + across)*sizeof(Phase))
        done = phases is not NULL
        if done:
            t.y = adjoint_side(t.target.rows, t.source.rows, w_kcrs.shape[2], stride_h, padding_h, dilation_h, phases)
            t.x = adjoint_side(t.target.cols, t.source.cols, w_kcrs.shape[3], stride_w, padding_w, dilation_w,
                               phases + down)
            t.layout = lay_out(&lanes, &t.y, &t.x)
            done = correlate(&t, &w, NULL, threads)
        free(phases)
    return done


# ---------------------------------------------------------------------------------------------------------------------
# Backward-weight: the rows of a tile are taps, the sum runs over output pixels


cdef enum:
    PARTIAL_SHARE = 16              # of the input: the size of all partial sums
    ENOUGH_UNITS = 32               # parallelism offered, whatever the number of threads
    LEAST_UNITS = 8                 # even where the partial sums are larger than their share


cdef struct WeightGradient:
    Side y, x
    Layout layout
    Py_ssize_t images
    const real* input
    Image source
    const real* grad
    Image target
    Py_ssize_t chunks, shares       # the pixels are cut into chunks, the blocks dealt out in shares
    const Py_ssize_t* taps          # where in the strip each begins
    real* sums                      # [chunk] and then as packed weights
    Py_ssize_t sums_chunk


cdef void divide_sum(WeightGradient* t) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t strips, fit, blocks = blocks_of(lay)
    cut(lay, &t.y, &t.x, max(lay.rows, <Py_ssize_t>1), max(<Py_ssize_t>1, min(lay.cols, <Py_ssize_t>DEPTH)))
    if t.images*lay.down*lay.across < ENOUGH_UNITS:
        cut(lay, &t.y, &t.x, ceil_div(max(lay.rows, <Py_ssize_t>1), 2), max(lay.cols, <Py_ssize_t>1))
    strips = t.images*lay.down*lay.across
    fit = t.images*t.y.count*t.x.count // (PARTIAL_SHARE*lay.taps*lay.lanes.channels)
    fit = min(max(fit, ceil_div(LEAST_UNITS, blocks)), <Py_ssize_t>ENOUGH_UNITS)
    t.chunks = max(<Py_ssize_t>1, min(strips, fit))
    t.shares = min(blocks, ceil_div(ENOUGH_UNITS, t.chunks))
    t.sums_chunk = lay.lanes.vectors*panel(lay)


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, real* strips) noexcept nogil:
    """One chunk of the strips, for one share of the blocks."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t share = unit % t.shares, chunk = unit // t.shares, count = t.images*lay.down*lay.across, i, base
    cdef Py_ssize_t first = share*blocks_of(lay) // t.shares*lay.block
    cdef Py_ssize_t behind = min((share + 1)*blocks_of(lay) // t.shares*lay.block, lay.lanes.vectors)
    cdef real* sums = t.sums + chunk*t.sums_chunk
    cdef unsigned long mode = flush_denormals()
    clear(sums + first*panel(lay), (behind - first)*panel(lay))
    for i in range(chunk*count // t.chunks, (chunk + 1)*count // t.chunks):
        base = first
        while base < behind:
            sum_strip(t, i, base, min(lay.abreast, behind - base), sums, strips)
            base += lay.abreast
    restore_denormals(mode)


cdef void sum_strip(
    const WeightGradient* t, Py_ssize_t index, Py_ssize_t base, Py_ssize_t vectors, real* sums, real* strips,
) noexcept nogil:
    """Add the products of one strip for so many vectors, a few lines at a time."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t across = index % lay.across, row = index // lay.across % lay.down*lay.rows
    cdef Py_ssize_t image = index // lay.across // lay.down, col = across*lay.cols, j = 0, staged = 0, needed, lines, v
    cdef Py_ssize_t rows = min(lay.rows, t.y.count - row), cols = min(lay.cols, t.x.count - col)
    cdef const real* grad = t.grad + image*t.target.image + row*t.target.row + col*t.target.col
    while j < rows and cols > 0:
        lines = min(lay.together, rows - j)
        needed = (j + lines - 1)*t.y.in_step + t.y.reach
        stage_lines(lay, t.input + image*t.source.image, &t.source, &t.y, &t.x, row, max(staged, j*t.y.in_step), needed,
                    across, base, vectors, strips)
        v = 0
        while v < vectors:
            sum_lines(t, base + v, min(<Py_ssize_t>lay.block, vectors - v),
                      strips + v*lay.strip + j*t.y.in_step*lay.line,
                      grad + j*t.target.row, lines, cols, sums, strips + lay.abreast*lay.strip)
            v += lay.block
        staged = needed
        j += lines


cdef void sum_lines(
    const WeightGradient* t, Py_ssize_t vector, Py_ssize_t vectors, const real* x, const real* grad, Py_ssize_t lines,
    Py_ssize_t cols, real* sums, real* ragged,
) noexcept nogil:
    """Add the products of a few lines for one block."""
    cdef const Layout* lay = &t.layout
    cdef LaneSum p
    grad = grad + vector*lay.lanes.width
    p.x_line, p.x_vector = t.y.in_step*lay.line, lay.strip
    p.lines, p.pixels, p.grad_vector, p.sums_vector = lines, cols, VLEN, panel(lay)
    if lay.lanes.width == VLEN and lanes_of(&lay.lanes, vector + vectors - 1) == VLEN:
        p.grad, p.grad_line, p.grad_pixel = grad, t.target.row, t.target.col
    else:
        widen(t, grad, vector, vectors, lines, cols, ragged)
        p.grad, p.grad_pixel, p.grad_line = ragged, vectors*VLEN, cols*vectors*VLEN
    if vectors == 2:
        sum_block(t, p, 2, x, sums + vector*panel(lay))
    else:
        sum_block(t, p, 1, x, sums + vector*panel(lay))


cdef void widen(
    const WeightGradient* t, const real* grad, Py_ssize_t vector, Py_ssize_t vectors, Py_ssize_t rows, Py_ssize_t cols,
    real* ragged,
) noexcept nogil:
    """Copy lanes that do not fill their vectors, with zeros behind: the next pixel's, or no memory, lies there."""
    cdef Py_ssize_t j, i, v
    for j in range(rows):
        for i in range(cols):
            for v in range(vectors):
                vstore(ragged, vload_lanes(grad + j*t.target.row + i*t.target.col + v*t.layout.lanes.width,
                                           lanes_of(&t.layout.lanes, vector + v)))
                ragged = ragged + VLEN


cdef inline void sum_block(
    const WeightGradient* t, LaneSum p, const int vectors, const real* x, real* sums,
) noexcept nogil:
    """All taps and channels of one block."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t tap = 0, c
    cdef int height
    p.sums_tap = lay.lanes.channels*VLEN
    while tap < lay.taps:
        height = sum_tile_taps(lay.taps - tap, vectors)
        p.taps = t.taps + tap
        for c in range(lay.lanes.channels):
            p.x = x + c*lay.planes*lay.plane
            p.sums = sums + (tap*lay.lanes.channels + c)*VLEN
            sum_tile_of(height, vectors, &p)
        tap += height


cdef void finish_vector(const WeightGradient* t, const Weights* w, Py_ssize_t vector) noexcept nogil:
    """Add up the chunks of one vector, in order, and write the weights' gradient."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t chunk, i, r, s, c, g, k
    cdef real* total = t.sums + vector*panel(lay)
    cdef const real* part
    cdef real* target
    for chunk in range(1, t.chunks):
        part = total + chunk*t.sums_chunk
        for i in range(lay.taps*lay.lanes.channels):
            vstore(total + i*VLEN, vload(total + i*VLEN) + vload(part + i*VLEN))
    for r in range(t.y.kernel):
        for s in range(t.x.kernel):
            for c in range(lay.lanes.channels):
                target = w.data + r*w.row + s*w.col + c*w.channel + vector*lay.lanes.together*w.group
                for g in range(groups_of(&lay.lanes, vector)):
                    for k in range(lay.lanes.lanes):
                        target[g*w.group + k*w.lane] = total[g*lay.lanes.lanes + k]
                total = total + VLEN


cdef void list_all_taps(const WeightGradient* t, Py_ssize_t* taps) noexcept nogil:
    """Where in the strip each tap begins."""
    cdef Py_ssize_t r, s
    for r in range(t.y.kernel):
        for s in range(t.x.kernel):
            taps[0] = r*t.y.phase.tap_step*t.layout.line + staged_at(&t.layout, s*t.x.phase.tap_step)
            taps = taps + 1


cdef bint sum_gradient(WeightGradient* t, const Weights* w, int threads) noexcept nogil:
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t lanes = lay.lanes.groups*lay.lanes.lanes, unit
    threads = worth(threads, <double>t.images*t.y.count*t.x.count*lanes*lay.lanes.channels*lay.taps)
    divide_sum(t)
    cdef Py_ssize_t sums = ceil_div(t.chunks*t.sums_chunk, 64)*64, ragged = lay.together*lay.cols*lay.block*VLEN
    cdef Py_ssize_t strips = ceil_div(lay.abreast*lay.strip + ragged, 64)*64
    cdef real* memory = <real*>scratch((sums + threads*strips)*sizeof(real) + lay.taps*sizeof(Py_ssize_t)
                                       + windows_of(lay)*sizeof(Window))
    if memory is NULL:
        return False
    cdef Py_ssize_t* taps = <Py_ssize_t*>(memory + sums + threads*strips)
    list_all_taps(t, taps)
    list_windows(lay, &t.x, &t.source, <Window*>(taps + lay.taps))
    t.sums, t.taps = memory, taps
    with parallel(num_threads=threads):
        for unit in prange(t.chunks*t.shares, schedule='dynamic'):
            sum_unit(t, unit, memory + sums + threadid()*strips)
    for unit in prange(lay.lanes.vectors, schedule='static', num_threads=threads):
        finish_vector(t, w, unit)
    free(memory)
    return True


def backward_weight(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, ::1] grad_out_nhwc, real[:, :, :, :] grad_w_kcrs,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """The gradient of the weight, summed over images and positions in an order that the shape alone decides."""
    cdef WeightGradient t
    cdef Weights w
    cdef Axis y, x
    cdef Phase phases[2]
    cdef Lanes lanes = lay_lanes(groups, grad_w_kcrs.shape[0] // groups, grad_w_kcrs.shape[1])
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done
    y = forward_axis(x_nhwc.shape[1], grad_out_nhwc.shape[1], grad_w_kcrs.shape[2], stride_h, padding_h, dilation_h)
    x = forward_axis(x_nhwc.shape[2], grad_out_nhwc.shape[2], grad_w_kcrs.shape[3], stride_w, padding_w, dilation_w)
    t.y, t.x = forward_side(&y, grad_w_kcrs.shape[2], phases), forward_side(&x, grad_w_kcrs.shape[3], phases + 1)
    t.images, t.layout = x_nhwc.shape[0], lay_out(&lanes, &t.y, &t.x)
    t.source = nhwc(x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3])
    t.target = nhwc(grad_out_nhwc.shape[1], grad_out_nhwc.shape[2], grad_out_nhwc.shape[3])
    t.input, t.grad = &x_nhwc[0, 0, 0, 0], &grad_out_nhwc[0, 0, 0, 0]
    w.data = &grad_w_kcrs[0, 0, 0, 0]
    w.lane, w.channel = grad_w_kcrs.strides[0] // size, grad_w_kcrs.strides[1] // size
    w.row, w.col, w.group = grad_w_kcrs.strides[2] // size, grad_w_kcrs.strides[3] // size, lanes.lanes*w.lane
    with nogil:
        done = sum_gradient(&t, &w, threads)
    return done
