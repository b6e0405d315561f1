"""The gradient of weights, lane by lane: sums over pixels, one for each tap, channel and lane.

    sums[t, c, k]  +=  sum over lines and pixels i of  x[i + t, c, k] * grad[i, k]

Neighbouring taps slide along a line together: what is read of it meets the gradient of as many outputs, which stay in
registers. `sum_sources` is for staged images and any groups, `sum_window` for depthwise layers, whose images are read
where they lie.
"""

from convkit._kernels._axis cimport Range
from convkit._kernels._lanewise cimport CACHE_LINE, RUN, Fetch, fetch, lanes_at
from convkit._kernels._simd cimport (
    SUM_SOURCES, VLEN, opaque, opaque_stride, pinned, prefetch, real, vi, visplat, vload, vr, vsplat, vstore,
)


# ---------------------------------------------------------------------------------------------------------------------
# Of staged images: a few channels, or rows of taps, at a time


cdef struct Source:
    # One channel under one row of taps: the staged line, where in it and where in the sums the channel begins, and its
    # place among a vector's channels.
    Py_ssize_t line, x, sums
    int place


cdef struct ChannelSum:
    const real* x
    const Py_ssize_t* line_at       # where staged lines lie
    Py_ssize_t line_step, x_pixel   # lines from one line of outputs, elements from one pixel to the next
    const Source* source
    vi where                        # in a vector of input a lane finds its group's first channel
    const real* grad
    Py_ssize_t grad_line, grad_pixel
    Py_ssize_t lines, pixels
    real* sums
    Py_ssize_t sums_tap
    Fetch x_ahead, grad_ahead       # what lines to come will need: a turn is a pixel


cdef inline int sources_of(int taps) noexcept nogil:
    """How many sources a tile of so many taps sums: enough sums to keep the multiply-add unit busy."""
    if taps == 1:
        return SUM_SOURCES
    return SUM_SOURCES - 2 if taps == 2 else SUM_SOURCES*3//4 - 2


cdef inline void meet(
    const int first, const int behind, const int sources, const int reading, const real** x, Py_ssize_t at,
    const vi* where, const vr* g, vr* acc,
) noexcept nogil:
    """Let one pixel of the input, at `at`, meet the outputs to which it is tap [first, behind)."""
    cdef vr value
    cdef int j, s
    for j in range(sources):
        value = pinned(lanes_at(reading, x[j] + at, where[j]))
        for s in range(first, behind):
            acc[RUN*j + s] = acc[RUN*j + s] + value*g[s]


cdef inline void move_on(const int taps, vr* g) noexcept nogil:
    """To the next pixel an output is one tap further away."""
    if taps > 2:
        g[2] = g[1]
    if taps > 1:
        g[1] = g[0]


cdef inline void slide_line(
    const int taps, const int sources, const int reading, const ChannelSum* t, const real** x, const real* grad,
    const vi* where, Fetch* x_ahead, Fetch* grad_ahead, vr* acc,
) noexcept nogil:
    """The products of a line of at least as many outputs as there are taps."""
    cdef vr g[RUN]
    cdef Py_ssize_t _, at = 0, x_pixel = t.x_pixel, grad_pixel = t.grad_pixel
    cdef int s
    # Of the first inputs, and the last ones, only some taps have an output.
    for s in range(taps - 1):
        fetch(x_ahead)
        fetch(grad_ahead)
        g[0] = vload(grad)
        meet(0, s + 1, sources, reading, x, at, where, g, acc)
        move_on(taps, g)
        at, grad = at + x_pixel, grad + grad_pixel
    for _ in range(t.pixels - (taps - 1)):
        fetch(x_ahead)
        fetch(grad_ahead)
        g[0] = vload(grad)
        meet(0, taps, sources, reading, x, at, where, g, acc)
        move_on(taps, g)
        # One offset for all sources: pointers of their own would not fit the registers.
        at, grad = opaque_stride(at + x_pixel), grad + grad_pixel
    for s in range(taps - 1):
        meet(s + 1, taps, sources, reading, x, at, where, g, acc)
        move_on(taps, g)
        at = at + x_pixel


cdef inline void sum_short_line(
    const int taps, const int sources, const int reading, const ChannelSum* t, const real** x, const real* grad,
    const vi* where, vr* acc,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int j, s
    for i in range(t.pixels):
        for j in range(sources):
            for s in range(taps):
                acc[RUN*j + s] = (acc[RUN*j + s] + lanes_at(reading, x[j] + (i + s)*t.x_pixel, where[j])
                                  * vload(grad + i*t.grad_pixel))


cdef inline void sum_sources(
    const int taps, const int sources, const int reading, const ChannelSum* t,
) noexcept nogil:
    """The products of all lines for neighbouring taps of a few sources; all but the last argument must be literals."""
    cdef vr acc[RUN*SUM_SOURCES]
    cdef vi where[SUM_SOURCES]
    cdef const real* x[SUM_SOURCES]
    cdef Fetch x_ahead = t.x_ahead, grad_ahead = t.grad_ahead
    cdef Py_ssize_t line
    cdef int j, s
    if sources > sources_of(taps):
        return
    for j in range(sources):
        where[j] = t.where + visplat(t.source[j].place)
        for s in range(taps):
            acc[RUN*j + s] = vsplat(0)
    for line in range(t.lines):
        for j in range(sources):
            x[j] = opaque(t.x + t.line_at[line*t.line_step + t.source[j].line] + t.source[j].x)
        if t.pixels >= taps:
            slide_line(taps, sources, reading, t, x, t.grad + line*t.grad_line, where, &x_ahead, &grad_ahead, acc)
        else:
            sum_short_line(taps, sources, reading, t, x, t.grad + line*t.grad_line, where, acc)
    for j in range(sources):
        for s in range(taps):
            add_to(t.sums + t.source[j].sums + s*t.sums_tap, acc[RUN*j + s])


cdef inline void add_to(real* sums, vr more) noexcept nogil:
    vstore(sums, vload(sums) + more)


# Every number of sources has a tile of its own; those that the instruction set has no registers for compile to nothing.
cdef inline void sum_sources_of(const int taps, int sources, const int reading, const ChannelSum* t) noexcept nogil:
    if sources == 1:
        sum_sources(taps, 1, reading, t)
    elif sources == 2:
        sum_sources(taps, 2, reading, t)
    elif sources == 3:
        sum_sources(taps, 3, reading, t)
    elif sources == 4:
        sum_sources(taps, 4, reading, t)
    elif sources == 5:
        sum_sources(taps, 5, reading, t)
    elif sources == 6:
        sum_sources(taps, 6, reading, t)
    elif SUM_SOURCES > 6:
        if sources == 7:
            sum_sources(taps, 7, reading, t)
        elif sources == 8:
            sum_sources(taps, 8, reading, t)


cdef inline void sum_run_of(int taps, int sources, const int reading, const ChannelSum* t) noexcept nogil:
    if taps == 1:
        sum_sources_of(1, sources, reading, t)
    elif taps == 2:
        sum_sources_of(2, sources, reading, t)
    else:
        sum_sources_of(3, sources, reading, t)


# ---------------------------------------------------------------------------------------------------------------------
# Of images that are not staged: a window of taps


cdef enum:
    SIDE = 3                        # rows, and columns, of taps at most


cdef struct WindowSum:
    # Neighbouring outputs of one line under a window of taps, for so many vectors of channels.
    const real* x                   # the input of the first output's first tap
    Py_ssize_t x_pixel              # from one output to the next
    Py_ssize_t x_row, x_tap         # from one row of taps, or one tap of a row, to the next
    const real* grad
    Py_ssize_t grad_pixel
    Py_ssize_t pixels, vectors
    real* sums                      # the products are added to these
    Py_ssize_t sums_row, sums_vector
    # Where neighbouring taps read the inputs of neighbouring outputs, these slide: input x + u*x_pixel is tap s of
    # output u - s, and those u lie inside of the image.
    bint slides
    Range inside
    # Else all inputs do, but those of the first output's first tap and of the last one's last.
    bint left, right
    # What lines to come will need: a cache line of each with every output of a vector that slides, or none.
    const real* x_ahead
    const real* grad_ahead
    Py_ssize_t ahead


cdef inline void meet_window(
    const int rows, const int first, const int behind, const real* x, Py_ssize_t x_row, const vr* g, vr* acc,
) noexcept nogil:
    """Let a column of the input meet the outputs to which it is tap [first, behind)."""
    cdef vr value
    cdef int r, s
    for r in range(rows):
        value = pinned(vload(x + r*x_row))
        for s in range(first, behind):
            acc[SIDE*r + s] = acc[SIDE*r + s] + value*g[s]


cdef inline void slide_window(
    const int rows, const int taps, const WindowSum* t, const real* x, const real* grad, Py_ssize_t line, vr* acc,
) noexcept nogil:
    """Read every column once. There are at least as many outputs as taps but one."""
    cdef vr g[RUN]
    cdef const real* x_ahead = t.x_ahead + line
    cdef const real* grad_ahead = t.grad_ahead + line
    cdef Py_ssize_t x_row = t.x_row, x_pixel = t.x_pixel, pixel = t.grad_pixel, ahead = t.ahead, _
    cdef Py_ssize_t u = min(max(t.inside.first, <Py_ssize_t>taps - 1), t.pixels)
    for _ in range(taps - 1):
        prefetch(x_ahead)
        prefetch(grad_ahead)
        x_ahead, grad_ahead = x_ahead + ahead, grad_ahead + ahead
    # Of the first inputs, and the last ones, only some taps have an output.
    g[0] = vload(grad)
    if taps > 1 and t.inside.first == 0:
        meet_window(rows, 0, 1, x, x_row, g, acc)
    if taps > 2:
        g[1], g[0] = g[0], vload(grad + pixel)
        if t.inside.first <= 1 < t.inside.behind:
            meet_window(rows, 0, 2, x + x_pixel, x_row, g, acc)
    move_on(taps, g)
    x, grad = x + u*x_pixel, grad + u*pixel
    if taps > 1 and u >= taps:
        g[1] = vload(grad - pixel)
        if taps > 2:
            g[2] = vload(grad - 2*pixel)
    for _ in range(min(t.pixels, t.inside.behind) - u):
        prefetch(x_ahead)
        prefetch(grad_ahead)
        x_ahead, grad_ahead = opaque(x_ahead + ahead), grad_ahead + ahead
        g[0] = vload(grad)
        meet_window(rows, 0, taps, x, x_row, g, acc)
        move_on(taps, g)
        x, grad = opaque(x + x_pixel), grad + pixel
    if taps > 1 and t.inside.first <= t.pixels < t.inside.behind:
        meet_window(rows, 1, taps, x, x_row, g, acc)
    move_on(taps, g)
    if taps > 2 and t.inside.behind > t.pixels + 1:
        meet_window(rows, 2, taps, x + x_pixel, x_row, g, acc)


cdef inline void sum_pixel(
    const int rows, const int first, const int behind, const WindowSum* t, const real* x, vr g, vr* acc,
) noexcept nogil:
    """One output, under the columns [first, behind) of the window."""
    cdef int r, s
    for r in range(rows):
        for s in range(first, behind):
            acc[SIDE*r + s] = acc[SIDE*r + s] + vload(x + r*t.x_row + s*t.x_tap)*g


cdef inline void sum_pixels(
    const int rows, const int taps, const WindowSum* t, const real* x, const real* grad, vr* acc,
) noexcept nogil:
    """One output after the other."""
    cdef Py_ssize_t x_pixel = t.x_pixel, pixel = t.grad_pixel, _
    if t.left:
        sum_pixel(rows, 1, taps, t, x, vload(grad), acc)
        x, grad = x + x_pixel, grad + pixel
    for _ in range(t.pixels - t.left - t.right):
        sum_pixel(rows, 0, taps, t, x, vload(grad), acc)
        x, grad = x + x_pixel, grad + pixel
    if t.right:
        sum_pixel(rows, 0, taps - 1, t, x, vload(grad), acc)


cdef inline void sum_window(const int rows, const int taps, WindowSum* t) noexcept nogil:
    """Add the products of rows x taps taps, which must be literals, and go on to what is called in next."""
    cdef vr acc[SIDE*SIDE]
    cdef real* sums = t.sums
    cdef Py_ssize_t sums_row = t.sums_row, line = t.pixels*t.ahead, v
    cdef int r, s
    for v in range(t.vectors):
        for r in range(rows):
            for s in range(taps):
                acc[SIDE*r + s] = vload(sums + r*sums_row + s*VLEN)
        if t.slides:
            slide_window(rows, taps, t, t.x + v*VLEN, t.grad + v*VLEN, v*line, acc)
        else:
            sum_pixels(rows, taps, t, t.x + v*VLEN, t.grad + v*VLEN, acc)
        for r in range(rows):
            for s in range(taps):
                vstore(sums + r*sums_row + s*VLEN, acc[SIDE*r + s])
        sums = sums + t.sums_vector
    t.x_ahead, t.grad_ahead = t.x_ahead + t.vectors*line, t.grad_ahead + t.vectors*line


cdef inline void sum_window_of(int rows, int taps, WindowSum* t) noexcept nogil:
    if rows == 1:
        sum_window_row(1, taps, t)
    elif rows == 2:
        sum_window_row(2, taps, t)
    else:
        sum_window_row(3, taps, t)


cdef inline void sum_window_row(const int rows, int taps, WindowSum* t) noexcept nogil:
    if taps == 1:
        sum_window(rows, 1, t)
    elif taps == 2:
        sum_window(rows, 2, t)
    else:
        sum_window(rows, 3, t)
