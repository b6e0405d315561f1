"""The gradient of the weights of small windows over grey or coloured images, as of first layers.

All sums of a vector of outputs stay in registers, 25 of 5x5 taps of one channel or 27 of 3x3 taps of three, and each
product reads its number from memory by itself: the output's gradient is read once, and an instruction does what takes
three elsewhere. That takes 32 registers, and gains most where a core shares its front end with another hyperthread. The
sums, and so the bits, are those of _lanewise_gradient.pxd, in the same order.
"""

from convkit._kernels._lanewise cimport Fetch, Run, fetch
from convkit._kernels._lanewise_gradient cimport ChannelSum, add_to
from convkit._kernels._lines cimport Layout
from convkit._kernels._simd cimport NARROW_LANE_ROWS, opaque, real, vload, vr, vsplat

cdef enum:
    # The windows, by what their rows read.
    NO_WINDOW
    GREY                            # five neighbours
    COLOURS                         # three neighbours of three channels
    COLOURS_APART                   # the same with a stride of two: the first and the last, and the one between them


cdef inline int window_of(const Layout* lay, Py_ssize_t rows, const Run* run, Py_ssize_t runs) noexcept nogil:
    """Which of them a kernel of so many rows is, each of these runs; none, if there are no registers."""
    if NARROW_LANE_ROWS <= 10 or lay.lanes.pixel != lay.lanes.channels:
        return NO_WINDOW
    if lay.lanes.channels == 1 and rows == 5 and runs == 2:
        return GREY if run[0].taps == 3 and run[1].taps == 2 and run[1].x - run[0].x == 3 else NO_WINDOW
    if lay.lanes.channels != 3 or rows != 3:
        return NO_WINDOW
    if runs == 1:
        return COLOURS if run.taps == 3 else NO_WINDOW
    return COLOURS_APART if runs == 2 and run[0].taps == 2 else NO_WINDOW


cdef inline void meet(const int count, const real* x, vr g, vr* sums) noexcept nogil:
    """Let so many neighbouring numbers, a literal, meet the gradient of the output that reads them."""
    cdef int i
    for i in range(count):
        sums[i] = sums[i] + vsplat(x[i])*g


cdef inline real* sum_of(const ChannelSum* t, const Run* run, int channels, int row, int number) noexcept nogil:
    """Where the sum of a row's number belongs."""
    cdef int tap = number // channels
    while tap >= run.taps:
        tap -= run.taps
        run += 1
    return t.sums + t.source[row*channels + number % channels].sums + run.w + tap*t.sums_tap


cdef inline void sum_window(
    const int rows, const int channels, const int first, const int second, const ChannelSum* t, const Run* run,
) noexcept nogil:
    """The products of all lines for all taps: of so many neighbours in each row, and so many others."""
    cdef vr sums[27]
    cdef vr g
    cdef Fetch x_ahead = t.x_ahead, grad_ahead = t.grad_ahead
    cdef const real* x[5]
    cdef const real* other[5]
    cdef const real* grad
    cdef const real* line
    cdef real* target
    cdef Py_ssize_t j, _
    cdef int i, k
    for i in range(rows*(first + second)):
        sums[i] = vsplat(0)
    for j in range(t.lines):
        for i in range(rows):
            line = t.x + t.line_at[j*t.line_step + t.source[i*channels].line]
            x[i] = opaque(line + run[0].x)
            if second:
                other[i] = opaque(line + run[1].x)
        grad = t.grad + j*t.grad_line
        for _ in range(t.pixels):
            fetch(&x_ahead)
            fetch(&grad_ahead)
            g = vload(grad)
            for i in range(rows):
                meet(first, x[i], g, sums + (first + second)*i)
                # A pointer for each: with an index, an instruction that reads memory and multiplies is two.
                x[i] = opaque(x[i] + channels)
                if second:
                    meet(second, other[i], g, sums + (first + second)*i + first)
                    other[i] = opaque(other[i] + channels)
            grad = opaque(grad + t.grad_pixel)
    for i in range(rows):
        for k in range(first + second):
            target = sum_of(t, run, channels, i, k)
            add_to(target, sums[(first + second)*i + k])


cdef inline void sum_window_of(int window, const ChannelSum* t, const Run* run) noexcept nogil:
    if window == GREY:
        sum_window(5, 1, 5, 0, t, run)
    elif window == COLOURS:
        sum_window(3, 3, 9, 0, t, run)
    else:
        sum_window(3, 3, 6, 3, t, run)
