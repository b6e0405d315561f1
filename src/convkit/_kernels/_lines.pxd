"""Lines of an image, staged a few at a time for groups that share vectors: padding, strides and dilation end here.

Staged columns are taken apart by their phase of the stride, so that neighbouring outputs read neighbouring pixels of
one plane; the strip of backward-input serves all phases of the stride.
"""

from libc.string cimport memset

from convkit._kernels._axis cimport Axis, Spatial, adjoint_axis, phase_axis, phase_count
from convkit._kernels._convolution cimport Convolution
from convkit._kernels._image cimport Image
from convkit._kernels._lanes cimport Lanes, stage_inputs
from convkit._kernels._lanewise cimport CACHE_LINE, RUN, Fetch
from convkit._kernels._prologue cimport Prologue, map_pixels, maps, nothing
from convkit._kernels._simd cimport TILE_ROWS, VLEN, real
from convkit._kernels._strip cimport ceil_div

cdef enum:
    STRIP_BYTES = 384*1024          # staged at a time: most of the smallest second-level cache
    FAR = 8*1024*1024               # bytes of images: as many do not stay in the caches,
    OWN = 4*1024*1024               # and as many not in those of single cores
    PIXELS = 192                    # staged, and then read by tiles, at a time


cdef struct Phase:
    # Outputs out_first, out_first + step, ...: output j reads staged input shift + in_step*j + tap_step*t.
    Py_ssize_t count, out_first, shift, taps, tap_step, weight_first, weight_step
    Py_ssize_t apart                        # taps that read neighbouring inputs, if any, are so many apart
    Py_ssize_t runs                         # of such taps
    Py_ssize_t taps_before, runs_before     # in the phases before


cdef struct Side:
    # One axis of a pass: its phases, and the input that they read together.
    Phase* phase
    Py_ssize_t phases, count, out_step      # `count` is that of the longest phase
    Py_ssize_t first, in_step, grain
    Py_ssize_t reach                        # grains that one output of every phase reads
    Py_ssize_t taps, runs, kernel           # of all phases; taps of the kernel


cdef inline Phase phase_of(const Axis* axis, Py_ssize_t grain) noexcept nogil:
    cdef Phase p
    p.count, p.out_first, p.shift = axis.count, axis.out_first, 0
    p.taps, p.tap_step = axis.taps, axis.tap_step*grain
    p.weight_first, p.weight_step = axis.weight_first, axis.weight_step
    p.apart = p.runs = p.taps_before = p.runs_before = 0
    return p


cdef inline void count_runs(Side* s) noexcept nogil:
    """Taps whose inputs are neighbours for the tile, which takes every in_step-th grain, go in runs."""
    cdef Py_ssize_t i, first
    cdef Phase* p
    s.runs = s.taps = 0
    for i in range(s.phases):
        p = &s.phase[i]
        p.taps_before, p.runs_before = s.taps, s.runs
        p.apart = s.in_step // p.tap_step if p.tap_step > 0 and s.in_step % p.tap_step == 0 else max(p.taps, 1)
        for first in range(min(p.apart, p.taps)):
            p.runs += ceil_div(ceil_div(p.taps - first, p.apart), RUN)
        s.runs += p.runs
        s.taps += p.taps


cdef inline Side forward_side(const Axis* axis, Py_ssize_t kernel, Phase* phase) noexcept nogil:
    cdef inline Side s
    phase[0] = phase_of(axis, 1)
    s.phase, s.phases, s.count, s.out_step = phase, 1, axis.count, 1
    s.first, s.grain, s.in_step = axis.first, axis.grain, max(axis.in_step, <Py_ssize_t>1)
    s.reach = (axis.taps - 1)*axis.tap_step + 1
    s.kernel = kernel
    count_runs(&s)
    return s


cdef inline Side adjoint_side(const Spatial* of, Phase* phase) noexcept nogil:
    """All phases of the stride. Their windows overlap: the strip holds the union, and each knows where it begins."""
    cdef inline Side s
    cdef Axis axis
    cdef Py_ssize_t i, behind = 0
    s.phase, s.phases, s.out_step = phase, min(of.stride, of.in_size), of.stride
    s.count, s.first, s.grain, s.in_step = ceil_div(of.in_size, of.stride), 0, 1, 1
    s.taps, s.kernel = 0, of.kernel
    for i in range(s.phases):
        axis = adjoint_axis(i, of.in_size, of.out_size, of.kernel, of.stride, of.padding, of.dilation)
        phase[i] = phase_of(&axis, axis.grain)
        phase[i].shift = axis.first
        if axis.taps == 0:
            continue
        if s.taps == 0:
            s.first = behind = axis.first
        s.first = min(s.first, axis.first)
        behind = max(behind, axis.first + (axis.taps - 1)*phase[i].tap_step)
        s.taps += axis.taps
    s.reach = behind - s.first + 1
    for i in range(s.phases):
        phase[i].shift = phase[i].shift - s.first if phase[i].taps else 0
    count_runs(&s)
    return s


cdef inline Side side_of(const Spatial* of, Phase* phase) noexcept nogil:
    """An axis of a correlation, whose phases are listed."""
    cdef Axis axis
    if of.adjoint:
        return adjoint_side(of, phase)
    axis = phase_axis(of, 0)
    return forward_side(&axis, of.kernel, phase)


cdef inline Py_ssize_t phases_bytes(const Convolution* c) noexcept nogil:
    """Memory for the phases of both axes."""
    return (phase_count(&c.down) + phase_count(&c.across))*sizeof(Phase)


cdef struct Window:
    # Of a line's staged columns in one plane: how many there are, and which lie inside of the image, from `source` on.
    Py_ssize_t staged, before, behind, source


cdef struct Layout:
    # How outputs and staged input are cut.
    Lanes lanes
    Py_ssize_t abreast                      # bundles that are staged at the same time
    Py_ssize_t rows, cols, down, across     # down x across units of at most rows x cols outputs of each phase
    Py_ssize_t together                     # lines of outputs that are staged, and then computed, at a time
    Py_ssize_t ring                         # staged lines that are kept: line h lies at h % ring
    Py_ssize_t planes                       # of staged columns, taken apart by their phase of in_step
    Py_ssize_t plane, line, strip           # elements of a plane, a line and the ring, for one bundle
    Py_ssize_t taps                         # of the whole kernel
    Prologue prologue                       # of the input
    const Window* window                    # of each unit across, of each plane
    const Py_ssize_t* line_at               # where line h < 2*ring lies


cdef inline void cut_down(Layout* lay, const Side* y, Py_ssize_t rows) noexcept nogil:
    """Cut into units of about, and at most, so many lines: all of nearly the same size."""
    lay.down = ceil_div(y.count, rows)
    lay.rows = ceil_div(y.count, lay.down) if lay.down else 0


cdef inline void cut_across(Layout* lay, const Side* y, const Side* x, Py_ssize_t cols) noexcept nogil:
    lay.across = ceil_div(x.count, cols)
    lay.cols = ceil_div(x.count, lay.across) if lay.across else 0
    lay.planes = x.in_step
    lay.plane = ceil_div((lay.cols - 1)*x.in_step + x.reach, x.in_step)*lay.lanes.pixel
    lay.line = lay.plane*lay.planes
    keep(lay, y, 1)


cdef inline void keep(Layout* lay, const Side* y, Py_ssize_t together) noexcept nogil:
    """Keep as many staged lines as so many outputs read."""
    lay.together = together
    lay.ring = (together - 1)*y.in_step + y.reach
    # An odd number of vectors: neighbours' strips lie in other sets of the cache.
    lay.strip = (ceil_div(lay.ring*lay.line, VLEN) | 1)*VLEN


cdef inline Layout lay_out(const Lanes* lanes, const Side* y, const Side* x) noexcept nogil:
    """Rings that fit STRIP_BYTES: of whole lines, for as many bundles as possible, and then of as many lines."""
    cdef Layout lay
    cdef Py_ssize_t rows = max(y.count, <Py_ssize_t>1), cols = max(x.count, <Py_ssize_t>1)
    cdef Py_ssize_t room = STRIP_BYTES // sizeof(real), turns, more = 2
    lay.lanes, lay.prologue = lanes[0], nothing()
    lay.taps = y.kernel*x.kernel
    cut_down(&lay, y, rows)
    cut_across(&lay, y, x, cols)
    while lay.strip > room and cols > TILE_ROWS:
        cols = max(<Py_ssize_t>TILE_ROWS, ceil_div(cols, 2))
        cut_across(&lay, y, x, cols)
    turns = ceil_div(lanes.bundles, max(<Py_ssize_t>1, room // lay.strip))
    lay.abreast = ceil_div(lanes.bundles, turns)
    while more <= rows and more*lay.cols <= PIXELS and lay.abreast*(lay.strip + y.in_step*lay.line) <= room:
        keep(&lay, y, more)
        more += 1
    return lay


cdef inline void list_lines(Layout* lay, Py_ssize_t* line_at) noexcept nogil:
    cdef Py_ssize_t h
    lay.line_at = line_at
    for h in range(2*lay.ring):
        line_at[h] = h % lay.ring*lay.line


cdef inline Py_ssize_t panel(const Layout* lay) noexcept nogil:
    """Weights of one vector: [tap][channel][lanes, zeros behind the last]."""
    return lay.taps*lay.lanes.channels*VLEN


cdef inline Py_ssize_t windows_of(const Layout* lay) noexcept nogil:
    return lay.across*lay.planes


cdef inline void list_windows(Layout* lay, const Side* x, const Image* image, Window* window) noexcept nogil:
    cdef Py_ssize_t strip, u, first, wide, apart = x.in_step*x.grain, col
    lay.window = window
    for strip in range(lay.across):
        col = strip*lay.cols
        wide = (min(lay.cols, x.count - col) - 1)*x.in_step + x.reach
        for u in range(lay.planes):
            first = x.first + x.grain*(x.in_step*col + u)
            window.staged = max(<Py_ssize_t>0, ceil_div(wide - u, x.in_step))
            window.before = min(window.staged, ceil_div(-first, apart)) if first < 0 else 0
            window.behind = min(window.staged, ceil_div(image.cols - first, apart)) if image.cols > first else 0
            window.behind = max(window.before, window.behind)
            window.source = (first + window.before*apart)*image.col
            window += 1


cdef inline void clear(real* p, Py_ssize_t count) noexcept nogil:
    memset(p, 0, count*sizeof(real))


cdef inline void stage_line(
    const Layout* lay, const real* image, const Image* strides, const Side* y, const Side* x, Py_ssize_t h,
    Py_ssize_t col, Py_ssize_t bundle, Py_ssize_t bundles, real* line,
) noexcept nogil:
    """Copy the h-th line of unit `col` across, for a number of bundles, with zeros where the image ends."""
    cdef Py_ssize_t row = y.first + y.grain*h, apart = x.in_step*x.grain*strides.col, u, b
    cdef const Window* window = lay.window + col*lay.planes
    cdef real* plane
    if row < 0 or row >= strides.rows:
        for b in range(bundles):
            clear(line + b*lay.strip, lay.line)
        return
    image = image + row*strides.row + bundle*lay.lanes.together*lay.lanes.channels
    for u in range(lay.planes):
        for b in range(bundles):
            plane = line + b*lay.strip + u*lay.plane
            clear(plane, window[u].before*lay.lanes.pixel)
            clear(plane + window[u].behind*lay.lanes.pixel, (window[u].staged - window[u].behind)*lay.lanes.pixel)
        if maps(&lay.prologue):     # then there is one bundle
            map_pixels(&lay.prologue, 0, lay.lanes.channels, image + window[u].source, apart,
                       window[u].behind - window[u].before, line + u*lay.plane + window[u].before*lay.lanes.pixel,
                       lay.lanes.pixel)
            continue
        stage_inputs(&lay.lanes, bundle, bundles, image + window[u].source, apart, window[u].behind - window[u].before,
                     line + u*lay.plane + window[u].before*lay.lanes.pixel, lay.strip)


cdef inline void stage_lines(
    const Layout* lay, const real* image, const Image* strides, const Side* y, const Side* x, Py_ssize_t row,
    Py_ssize_t staged, Py_ssize_t needed, Py_ssize_t col, Py_ssize_t bundle, Py_ssize_t bundles, real* strip,
) noexcept nogil:
    """Stage lines [staged, needed) of the unit whose first output is in line `row`."""
    cdef Py_ssize_t h
    for h in range(staged, needed):
        stage_line(lay, image, strides, y, x, y.in_step*row + h, col, bundle, bundles, strip + h % lay.ring*lay.line)


cdef inline Py_ssize_t staged_at(const Layout* lay, Py_ssize_t u) noexcept nogil:
    """Where in a staged line the u-th grain lies."""
    return u % lay.planes*lay.plane + u // lay.planes*lay.lanes.pixel


# ---------------------------------------------------------------------------------------------------------------------
# Lines to come


cdef inline bint is_far(Py_ssize_t elements) noexcept nogil:
    """Whether images are so large that they come from memory: to call in what is in a cache costs time."""
    return elements*<Py_ssize_t>sizeof(real) >= FAR


cdef inline bint is_near(Py_ssize_t elements) noexcept nogil:
    """Whether images may be found in a core's own caches."""
    return elements*<Py_ssize_t>sizeof(real) < OWN


cdef inline Py_ssize_t dealt(Py_ssize_t units, int threads, Py_ssize_t elements) noexcept nogil:
    """Units that a thread takes at a time: one; of so few images that they may lie in the caches of single cores, a run
    of neighbours, the same in each pass."""
    return ceil_div(units, threads) if is_near(elements) else 1


cdef inline Fetch rows_of(
    const real* images, const Image* strides, Py_ssize_t image, Py_ssize_t first, Py_ssize_t behind, Py_ssize_t turns,
) noexcept nogil:
    """Those rows [first, behind) that an image has, to be called in evenly in so many turns."""
    cdef Fetch f
    cdef Py_ssize_t bytes
    turns = max(turns, <Py_ssize_t>1)       # there are none where outputs have no taps
    first, behind = max(first, <Py_ssize_t>0), min(behind, strides.rows)
    bytes = max(behind - first, <Py_ssize_t>0)*strides.row*<Py_ssize_t>sizeof(real)
    f.next = <const char*>(images + image*strides.image + first*strides.row)
    f.quota = ceil_div(bytes, CACHE_LINE*turns)
    f.step = ceil_div(bytes, f.quota*turns) if f.quota else 0
    return f
