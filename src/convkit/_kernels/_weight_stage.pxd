"""A strip of the input, where tiles can read it: as it lies, or dealt out into panels, with its padding."""

from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, Range, inside, span
from convkit._kernels._panels cimport AHEAD, deal
from convkit._kernels._prologue cimport map_pixels, maps
from convkit._kernels._simd cimport real, vload_lanes, vsplat, vstore
from convkit._kernels._weight_sum cimport MOST_FOLDED, Strip, Sums, WeightGradient


cdef inline void stage_folded(
    const WeightGradient* t, const Sums* u, const Strip* s, Py_ssize_t image, real* staged,
) noexcept nogil:
    """Copy the input of a strip, for each row of outputs the columns of all taps."""
    cdef const Axis* y = &t.folded
    cdef Py_ssize_t left = t.x.first + t.x.grain*t.x.in_step*s.col, wide = span(&t.x, s.cols), j, r, i, source_row
    cdef Py_ssize_t channels = t.channels // t.fold, apart = t.x.grain*t.source.col
    cdef Range across = inside(left, t.x.grain, t.x.in_size, wide)
    cdef const real* image_at = t.input + image*t.source.image + left*t.source.col + u.group*channels
    cdef const real* source[MOST_FOLDED]
    cdef real* target
    for j in range(s.rows):
        for r in range(t.fold):
            source_row = y.first + y.grain*(y.in_step*(s.row + j) + y.tap_step*r)
            source[r] = image_at + source_row*t.source.row if 0 <= source_row < y.in_size else NULL
        target = staged + j*t.line
        memset(target, 0, wide*t.channels*sizeof(real))
        target = target + across.first*t.channels
        for i in range(across.first, across.behind):
            for r in range(t.fold):
                # The zeros behind the channels reach into places that are written later, or are zero.
                vstore(target, vload_lanes(source[r] + i*apart, <int>channels) if source[r] is not NULL else vsplat(0))
                target = target + channels


cdef inline void stage_panels(
    const WeightGradient* t, const Sums* u, const Strip* s, Py_ssize_t image, real* staged,
) noexcept nogil:
    """Copy the input of a strip into panels, pixel by pixel."""
    cdef Py_ssize_t h, i, source_row, first = u.first_panel*t.wide, panel
    cdef Py_ssize_t channels = min(t.channels, u.behind_panel*t.wide) - first
    cdef Py_ssize_t left = t.x.first + t.x.grain*t.x.in_step*s.col, wide = span(&t.x, s.cols)
    cdef Range across = inside(left, t.x.grain, t.x.in_size, wide)
    cdef const real* source = t.input + image*t.source.image + u.group*t.channels + first
    cdef const real* pixel
    cdef real* target
    for h in range(span(&t.y, s.rows)):
        source_row = t.y.first + t.y.grain*(t.y.in_step*s.row + h)
        if source_row < 0 or source_row >= t.y.in_size:
            continue                # nobody reads it
        target = staged + h*t.line
        for panel in range(u.behind_panel - u.first_panel):
            memset(target + panel*t.panel, 0, across.first*t.wide*sizeof(real))
        pixel = source + source_row*t.source.row + left*t.source.col
        if maps(&t.prologue):
            for i in range(across.first, across.behind):
                deal(True, &t.prologue, first, pixel + i*t.x.grain*t.source.col, channels, t.wide, t.panel,
                     target + i*t.wide, AHEAD*t.x.grain*t.source.col)
        elif t.panels == 1 and t.wide == t.source.col and t.x.grain == 1:
            memcpy(target + across.first*t.wide, pixel + across.first*t.wide,
                   (across.behind - across.first)*t.wide*sizeof(real))
        else:
            for i in range(across.first, across.behind):
                deal(False, NULL, 0, pixel + i*t.x.grain*t.source.col, channels, t.wide, t.panel, target + i*t.wide,
                     AHEAD*t.x.grain*t.source.col)
        for panel in range(u.behind_panel - u.first_panel):
            memset(target + panel*t.panel + across.behind*t.wide, 0, (wide - across.behind)*t.wide*sizeof(real))


cdef inline void map_in_place(const WeightGradient* t, Sums* u, Py_ssize_t pixels) noexcept nogil:
    """Let the unit's channels of a 1x1 layer's pixels lie in their order, mapped."""
    cdef Py_ssize_t first = u.first_panel*t.wide
    map_pixels(&t.prologue, first, min(t.channels, u.behind_panel*t.wide) - first, u.a, t.source.col, pixels,
               u.staged, t.pixel)
    u.a = u.staged


cdef inline void stage_input(const WeightGradient* t, Sums* u, const Strip* s) noexcept nogil:
    """Let `u.a` be where the channels of a unit begin in a strip of input."""
    cdef Py_ssize_t i
    if t.in_place:
        u.a = (t.input + s.image*t.source.image + u.group*t.channels + u.first_panel*t.wide
               + (t.y.first + t.y.grain*t.y.in_step*s.row)*t.source.row
               + (t.x.first + t.x.grain*t.x.in_step*s.col)*t.source.col)
        if maps(&t.prologue):
            map_in_place(t, u, s.cols)
        return
    u.a = u.staged
    for i in range(s.images):
        if t.fold > 1:
            stage_folded(t, u, s, s.image + i, u.staged + i*t.image)
        else:
            stage_panels(t, u, s, s.image + i, u.staged + i*t.image)
