"""The gradient of the weights of 5x5 taps of one channel, as of first layers that read grey images.

All 25 sums of a vector of outputs stay in registers, and each product reads its pixel from memory by itself: the
output's gradient is read once, and an instruction does what takes three elsewhere. That takes 32 registers, and gains
most where a core shares its front end with another hyperthread. The sums, and so the bits, are those of
_lanewise_gradient.pxd, in the same order.
"""

from convkit._kernels._lanewise cimport Fetch, Run, fetch
from convkit._kernels._lanewise_gradient cimport ChannelSum, add_to
from convkit._kernels._lines cimport Layout
from convkit._kernels._simd cimport NARROW_LANE_ROWS, opaque, real, vload, vr, vsplat

cdef enum:
    SIDE = 5                        # of the window; a row of it is a run of three taps and one of two


cdef inline bint is_window(const Layout* lay, Py_ssize_t rows, const Run* run, Py_ssize_t runs) noexcept nogil:
    """Whether a kernel of so many rows, each of these runs, is such a window; and there are registers."""
    return (NARROW_LANE_ROWS > 10 and lay.lanes.channels == 1 and lay.lanes.pixel == 1 and rows == SIDE and runs == 2
            and run[0].taps == 3 and run[1].taps == 2 and run[1].x - run[0].x == 3)


cdef inline void meet_row(const real* x, vr g, vr* sums) noexcept nogil:
    """Let the pixels of a row meet the gradient of the output that reads them."""
    sums[0] = sums[0] + vsplat(x[0])*g
    sums[1] = sums[1] + vsplat(x[1])*g
    sums[2] = sums[2] + vsplat(x[2])*g
    sums[3] = sums[3] + vsplat(x[3])*g
    sums[4] = sums[4] + vsplat(x[4])*g


cdef inline const real* row_of(const ChannelSum* t, Py_ssize_t line, Py_ssize_t row) noexcept nogil:
    return opaque(t.x + t.line_at[line*t.line_step + t.source[row].line])


cdef inline void window_sum(const ChannelSum* t, const Run* run) noexcept nogil:
    """The products of all lines for all taps."""
    cdef vr sums[SIDE*SIDE]
    cdef vr g
    cdef Fetch x_ahead = t.x_ahead, grad_ahead = t.grad_ahead
    cdef const real* x[SIDE]
    cdef const real* grad
    cdef real* target
    cdef Py_ssize_t line, _
    cdef int i, s
    for i in range(SIDE*SIDE):
        sums[i] = vsplat(0)
    for line in range(t.lines):
        for i in range(SIDE):
            x[i] = row_of(t, line, i) + run.x
        grad = t.grad + line*t.grad_line
        for _ in range(t.pixels):
            fetch(&x_ahead)
            fetch(&grad_ahead)
            g = vload(grad)
            for i in range(SIDE):
                meet_row(x[i], g, sums + SIDE*i)
                # A pointer for each row: with an index, an instruction that reads memory and multiplies is two.
                x[i] = opaque(x[i] + 1)
            grad = opaque(grad + t.grad_pixel)
    for i in range(SIDE):
        target = t.sums + t.source[i].sums
        for s in range(3):
            add_to(target + run[0].w + s*t.sums_tap, sums[SIDE*i + s])
        for s in range(2):
            add_to(target + run[1].w + s*t.sums_tap, sums[SIDE*i + 3 + s])
