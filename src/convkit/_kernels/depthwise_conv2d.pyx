"""Depthwise convolution, one channel in and out of each group: forward and backward-input.

Nothing is staged but what a prologue makes of the input (_prologue.pxd): a strip of its lines lies in cache. Vectors
are those of _depthwise.pxd. Pixels whose window lies inside of the image run through tiles; at the edges, taps that
would read the padding are left out.

Threads take units of work: a few lines of outputs, whole, so that memory is read and written from front to back. Every
output is summed whole by one thread in an order that the shape decides.

Scratch: the packed weights; with a prologue, for each thread a strip (of _staged_lines.pxd).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free

from convkit._kernels._axis cimport Axis, Range, phase_axis, phase_count, taps_inside
from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._depthwise cimport (
    DEPTH, Weights, fetch_of, first_channel, inner_outputs, panel, reach, vectors_of, weights_of,
)
from convkit._kernels._epilogue cimport Epilogue, finish
from convkit._kernels._image cimport Image
from convkit._kernels._lanewise cimport (
    RUN, VECTORS, WHOLE, LaneProduct, Run, lane_tile_height, lane_tile_of, pass_on,
)
from convkit._kernels._lines cimport is_near
from convkit._kernels._pass cimport Pass, computing, packing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport LANE_ROWS, VLEN, flush_denormals, real, restore_denormals, vload, vr, vsplat, vstore
from convkit._kernels._staged_lines cimport Lines, image_with, lines_of, strip_size
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    EDGE_VECTORS = 4                # of a pixel at the edge that are summed at a time
    UNITS = 8                       # of work for each thread


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
    p.x_pixel, p.out_pixel = x.in_step*t.source.col, x.axis.out_step*t.target.col
    p.w_vector, p.w_tap = panel(t.w), x.apart*x.axis.weight_step*VLEN
    p.init_pixel, p.init_vector = 0, VLEN
    p.storing = VECTORS
    source = source + x.axis.first*t.source.col
    target = target + x.axis.out_first*t.target.col
    while i < x.inner.behind:
        height = lane_tile_height(x.inner.behind - i, 2)
        p.x, p.out = source + i*p.x_pixel, target + i*p.out_pixel
        p.w, p.init, p.blocks = t.packed, t.bias, t.target.col // (2*VLEN)
        p.x_vector = p.out_vector = VLEN
        correlate_tile(p, run, rows, x.runs, 2, height)
        pass_on(&p.reads, p.blocks)
        pass_on(&p.writes, p.blocks)
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
    if threads == 1:                # a team of one waits for itself, in the operating system
        for i in range(t.units):
            correlate_unit(t, i, strips)
    else:
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
