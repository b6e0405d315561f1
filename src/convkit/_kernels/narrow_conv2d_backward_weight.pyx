"""The gradient of the weights of narrow groups, and of layers with very few channels.

As in narrow_conv2d.pyx, groups share vectors of outputs; the sums run over pixels, a few channels and a run of taps at
a time. The sum is cut into chunks of strips by the shape alone, and these are added up in a fixed order.

Scratch: the chunks' sums (SUMS_BYTES, or where those are larger as many copies of the weights as the bundles fall
short of ENOUGH_UNITS); and for each thread a ring of staged lines (STRIP_BYTES, or the input of one line of outputs
where that is larger) and a few lines of the output's gradient, which may be made there (_pending_rows.pxd). The
function returns False where there is no memory for them, True otherwise.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free

from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._image cimport Image
from convkit._kernels._lanes cimport Lanes, groups_of, lay_lanes, stage_outputs
from convkit._kernels._lanewise cimport PICKED, RUN, SPREAD, Fetch, Run, pass_on
from convkit._kernels._lanewise_gradient cimport ChannelSum, Source, sources_of, sum_run_of
from convkit._kernels._lanewise_window cimport NO_WINDOW, sum_window_of, window_of
from convkit._kernels._lines cimport (
    Layout, Phase, Side, Window, clear, cut_across, cut_down, dealt, is_far, lay_out, list_lines, list_windows, panel,
    rows_of, side_of, stage_lines, staged_at, windows_of,
)
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._pending_rows cimport PendingRows
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, viload_i32, vload, vstore,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    DEPTH = 768                     # pixels of a line, at most: the error of a chain of sums grows with its length
    SUMS_BYTES = 4*1024*1024        # of all chunks' sums
    MOST_CHUNKS = 32
    ENOUGH_UNITS = 8                # parallelism offered, whatever the number of threads


cdef struct WeightGradient:
    Side y, x
    Layout layout
    Py_ssize_t images
    const real* input
    Image source
    const real* grad
    PendingRows grad_rows           # whole rows, where `grad` is not in memory: of one group, of full vectors
    Image target
    Py_ssize_t chunks, shares       # the pixels are cut into chunks, the bundles dealt out in shares
    const Run* run                  # of one row of taps
    const Source* sources           # each channel under each row of taps
    Py_ssize_t count                # so many
    real* sums                      # [chunk] and then as packed weights
    Py_ssize_t sums_chunk
    bint in_place                   # the output's gradient is read where it lies: else
    Py_ssize_t grad_line            # so many elements of a line,
    Py_ssize_t grad_strip           # and so many in all, are staged for a bundle
    int window                      # NO_WINDOW, or one of those whose sums are in _lanewise_window.pxd
    bint far                        # images come from memory, not from a cache


cdef void divide_sum(WeightGradient* t) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t chunks
    if lay.cols > DEPTH:
        cut_across(lay, &t.y, &t.x, DEPTH)
    t.sums_chunk = lay.lanes.bundles*lay.lanes.vectors*panel(lay)
    chunks = SUMS_BYTES // (t.sums_chunk*<Py_ssize_t>sizeof(real))
    chunks = min(max(chunks, ceil_div(ENOUGH_UNITS, lay.lanes.bundles)), <Py_ssize_t>MOST_CHUNKS)
    while t.images*lay.down*lay.across < chunks and lay.rows > lay.together:
        cut_down(lay, &t.y, max(lay.together, ceil_div(lay.rows, 2)))
    t.chunks = max(<Py_ssize_t>1, min(t.images*lay.down*lay.across, chunks))
    # Chunks rather than shares: a share of the bundles reads pieces of the lines.
    t.shares = min(lay.lanes.bundles, ceil_div(ENOUGH_UNITS, t.chunks))
    # Staged, other groups' outputs do not lie between the pixels, nor the next pixel's in the last vector.
    t.in_place = lay.lanes.groups == 1 and lay.lanes.lanes % VLEN == 0 and t.grad_rows.make is NULL
    t.grad_line, t.grad_strip = t.target.row, 0
    if not t.in_place:
        if t.grad_rows.make is NULL:
            t.grad_line = lay.cols*lay.lanes.vectors*VLEN
        t.grad_strip = (lay.together*t.grad_line // VLEN | 1)*VLEN


cdef void list_runs(const WeightGradient* t, Run* run) noexcept nogil:
    """Where the runs of a row of taps begin, in the strip and in the sums."""
    cdef const Phase* x = t.x.phase
    cdef Py_ssize_t first, s
    for first in range(min(x.apart, x.taps)):
        s = first
        while s < x.taps:
            run.x, run.w = staged_at(&t.layout, s*x.tap_step), s*t.layout.lanes.channels*VLEN
            run.taps = <int>min(<Py_ssize_t>RUN, ceil_div(x.taps - s, x.apart))
            run += 1
            s += RUN*x.apart


cdef void list_sources(const WeightGradient* t, Source* source) noexcept nogil:
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t r, c
    for r in range(t.y.kernel):
        for c in range(lay.lanes.channels):
            source.line, source.x, source.place = r*t.y.phase.tap_step, c, 0
            if lay.lanes.together > 1:
                source.x, source.place = c // lay.lanes.piece*VLEN, <int>(c % lay.lanes.piece)
            source.sums = (r*t.x.kernel*lay.lanes.channels + c)*VLEN
            source += 1


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, real* strips) noexcept nogil:
    """One chunk of the strips, for one share of the bundles."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t share = unit % t.shares, chunk = unit // t.shares, count = t.images*lay.down*lay.across, i, base
    cdef Py_ssize_t first = share*lay.lanes.bundles // t.shares, behind = (share + 1)*lay.lanes.bundles // t.shares
    cdef Py_ssize_t bundle = lay.lanes.vectors*panel(lay)
    cdef real* sums = t.sums + chunk*t.sums_chunk
    cdef unsigned long mode = flush_denormals()
    clear(sums + first*bundle, (behind - first)*bundle)
    for i in range(chunk*count // t.chunks, (chunk + 1)*count // t.chunks):
        base = first
        while base < behind:
            sum_strip(t, i, base, min(lay.abreast, behind - base), sums, strips)
            base += lay.abreast
    restore_denormals(mode)


cdef inline Py_ssize_t tiles_of(const WeightGradient* t) noexcept nogil:
    """Tiles of one vector, of all runs."""
    cdef Py_ssize_t r, tiles = 0
    if t.window != NO_WINDOW:
        return 1
    for r in range(t.x.phase.runs):
        tiles += ceil_div(t.count, sources_of(t.run[r].taps))
    return tiles


cdef void call_in(
    const WeightGradient* t, Py_ssize_t image, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t bundles, Fetch* x_ahead,
    Fetch* grad_ahead,
) noexcept nogil:
    """While `lines` lines from `row` on are summed, the next ones come from memory: where they are staged whole."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t read = (row + lines - 1)*t.y.in_step + t.y.reach
    cdef Py_ssize_t turns = tiles_of(t)*bundles*lay.lanes.vectors*lines*min(lay.cols, t.x.count)
    x_ahead[0] = rows_of(t.input, &t.source, image, t.y.first + t.y.grain*read,
                         t.y.first + t.y.grain*(read + lines*t.y.in_step), turns)
    grad_ahead[0] = rows_of(t.grad if t.grad_rows.make is NULL else t.grad_rows.like, &t.target, image, row + lines,
                            row + 2*lines, turns)
    if lay.across > 1 or bundles < lay.lanes.bundles or not t.far:
        x_ahead.quota = grad_ahead.quota = 0


cdef inline void stage_grad(
    const WeightGradient* t, Py_ssize_t image, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t col, Py_ssize_t cols,
    Py_ssize_t base, Py_ssize_t bundles, real* grads,
) noexcept nogil:
    """Stage the output's gradient in so many lines from `row` on: where it is made, in all columns of them."""
    cdef const Lanes* lanes = &t.layout.lanes
    cdef Py_ssize_t line
    cdef const real* grad
    if t.grad_rows.make is not NULL:
        t.grad_rows.make(t.grad_rows.of, (image*t.target.rows + row)*t.target.cols, lines*t.target.cols, grads)
        return
    grad = t.grad + image*t.target.image + row*t.target.row + col*t.target.col + base*lanes.together*lanes.lanes
    for line in range(lines):
        stage_outputs(lanes, base, bundles, grad + line*t.target.row, t.target.col, cols, grads + line*t.grad_line,
                      t.grad_strip)


cdef void sum_strip(
    const WeightGradient* t, Py_ssize_t index, Py_ssize_t base, Py_ssize_t bundles, real* sums, real* strips,
) noexcept nogil:
    """Add the products of one strip for so many bundles, a few lines at a time."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t across = index % lay.across, row = index // lay.across % lay.down*lay.rows
    cdef Py_ssize_t image = index // lay.across // lay.down, col = across*lay.cols, j = 0, staged = 0, needed, lines, b
    cdef Py_ssize_t rows = min(lay.rows, t.y.count - row), cols = min(lay.cols, t.x.count - col)
    cdef real* grads = strips + lay.abreast*lay.strip
    cdef const real* grad
    cdef Fetch x_ahead, grad_ahead
    while j < rows and cols > 0:
        lines = min(lay.together, rows - j)
        needed = (j + lines - 1)*t.y.in_step + t.y.reach
        stage_lines(lay, t.input + image*t.source.image, &t.source, &t.y, &t.x, row, max(staged, j*t.y.in_step), needed,
                    across, base, bundles, strips)
        if t.in_place:
            grad = t.grad + image*t.target.image + (row + j)*t.target.row + col*t.target.col
        else:
            stage_grad(t, image, row + j, lines, col, cols, base, bundles, grads)
            grad = grads if t.grad_rows.make is NULL else grads + col*t.target.col
        call_in(t, image, row + j, lines, bundles, &x_ahead, &grad_ahead)
        for b in range(bundles):
            sum_lines(t, strips + b*lay.strip, j*t.y.in_step, grad + b*t.grad_strip, lines, cols,
                      sums + (base + b)*lay.lanes.vectors*panel(lay), &x_ahead, &grad_ahead)
        staged = needed
        j += lines


cdef void sum_lines(
    const WeightGradient* t, const real* x, Py_ssize_t first, const real* grad, Py_ssize_t lines, Py_ssize_t cols,
    real* sums, Fetch* x_ahead, Fetch* grad_ahead,
) noexcept nogil:
    """Add the products of a few lines for one bundle; they read staged lines from `first` on."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t v
    cdef ChannelSum p
    p.line_at, p.line_step = lay.line_at + first % lay.ring, t.y.in_step
    p.x_pixel, p.where = lay.lanes.pixel, viload_i32(lay.lanes.source, VLEN)
    p.grad_pixel, p.lines, p.pixels = lay.lanes.vectors*VLEN, lines, cols
    p.grad_line, p.sums_tap = t.grad_line, t.x.phase.apart*lay.lanes.channels*VLEN
    for v in range(lay.lanes.vectors):
        p.grad = grad + v*VLEN
        if lay.lanes.together > 1:
            sum_vector(t, p, PICKED, x, sums + v*panel(lay), x_ahead, grad_ahead)
        else:
            sum_vector(t, p, SPREAD, x, sums + v*panel(lay), x_ahead, grad_ahead)


cdef inline void take_ahead(ChannelSum* p, Fetch* x_ahead, Fetch* grad_ahead) noexcept nogil:
    """What one tile calls in; the rest is left to the next ones."""
    p.x_ahead, p.grad_ahead = x_ahead[0], grad_ahead[0]
    pass_on(x_ahead, p.lines*p.pixels)
    pass_on(grad_ahead, p.lines*p.pixels)


cdef inline void sum_vector(
    const WeightGradient* t, ChannelSum p, const int reading, const real* x, real* sums, Fetch* x_ahead,
    Fetch* grad_ahead,
) noexcept nogil:
    """All taps and channels of one vector: sources as evenly as they go."""
    cdef Py_ssize_t r, i, tiles
    if t.window != NO_WINDOW:
        p.x, p.sums, p.source = x, sums, t.sources
        take_ahead(&p, x_ahead, grad_ahead)
        sum_window_of(t.window, &p, t.run)
        return
    for r in range(t.x.phase.runs):
        p.x, p.sums = x + t.run[r].x, sums + t.run[r].w
        tiles = ceil_div(t.count, sources_of(t.run[r].taps))
        for i in range(tiles):
            p.source = t.sources + i*t.count // tiles
            take_ahead(&p, x_ahead, grad_ahead)
            sum_run_of(t.run[r].taps, <int>((i + 1)*t.count // tiles - i*t.count // tiles), reading, &p)


cdef void finish_vector(const WeightGradient* t, const Weights* w, Py_ssize_t index) noexcept nogil:
    """Add up the chunks of one vector, in order, and write the weights' gradient."""
    cdef const Lanes* lanes = &t.layout.lanes
    cdef Py_ssize_t bundle = index // lanes.vectors, vector = index % lanes.vectors
    cdef Py_ssize_t chunk, i, r, s, c, g, k, count = min(lanes.lanes - vector*VLEN, <Py_ssize_t>VLEN)
    cdef real* total = t.sums + index*panel(&t.layout)
    cdef const real* part
    cdef real* target
    for chunk in range(1, t.chunks):
        part = total + chunk*t.sums_chunk
        for i in range(t.layout.taps*lanes.channels):
            vstore(total + i*VLEN, vload(total + i*VLEN) + vload(part + i*VLEN))
    for r in range(t.y.kernel):
        for s in range(t.x.kernel):
            for c in range(lanes.channels):
                target = (w.data + r*w.row + s*w.col + c*w.channel + bundle*lanes.together*w.group
                          + vector*VLEN*w.lane)
                for g in range(groups_of(lanes, bundle)):
                    for k in range(count):
                        target[g*w.group + k*w.lane] = total[g*lanes.lanes + k]
                total = total + VLEN


cdef struct Room:
    # Scratch: the sums, strips for each thread, and tables.
    Py_ssize_t sums, strips, bytes
    int threads


cdef Room make_room(WeightGradient* t, int threads) noexcept nogil:
    """Divide the work."""
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t outputs = lay.lanes.groups*lay.lanes.lanes
    cdef Room room
    room.threads = worth(threads, <double>t.images*t.y.count*t.x.count*outputs*lay.lanes.channels*lay.taps)
    divide_sum(t)
    t.count = t.y.kernel*lay.lanes.channels
    room.sums = ceil_div(t.chunks*t.sums_chunk, 64)*64
    room.strips = ceil_div(lay.abreast*(lay.strip + t.grad_strip), 64)*64
    room.bytes = ((room.sums + room.threads*room.strips)*sizeof(real) + t.x.phase.runs*sizeof(Run)
                  + t.count*sizeof(Source) + windows_of(lay)*sizeof(Window) + 2*lay.ring*sizeof(Py_ssize_t))
    return room


cdef bint sum_gradient(WeightGradient* t, const Weights* w, int threads) noexcept nogil:
    cdef Layout* lay = &t.layout
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t unit, units = t.chunks*t.shares, vectors = lay.lanes.bundles*lay.lanes.vectors
    cdef Py_ssize_t elements = t.images*(t.source.image + t.target.image)
    cdef real* memory = <real*>scratch(room.bytes)
    if memory is NULL:
        return False
    threads = room.threads
    t.far = is_far(elements)
    cdef Run* run = <Run*>(memory + room.sums + threads*room.strips)
    cdef Source* sources = <Source*>(run + t.x.phase.runs)
    cdef Window* windows = <Window*>(sources + t.count)
    list_runs(t, run)
    t.window = window_of(lay, t.y.kernel, run, t.x.phase.runs)
    list_sources(t, sources)
    list_windows(lay, &t.x, &t.source, windows)
    list_lines(lay, <Py_ssize_t*>(windows + windows_of(lay)))
    t.sums, t.run, t.sources = memory, run, sources
    with parallel(num_threads=threads):
        for unit in prange(units, schedule='dynamic', chunksize=dealt(units, threads, elements)):
            sum_unit(t, unit, memory + room.sums + threadid()*room.strips)
    for unit in prange(vectors, schedule='static', num_threads=threads):
        finish_vector(t, w, unit)
    free(memory)
    return True


cdef void set_up(WeightGradient* t, const Pass* p, Phase* phases) noexcept nogil:
    cdef const Convolution* c = &p.convolution
    cdef Lanes lanes = lay_lanes(c.groups, c.lanes, c.filters)
    t.y, t.x = side_of(&c.down, phases), side_of(&c.across, phases + 1)
    t.images, t.layout = c.images, lay_out(&lanes, &t.y, &t.x)
    t.layout.prologue = p.prologue
    t.input, t.grad, t.source, t.target = p.input, p.grad, input_image(c), output_image(c)
    t.grad_rows = p.grad_rows


cdef int compute(const Pass* p) noexcept nogil:
    cdef WeightGradient t
    cdef Weights w = weights_of(p)
    cdef Phase phases[2]
    set_up(&t, p, phases)
    return sum_gradient(&t, &w, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef WeightGradient t
    cdef Phase phases[2]
    set_up(&t, p, phases)
    return granted(make_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
