"""The gradient of a depthwise convolution's weights, one channel in and out of each group.

Vectors are those of _depthwise.pxd. Threads take units of work: a chunk of the lines, for a share of the vectors. Each
sums a few lines of an image at a time, one vector after the other; chunks are cut by the shape alone and added up in
order. What a prologue makes of the input (_prologue.pxd) lies in cache, of one vector of those lines.

Scratch: the partial sums (a sixteenth of the input, or one copy of the weights where that is larger); with a prologue,
for each thread a few lines of a vector.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._axis cimport Axis, Range, phase_axis
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._depthwise cimport (
    DEPTH, Weights, fetch_of, first_channel, inner_outputs, panel, reach, vectors_of, weights_of,
)
from convkit._kernels._image cimport Image
from convkit._kernels._lanewise cimport Fetch, fetch
from convkit._kernels._lanewise_gradient cimport SIDE, WindowSum, sum_window_of
from convkit._kernels._lines cimport is_near
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._prologue cimport Prologue, map_column, maps
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals, vload, vstore
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    PIXELS = 192                    # about so many, in whole lines, at a time
    PARTIAL_SHARE = 16              # of the input: the size of all partial sums
    ENOUGH_UNITS = 32               # parallelism offered, whatever the number of threads


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


cdef struct Room:
    # Scratch: the sums, and for each thread what is mapped at a time.
    Py_ssize_t sums, mapped, bytes
    int threads


cdef Room make_room(const WeightGradient* t, int threads) noexcept nogil:
    cdef Room room
    room.threads = worth(threads, <double>t.images*t.target.image*t.w.rows*t.w.cols)
    room.sums, room.mapped = t.chunks*vectors_of(t.w.channels)*panel(t.w), 0
    if maps(&t.prologue):
        room.mapped = ((lines_together(t) - 1)*t.y.grain*t.y.in_step + reach(&t.y))*t.source.cols*VLEN
    room.bytes = (room.sums + room.threads*room.mapped)*sizeof(real)
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    cdef Py_ssize_t vectors = vectors_of(t.w.channels), i, size
    cdef Room room = make_room(t, threads)
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


cdef int compute(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef WeightGradient t = begin(p, &w)
    return sum_gradient(&t, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef WeightGradient t = begin(p, &w)
    return granted(make_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
