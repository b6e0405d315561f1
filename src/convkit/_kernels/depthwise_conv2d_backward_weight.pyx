"""The gradient of a depthwise convolution's weights, one channel in and out of each group.

Vectors are those of _depthwise.pxd. Threads take units of work: a chunk of the lines. Each sums a few lines of an image
at a time, and of these a few vectors; sums rest in the first-level cache. While it does, the lines to come are called
in from memory, in order. Chunks are cut by the shape alone and added up in order. What a prologue makes of the input
(_prologue.pxd) lies in cache, a few lines at a time.

Scratch: the partial sums (an eighth of the input, or one copy of the weights where that is larger); for each thread one
copy of the weights and, with a prologue, a strip (of _staged_lines.pxd).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._axis cimport Axis, Range, inside, phase_axis, taps_inside
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._depthwise cimport (
    DEPTH, Weights, first_channel, inner_outputs, panel, reach, vectors_of, weights_of,
)
from convkit._kernels._image cimport Image
from convkit._kernels._lanewise cimport CACHE_LINE
from convkit._kernels._lanewise_gradient cimport SIDE, WindowSum, sum_window_of
from convkit._kernels._lines cimport dealt
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals, vload, vstore
from convkit._kernels._staged_lines cimport Lines, image_with, lines_of, strip_size
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    PIXELS = 192                    # about so many, in whole lines, at a time
    NEAR = 24*1024                  # bytes, of a first-level cache, that the lines of an output take
    PARTIAL_SHARE = 8               # of the input: the size of all partial sums
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
    Py_ssize_t images
    Lines lines                     # of the input
    Image source
    const real* grad
    Image target
    const Weights* w
    WindowSum window                # its steps
    Py_ssize_t chunks, shares       # the lines are cut into chunks, the vectors dealt out in shares
    Py_ssize_t together, abreast    # lines, and vectors of them, that are summed at a time
    real* sums                      # [chunk] and then as packed weights


cdef inline int useful(const WeightGradient* t, int threads) noexcept nogil:
    return worth(threads, <double>t.images*t.target.image*t.w.rows*t.w.cols)


cdef void divide_sum(WeightGradient* t, int threads) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads.

    Vectors have sums of their own. They are shared out only where chunks are too few: memory is read in order else.
    """
    cdef Py_ssize_t lines = t.images*t.target.rows, cols = max(t.target.cols, <Py_ssize_t>1)
    cdef Py_ssize_t fit = lines*t.target.cols // (PARTIAL_SHARE*t.w.rows*t.w.cols)
    cdef Py_ssize_t vector = t.w.rows*(t.source.cols + t.w.cols) + t.target.cols
    t.chunks = max(<Py_ssize_t>1, min(min(fit, lines), <Py_ssize_t>ENOUGH_UNITS))
    t.shares = min(vectors_of(t.w.channels), ceil_div(useful(t, threads), t.chunks))
    t.together, t.abreast, t.window.ahead = 1, vectors_of(t.w.channels), 0
    if t.window.slides:
        t.together = max(<Py_ssize_t>1, PIXELS // cols)
        t.abreast = max(<Py_ssize_t>1, NEAR // (vector*VLEN*<Py_ssize_t>sizeof(real)))
        t.window.ahead = CACHE_LINE // <Py_ssize_t>sizeof(real) if t.shares == 1 else 0


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, real* part) noexcept nogil:
    """One chunk of the lines, for one share of the vectors: sums of about PIXELS products are added up."""
    cdef Py_ssize_t chunk = unit // t.shares, share = unit % t.shares, vectors = vectors_of(t.w.channels)
    cdef Py_ssize_t count = t.images*t.target.rows, line = chunk*count // t.chunks, pending = 0
    cdef Py_ssize_t behind = (chunk + 1)*count // t.chunks
    cdef real* sums = t.sums + chunk*vectors*panel(t.w)
    cdef Lines lines = t.lines
    cdef Range mine, cols
    cdef unsigned long mode = flush_denormals()
    lines.strip = part + vectors*panel(t.w)
    mine.first, mine.behind = share*vectors // t.shares, (share + 1)*vectors // t.shares
    clear(t, mine, sums)
    clear(t, mine, part)
    while line < behind:
        count, cols.first = min(min(t.together, behind - line), t.target.rows - line % t.target.rows), 0
        while cols.first < t.target.cols:
            cols.behind = min(cols.first + DEPTH, t.target.cols)
            sum_block(t, &lines, line, count, cols, mine, part)
            pending += count*(cols.behind - cols.first)
            if pending >= PIXELS:
                add_part(t, mine, part, sums)
                pending = 0
            cols.first = cols.behind
        line += count
    add_part(t, mine, part, sums)
    restore_denormals(mode)


cdef inline void clear(const WeightGradient* t, Range vectors, real* sums) noexcept nogil:
    memset(sums + vectors.first*panel(t.w), 0, (vectors.behind - vectors.first)*panel(t.w)*sizeof(real))


cdef void add_part(const WeightGradient* t, Range vectors, real* part, real* sums) noexcept nogil:
    """Add the sums of a few pixels, and begin again."""
    cdef Py_ssize_t i = vectors.first*panel(t.w)
    while i < vectors.behind*panel(t.w):
        vstore(sums + i, vload(sums + i) + vload(part + i))
        i += VLEN
    clear(t, vectors, part)


cdef void sum_block(
    const WeightGradient* t, Lines* lines, Py_ssize_t line, Py_ssize_t count, Range cols, Range vectors, real* sums,
) noexcept nogil:
    """A few lines of one image: of a few vectors at a time, so that what three of them read stays near."""
    cdef Py_ssize_t image = line // t.target.rows, step = t.y.grain*t.y.in_step
    cdef Py_ssize_t first = t.y.first + step*(line % t.target.rows), behind = first + step*(count - 1) + reach(&t.y)
    cdef const real* source = image_with(lines, image, first, behind)
    cdef WindowSum p = t.window
    cdef Range some
    # What follows in memory is what the next lines read.
    p.x_ahead = t.lines.images + image*t.source.image + min(behind, t.source.rows)*t.source.row
    p.grad_ahead = t.grad + (line + count)*t.target.row
    some.first = vectors.first
    while some.first < vectors.behind:
        some.behind = min(some.first + t.abreast, vectors.behind)
        if p.slides:
            sum_sliding(t, &p, source, line, count, cols, some, sums)
        else:
            sum_runs(t, &p, source, line, count, cols, some, sums)
        some.first = some.behind


cdef void sum_sliding(
    const WeightGradient* t, WindowSum* p, const real* source, Py_ssize_t line, Py_ssize_t count, Range cols,
    Range vectors, real* sums,
) noexcept nogil:
    """All pixels of a line at once, edges and all: a few columns of taps at a time."""
    cdef Py_ssize_t s = 0, taps, first = t.x.first + t.x.grain*t.x.in_step*cols.first
    p.pixels, p.ahead = cols.behind - cols.first, t.window.ahead
    while s < t.w.cols:
        taps = min(<Py_ssize_t>SIDE, t.w.cols - s)
        p.inside = inside(first + s*t.x.grain*t.x.tap_step, t.x.grain*t.x.in_step, t.source.cols, p.pixels + taps - 1)
        if p.inside.first < p.inside.behind:
            sum_lines(t, p, source, line, count, cols.first, s, taps, vectors, sums)
        p.ahead = 0
        s += SIDE


cdef void sum_runs(
    const WeightGradient* t, WindowSum* p, const real* source, Py_ssize_t line, Py_ssize_t count, Range cols,
    Range vectors, real* sums,
) noexcept nogil:
    """Neighbours that have the same taps inside of the image, as columns go; one more at either end if it lacks one."""
    cdef Py_ssize_t col = cols.first, s
    cdef Range taps
    while col < cols.behind:
        taps = taps_inside(&t.x, col)
        p.pixels = min(t.inner.behind, cols.behind) - col if t.inner.first <= col < t.inner.behind else 1
        p.left, p.right = has_left(t, cols, col, taps), False
        if p.left:
            p.pixels, taps.first = 1 + min(t.inner.behind, cols.behind) - t.inner.first, 0
        if has_right(t, cols, col + p.pixels):
            p.pixels, p.right = p.pixels + 1, True
        s = taps.first
        while s < taps.behind:
            sum_lines(t, p, source, line, count, col, s, min(<Py_ssize_t>SIDE, taps.behind - s), vectors, sums)
            s += SIDE
        col += p.pixels


cdef inline bint has_left(const WeightGradient* t, Range cols, Py_ssize_t col, Range taps) noexcept nogil:
    """Whether all taps but the first are inside of this pixel, and all of the next."""
    return (1 < t.w.cols <= SIDE and taps.first == 1 and taps.behind == t.w.cols
            and col + 1 == t.inner.first < min(t.inner.behind, cols.behind))


cdef inline bint has_right(const WeightGradient* t, Range cols, Py_ssize_t col) noexcept nogil:
    """Whether all taps but the last are inside of this pixel, and all of the one before."""
    cdef Range taps
    if t.w.cols > SIDE or not t.inner.first < col == t.inner.behind < cols.behind:
        return False
    taps = taps_inside(&t.x, col)
    return taps.first == 0 and taps.behind == t.w.cols - 1 > 0


cdef void sum_lines(
    const WeightGradient* t, WindowSum* p, const real* source, Py_ssize_t line, Py_ssize_t count, Py_ssize_t col,
    Py_ssize_t tap, Py_ssize_t taps, Range vectors, real* sums,
) noexcept nogil:
    """A run of pixels of each line, under some columns of taps: a few rows of these at a time."""
    cdef Py_ssize_t row = line % t.target.rows, i, r, ahead = p.ahead
    cdef Range rows
    source = source + (t.x.first + t.x.grain*(t.x.in_step*col + t.x.tap_step*tap))*t.source.col
    for i in range(count):
        rows = taps_inside(&t.y, row + i)
        r, p.ahead = rows.first, ahead
        while r < rows.behind:
            sum_vectors(t, p, min(<Py_ssize_t>SIDE, rows.behind - r), taps, vectors,
                        source + (t.y.first + t.y.grain*(t.y.in_step*(row + i) + t.y.tap_step*r))*t.source.row,
                        t.grad + (line + i)*t.target.row + col*t.target.col, sums + (r*t.w.cols + tap)*VLEN)
            p.ahead = 0
            r += SIDE


cdef inline void sum_vectors(
    const WeightGradient* t, WindowSum* p, Py_ssize_t rows, Py_ssize_t taps, Range vectors, const real* x,
    const real* grad, real* sums,
) noexcept nogil:
    """Whole vectors, and the last one, which overlaps them."""
    cdef Py_ssize_t whole = min(vectors.behind, t.w.channels // VLEN), channel = vectors.first*VLEN
    p.x, p.grad, p.vectors, p.sums = x + channel, grad + channel, whole - vectors.first, sums + vectors.first*panel(t.w)
    sum_window_of(<int>rows, <int>taps, p)
    if whole < vectors.behind:
        channel = first_channel(t.w.channels, whole)
        p.x, p.grad, p.vectors, p.sums = x + channel, grad + channel, 1, sums + whole*panel(t.w)
        sum_window_of(<int>rows, <int>taps, p)


cdef void finish_vector(const WeightGradient* t, Py_ssize_t vector) noexcept nogil:
    """Add up the chunks of one vector, in order, and write the weights' gradient."""
    cdef Py_ssize_t chunk, i, size = vectors_of(t.w.channels)*panel(t.w)
    cdef real* total = t.sums + vector*panel(t.w)
    for chunk in range(1, t.chunks):
        for i in range(t.w.rows*t.w.cols):
            vstore(total + i*VLEN, vload(total + i*VLEN) + vload(total + chunk*size + i*VLEN))
    unpack_vector(t.w, vector, total)


cdef struct Room:
    # Scratch: the sums of all chunks; for each thread those of a few pixels, and a strip.
    Py_ssize_t sums, thread, bytes
    int threads


cdef Room make_room(const WeightGradient* t, int threads) noexcept nogil:
    cdef Py_ssize_t weights = vectors_of(t.w.channels)*panel(t.w)
    cdef Room room
    room.threads = useful(t, threads)
    room.sums, room.thread = t.chunks*weights, weights + strip_size(&t.lines)
    room.bytes = (room.sums + room.threads*room.thread)*sizeof(real)
    return room


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    cdef Py_ssize_t vectors = vectors_of(t.w.channels), units = t.chunks*t.shares, i, size
    cdef Room room = make_room(t, threads)
    t.sums, size, threads = <real*>scratch(room.bytes), room.thread, room.threads
    cdef real* parts = t.sums + room.sums
    cdef Py_ssize_t run = dealt(units, threads, t.images*(t.source.image + t.target.image))
    if t.sums is NULL:
        return False
    with parallel(num_threads=threads):
        for i in prange(units, schedule='dynamic', chunksize=run):
            sum_unit(t, i, parts + threadid()*size)
    for i in range(vectors):
        finish_vector(t, i)
    free(t.sums)
    return True


cdef WeightGradient begin(const Pass* p, const Weights* w) noexcept nogil:
    cdef const Convolution* c = &p.convolution
    cdef WeightGradient t
    t.y, t.x, t.images, t.w = phase_axis(&c.down, 0), phase_axis(&c.across, 0), c.images, w
    t.grad, t.source, t.target, t.inner = p.grad, input_image(c), output_image(c), inner_outputs(&t.x)
    t.window.x_pixel, t.window.x_tap = t.x.grain*t.x.in_step*t.source.col, t.x.grain*t.x.tap_step*t.source.col
    t.window.x_row, t.window.grad_pixel = t.y.grain*t.y.tap_step*t.source.row, t.target.col
    t.window.sums_row, t.window.sums_vector = w.cols*VLEN, panel(w)
    t.window.slides = t.window.x_pixel == t.window.x_tap and SIDE <= t.target.cols <= DEPTH
    divide_sum(&t, p.threads)
    t.lines = lines_of(&p.prologue, p.input, &t.source, (t.together - 1)*t.y.grain*t.y.in_step + reach(&t.y))
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
