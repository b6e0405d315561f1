"""Narrow groups on full vectors: the layout, and the two tiles that work lane by lane.

Where a group is narrower than a vector, several groups share one, and each lane carries one output channel k of some
group. A product is then one of whole vectors,

    out[i, k]  =  init[k] + sum over taps t and channels c of  x[i + t, c, k] * w[t, c, k]

where x[., c, k] is channel c of the group that k belongs to. Strips are staged in that form: for a depthwise layer
that is the image itself, for others each channel is repeated in the lanes that read it, by one permutation that
all taps share. A weight's gradient is the same product summed over i instead.
"""

from libc.stdint cimport int32_t

from convkit._kernels._simd cimport (
    LANE_ROWS, NARROW_LANE_ROWS, TILE_ROWS, VLEN, opaque, pinned, prefetch, real, vi, viload_i32, visplat, vload,
    vload_lanes, vpermute, vr, vsplat, vstore, vstore_lanes,
)


cdef enum:
    MOST_LANES = 64                 # at least VLEN
    CACHE_LINE = 64                 # bytes
    GRADIENT_TAPS = 9               # taps that one tile of a weight's gradient sums


# ---------------------------------------------------------------------------------------------------------------------
# Channels on lanes


cdef struct Lanes:
    Py_ssize_t groups, lanes, channels  # of one group: its lanes, and the channels that each of them sums over
    Py_ssize_t together                 # groups that share a vector
    Py_ssize_t width                    # lanes that they fill
    Py_ssize_t vectors                  # for all groups
    int32_t source[MOST_LANES]          # where in a vector's first input channels lane k finds its channel 0


cdef inline Lanes lay_lanes(Py_ssize_t groups, Py_ssize_t lanes, Py_ssize_t channels) noexcept nogil:
    """Put as many whole groups on a vector as there is room for, and as two vectors of input can serve."""
    cdef Lanes lay
    cdef Py_ssize_t k
    lay.groups, lay.lanes, lay.channels = groups, lanes, channels
    lay.together = max(<Py_ssize_t>1, min(VLEN // lanes, 2*VLEN // channels))
    lay.width = lay.together*lanes
    lay.vectors = (groups + lay.together - 1) // lay.together
    for k in range(VLEN):
        lay.source[k] = <int32_t>(k // lanes*channels) if k < lay.width else 0
    return lay


cdef inline Py_ssize_t groups_of(const Lanes* lay, Py_ssize_t vector) noexcept nogil:
    return min(lay.together, lay.groups - vector*lay.together)


cdef inline int lanes_of(const Lanes* lay, Py_ssize_t vector) noexcept nogil:
    return <int>(groups_of(lay, vector)*lay.lanes)


cdef inline void spread(
    const Lanes* lay, Py_ssize_t vector, Py_ssize_t vectors, const real* source, Py_ssize_t step, Py_ssize_t pixels,
    Py_ssize_t plane, Py_ssize_t apart, real* strip,
) noexcept nogil:
    """Stage pixels `step` apart for so many vectors, whose strips are `apart`: memory is read as it lies.

    Channel c goes to the lanes that read it, `plane` behind channel c - 1.
    """
    cdef Py_ssize_t _, v, c, between = lay.together*lay.channels, whole = vectors
    cdef int rest = <int>(groups_of(lay, vector + vectors - 1)*lay.channels)
    cdef int first = <int>min(between, <Py_ssize_t>VLEN)
    cdef vi where = viload_i32(lay.source, VLEN)
    cdef vr low, high
    if between > rest or between != VLEN:
        whole -= 1          # the last vector of an image must not be read beyond its channels
    for _ in range(pixels):
        if lay.channels == 1 and lay.lanes == 1:
            for v in range(whole):
                vstore(strip + v*apart, vload(source + v*VLEN))
            if whole < vectors:
                vstore(strip + whole*apart, vload_lanes(source + whole*VLEN, rest))
        else:
            for v in range(vectors):
                if v < whole or rest >= between:
                    low = vload_lanes(source + v*between, first)
                    high = vload_lanes(source + v*between + VLEN, <int>between - VLEN) if between > VLEN else vsplat(0)
                else:
                    low = vload_lanes(source + v*between, min(rest, VLEN))
                    high = vload_lanes(source + v*between + VLEN, rest - VLEN) if rest > VLEN else vsplat(0)
                for c in range(lay.channels):
                    vstore(strip + v*apart + c*plane, vpermute(low, high, where + visplat(<int>c)))
        source, strip = source + step, strip + VLEN


# ---------------------------------------------------------------------------------------------------------------------
# Forward and backward-input: lanes are outputs, pixels are the rows of a tile


cdef enum:
    RUN = 3                         # neighbouring taps that share what they read


cdef struct Fetch:
    # Memory that is called into the cache, so many cache lines with every block: it never rests.
    const real* next
    Py_ssize_t quota


cdef inline const real* fetch(const real* next, Py_ssize_t quota) noexcept nogil:
    cdef Py_ssize_t _
    for _ in range(quota):
        prefetch(next)
        next = next + CACHE_LINE // sizeof(real)
    return next


cdef struct Run:
    # Neighbouring taps of one channel: where their input and their weights begin.
    Py_ssize_t x, w
    int taps


cdef struct LaneProduct:
    const real* x
    Py_ssize_t x_pixel, x_vector    # from the input of one pixel, or one vector, to the next
    const real* w
    Py_ssize_t w_vector, w_tap      # from one vector, or one tap of a run, to the next
    const Run* run
    Py_ssize_t runs
    const real* init                # added at the end
    Py_ssize_t init_pixel, init_vector
    real* out
    Py_ssize_t out_pixel, out_vector
    bint whole                      # every vector is: else
    int lanes[2]                    # so many lanes of each are there
    Py_ssize_t blocks               # of whole vectors, one after the other: memory is read and written in order
    Fetch reads, writes             # what lines to come will need


cdef inline Py_ssize_t lane_tile_height(Py_ssize_t pixels, int vectors) noexcept nogil:
    """Height of the first of the tiles that cover so many pixels evenly."""
    cdef Py_ssize_t most = LANE_ROWS if vectors == 2 else NARROW_LANE_ROWS
    cdef Py_ssize_t tiles = (pixels + most - 1) // most
    return (pixels + tiles - 1) // tiles


cdef inline void step(
    const int u, const int pixels, const int taps, const real** x, Py_ssize_t x_pixel, const vr* w, vr* acc,
) noexcept nogil:
    """Read pixel u once, for every output that it meets within a run."""
    cdef vr value
    if u >= pixels + taps - 1:
        return
    value = pinned(vload(x[0]))
    x[0] = opaque(x[0] + x_pixel)
    if u < pixels:
        acc[u] = acc[u] + value*w[0]
    if taps > 1 and u > 0 and u - 1 < pixels:
        acc[u - 1] = acc[u - 1] + value*w[1]
    if taps > 2 and u > 1 and u - 2 < pixels:
        acc[u - 2] = acc[u - 2] + value*w[2]


cdef inline void multiply_run(
    const int pixels, const int taps, const real* x, Py_ssize_t x_pixel, const real* p, Py_ssize_t w_tap, vr* acc,
) noexcept nogil:
    """One vector's products of a run. Spelled out, or the compiler keeps the accumulators in memory to index them."""
    cdef vr w[RUN]
    w[0] = vload(p)
    if taps > 1:
        w[1] = vload(p + w_tap)
    if taps > 2:
        w[2] = vload(p + 2*w_tap)
    step(0, pixels, taps, &x, x_pixel, w, acc)
    step(1, pixels, taps, &x, x_pixel, w, acc)
    step(2, pixels, taps, &x, x_pixel, w, acc)
    step(3, pixels, taps, &x, x_pixel, w, acc)
    step(4, pixels, taps, &x, x_pixel, w, acc)
    step(5, pixels, taps, &x, x_pixel, w, acc)
    step(6, pixels, taps, &x, x_pixel, w, acc)
    step(7, pixels, taps, &x, x_pixel, w, acc)
    step(8, pixels, taps, &x, x_pixel, w, acc)
    step(9, pixels, taps, &x, x_pixel, w, acc)
    step(10, pixels, taps, &x, x_pixel, w, acc)
    step(11, pixels, taps, &x, x_pixel, w, acc)
    step(12, pixels, taps, &x, x_pixel, w, acc)
    step(13, pixels, taps, &x, x_pixel, w, acc)
    step(14, pixels, taps, &x, x_pixel, w, acc)
    step(15, pixels, taps, &x, x_pixel, w, acc)


cdef inline void store_pixel(
    const int i, const int pixels, const bint whole, const real* init, Py_ssize_t init_pixel, real* out,
    Py_ssize_t out_pixel, int lanes, const vr* acc,
) noexcept nogil:
    if i >= pixels:
        return
    if whole:
        vstore(out + i*out_pixel, vload(init + i*init_pixel) + acc[i])
    else:
        vstore_lanes(out + i*out_pixel, vload_lanes(init + i*init_pixel, lanes) + acc[i], lanes)


cdef inline void store_pixels(
    const int pixels, const bint whole, const LaneProduct* t, const real* init, real* out, int lanes, const vr* acc,
) noexcept nogil:
    cdef Py_ssize_t init_pixel = t.init_pixel, out_pixel = t.out_pixel
    store_pixel(0, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(1, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(2, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(3, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(4, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(5, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(6, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(7, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(8, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(9, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(10, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(11, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(12, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)
    store_pixel(13, pixels, whole, init, init_pixel, out, out_pixel, lanes, acc)


cdef inline void multiply_runs(
    const int pixels, const int vectors, const LaneProduct* t, const real* input, const real* w, vr* acc, vr* acc1,
) noexcept nogil:
    cdef const real* x
    cdef const real* p
    cdef Py_ssize_t r, x_pixel = t.x_pixel, x_vector = t.x_vector, w_vector = t.w_vector, w_tap = t.w_tap
    for r in range(t.runs):
        x, p = opaque(input + t.run[r].x), w + t.run[r].w
        if t.run[r].taps == 3:
            multiply_run(pixels, 3, x, x_pixel, p, w_tap, acc)
            if vectors > 1:
                multiply_run(pixels, 3, x + x_vector, x_pixel, p + w_vector, w_tap, acc1)
        elif t.run[r].taps == 2:
            multiply_run(pixels, 2, x, x_pixel, p, w_tap, acc)
            if vectors > 1:
                multiply_run(pixels, 2, x + x_vector, x_pixel, p + w_vector, w_tap, acc1)
        else:
            multiply_run(pixels, 1, x, x_pixel, p, w_tap, acc)
            if vectors > 1:
                multiply_run(pixels, 1, x + x_vector, x_pixel, p + w_vector, w_tap, acc1)


cdef inline void lane_tile(const int pixels, const int vectors, const LaneProduct* t) noexcept nogil:
    """A tile whose shape is known to the compiler: `pixels` and `vectors` must be literals."""
    cdef vr acc[14]
    cdef vr acc1[14]
    cdef const real* x = t.x
    cdef const real* w = t.w
    cdef const real* init = t.init
    cdef real* out = t.out
    cdef const real* reads = t.reads.next
    cdef const real* writes = t.writes.next
    cdef Py_ssize_t _
    cdef int i
    for _ in range(t.blocks):
        reads, writes = fetch(reads, t.reads.quota), fetch(writes, t.writes.quota)
        for i in range(pixels):
            acc[i] = vsplat(0)
            acc1[i] = vsplat(0)
        multiply_runs(pixels, vectors, t, x, w, acc, acc1)
        if t.whole:
            store_pixels(pixels, True, t, init, out, VLEN, acc)
            if vectors > 1:
                store_pixels(pixels, True, t, init + t.init_vector, out + t.out_vector, VLEN, acc1)
        else:
            store_pixels(pixels, False, t, init, out, t.lanes[0], acc)
            if vectors > 1:
                store_pixels(pixels, False, t, init + t.init_vector, out + t.out_vector, t.lanes[1], acc1)
        x, w = x + vectors*t.x_vector, w + vectors*t.w_vector
        init, out = init + vectors*t.init_vector, out + vectors*t.out_vector


cdef inline void lane_tile_of(Py_ssize_t pixels, const int vectors, const LaneProduct* t) noexcept nogil:
    """Every height has a tile of its own; those that the instruction set has no registers for compile to nothing."""
    if pixels == 1:
        lane_tile(1, vectors, t)
    elif pixels == 2:
        lane_tile(2, vectors, t)
    elif pixels == 3:
        lane_tile(3, vectors, t)
    elif pixels == 4:
        lane_tile(4, vectors, t)
    elif vectors == 1 or LANE_ROWS > 4:
        if pixels == 5:
            lane_tile(5, vectors, t)
        elif pixels == 6:
            lane_tile(6, vectors, t)
        elif pixels == 7:
            lane_tile(7, vectors, t)
        elif pixels == 8:
            lane_tile(8, vectors, t)
        elif pixels == 9:
            lane_tile(9, vectors, t)
        elif pixels == 10:
            lane_tile(10, vectors, t)
        elif vectors == 1 and NARROW_LANE_ROWS > 10:
            if pixels == 11:
                lane_tile(11, vectors, t)
            elif pixels == 12:
                lane_tile(12, vectors, t)
            elif pixels == 13:
                lane_tile(13, vectors, t)
            elif pixels == 14:
                lane_tile(14, vectors, t)


# ---------------------------------------------------------------------------------------------------------------------
# Backward-weight: lanes are outputs, taps are the rows of a tile


cdef struct LaneSum:
    const real* x
    Py_ssize_t x_line, x_vector     # from one line of outputs, or one vector, to the next
    const Py_ssize_t* taps          # where in `x` each begins
    const real* grad
    Py_ssize_t grad_line, grad_pixel, grad_vector
    Py_ssize_t lines, pixels
    real* sums                      # the products are added to these
    Py_ssize_t sums_tap, sums_vector


cdef inline int sum_tile_taps(Py_ssize_t taps, int vectors) noexcept nogil:
    """Taps of the first of the tiles that cover so many evenly."""
    cdef Py_ssize_t most = min(<Py_ssize_t>TILE_ROWS, <Py_ssize_t>GRADIENT_TAPS) if vectors == 2 else GRADIENT_TAPS
    cdef Py_ssize_t tiles = (taps + most - 1) // most
    return <int>((taps + tiles - 1) // tiles)


cdef inline void sum_tile(const int taps, const int vectors, const LaneSum* t) noexcept nogil:
    """The products of all pixels for `taps` taps of one channel; both arguments must be literals."""
    cdef vr acc[GRADIENT_TAPS][2]
    cdef vr g[2]
    cdef Py_ssize_t begins[GRADIENT_TAPS]
    cdef const real* x
    cdef const real* x1
    cdef const real* grad
    cdef Py_ssize_t line, _, pixels = t.pixels, pixel = t.grad_pixel, vector = t.grad_vector
    cdef int i, v
    for i in range(taps):
        begins[i] = t.taps[i]
        for v in range(vectors):
            acc[i][v] = vsplat(0)
    for line in range(t.lines):
        x, grad = t.x + line*t.x_line, t.grad + line*t.grad_line
        x1 = x + t.x_vector
        for _ in range(pixels):
            for v in range(vectors):
                g[v] = vload(grad + v*vector)
            for i in range(taps):
                acc[i][0] = acc[i][0] + vload(x + begins[i])*g[0]
                if vectors > 1:
                    acc[i][1] = acc[i][1] + vload(x1 + begins[i])*g[1]
            x, x1, grad = x + VLEN, x1 + VLEN, grad + pixel
    for i in range(taps):
        for v in range(vectors):
            vstore(t.sums + i*t.sums_tap + v*t.sums_vector, vload(t.sums + i*t.sums_tap + v*t.sums_vector) + acc[i][v])


cdef inline void sum_tile_of(int taps, const int vectors, const LaneSum* t) noexcept nogil:
    if taps == 1:
        sum_tile(1, vectors, t)
    elif taps == 2:
        sum_tile(2, vectors, t)
    elif taps == 3:
        sum_tile(3, vectors, t)
    elif taps == 4:
        sum_tile(4, vectors, t)
    elif taps == 5:
        sum_tile(5, vectors, t)
    elif taps == 6:
        sum_tile(6, vectors, t)
    elif vectors == 1 or TILE_ROWS > 6:
        if taps == 7:
            sum_tile(7, vectors, t)
        elif taps == 8:
            sum_tile(8, vectors, t)
        elif taps == 9:
            sum_tile(9, vectors, t)


# ---------------------------------------------------------------------------------------------------------------------
# Backward-weight of images that are not staged: a window of taps slides along the lines


cdef enum:
    SIDE = 3                        # rows, and columns, of taps at most
    SLIDE = 4                       # pixels of the output's gradient that are held in registers


cdef struct WindowSum:
    const real* x                   # the input of the first pixel's first tap
    Py_ssize_t x_line, x_pixel      # from one line of outputs, or one output, to the next
    Py_ssize_t x_row, x_tap         # from one row of taps, or one tap of a row, to the next
    const real* grad
    Py_ssize_t grad_line, grad_pixel
    Py_ssize_t lines, pixels
    Py_ssize_t first, behind        # pixels between these have all their taps inside of the image, as columns go
    # Where in the image the first tap lies, and the steps from one line, pixel, row of taps and tap to the next.
    Py_ssize_t row, line_rows, tap_rows, rows
    Py_ssize_t col, pixel_cols, tap_cols, cols
    real* sums                      # the products are added to these
    Py_ssize_t sums_row


cdef inline void slide(
    const int u, const int rows, const int taps, const real** x, Py_ssize_t x_row, Py_ssize_t x_pixel, const vr* g,
    vr* acc,
) noexcept nogil:
    """Read column u of the window once, for every pixel that it meets."""
    cdef vr value
    cdef int r
    if u >= SLIDE + taps - 1:
        return
    for r in range(rows):
        value = pinned(vload(x[0] + r*x_row))
        if u < SLIDE:
            acc[SIDE*r] = acc[SIDE*r] + value*g[u]
        if taps > 1 and u > 0 and u - 1 < SLIDE:
            acc[SIDE*r + 1] = acc[SIDE*r + 1] + value*g[u - 1]
        if taps > 2 and u > 1 and u - 2 < SLIDE:
            acc[SIDE*r + 2] = acc[SIDE*r + 2] + value*g[u - 2]
    x[0] = opaque(x[0] + x_pixel)


cdef inline void slide_along(
    const int rows, const int taps, const WindowSum* t, const real* x, const real* grad, vr* acc,
) noexcept nogil:
    """Pixels that have all their taps."""
    cdef vr g[SLIDE]
    cdef Py_ssize_t _, x_row = t.x_row, x_tap = t.x_tap, x_pixel = t.x_pixel, pixel = t.grad_pixel
    cdef Py_ssize_t slides = (t.behind - t.first) // SLIDE if x_tap == x_pixel else 0
    cdef int r, s
    for _ in range(slides):
        g[0], g[1], g[2], g[3] = vload(grad), vload(grad + pixel), vload(grad + 2*pixel), vload(grad + 3*pixel)
        slide(0, rows, taps, &x, x_row, x_pixel, g, acc)
        slide(1, rows, taps, &x, x_row, x_pixel, g, acc)
        slide(2, rows, taps, &x, x_row, x_pixel, g, acc)
        slide(3, rows, taps, &x, x_row, x_pixel, g, acc)
        slide(4, rows, taps, &x, x_row, x_pixel, g, acc)
        slide(5, rows, taps, &x, x_row, x_pixel, g, acc)
        x, grad = x - (taps - 1)*x_pixel, grad + SLIDE*pixel
    for _ in range(t.behind - t.first - slides*SLIDE):
        g[0] = vload(grad)
        for r in range(rows):
            for s in range(taps):
                acc[SIDE*r + s] = acc[SIDE*r + s] + vload(x + r*x_row + s*x_tap)*g[0]
        x, grad = x + x_pixel, grad + pixel


cdef inline void sum_pixel(
    const int rows, const int taps, const WindowSum* t, Py_ssize_t row, Py_ssize_t col, const real* x, const real* grad,
    vr* acc,
) noexcept nogil:
    """A pixel at the edge: taps that lie in the padding are left out."""
    cdef vr g = vload(grad)
    cdef int r, s
    for r in range(rows):
        if 0 <= row + r*t.tap_rows < t.rows:
            for s in range(taps):
                if 0 <= col + s*t.tap_cols < t.cols:
                    acc[SIDE*r + s] = acc[SIDE*r + s] + vload(x + r*t.x_row + s*t.x_tap)*g


cdef inline void sum_window(const int rows, const int taps, const WindowSum* t) noexcept nogil:
    """The products of all pixels for rows x taps taps, which must be literals."""
    cdef vr acc[SIDE*SIDE]
    cdef const real* x
    cdef const real* grad
    cdef Py_ssize_t line, i, row, first
    cdef int r, s
    for r in range(rows):
        for s in range(taps):
            acc[SIDE*r + s] = vsplat(0)
    for line in range(t.lines):
        x, grad, row = t.x + line*t.x_line, t.grad + line*t.grad_line, t.row + line*t.line_rows
        first = t.first if row >= 0 and row + (rows - 1)*t.tap_rows < t.rows and t.first < t.behind else t.pixels
        i = 0
        while i < t.pixels:
            if i == first:
                slide_along(rows, taps, t, x + i*t.x_pixel, grad + i*t.grad_pixel, acc)
                i = t.behind
            else:
                sum_pixel(rows, taps, t, row, t.col + i*t.pixel_cols, x + i*t.x_pixel, grad + i*t.grad_pixel, acc)
                i += 1
    for r in range(rows):
        for s in range(taps):
            vstore(t.sums + r*t.sums_row + s*VLEN, vload(t.sums + r*t.sums_row + s*VLEN) + acc[SIDE*r + s])


cdef inline void sum_window_of(int rows, int taps, const WindowSum* t) noexcept nogil:
    if rows == 1:
        sum_window_row(1, taps, t)
    elif rows == 2:
        sum_window_row(2, taps, t)
    else:
        sum_window_row(3, taps, t)


cdef inline void sum_window_row(const int rows, int taps, const WindowSum* t) noexcept nogil:
    if taps == 1:
        sum_window(rows, 1, t)
    elif taps == 2:
        sum_window(rows, 2, t)
    else:
        sum_window(rows, 3, t)
