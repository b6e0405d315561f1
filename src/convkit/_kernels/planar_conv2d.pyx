"""Convolution with very few outputs: forward and backward-input.

A layer of three outputs (or the gradient of an image of three channels) would leave most lanes of a vector empty.
Here lanes are neighbouring columns: staged lines lie channel by channel, a vector of columns is read once for each
tap, and meets the weights of all outputs.

Threads take units of work: an image, some lines of its outputs. A few lines at a time, they stage the input,
transposed, and run tiles over it. Every output is summed whole by one thread in an order that the shape decides.

Scratch: the packed weights, and a ring of staged lines for each thread (STRIP_BYTES, or the input of one line of
outputs where that is larger).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish
from convkit._kernels._image cimport Image
from convkit._kernels._lanes cimport Lanes, lay_lanes
from convkit._kernels._lanewise cimport Run
from convkit._kernels._lines cimport (
    Layout, Phase, Side, Window, clear, cut_down, keep, lay_out, list_lines, list_windows, phases_bytes, side_of,
    windows_of,
)
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    PLANAR_SUMS, VLEN, flush_denormals, opaque, pinned, real, restore_denormals, vload, vload_lanes, vr, vsplat, vstore,
    vstore_lanes, vtranspose,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    DEPTH = 768                     # products summed in registers at a time: the error of a chain grows with its length
    MOST_OUTPUTS = 6
    MOST_LINES = 4                  # of a tile
    MOST_BLOCKS = 2                 # vectors of columns of a tile
    FEW_CHANNELS = 4                # so few are not worth a transposition in registers


cdef struct Correlation:
    Side y, x
    Layout layout
    Py_ssize_t images, outputs, channels
    const real* input
    Image source
    real* output
    Image target
    const real* packed              # [tap][channel][output]
    const real* bias                # or NULL
    const Run* run                  # of all phases, one for each tap
    Epilogue epilogue


# ---------------------------------------------------------------------------------------------------------------------
# Staging: lines of columns, channel by channel


cdef inline void transpose_square(
    const bint whole, const real* source, Py_ssize_t step, int pixels, int channels, real* target, Py_ssize_t width,
) noexcept nogil:
    """Transpose VLEN pixels by VLEN channels, or, if not `whole`, so many of them."""
    cdef vr rows[VLEN]
    cdef int i
    for i in range(VLEN):
        if whole:
            rows[i] = vload(source + i*step)
        else:
            rows[i] = vload_lanes(source + i*step, channels) if i < pixels else vsplat(0)
    vtranspose(rows)
    for i in range(VLEN):
        if whole:
            vstore(target + i*width, rows[i])
        elif i < channels:
            vstore_lanes(target + i*width, rows[i], pixels)


cdef void transpose_pixels(
    const real* source, Py_ssize_t step, Py_ssize_t pixels, Py_ssize_t channels, real* target, Py_ssize_t width,
) noexcept nogil:
    """Copy pixels `step` apart into lines of columns, `width` apart."""
    cdef Py_ssize_t first = 0, c, i
    cdef int count, here
    if channels < FEW_CHANNELS:
        for c in range(channels):
            for i in range(pixels):
                target[c*width + i] = source[i*step + c]
        return
    while first < pixels:
        count, c = <int>min(pixels - first, <Py_ssize_t>VLEN), 0
        while c < channels:
            here = <int>min(channels - c, <Py_ssize_t>VLEN)
            if count == VLEN and here == VLEN:
                transpose_square(True, source + first*step + c, step, VLEN, VLEN, target + c*width + first, width)
            else:
                transpose_square(False, source + first*step + c, step, count, here, target + c*width + first, width)
            c += VLEN
        first += VLEN


cdef void stage_line(
    const Correlation* t, const real* image, Py_ssize_t h, Py_ssize_t col, real* line,
) noexcept nogil:
    """Copy the h-th line of unit `col` across, with zeros where the image ends."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t row = t.y.first + t.y.grain*h, apart = t.x.in_step*t.x.grain*t.source.col, u, c
    cdef Py_ssize_t width = lay.plane // t.channels
    cdef const Window* window = lay.window + col*lay.planes
    cdef real* plane
    if row < 0 or row >= t.source.rows:
        clear(line, lay.line)
        return
    for u in range(lay.planes):
        plane = line + u*lay.plane
        for c in range(t.channels):
            clear(plane + c*width, window[u].before)
            clear(plane + c*width + window[u].behind, width - window[u].behind)
        transpose_pixels(image + row*t.source.row + window[u].source, apart, window[u].behind - window[u].before,
                         t.channels, plane + window[u].before, width)


# ---------------------------------------------------------------------------------------------------------------------
# The tile: a few lines of a few vectors of columns, for all outputs


cdef struct PlanarProduct:
    const real* x                   # the first column of the tile, in the ring
    const Py_ssize_t* line_at       # where staged lines lie
    Py_ssize_t line_step            # of them from one line of outputs to the next
    Py_ssize_t x_channel            # from one channel to the next
    const real* w
    const Run* run
    Py_ssize_t runs, channels
    real* sums                      # [line][block][output][lane]: the products are added to these


cdef inline void planar_tile(
    const int outputs, const int lines, const int blocks, const PlanarProduct* t,
) noexcept nogil:
    """A tile whose shape is known to the compiler: all but the last argument must be literals."""
    cdef vr acc[MOST_LINES*MOST_BLOCKS*MOST_OUTPUTS]
    cdef const real* x[MOST_LINES]
    cdef const real* w
    cdef vr value
    cdef Py_ssize_t r, _
    cdef int i, j, k
    if outputs*lines*blocks > PLANAR_SUMS:
        return
    for i in range(lines*blocks*outputs):
        acc[i] = vsplat(0)
    for r in range(t.runs):
        w = t.w + t.run[r].w
        for i in range(lines):
            x[i] = opaque(t.x + t.line_at[t.run[r].line + i*t.line_step] + t.run[r].x)
        for _ in range(t.channels):
            for i in range(lines):
                for j in range(blocks):
                    value = pinned(vload(x[i] + j*VLEN))
                    for k in range(outputs):
                        acc[(i*blocks + j)*outputs + k] = acc[(i*blocks + j)*outputs + k] + value*vsplat(w[k])
                x[i] = x[i] + t.x_channel
            w = w + outputs
    for i in range(lines*blocks*outputs):
        vstore(t.sums + i*VLEN, vload(t.sums + i*VLEN) + acc[i])


cdef inline void planar_tile_of(const int outputs, int lines, int blocks, const PlanarProduct* t) noexcept nogil:
    if lines == 1:
        if blocks == 1:
            planar_tile(outputs, 1, 1, t)
        else:
            planar_tile(outputs, 1, 2, t)
    elif lines == 2:
        if blocks == 1:
            planar_tile(outputs, 2, 1, t)
        else:
            planar_tile(outputs, 2, 2, t)
    elif blocks == 1:
        planar_tile(outputs, 4, 1, t)
    else:
        planar_tile(outputs, 4, 2, t)


cdef inline void tile_of(Py_ssize_t outputs, int lines, int blocks, const PlanarProduct* t) noexcept nogil:
    if outputs == 1:
        planar_tile_of(1, lines, blocks, t)
    elif outputs == 2:
        planar_tile_of(2, lines, blocks, t)
    elif outputs == 3:
        planar_tile_of(3, lines, blocks, t)
    elif outputs == 4:
        planar_tile_of(4, lines, blocks, t)
    elif outputs == 5:
        planar_tile_of(5, lines, blocks, t)
    else:
        planar_tile_of(6, lines, blocks, t)


cdef inline int tile_blocks(Py_ssize_t outputs, Py_ssize_t cols) noexcept nogil:
    """Vectors of columns of a tile: as many as there are registers for, beside a second line."""
    return 2 if cols > VLEN and 4*outputs <= PLANAR_SUMS else 1


cdef inline int tile_lines(Py_ssize_t outputs, int blocks, Py_ssize_t lines) noexcept nogil:
    """Lines of a tile: as many as keep the multiply-add unit busy."""
    if lines >= 4 and 4*blocks*outputs <= PLANAR_SUMS:
        return 4
    return 2 if lines >= 2 and 2*blocks*outputs <= PLANAR_SUMS else 1


# ---------------------------------------------------------------------------------------------------------------------
# The passes


cdef void pack(const Correlation* t, const Weights* w, real* p) noexcept nogil:
    cdef Py_ssize_t r, s, c, k
    for r in range(t.y.kernel):
        for s in range(t.x.kernel):
            for c in range(t.channels):
                for k in range(t.outputs):
                    p[k] = w.data[k*w.lane + c*w.channel + r*w.row + s*w.col]
                p = p + t.outputs


cdef void list_taps(const Correlation* t, Run* run) noexcept nogil:
    """Where the taps of each phase begin, in the ring and in the weights."""
    cdef const Phase* y
    cdef const Phase* x
    cdef Py_ssize_t i, j, r, s, u, weight
    for i in range(t.y.phases):
        for j in range(t.x.phases):
            y, x = &t.y.phase[i], &t.x.phase[j]
            for r in range(y.taps):
                for s in range(x.taps):
                    weight = (y.weight_first + r*y.weight_step)*t.x.kernel + x.weight_first + s*x.weight_step
                    u = x.shift + s*x.tap_step
                    run.line, run.x = y.shift + r*y.tap_step, u % t.layout.planes*t.layout.plane + u // t.layout.planes
                    run.w = weight*t.channels*t.outputs
                    run += 1


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* ring) noexcept nogil:
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t across = unit % lay.across, row = unit // lay.across % lay.down*lay.rows
    cdef Py_ssize_t image = unit // lay.across // lay.down, rows = min(lay.rows, t.y.count - row)
    cdef Py_ssize_t j = 0, staged = 0, lines, h, needed
    cdef unsigned long mode = flush_denormals()
    while j < rows:
        lines = min(lay.together, rows - j)
        needed = (j + lines - 1)*t.y.in_step + t.y.reach
        for h in range(max(staged, j*t.y.in_step), needed):
            stage_line(t, t.input + image*t.source.image, t.y.in_step*row + h, across, ring + h % lay.ring*lay.line)
        correlate_lines(t, ring, j, row + j, lines, across*lay.cols, t.output + image*t.target.image)
        staged = needed
        j += lines
    restore_denormals(mode)


cdef void correlate_lines(
    const Correlation* t, const real* ring, Py_ssize_t first, Py_ssize_t row, Py_ssize_t lines, Py_ssize_t col,
    real* image,
) noexcept nogil:
    """A few lines of outputs, of each phase; they read staged lines from first*in_step on."""
    cdef const Layout* lay = &t.layout
    cdef Py_ssize_t j, i, a, b, cols = min(lay.cols, t.x.count - col)
    cdef int high, blocks
    cdef PlanarProduct p
    p.line_step, p.x_channel, p.channels, p.w = t.y.in_step, lay.plane // t.channels, t.channels, t.packed
    j = 0
    while j < lines:
        blocks = tile_blocks(t.outputs, cols)
        high = tile_lines(t.outputs, blocks, lines - j)
        p.line_at = lay.line_at + (first + j)*t.y.in_step % lay.ring
        i = 0
        while i < cols:
            p.x = ring + i
            blocks = tile_blocks(t.outputs, cols - i)
            for a in range(t.y.phases):
                for b in range(t.x.phases):
                    correlate_tile(t, p, a, b, row + j, high, col + i, min(cols - i, <Py_ssize_t>blocks*VLEN), blocks,
                                   image)
            i += blocks*VLEN
        j += high


cdef void correlate_tile(
    const Correlation* t, PlanarProduct p, Py_ssize_t i, Py_ssize_t j, Py_ssize_t row, int lines, Py_ssize_t col,
    Py_ssize_t cols, int blocks, real* image,
) noexcept nogil:
    """One tile of one phase: about DEPTH products of the sums at a time."""
    cdef const Phase* y = &t.y.phase[i]
    cdef const Phase* x = &t.x.phase[j]
    cdef const Run* run = t.run + y.taps_before*t.x.taps + y.taps*x.taps_before
    cdef Py_ssize_t r, deep = max(<Py_ssize_t>1, DEPTH // t.channels), c, line
    cdef const real* start = p.x
    cdef real sums[MOST_LINES*MOST_BLOCKS*MOST_OUTPUTS*VLEN]
    cdef real* out
    for r in range(lines*blocks*t.outputs):
        vstore(sums + r*VLEN, vsplat(0 if t.bias is NULL else t.bias[r % t.outputs]))
    p.sums, r = sums, 0
    while r < y.taps*x.taps:
        p.run, p.runs, c = run + r, min(deep, y.taps*x.taps - r), 0
        while c < t.channels:
            p.channels = min(t.channels - c, <Py_ssize_t>DEPTH)
            p.x, p.w = start + c*p.x_channel, t.packed + c*t.outputs
            tile_of(t.outputs, lines, blocks, &p)
            c += DEPTH
        r += deep
    cols = min(cols, x.count - col)
    for line in range(min(<Py_ssize_t>lines, y.count - row)):
        out = (image + (y.out_first + (row + line)*t.y.out_step)*t.target.row
               + (x.out_first + col*t.x.out_step)*t.target.col)
        write_line(sums + line*blocks*t.outputs*VLEN, t.outputs, cols, out, t.x.out_step*t.target.col)
        finish(&t.epilogue, cols, t.x.out_step*t.target.col, t.outputs, out)


cdef void write_line(
    const real* sums, Py_ssize_t outputs, Py_ssize_t cols, real* out, Py_ssize_t step,
) noexcept nogil:
    """Deal the sums out to their pixels, `step` apart."""
    cdef Py_ssize_t i, k, here
    while cols > 0:
        here = min(cols, <Py_ssize_t>VLEN)
        if step == 1:
            vstore_lanes(out, vload(sums), <int>here)
        else:
            for i in range(here):
                for k in range(outputs):
                    out[i*step + k] = sums[k*VLEN + i]
        sums, out, cols = sums + outputs*VLEN, out + here*step, cols - here


cdef struct Room:
    # Scratch: the weights, a ring for each thread, and tables.
    Py_ssize_t packed, ring, runs
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef Room make_room(Correlation* t, int threads) noexcept nogil:
    """Divide the work."""
    cdef Layout* lay = &t.layout
    cdef Py_ssize_t outputs = t.images*t.target.rows*t.target.cols*t.outputs
    cdef Room room
    room.threads = worth(threads, <double>outputs*t.channels*(lay.taps/(<double>t.y.phases*t.x.phases) + 1))
    room.bytes = 0
    if outputs == 0:
        return room
    keep(lay, &t.y, max(lay.together, min(<Py_ssize_t>MOST_LINES, lay.rows)))
    while room.threads > 1 and t.images*lay.down*lay.across < 4*room.threads and lay.rows > MOST_LINES:
        cut_down(lay, &t.y, max(<Py_ssize_t>MOST_LINES, ceil_div(lay.rows, 2)))
    room.packed = ceil_div(lay.taps*t.channels*t.outputs, 64)*64
    # The last vector of columns may read beyond the last line.
    room.ring = ceil_div(lay.strip + MOST_BLOCKS*VLEN, 64)*64
    room.runs = t.y.taps*t.x.taps
    room.bytes = ((room.packed + room.threads*room.ring)*sizeof(real) + room.runs*sizeof(Run)
                  + windows_of(lay)*sizeof(Window) + 2*lay.ring*sizeof(Py_ssize_t))
    return room


cdef bint correlate(Correlation* t, const Weights* w, int threads) noexcept nogil:
    """Pack, divide the work and run it."""
    cdef Layout* lay = &t.layout
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t i
    if room.bytes == 0:
        return True
    cdef real* memory = <real*>scratch(room.bytes)
    if memory is NULL:
        return False
    threads = room.threads
    cdef Run* run = <Run*>(memory + room.packed + threads*room.ring)
    cdef Window* windows = <Window*>(run + room.runs)
    memset(memory + room.packed, 0, threads*room.ring*sizeof(real))
    pack(t, w, memory)
    list_taps(t, run)
    list_windows(lay, &t.x, &t.source, windows)
    list_lines(lay, <Py_ssize_t*>(windows + windows_of(lay)))
    t.packed, t.run = memory, run
    with parallel(num_threads=threads):
        for i in prange(t.images*lay.down*lay.across, schedule='dynamic'):
            correlate_unit(t, i, memory + room.packed + threadid()*room.ring)
    free(memory)
    return True


cdef void set_up(Correlation* t, const Pass* p, const Weights* w, Phase* phases) noexcept nogil:
    """All phases of both axes."""
    cdef const Convolution* c = &p.convolution
    cdef Lanes lanes = lay_lanes(1, w.lanes, w.channels)
    t.y = side_of(&c.down, phases)
    t.x = side_of(&c.across, phases + t.y.phases)
    t.images, t.outputs, t.channels, t.bias = c.images, w.lanes, w.channels, p.bias
    t.source, t.target = source_image(c), target_image(c)
    t.layout = lay_out(&lanes, &t.y, &t.x)
    t.input, t.output, t.epilogue = p.input, p.output, p.epilogue


cdef int compute(const Pass* p) noexcept nogil:
    cdef Phase* phases = <Phase*>scratch(phases_bytes(&p.convolution))
    cdef Weights w = weights_of(p)
    cdef Correlation t
    cdef bint done = phases is not NULL
    if done:
        set_up(&t, p, &w, phases)
        done = correlate(&t, &w, p.threads)
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


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
