"""Convolution of few channels to few outputs: forward, and the gradient of the weights.

A line of outputs is a run of elements, pixel by pixel, and vectors take them as they lie, several pixels each. Of a
staged line of the input all that one vector reads, at one tap, lies close together, and a permutation brings each lane
its own. So the tiles of _lanewise.pxd and _lanewise_gradient.pxd do the rest; what they call a pixel is a line here,
and what they call a channel is one of all channels of a row of taps.

A vector whose first lane is another output takes other weights: after as many elements as vectors and outputs have for
a common multiple, they repeat. The last vector ends with the line and shares lanes with the one before it: it computes
the same there again, or leaves it out of the sum.

Threads take units of work: an image, some lines of its outputs, whose input they stage with its padding. Every output
is summed whole by one thread in an order that the shape decides; the sum over pixels is cut into chunks by the shape
alone, which are added up in a fixed order.

Scratch: the packed weights, or the chunks' sums (SUMS_BYTES, or where that is larger ENOUGH_UNITS times the packed
weights); and for each thread staged lines (STRIP_BYTES, or the input of FEWEST_LINES lines of outputs where that is
larger). A function returns False where there is no memory for them, True otherwise.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int32_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, gcd, phase_axis
from convkit._kernels._call cimport Call, capsule, epilogue, memory_at
from convkit._kernels._convolution cimport Convolution, convolution
from convkit._kernels._epilogue cimport Epilogue, finish, plain
from convkit._kernels._lanewise cimport PICKED, RUN, LaneProduct, Run, lane_tile_deep, lane_tile_height
from convkit._kernels._lanewise_gradient cimport ChannelSum, Source, sources_of, sum_run_of
from convkit._kernels._lines cimport Image, Phase, Side, forward_side, nhwc
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    NARROW_LANE_ROWS, VLEN, flush_denormals, real, restore_denormals, viload_i32, vload, vstore,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    STRIP_BYTES = 24*1024           # of staged lines: half of the first-level cache
    FEWEST_LINES = NARROW_LANE_ROWS
    MOST_PATTERNS = VLEN + 1
    DEPTH = 768                     # pixels, at most: the error of a chain of sums grows with its length
    SUMS_BYTES = 1024*1024          # of all chunks' sums
    MOST_CHUNKS = 32
    ENOUGH_UNITS = 8                # parallelism offered, whatever the number of threads


cdef struct Weights:
    # One logical weight, by strides in elements.
    real* data
    Py_ssize_t output, channel, row, col


cdef Weights weights(const real* data, const Py_ssize_t* strides) noexcept nogil:
    """Of an array with such strides, in bytes."""
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real)
    w.data, w.output, w.channel = <real*>data, strides[0] // size, strides[1] // size
    w.row, w.col = strides[2] // size, strides[3] // size
    return w


cdef struct Pattern:
    # Vectors of a line that take the same weights: `count` of them, `period` elements apart.
    Py_ssize_t first, count
    Py_ssize_t x                    # where in a staged line the first of them begins to read
    int32_t where[VLEN]             # how far behind that each lane does
    int repeated                    # so many lanes are the previous vector's


cdef struct Crowd:
    Side y
    Py_ssize_t images, outputs, channels
    Py_ssize_t step, taps           # elements of a line from one pixel's input to the next one's; that a pixel reads
    const real* input
    Image source
    Image target
    # The output, or its gradient; its lines are cut into vectors.
    Pattern pattern[MOST_PATTERNS]
    Py_ssize_t patterns
    Py_ssize_t period, x_period     # elements, of a line of outputs and of the input, after which patterns repeat
    Py_ssize_t piece                # elements that every lane finds in one vector of the input
    # Units of at most so many lines.
    Py_ssize_t rows, down
    Py_ssize_t before, inside       # elements of a staged line in the left padding, and in the image
    Py_ssize_t line, strip          # elements of a staged line, and of a unit
    Py_ssize_t panel                # of the weights of one pattern: [tap][lane]


cdef void add_pattern(Crowd* t, Py_ssize_t first, Py_ssize_t count, int repeated) noexcept nogil:
    cdef Pattern* pattern = &t.pattern[t.patterns]
    cdef int i
    pattern.first, pattern.count, pattern.repeated = first, count, repeated
    pattern.x = first // t.outputs*t.step
    for i in range(VLEN):
        pattern.where[i] = <int32_t>((first + i) // t.outputs*t.step - pattern.x)
    t.piece = min(t.piece, <Py_ssize_t>(VLEN - pattern.where[VLEN - 1]))
    t.patterns += 1


cdef void cut_line(Crowd* t) noexcept nogil:
    """Cut lines of at least VLEN outputs into vectors."""
    cdef Py_ssize_t whole = t.target.row // VLEN, v
    t.period = t.outputs*VLEN // gcd(t.outputs, VLEN)
    t.x_period = t.period // t.outputs*t.step
    t.patterns, t.piece = 0, VLEN
    for v in range(min(whole, t.period // VLEN)):
        add_pattern(t, v*VLEN, ceil_div(whole - v, t.period // VLEN), 0)
    if t.target.row % VLEN != 0:
        add_pattern(t, t.target.row - VLEN, 1, <int>(VLEN - t.target.row % VLEN))


cdef void cut_down(Crowd* t, Py_ssize_t rows) noexcept nogil:
    """Cut into units of about, and at most, so many lines: all of nearly the same size."""
    t.down = ceil_div(t.y.count, rows)
    t.rows = ceil_div(t.y.count, t.down)
    # The last vector may read beyond the last line.
    t.strip = ((t.rows - 1)*t.y.in_step + t.y.reach)*t.line + VLEN


cdef void set_up(Crowd* t, const Convolution* c, Phase* phase) noexcept nogil:
    cdef Axis y = phase_axis(&c.down, 0)
    t.y = forward_side(&y, c.down.kernel, phase)
    t.images, t.outputs, t.channels = c.images, c.outputs, c.channels
    t.step, t.taps = c.across.stride*c.channels, c.across.kernel*c.channels
    t.source = nhwc(c.down.in_size, c.across.in_size, c.channels)
    t.target = nhwc(c.down.out_size, c.across.out_size, c.outputs)
    cut_line(t)
    t.line = (t.target.cols - 1)*t.step + t.taps
    t.before = min(c.across.padding*c.channels, t.line)
    t.inside = min(t.line - t.before, t.source.row)
    t.panel = c.down.kernel*t.taps*VLEN
    cut_down(t, t.y.count)
    while t.rows > FEWEST_LINES and (t.strip*<Py_ssize_t>sizeof(real) > STRIP_BYTES or t.rows > DEPTH
                                     or t.images*t.down < ENOUGH_UNITS):
        cut_down(t, max(<Py_ssize_t>FEWEST_LINES, ceil_div(t.rows, 2)))


cdef void stage_lines(const Crowd* t, const real* image, Py_ssize_t row, Py_ssize_t lines, real* x) noexcept nogil:
    """Stage what so many lines of outputs from `row` on read, with zeros where the image ends."""
    cdef Py_ssize_t h = t.y.first + t.y.grain*t.y.in_step*row, _
    for _ in range((lines - 1)*t.y.in_step + t.y.reach):
        memset(x, 0, t.line*sizeof(real))
        if 0 <= h < t.source.rows:
            memcpy(x + t.before, image + h*t.source.row, t.inside*sizeof(real))
        x, h = x + t.line, h + t.y.grain


cdef inline real* weight_at(
    const Crowd* t, const Weights* w, Py_ssize_t row, Py_ssize_t tap, Py_ssize_t output,
) noexcept nogil:
    """One weight, of one of all channels of a row of taps."""
    return w.data + output*w.output + tap % t.channels*w.channel + row*w.row + tap // t.channels*w.col


cdef void list_runs(const Crowd* t, Run* run) noexcept nogil:
    """Where runs of taps of one column begin, in a staged line and in the weights."""
    cdef const Phase* y = t.y.phase
    cdef Py_ssize_t first, r
    for first in range(min(y.apart, y.taps)):
        r = first
        while r < y.taps:
            run.line, run.x, run.w = 0, r*y.tap_step*t.line, r*t.taps*VLEN
            run.taps = <int>min(<Py_ssize_t>RUN, ceil_div(y.taps - r, y.apart))
            run += 1
            r += RUN*y.apart


# ---------------------------------------------------------------------------------------------------------------------
# Forward


cdef struct Correlation:
    Crowd crowd
    real* output
    const real* packed              # a panel for each pattern
    const real* bias                # a vector for each
    const Run* run
    Epilogue epilogue


cdef void pack(const Crowd* t, const Weights* w, const real* bias, real* panels, real* biases) noexcept nogil:
    """Lay weights and biases out on the lanes of each pattern. `bias` may be NULL."""
    cdef Py_ssize_t a, r, i, output
    cdef int k
    for a in range(t.patterns):
        for k in range(VLEN):
            output = (t.pattern[a].first + k) % t.outputs
            biases[a*VLEN + k] = 0 if bias is NULL else bias[output]
            for r in range(t.y.kernel):
                for i in range(t.taps):
                    panels[a*t.panel + (r*t.taps + i)*VLEN + k] = weight_at(t, w, r, i, output)[0]


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* x) noexcept nogil:
    cdef const Crowd* crowd = &t.crowd
    cdef const Pattern* pattern
    cdef Py_ssize_t row = unit % crowd.down*crowd.rows, lines = min(crowd.rows, crowd.y.count - row), image, a, v, i
    cdef Py_ssize_t height, zero = 0
    cdef real* out
    cdef LaneProduct p
    cdef unsigned long mode = flush_denormals()
    image = unit // crowd.down
    out = t.output + image*crowd.target.image + row*crowd.target.row
    stage_lines(crowd, crowd.input + image*crowd.source.image, row, lines, x)
    p.x_pixel, p.x_vector, p.w_vector, p.out_vector = crowd.y.in_step*crowd.line, 0, 0, 0
    p.w_tap, p.out_pixel = crowd.y.phase.apart*crowd.taps*VLEN, crowd.target.row
    p.channels, p.piece, p.x_piece = crowd.taps, crowd.piece, crowd.piece
    p.run, p.runs, p.line_at = t.run, crowd.y.phase.runs, &zero
    p.whole, p.blocks, p.reads.quota, p.writes.quota = True, 1, 0, 0
    for a in range(crowd.patterns):
        pattern = &crowd.pattern[a]
        p.where, p.w = viload_i32(pattern.where, VLEN), t.packed + a*crowd.panel
        for v in range(pattern.count):
            i = 0
            while i < lines:
                height = lane_tile_height(lines - i, 1)
                p.x = x + i*p.x_pixel + pattern.x + v*crowd.x_period
                p.out = out + i*p.out_pixel + pattern.first + v*crowd.period
                p.init, p.init_pixel = t.bias + a*VLEN, 0
                lane_tile_deep(height, PICKED, p)
                i += height
    finish(&t.epilogue, lines, crowd.target.row, crowd.target.row, out)
    restore_denormals(mode)


cdef struct Room:
    # Scratch: what all threads share, staged lines for each, and tables.
    Py_ssize_t shared, strip, bytes
    int threads


cdef Room make_room(
    const Crowd* t, Py_ssize_t shared, Py_ssize_t sources, Py_ssize_t lines, int threads,
) noexcept nogil:
    cdef Room room
    cdef Py_ssize_t outputs = t.images*t.target.image
    room.threads = worth(threads, <double>outputs*(t.y.kernel*t.taps + 1))
    room.shared, room.strip = ceil_div(shared, 64)*64, ceil_div(t.strip, 64)*64
    room.bytes = ((room.shared + room.threads*room.strip)*sizeof(real) + t.y.phase.runs*sizeof(Run)
                  + sources*sizeof(Source) + lines*sizeof(Py_ssize_t))
    return room


cdef Room forward_room(const Crowd* t, int threads) noexcept nogil:
    return make_room(t, t.patterns*(t.panel + VLEN), 0, 0, threads)


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """Pack, divide the work and run it. `bias` may be NULL."""
    cdef Crowd* crowd = &t.crowd
    cdef Room room = forward_room(crowd, threads)
    cdef real* memory = <real*>scratch(room.bytes)
    cdef real* biases = memory + crowd.patterns*crowd.panel
    cdef Run* run = <Run*>(memory + room.shared + room.threads*room.strip)
    cdef Py_ssize_t unit
    if memory is NULL:
        return False
    pack(crowd, w, bias, memory, biases)
    list_runs(crowd, run)
    t.packed, t.bias, t.run = memory, biases, run
    with parallel(num_threads=room.threads):
        for unit in prange(crowd.images*crowd.down, schedule='static'):
            correlate_unit(t, unit, memory + room.shared + threadid()*room.strip)
    free(memory)
    return True


def forward(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, :] w_kcrs, const real[::1] bias_k, real[:, :, :, ::1] out_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """out = x * w + bias, for one group, columns of taps that are not dilated, and lines of at least VLEN outputs."""
    cdef Correlation t
    cdef Weights w
    cdef Phase phase
    cdef bint done
    cdef Convolution c = convolution(x_nhwc.shape, w_kcrs.shape, out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_up(&t.crowd, &c, &phase)
    t.crowd.input, t.output, t.epilogue = &x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0], plain()
    w = weights(&w_kcrs[0, 0, 0, 0], w_kcrs.strides)
    with nogil:
        done = correlate(&t, &w, &bias_k[0] if bias_k.shape[0] else NULL, threads)
    return done


cdef bint run(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = rectifier(x * w + bias + residual)."""
    cdef Correlation t
    cdef Weights w
    cdef Phase phase
    set_up(&t.crowd, &c.convolution, &phase)
    t.crowd.input, t.output, t.epilogue = memory_at(memory, c.x), memory_at(memory, c.out), epilogue(c, memory)
    w.data, w.output, w.channel, w.row, w.col = <real*>c.w, c.w_k, c.w_c, c.w_r, c.w_s
    return correlate(&t, &w, c.bias, threads)


CALL = capsule(run)


def forward_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """Bytes of scratch that `forward` takes for arrays of these shapes."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    cdef Crowd t
    cdef Phase phase
    set_up(&t, &c, &phase)
    return granted(forward_room(&t, threads).bytes)


# ---------------------------------------------------------------------------------------------------------------------
# The gradient of the weights


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


def backward_weight(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, ::1] grad_out_nhwc, real[:, :, :, :] grad_w_kcrs,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """The gradient of the weight, summed over images and positions in an order that the shape alone decides."""
    cdef WeightGradient t
    cdef Weights w
    cdef Phase phase
    cdef bint done
    cdef Convolution c = convolution(x_nhwc.shape, grad_w_kcrs.shape, grad_out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    set_up(&t.crowd, &c, &phase)
    divide_sum(&t)
    t.crowd.input, t.grad = &x_nhwc[0, 0, 0, 0], &grad_out_nhwc[0, 0, 0, 0]
    w = weights(&grad_w_kcrs[0, 0, 0, 0], grad_w_kcrs.strides)
    with nogil:
        done = sum_gradient(&t, &w, threads)
    return done


def backward_weight_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """Bytes of scratch that `backward_weight` takes for arrays of these shapes."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    cdef WeightGradient t
    cdef Phase phase
    set_up(&t.crowd, &c, &phase)
    divide_sum(&t)
    return granted(gradient_room(&t, threads).bytes)
