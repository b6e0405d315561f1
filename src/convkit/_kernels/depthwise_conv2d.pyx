"""Depthwise convolution, one channel in and out of each group: forward and both backward passes.

Nothing is staged: images lie as NHWC, so a vector of channels of any pixel is whole where it lies. Pixels whose window
lies inside of the image run through tiles; at the edges, taps that would read the padding are left out. The last vector
of channels ends where the channels end: it overlaps the one before, and what they share is computed twice. There must
be channels for one vector.

Threads take units of work: a few lines of outputs, whole, so that memory is read and written from front to back. Every
output is summed whole by one thread in an order that the shape decides.

What a prologue makes of the input (_prologue.pxd) lies in cache: forward, a strip of lines; for backward-weight, a
vector of channels of a few.

Scratch: the packed weights, or for backward-weight the partial sums (a sixteenth of the input, or one copy of the
weights where that is larger); with a prologue, for each thread a strip (of _staged_lines.pxd), or a few lines of a
vector.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._axis cimport Axis, Range, outputs_inside, phase_axis, phase_count, taps_inside
from convkit._kernels._convolution cimport Convolution, input_image, output_image, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish
from convkit._kernels._image cimport Image
from convkit._kernels._lanewise cimport (
    CACHE_LINE, RUN, WHOLE, Fetch, LaneProduct, Run, fetch, lane_tile_height, lane_tile_of,
)
from convkit._kernels._lanewise_gradient cimport SIDE, WindowSum, sum_window_of
from convkit._kernels._lines cimport is_near
from convkit._kernels._pass cimport Filters, Pass, computing, packing
from convkit._kernels._prologue cimport Prologue, map_column, maps
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport LANE_ROWS, VLEN, flush_denormals, real, restore_denormals, vload, vr, vsplat, vstore
from convkit._kernels._staged_lines cimport Lines, image_with, lines_of, strip_size
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    # Products summed in registers at a time: the error of a chain grows with its length.
    DEPTH = 768
    EDGE_VECTORS = 4                # of a pixel at the edge that are summed at a time
    UNITS = 8                       # of work for each thread


# ---------------------------------------------------------------------------------------------------------------------
# What is common to the passes: vectors of channels, weights


cdef struct Weights:
    # One logical weight (C, 1, rows, cols), by strides in elements.
    real* data
    Py_ssize_t channel, row, col, rows, cols, channels


cdef Weights weights_of(const Pass* p) noexcept nogil:
    cdef const Filters* f = &p.filters
    cdef Weights w
    w.data, w.channel, w.row, w.col = f.data, f.output, f.row, f.col
    w.channels, w.rows, w.cols = p.convolution.outputs, p.convolution.down.kernel, p.convolution.across.kernel
    return w


cdef inline Py_ssize_t vectors_of(Py_ssize_t channels) noexcept nogil:
    return ceil_div(channels, VLEN)


cdef inline Py_ssize_t first_channel(Py_ssize_t channels, Py_ssize_t vector) noexcept nogil:
    return min(vector*VLEN, channels - VLEN)


cdef inline Py_ssize_t panel(const Weights* w) noexcept nogil:
    """Weights of one vector: [row][col][lane]."""
    return w.rows*w.cols*VLEN


cdef void pack_vector(const Weights* w, Py_ssize_t vector, real* p) noexcept nogil:
    cdef Py_ssize_t r, s, k
    cdef const real* source
    for r in range(w.rows):
        for s in range(w.cols):
            source = w.data + first_channel(w.channels, vector)*w.channel + r*w.row + s*w.col
            if w.channel == 1:
                vstore(p, vload(source))
            else:
                for k in range(VLEN):
                    p[k] = source[k*w.channel]
            p = p + VLEN


cdef void unpack_vector(const Weights* w, Py_ssize_t vector, const real* p) noexcept nogil:
    cdef Py_ssize_t r, s, k
    cdef real* target
    for r in range(w.rows):
        for s in range(w.cols):
            target = w.data + first_channel(w.channels, vector)*w.channel + r*w.row + s*w.col
            if w.channel == 1:
                vstore(target, vload(p))
            else:
                for k in range(VLEN):
                    target[k*w.channel] = p[k]
            p = p + VLEN


cdef inline Py_ssize_t reach(const Axis* axis) noexcept nogil:
    """Inputs from the first tap of an output to its last."""
    return (axis.taps - 1)*axis.grain*axis.tap_step + 1


cdef Range inner_outputs(const Axis* axis) noexcept nogil:
    """Outputs none of whose taps reads the padding."""
    cdef Range inner, last
    inner.first, inner.behind = 0, axis.count
    if axis.taps:
        inner, last = outputs_inside(axis, 0), outputs_inside(axis, axis.taps - 1)
        inner.first, inner.behind = max(inner.first, last.first), min(inner.behind, last.behind)
    inner.first = min(inner.first, axis.count)
    inner.behind = max(inner.first, inner.behind)
    return inner


# ---------------------------------------------------------------------------------------------------------------------
# Forward and backward-input


cdef struct Phase:
    # Outputs of one phase of the stride in a line.
    Axis axis
    Range inner
    Py_ssize_t in_step, tap_step            # in pixels
    Py_ssize_t apart                        # taps that read neighbouring inputs, if any, are so many apart
    Py_ssize_t runs                         # of such taps, in each row of the kernel


cdef Phase phase_of(const Axis* axis) noexcept nogil:
    cdef Phase p
    cdef Py_ssize_t first, step = max(axis.in_step, <Py_ssize_t>1)
    p.axis, p.inner, p.runs = axis[0], inner_outputs(axis), 0
    p.in_step, p.tap_step = axis.grain*step, axis.grain*axis.tap_step
    p.apart = step // axis.tap_step if axis.tap_step > 0 and step % axis.tap_step == 0 else max(axis.taps, 1)
    for first in range(min(p.apart, axis.taps)):
        p.runs += ceil_div(ceil_div(axis.taps - first, p.apart), RUN)
    return p


cdef struct Correlation:
    const Axis* y
    const Phase* x
    Py_ssize_t y_phases, x_phases
    Py_ssize_t images
    Lines lines                     # of the input
    const real* input
    Image source
    real* output
    Image target
    const real* packed              # NULL if they are to be packed
    const real* bias                # as lanes of vectors
    const Weights* w
    const Run* run                  # of all phases
    Epilogue epilogue
    Py_ssize_t units
    Py_ssize_t blocks               # in a line of outputs


cdef Py_ssize_t list_runs(const Correlation* t, Run* run) noexcept nogil:
    """Where the runs of each phase begin, in the image and in the weights; how many there are, if `run` is NULL."""
    cdef const Axis* y
    cdef const Phase* x
    cdef Py_ssize_t i, j, r, first, s, row, listed = 0
    for i in range(t.y_phases):
        for j in range(t.x_phases):
            y, x = &t.y[i], &t.x[j]
            if run is NULL:
                listed += y.taps*x.runs
                continue
            for r in range(y.taps):
                row = (y.weight_first + r*y.weight_step)*t.w.cols
                for first in range(min(x.apart, x.axis.taps)):
                    s = first
                    while s < x.axis.taps:
                        run.x = r*y.tap_step*y.grain*t.source.row + s*x.tap_step*t.source.col
                        run.w = (row + x.axis.weight_first + s*x.axis.weight_step)*VLEN
                        run.taps = <int>min(<Py_ssize_t>RUN, ceil_div(x.axis.taps - s, x.apart))
                        run += 1
                        s += RUN*x.apart
    return listed


cdef Fetch fetch_of(const real* first, const real* behind, Py_ssize_t blocks) noexcept nogil:
    """Memory that so many blocks call in, all of them together."""
    cdef Fetch f
    f.next, f.quota = first, ceil_div(ceil_div((behind - first)*<Py_ssize_t>sizeof(real), CACHE_LINE), blocks)
    return f


cdef const real* read_until(const Correlation* t, Py_ssize_t line) noexcept nogil:
    """Where the input that the lines up to this one read ends."""
    cdef Py_ssize_t image = line // t.target.rows, row
    cdef const Axis* y = t.y + line % t.target.rows % t.y_phases
    row = y.first + y.grain*(y.in_step*(line % t.target.rows // t.y_phases) + (y.taps - 1)*y.tap_step) + 1
    return t.input + image*t.source.image + max(<Py_ssize_t>0, min(row, t.source.rows))*t.source.row


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* strip) noexcept nogil:
    cdef Py_ssize_t count = t.images*t.target.rows, line
    cdef Lines lines = t.lines
    cdef unsigned long mode = flush_denormals()
    lines.strip = strip
    for line in range(unit*count // t.units, (unit + 1)*count // t.units):
        correlate_line(t, line, &lines)
    restore_denormals(mode)


cdef void correlate_line(const Correlation* t, Py_ssize_t line, Lines* lines) noexcept nogil:
    """One line of outputs, of one phase after the other."""
    cdef Py_ssize_t image = line // t.target.rows, row = line % t.target.rows, i, col, first
    cdef const Axis* y = t.y + row % t.y_phases
    cdef const Phase* x
    cdef const Run* run = t.run
    cdef const real* source
    cdef real* target = t.output + line*t.target.row
    cdef Range rows = taps_inside(y, row // t.y_phases)
    cdef LaneProduct p
    first = y.first + y.grain*y.in_step*(row // t.y_phases)
    source = image_with(lines, image, first, first + reach(y)) + first*t.source.row
    call_in(t, line + 1, &p)
    for i in range(row % t.y_phases):
        for col in range(t.x_phases):
            run = run + t.y[i].taps*t.x[col].runs
    for i in range(t.x_phases):
        x = &t.x[i]
        for col in range(x.inner.first):
            correlate_edge(t, y, x, rows, col, source, target)
        correlate_inner(t, x, run, rows, source, target, &p)
        for col in range(x.inner.behind, x.axis.count):
            correlate_edge(t, y, x, rows, col, source, target)
        run = run + y.taps*x.runs
    finish(&t.epilogue, 1, t.target.row, t.target.row, target)


cdef inline void call_in(const Correlation* t, Py_ssize_t line, LaneProduct* p) noexcept nogil:
    """What this line will be the first to read, and what it will write.

    Images that may be near are left alone. Larger ones may lie in a cache too, for who asks again at once; but in a
    network, where much else has been read since, calling them in makes a layer a quarter faster.
    """
    p.reads = p.writes = fetch_of(t.input, t.input, 1)
    if not is_near(t.images*(t.source.image + t.target.image)) and line < t.images*t.target.rows:
        p.reads = fetch_of(read_until(t, line - 1), read_until(t, line), t.blocks)
        p.writes = fetch_of(t.output + line*t.target.row, t.output + (line + 1)*t.target.row, t.blocks)


cdef void correlate_inner(
    const Correlation* t, const Phase* x, const Run* run, Range rows, const real* source, real* target,
    LaneProduct* p,
) noexcept nogil:
    """The outputs whose windows lie inside, as far as columns go: tiles, and for each tile all vectors."""
    cdef Py_ssize_t i = x.inner.first, v, height, channel, vectors = vectors_of(t.target.col)
    cdef Py_ssize_t block = CACHE_LINE // sizeof(real)*(t.target.col // (2*VLEN))
    p.x_pixel, p.out_pixel = x.in_step*t.source.col, x.axis.out_step*t.target.col
    p.w_vector, p.w_tap = panel(t.w), x.apart*x.axis.weight_step*VLEN
    p.init_pixel, p.init_vector = 0, VLEN
    p.whole = True
    source = source + x.axis.first*t.source.col
    target = target + x.axis.out_first*t.target.col
    while i < x.inner.behind:
        height = lane_tile_height(x.inner.behind - i, 2)
        p.x, p.out = source + i*p.x_pixel, target + i*p.out_pixel
        p.w, p.init, p.blocks = t.packed, t.bias, t.target.col // (2*VLEN)
        p.x_vector = p.out_vector = VLEN
        correlate_tile(p, run, rows, x.runs, 2, height)
        p.reads.next, p.writes.next = p.reads.next + block*p.reads.quota, p.writes.next + block*p.writes.quota
        for v in range(2*p.blocks, vectors):
            channel = first_channel(t.target.col, v)
            p.x, p.out = source + i*p.x_pixel + channel, target + i*p.out_pixel + channel
            p.w, p.init, p.blocks = t.packed + v*panel(t.w), t.bias + v*VLEN, 1
            correlate_tile(p, run, rows, x.runs, 1, height)
        i += height


cdef inline void correlate_tile(
    const LaneProduct* tile, const Run* run, Range rows, Py_ssize_t runs, const int vectors, Py_ssize_t pixels,
) noexcept nogil:
    """About DEPTH products of the sums at a time, in whole rows of taps."""
    cdef Py_ssize_t row = rows.first, deep = max(<Py_ssize_t>1, DEPTH // max(runs*RUN, <Py_ssize_t>1)), count
    cdef LaneProduct p = tile[0]
    while True:
        count = max(<Py_ssize_t>0, min(deep, rows.behind - row))
        p.run, p.runs = run + row*runs, count*runs
        lane_tile_of(pixels, vectors, WHOLE, &p)
        row += count
        if row >= rows.behind:
            break
        p.init, p.init_pixel, p.init_vector = p.out, p.out_pixel, p.out_vector


cdef struct Edge:
    # A pixel some of whose taps are left out: the first of the others, and the steps from one to the next.
    const real* x
    const real* w
    Py_ssize_t rows, cols, x_row, x_col, w_row, w_col, w_vector


cdef inline void edge_tile(const int vectors, const Edge* e, const real* init, real* out) noexcept nogil:
    cdef vr acc[EDGE_VECTORS]
    cdef const real* x
    cdef const real* w
    cdef Py_ssize_t r, _
    cdef int v
    for v in range(vectors):
        acc[v] = vsplat(0)
    for r in range(e.rows):
        x, w = e.x + r*e.x_row, e.w + r*e.w_row
        for _ in range(e.cols):
            for v in range(vectors):
                acc[v] = acc[v] + vload(x + v*VLEN)*vload(w + v*e.w_vector)
            x, w = x + e.x_col, w + e.w_col
    for v in range(vectors):
        vstore(out + v*VLEN, vload(init + v*VLEN) + acc[v])


cdef void correlate_edge(
    const Correlation* t, const Axis* y, const Phase* x, Range rows, Py_ssize_t col, const real* source, real* target,
) noexcept nogil:
    """One pixel, with the taps that it has."""
    cdef Range cols = taps_inside(&x.axis, col)
    cdef Py_ssize_t v = 0, channel, whole = t.target.col // VLEN, vectors = vectors_of(t.target.col)
    cdef Edge e
    e.rows, e.cols = max(rows.behind - rows.first, <Py_ssize_t>0), max(cols.behind - cols.first, <Py_ssize_t>0)
    e.x_row, e.x_col = y.grain*y.tap_step*t.source.row, x.tap_step*t.source.col
    e.w_row, e.w_col, e.w_vector = y.weight_step*t.w.cols*VLEN, x.axis.weight_step*VLEN, panel(t.w)
    source = source + rows.first*e.x_row + cols.first*e.x_col + (x.axis.first + x.in_step*col)*t.source.col
    target = target + (x.axis.out_first + x.axis.out_step*col)*t.target.col
    while v < vectors:
        channel = first_channel(t.target.col, v)
        e.x = source + channel
        e.w = (t.packed + v*e.w_vector + rows.first*e.w_row + cols.first*e.w_col
               + (y.weight_first*t.w.cols + x.axis.weight_first)*VLEN)
        if v + EDGE_VECTORS <= whole:
            edge_tile(EDGE_VECTORS, &e, t.bias + v*VLEN, target + channel)
            v += EDGE_VECTORS
        else:
            edge_tile(1, &e, t.bias + v*VLEN, target + channel)
            v += 1


cdef struct Room:
    # Scratch: the weights and the bias of each vector, a strip for each thread, and a table of the runs.
    Py_ssize_t weights, strip
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef Room make_room(Correlation* t, const Weights* w, int threads) noexcept nogil:
    """Divide the work."""
    cdef Py_ssize_t lines = t.images*t.target.rows, vectors = vectors_of(w.channels)
    cdef Room room
    # A phase has its share of the outputs, and of the taps.
    room.threads = worth(threads, <double>lines*t.target.row*(w.rows*w.cols/(<double>t.y_phases*t.x_phases) + 1))
    room.weights, room.strip, room.bytes = vectors*panel(w) if t.packed is NULL else 0, strip_size(&t.lines), 0
    t.w, t.run = w, NULL
    t.units = min(lines, <Py_ssize_t>UNITS*room.threads) if room.threads > 1 else 1
    if lines*t.target.row:
        room.bytes = ((room.weights + vectors*VLEN + room.threads*room.strip)*sizeof(real)
                      + list_runs(t, NULL)*sizeof(Run))
    return room


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """Pack, divide the work and run it. `bias` may be NULL."""
    cdef Py_ssize_t vectors = vectors_of(w.channels), weights, strip, i
    cdef Room room = make_room(t, w, threads)
    if room.bytes == 0:
        return True
    cdef real* memory = <real*>scratch(room.bytes)
    if memory is NULL:
        return False
    threads, weights, strip = room.threads, room.weights, room.strip
    cdef real* strips = memory + weights + vectors*VLEN
    cdef Run* run = <Run*>(strips + threads*strip)
    list_runs(t, run)
    for i in range(vectors):
        if t.packed is NULL:
            pack_vector(w, i, memory + i*panel(w))
        vstore(memory + weights + i*VLEN, vsplat(0) if bias is NULL else vload(bias + first_channel(w.channels, i)))
    t.blocks = t.x_phases*ceil_div(t.target.cols, t.x_phases*LANE_ROWS)*max(<Py_ssize_t>1, w.channels // (2*VLEN))
    if t.packed is NULL:
        t.packed = memory
    t.bias, t.run = memory + weights, run
    with parallel(num_threads=threads):
        for i in prange(t.units, schedule='dynamic'):
            correlate_unit(t, i, strips + threadid()*strip)
    free(memory)
    return True


cdef Py_ssize_t phases_bytes(const Convolution* c) noexcept nogil:
    return phase_count(&c.across)*sizeof(Phase) + phase_count(&c.down)*sizeof(Axis)


cdef void set_up(Correlation* t, const Pass* p, void* phases) noexcept nogil:
    """A correlation for every phase of the stride."""
    cdef const Convolution* c = &p.convolution
    cdef Phase* x = <Phase*>phases
    cdef Axis* y
    cdef Axis axis
    cdef Py_ssize_t i
    t.images, t.y_phases, t.x_phases = c.images, phase_count(&c.down), phase_count(&c.across)
    t.source, t.target = source_image(c), target_image(c)
    t.input, t.output, t.packed, t.epilogue = p.input, p.output, p.packed, p.epilogue
    y = <Axis*>(x + t.x_phases)
    for i in range(t.y_phases):
        y[i] = phase_axis(&c.down, i)
    for i in range(t.x_phases):
        axis = phase_axis(&c.across, i)
        x[i] = phase_of(&axis)
    t.y, t.x = y, x
    t.lines = lines_of(&p.prologue, p.input, &t.source, reach(y))


cdef int compute(const Pass* p) noexcept nogil:
    cdef void* phases = scratch(phases_bytes(&p.convolution))
    cdef Weights w = weights_of(p)
    cdef Correlation t
    cdef bint done = phases is not NULL
    if done:
        set_up(&t, p, phases)
        done = correlate(&t, &w, p.bias, p.threads)
    free(phases)
    return done


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef void* phases = scratch(phases_bytes(&p.convolution))
    cdef Weights w = weights_of(p)
    cdef Correlation t
    cdef Py_ssize_t bytes = -1
    if phases is not NULL:
        set_up(&t, p, phases)
        bytes = granted(phases_bytes(&p.convolution)) + granted(make_room(&t, &w, p.threads).bytes)
    free(phases)
    return bytes


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    return vectors_of(w.channels)*panel(&w)


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t vector
    for vector in range(vectors_of(w.channels)):
        pack_vector(&w, vector, packed + vector*panel(&w))
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)


# ---------------------------------------------------------------------------------------------------------------------
# Backward-weight


cdef enum:
    PIXELS = 192                    # about so many, in whole lines, at a time
    PARTIAL_SHARE = 16              # of the input: the size of all partial sums
    ENOUGH_UNITS = 32               # parallelism offered, whatever the number of threads


cdef struct WeightGradient:
    Axis y, x
    Range inner
    Py_ssize_t in_step, tap_step    # in pixels
    Py_ssize_t images
    const real* input
    Image source
    Prologue prologue               # of the input
    const real* grad
    Image target
    const Weights* w
    Py_ssize_t chunks, shares       # the lines are cut into chunks, the vectors dealt out in shares
    real* sums                      # [chunk] and then as packed weights


cdef void divide_sum(WeightGradient* t) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Py_ssize_t lines = t.images*t.target.rows
    cdef Py_ssize_t fit = lines*t.target.cols // (PARTIAL_SHARE*t.w.rows*t.w.cols)
    t.chunks = max(<Py_ssize_t>1, min(min(fit, lines), <Py_ssize_t>ENOUGH_UNITS))
    t.shares = min(vectors_of(t.w.channels), ceil_div(ENOUGH_UNITS, t.chunks))


cdef inline Py_ssize_t lines_together(const WeightGradient* t) noexcept nogil:
    """Lines of outputs that are summed at a time, at most."""
    return max(<Py_ssize_t>1, PIXELS // max(t.target.cols, <Py_ssize_t>1))


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, real* mapped) noexcept nogil:
    """One chunk of the lines, for one share of the vectors: a few lines of one image at a time."""
    cdef Py_ssize_t share = unit % t.shares, chunk = unit // t.shares, rows = t.target.rows, lines = t.images*rows
    cdef Py_ssize_t vectors = vectors_of(t.w.channels), first = share*vectors // t.shares, v, count
    cdef Py_ssize_t last = (share + 1)*vectors // t.shares, line = chunk*lines // t.chunks
    cdef Py_ssize_t behind = (chunk + 1)*lines // t.chunks
    cdef Py_ssize_t most = lines_together(t)
    cdef real* sums = t.sums + chunk*vectors*panel(t.w)
    cdef Fetch x, grad
    cdef unsigned long mode = flush_denormals()
    memset(sums + first*panel(t.w), 0, (last - first)*panel(t.w)*sizeof(real))
    x.quota = grad.quota = 0
    while line < behind:
        count = min(min(most, behind - line), rows - line % rows)
        if not is_near(t.images*(t.source.image + t.target.image)) and t.shares == 1:
            if not maps(&t.prologue):
                x = fetch_lines(t.input, &t.source, line + count, min(count, behind - line - count), t, vectors)
            grad = fetch_of(t.grad + (line + count)*t.target.row,
                            t.grad + min(line + 2*count, behind)*t.target.row, vectors)
        for v in range(first, last):
            x.next, grad.next = fetch(x.next, x.quota), fetch(grad.next, grad.quota)
            sum_lines(t, line // rows, line % rows, count, v, sums + v*panel(t.w), mapped)
        line += count
    restore_denormals(mode)


cdef Fetch fetch_lines(
    const real* input, const Image* source, Py_ssize_t line, Py_ssize_t lines, const WeightGradient* t,
    Py_ssize_t vectors,
) noexcept nogil:
    """The input that these lines of outputs are the first to read, if they are of one image: they step over as much."""
    cdef Py_ssize_t row = line % t.target.rows*t.y.grain*t.y.in_step + t.y.first + (t.w.rows - 1)*t.y.grain*t.y.tap_step
    cdef Py_ssize_t first = max(<Py_ssize_t>0, min(row, source.rows))
    cdef Py_ssize_t behind = max(first, min(row + lines*t.y.grain*t.y.in_step, source.rows))
    input = input + line // t.target.rows*source.image
    return fetch_of(input + first*source.row, input + behind*source.row, vectors)


cdef void sum_lines(
    const WeightGradient* t, Py_ssize_t image, Py_ssize_t line, Py_ssize_t lines, Py_ssize_t vector, real* sums,
    real* mapped,
) noexcept nogil:
    """Add the products of a few lines."""
    cdef Py_ssize_t channel = first_channel(t.w.channels, vector), pixel = t.source.col, i = 0, first, behind
    cdef const real* input = t.input + image*t.source.image + channel
    cdef WindowSum p
    p.line_rows, p.tap_rows, p.rows = t.y.grain*t.y.in_step, t.y.grain*t.y.tap_step, t.source.rows
    p.pixel_cols, p.tap_cols, p.cols = t.in_step, t.tap_step, t.source.cols
    p.row = t.y.first + line*p.line_rows
    if maps(&t.prologue):
        first, behind = max(p.row, <Py_ssize_t>0), min(p.row + (lines - 1)*p.line_rows + reach(&t.y), p.rows)
        map_column(&t.prologue, channel, input + first*t.source.row, pixel, (behind - first)*p.cols,
                   lines*p.line_rows*t.source.row, mapped)
        pixel = VLEN
        input = mapped - first*p.cols*pixel
    p.x_line, p.x_row, p.grad_line = p.line_rows*p.cols*pixel, p.tap_rows*p.cols*pixel, t.target.row
    p.x_pixel, p.x_tap, p.grad_pixel = p.pixel_cols*pixel, p.tap_cols*pixel, t.target.col
    p.lines, p.sums_row = lines, t.w.cols*VLEN
    while i < t.x.count:
        p.pixels = min(t.x.count - i, <Py_ssize_t>DEPTH)
        p.first, p.behind = max(t.inner.first - i, <Py_ssize_t>0), min(t.inner.behind - i, p.pixels)
        p.col = t.x.first + i*p.pixel_cols
        p.x = input + (p.row*p.cols + p.col)*pixel
        p.grad = t.grad + image*t.target.image + line*t.target.row + i*t.target.col + channel
        p.sums = sums
        sum_taps(t.w, &p)
        i += p.pixels


cdef void sum_taps(const Weights* w, const WindowSum* lines) noexcept nogil:
    """All taps: a few rows and columns of them at a time."""
    cdef Py_ssize_t r = 0, s, down, across
    cdef WindowSum p = lines[0]
    while r < w.rows:
        down = min(<Py_ssize_t>SIDE, w.rows - r)
        s = 0
        while s < w.cols:
            across = min(<Py_ssize_t>SIDE, w.cols - s)
            p.x, p.sums = lines.x + r*p.x_row + s*p.x_tap, lines.sums + r*p.sums_row + s*VLEN
            p.row, p.col = lines.row + r*p.tap_rows, lines.col + s*p.tap_cols
            sum_window_of(<int>down, <int>across, &p)
            s += across
        r += down


cdef void finish_vector(const WeightGradient* t, Py_ssize_t vector) noexcept nogil:
    """Add up the chunks of one vector, in order, and write the weights' gradient."""
    cdef Py_ssize_t chunk, i, size = vectors_of(t.w.channels)*panel(t.w)
    cdef real* total = t.sums + vector*panel(t.w)
    for chunk in range(1, t.chunks):
        for i in range(t.w.rows*t.w.cols):
            vstore(total + i*VLEN, vload(total + i*VLEN) + vload(total + chunk*size + i*VLEN))
    unpack_vector(t.w, vector, total)


cdef struct GradientRoom:
    # Scratch: the sums, and for each thread what is mapped at a time.
    Py_ssize_t sums, mapped, bytes
    int threads


cdef GradientRoom make_gradient_room(const WeightGradient* t, int threads) noexcept nogil:
    cdef GradientRoom room
    room.threads = worth(threads, <double>t.images*t.target.image*t.w.rows*t.w.cols)
    room.sums, room.mapped = t.chunks*vectors_of(t.w.channels)*panel(t.w), 0
    if maps(&t.prologue):
        room.mapped = ((lines_together(t) - 1)*t.y.grain*t.y.in_step + reach(&t.y))*t.source.cols*VLEN
    room.bytes = (room.sums + room.threads*room.mapped)*sizeof(real)
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    cdef Py_ssize_t vectors = vectors_of(t.w.channels), i, size
    cdef GradientRoom room = make_gradient_room(t, threads)
    t.inner = inner_outputs(&t.x)
    t.in_step, t.tap_step = t.x.grain*t.x.in_step, t.x.grain*t.x.tap_step
    t.sums, size, threads = <real*>scratch(room.bytes), room.mapped, room.threads
    cdef real* mapped = t.sums + room.sums
    if t.sums is NULL:
        return False
    with parallel(num_threads=threads):
        for i in prange(t.chunks*t.shares, schedule='dynamic'):
            sum_unit(t, i, mapped + threadid()*size)
    for i in range(vectors):
        finish_vector(t, i)
    free(t.sums)
    return True


cdef WeightGradient begin(const Pass* p, const Weights* w) noexcept nogil:
    cdef const Convolution* c = &p.convolution
    cdef WeightGradient t
    t.y, t.x, t.images, t.w = phase_axis(&c.down, 0), phase_axis(&c.across, 0), c.images, w
    t.input, t.grad, t.source, t.target = p.input, p.grad, input_image(c), output_image(c)
    t.prologue = p.prologue
    divide_sum(&t)
    return t


cdef int compute_gradient(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef WeightGradient t = begin(p, &w)
    return sum_gradient(&t, p.threads)


cdef Py_ssize_t gradient_bytes(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef WeightGradient t = begin(p, &w)
    return granted(make_gradient_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute_gradient, gradient_bytes)
