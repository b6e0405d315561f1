"""The gradient of the weights of a convolution of few channels to few outputs, which crowd on vectors.

See _crowded.pxd. The sum over pixels is cut into chunks by the shape alone, which are added up in a fixed order.

Scratch: the chunks' sums (SUMS_BYTES, or where that is larger ENOUGH_UNITS times the packed weights); and for each
thread staged lines (STRIP_BYTES, or the input of FEWEST_LINES lines of outputs where that is larger).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._crowded cimport (
    DEPTH, ENOUGH_UNITS, Crowd, Pattern, Room, list_runs, make_room, set_up, stage_lines, weight_at,
)
from convkit._kernels._lanewise cimport PICKED, Run
from convkit._kernels._lanewise_gradient cimport ChannelSum, Source, sources_of, sum_run_of
from convkit._kernels._lines cimport Phase
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals, viload_i32, vload, vstore
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    SUMS_BYTES = 1024*1024          # of all chunks' sums
    MOST_CHUNKS = 32


cdef struct WeightGradient:
    Crowd crowd
    const real* grad
    Py_ssize_t chunks               # the units are cut into chunks
    const Run* run
    const Source* sources           # each channel of a row of taps
    const Py_ssize_t* line_at       # where in a staged line the vectors of a pattern begin
    real* sums                      # [chunk] and then as packed weights
    Py_ssize_t sums_chunk


cdef void divide_sum(WeightGradient* t) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Py_ssize_t chunks
    t.sums_chunk = t.crowd.patterns*t.crowd.panel
    chunks = max(SUMS_BYTES // (t.sums_chunk*<Py_ssize_t>sizeof(real)), <Py_ssize_t>ENOUGH_UNITS)
    t.chunks = max(<Py_ssize_t>1, min(t.crowd.images*t.crowd.down, min(chunks, <Py_ssize_t>MOST_CHUNKS)))


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, real* sums, real* x) noexcept nogil:
    """Add the products of some lines of an image."""
    cdef const Crowd* crowd = &t.crowd
    cdef const Pattern* pattern
    cdef Py_ssize_t row = unit % crowd.down*crowd.rows, image = unit // crowd.down, a, v, together
    cdef const real* grad = t.grad + image*crowd.target.image + row*crowd.target.row
    cdef ChannelSum p
    p.pixels, p.line_at, p.line_step = min(crowd.rows, crowd.y.count - row), t.line_at, 1
    p.x_pixel, p.grad_pixel = crowd.y.in_step*crowd.line, crowd.target.row
    p.grad_line, p.sums_tap = crowd.period, crowd.y.phase.apart*crowd.taps*VLEN
    p.x_ahead.quota = p.grad_ahead.quota = 0
    stage_lines(crowd, crowd.input + image*crowd.source.image, row, p.pixels, x)
    together = max(DEPTH // p.pixels, <Py_ssize_t>1)
    for a in range(crowd.patterns):
        pattern = &crowd.pattern[a]
        p.where, v = viload_i32(pattern.where, VLEN), 0
        while v < pattern.count:
            p.lines, p.grad = min(together, pattern.count - v), grad + pattern.first + v*crowd.period
            sum_pattern(t, p, x + pattern.x + v*crowd.x_period, sums + a*crowd.panel)
            v += p.lines


cdef void sum_pattern(const WeightGradient* t, ChannelSum p, const real* x, real* sums) noexcept nogil:
    """All taps of some vectors that share a pattern: sources as evenly as they go."""
    cdef const Run* run
    cdef Py_ssize_t i, j, count = t.crowd.taps, tiles
    for i in range(t.crowd.y.phase.runs):
        run = t.run + i
        p.x, p.sums = x + run.x, sums + run.w
        tiles = ceil_div(count, sources_of(run.taps))
        for j in range(tiles):
            p.source = t.sources + j*count // tiles
            sum_run_of(run.taps, <int>((j + 1)*count // tiles - j*count // tiles), PICKED, &p)


cdef void list_sources(const Crowd* t, Source* sources, Py_ssize_t* line_at) noexcept nogil:
    """Where each channel of a row of taps lies, and the vectors of a pattern: what the tile calls lines."""
    cdef Py_ssize_t i
    for i in range(t.taps):
        sources[i].line, sources[i].x, sources[i].sums = 0, i // t.piece*t.piece, i*VLEN
        sources[i].place = <int>(i % t.piece)
    for i in range(t.pattern[0].count):
        line_at[i] = i*t.x_period


cdef void finish_sums(const WeightGradient* t, const Weights* w) noexcept nogil:
    """Add up the chunks, in order, and then the lanes of each output."""
    cdef const Crowd* crowd = &t.crowd
    cdef Py_ssize_t chunk, i, a, r, k
    cdef real* total
    cdef real* part
    for chunk in range(1, t.chunks):
        part = t.sums + chunk*t.sums_chunk
        for i in range(t.sums_chunk // VLEN):
            vstore(t.sums + i*VLEN, vload(t.sums + i*VLEN) + vload(part + i*VLEN))
    for r in range(crowd.y.kernel):
        for i in range(crowd.taps):
            for k in range(crowd.outputs):
                weight_at(crowd, w, r, i, k)[0] = 0
            for a in range(crowd.patterns):
                total = t.sums + a*crowd.panel + (r*crowd.taps + i)*VLEN
                for k in range(crowd.pattern[a].repeated, VLEN):
                    weight_at(crowd, w, r, i, (crowd.pattern[a].first + k) % crowd.outputs)[0] += total[k]


cdef Room gradient_room(const WeightGradient* t, int threads) noexcept nogil:
    return make_room(&t.crowd, t.chunks*t.sums_chunk, t.crowd.taps, t.crowd.pattern[0].count, threads)


cdef bint sum_gradient(WeightGradient* t, const Weights* w, int threads) noexcept nogil:
    """Sum the products in chunks, and these in order."""
    cdef Crowd* crowd = &t.crowd
    cdef Room room = gradient_room(t, threads)
    cdef real* memory = <real*>scratch(room.bytes)
    cdef Run* run = <Run*>(memory + room.shared + room.threads*room.strip)
    cdef Source* sources = <Source*>(run + crowd.y.phase.runs)
    cdef Py_ssize_t* line_at = <Py_ssize_t*>(sources + crowd.taps)
    cdef Py_ssize_t chunk
    if memory is NULL:
        return False
    list_runs(crowd, run)
    list_sources(crowd, sources, line_at)
    t.run, t.sources, t.line_at, t.sums = run, sources, line_at, memory
    with parallel(num_threads=room.threads):
        for chunk in prange(t.chunks, schedule='static'):
            sum_chunk(t, chunk, memory + room.shared + threadid()*room.strip)
    finish_sums(t, w)
    free(memory)
    return True


cdef void sum_chunk(const WeightGradient* t, Py_ssize_t chunk, real* x) noexcept nogil:
    cdef Py_ssize_t count = t.crowd.images*t.crowd.down, unit
    cdef real* sums = t.sums + chunk*t.sums_chunk
    cdef unsigned long mode = flush_denormals()
    memset(sums, 0, t.sums_chunk*sizeof(real))
    for unit in range(chunk*count // t.chunks, (chunk + 1)*count // t.chunks):
        sum_unit(t, unit, sums, x)
    restore_denormals(mode)


cdef WeightGradient begin(const Pass* p, Phase* phase) noexcept nogil:
    cdef WeightGradient t
    set_up(&t.crowd, p, phase)
    t.grad = p.grad
    divide_sum(&t)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef Phase phase
    cdef WeightGradient t = begin(p, &phase)
    cdef Weights w = weights_of(p)
    return sum_gradient(&t, &w, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Phase phase
    cdef WeightGradient t = begin(p, &phase)
    return granted(gradient_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
