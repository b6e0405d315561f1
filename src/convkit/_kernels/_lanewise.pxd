"""The tile that works lane by lane: each lane sums over its own channels.

    out[i, k]  =  init[k] + sum over taps t and channels c of  x[i + t, c, k] * w[t, c, k]

where x[., c, k] is channel c of the group that lane k belongs to. A depthwise layer has the lanes of x in memory as
they are; for other groups one permutation, or a broadcast, brings a channel to the lanes that read it. What is read
serves as many as three neighbouring taps, so that the multiply-add unit does not wait for memory.
"""

from convkit._kernels._simd cimport (
    LANE_ROWS, NARROW_LANE_ROWS, VLEN, opaque, pinned, prefetch, real, vi, visplat, vload, vload_lanes, vpick, vr,
    vsplat, vstore, vstore_lanes, vstream,
)


cdef enum:
    CACHE_LINE = 64                 # bytes
    RUN = 3                         # neighbouring taps that share what they read
    DEPTH_CHANNELS = 768//RUN       # summed in registers at a time: the error of a chain grows with its length


cdef enum:
    # How a channel reaches the lanes.
    WHOLE                           # each has its own
    PICKED                          # by a permutation
    SPREAD                          # one channel, to all of them
    ALONE                           # the same, of an image that has no other: its pixels are neighbours


cdef enum:
    # How sums reach memory.
    LANES                           # so many lanes of each vector
    VECTORS                         # whole vectors
    STREAMED                        # these past the caches


cdef inline vr lanes_at(const int reading, const real* x, vi where) noexcept nogil:
    """Read what the lanes multiply; `reading` must be a literal."""
    if reading == WHOLE:
        return vload(x)
    if reading == PICKED:
        return vpick(vload(x), where)
    return vsplat(x[0])


cdef struct Fetch:
    # Memory that is called into the cache: in every turn so many places, so many bytes apart. It never rests, nor are
    # there more at a time than the processor has room to note; else it would wait with them.
    const char* next
    Py_ssize_t quota, step


cdef inline void fetch(Fetch* f) noexcept nogil:
    cdef Py_ssize_t _
    for _ in range(f.quota):
        prefetch(f.next)
        f.next = f.next + f.step


cdef inline void pass_on(Fetch* f, Py_ssize_t turns) noexcept nogil:
    """Leave what comes after so many turns to others."""
    f.next = f.next + turns*f.quota*f.step


cdef struct Run:
    # Neighbouring taps: where their input and their weights begin.
    Py_ssize_t line, x, w           # the line only where lines are staged
    int taps


cdef struct LaneProduct:
    const real* x
    Py_ssize_t x_pixel, x_vector    # from the input of one pixel, or one vector, to the next
    const real* w
    Py_ssize_t w_vector, w_tap      # from one vector, or one tap of a run, to the next
    const Run* run
    Py_ssize_t runs
    Py_ssize_t channels             # of a group, that every run sums over,
    Py_ssize_t piece, x_piece       # so many of them in a vector of the input; from that vector to the next
    vi where                        # in which a lane finds the first there
    const Py_ssize_t* line_at       # where staged lines lie
    const real* init                # added at the end
    Py_ssize_t init_pixel, init_vector
    real* out
    Py_ssize_t out_pixel, out_vector
    int storing                     # LANES, of which there are `lanes` in each vector, VECTORS or STREAMED
    int lanes[2]
    Py_ssize_t blocks               # of whole vectors, one after the other: memory is read and written in order
    Fetch reads, writes             # what lines to come will need: a turn is a block, or of staged lines a product


cdef inline Py_ssize_t lane_tile_height(Py_ssize_t pixels, int vectors) noexcept nogil:
    """Height of the first of the tiles that cover so many pixels evenly."""
    cdef Py_ssize_t most = LANE_ROWS if vectors == 2 else NARROW_LANE_ROWS
    cdef Py_ssize_t tiles = (pixels + most - 1) // most
    return (pixels + tiles - 1) // tiles


cdef inline void step(
    const int u, const int pixels, const int taps, const int reading, const real** x, Py_ssize_t x_pixel, vi where,
    const vr* w, vr* acc,
) noexcept nogil:
    """Read pixel u once, for every output that it meets within a run."""
    cdef vr value
    if u >= pixels + taps - 1:
        return
    value = pinned(lanes_at(reading, x[0], where))
    x[0] = opaque(x[0] + x_pixel)
    if u < pixels:
        acc[u] = acc[u] + value*w[0]
    if taps > 1 and u > 0 and u - 1 < pixels:
        acc[u - 1] = acc[u - 1] + value*w[1]
    if taps > 2 and u > 1 and u - 2 < pixels:
        acc[u - 2] = acc[u - 2] + value*w[2]


cdef inline void multiply_tap(const int pixels, const real* x, vr w, vr* acc) noexcept nogil:
    """One tap of neighbouring numbers, which each product reads by itself: one instruction with AVX-512."""
    x = opaque(x)                   # or what taps have in common is kept in registers
    add_pixel(0, pixels, x, w, acc)
    add_pixel(1, pixels, x, w, acc)
    add_pixel(2, pixels, x, w, acc)
    add_pixel(3, pixels, x, w, acc)
    add_pixel(4, pixels, x, w, acc)
    add_pixel(5, pixels, x, w, acc)
    add_pixel(6, pixels, x, w, acc)
    add_pixel(7, pixels, x, w, acc)
    add_pixel(8, pixels, x, w, acc)
    add_pixel(9, pixels, x, w, acc)
    add_pixel(10, pixels, x, w, acc)
    add_pixel(11, pixels, x, w, acc)
    add_pixel(12, pixels, x, w, acc)
    add_pixel(13, pixels, x, w, acc)


cdef inline void add_pixel(const int i, const int pixels, const real* x, vr w, vr* acc) noexcept nogil:
    if i < pixels:
        acc[i] = acc[i] + vsplat(x[i])*w


cdef inline void multiply_run(
    const int pixels, const int taps, const int reading, const real* x, Py_ssize_t x_pixel, vi where, const real* p,
    Py_ssize_t w_tap, vr* acc,
) noexcept nogil:
    """One vector's products of a run. Spelled out, or the compiler keeps the accumulators in memory to index them."""
    cdef vr w[RUN]
    w[0] = vload(p)
    if taps > 1:
        w[1] = vload(p + w_tap)
    if taps > 2:
        w[2] = vload(p + 2*w_tap)
    step(0, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(1, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(2, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(3, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(4, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(5, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(6, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(7, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(8, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(9, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(10, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(11, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(12, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(13, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(14, pixels, taps, reading, &x, x_pixel, where, w, acc)
    step(15, pixels, taps, reading, &x, x_pixel, where, w, acc)


cdef inline void store_pixel(
    const int i, const int pixels, const int storing, const real** init, Py_ssize_t init_pixel, const real** out,
    Py_ssize_t out_pixel, int lanes, const vr* acc,
) noexcept nogil:
    cdef real* pixel = <real*>out[0]
    if i >= pixels:
        return
    if storing == LANES:
        vstore_lanes(pixel, vload_lanes(init[0], lanes) + acc[i], lanes)
    elif storing == VECTORS:
        vstore(pixel, vload(init[0]) + acc[i])
    else:
        vstream(pixel, vload(init[0]) + acc[i])
    init[0], out[0] = opaque(init[0] + init_pixel), opaque(out[0] + out_pixel)


cdef inline void store_pixels(
    const int pixels, const int storing, const LaneProduct* t, const real* init, const real* out, int lanes,
    const vr* acc,
) noexcept nogil:
    cdef Py_ssize_t init_pixel = t.init_pixel, out_pixel = t.out_pixel
    store_pixel(0, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(1, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(2, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(3, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(4, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(5, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(6, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(7, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(8, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(9, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(10, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(11, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(12, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)
    store_pixel(13, pixels, storing, &init, init_pixel, &out, out_pixel, lanes, acc)


cdef inline void store_tile(
    const int pixels, const int vectors, const int storing, const LaneProduct* t, const real* init, real* out,
    const vr* acc, const vr* acc1,
) noexcept nogil:
    store_pixels(pixels, storing, t, init, out, t.lanes[0], acc)
    if vectors > 1:
        store_pixels(pixels, storing, t, init + t.init_vector, out + t.out_vector, t.lanes[1], acc1)


cdef inline void multiply_channel(
    const int pixels, const int reading, int taps, const real* x, Py_ssize_t x_pixel, vi where, const real* w,
    Py_ssize_t w_tap, vr* acc,
) noexcept nogil:
    if taps == 3:
        multiply_run(pixels, 3, reading, x, x_pixel, where, w, w_tap, acc)
    elif taps == 2:
        multiply_run(pixels, 2, reading, x, x_pixel, where, w, w_tap, acc)
    else:
        multiply_run(pixels, 1, reading, x, x_pixel, where, w, w_tap, acc)


cdef inline void multiply_runs(
    const int pixels, const int vectors, const int reading, const LaneProduct* t, const real* input, const real* w,
    Fetch* reads, Fetch* writes, vr* acc, vr* acc1,
) noexcept nogil:
    cdef const real* x
    cdef const real* p
    cdef Py_ssize_t r, first, c, x_pixel = t.x_pixel, x_vector = t.x_vector, w_vector = t.w_vector, w_tap = t.w_tap
    cdef int taps
    for r in range(t.runs):
        x, p, taps = opaque(input + t.run[r].x), w + t.run[r].w, t.run[r].taps
        if reading != WHOLE:
            x = opaque(x + t.line_at[t.run[r].line])
        if reading == ALONE:
            fetch(reads)
            fetch(writes)
            multiply_tap(pixels, x, vload(p), acc)
            if taps > 1:
                multiply_tap(pixels, x + 1, vload(p + w_tap), acc)
            if taps > 2:
                multiply_tap(pixels, x + 2, vload(p + 2*w_tap), acc)
            continue
        if reading == WHOLE:
            multiply_channel(pixels, WHOLE, taps, x, x_pixel, t.where, p, w_tap, acc)
            if vectors > 1:
                multiply_channel(pixels, WHOLE, taps, x + x_vector, x_pixel, t.where, p + w_vector, w_tap, acc1)
            continue
        first = 0
        while first < t.channels:
            for c in range(min(t.piece, t.channels - first)):
                fetch(reads)
                fetch(writes)
                multiply_channel(pixels, reading, taps, x + (c if reading == SPREAD else 0), x_pixel,
                                 t.where + visplat(<int>c), p, w_tap, acc)
                p = p + VLEN
            x = x + t.x_piece
            first += t.piece


cdef inline void lane_tile(
    const int pixels, const int vectors, const int reading, const LaneProduct* t,
) noexcept nogil:
    """A tile whose shape is known to the compiler: all but the last argument must be literals."""
    cdef vr acc[14]
    cdef vr acc1[14]
    cdef const real* x = t.x
    cdef const real* w = t.w
    cdef const real* init = t.init
    cdef real* out = t.out
    cdef Fetch reads = t.reads, writes = t.writes
    cdef Py_ssize_t _
    cdef int i
    for _ in range(t.blocks):
        if reading == WHOLE:
            fetch(&reads)
            fetch(&writes)
        for i in range(pixels):
            acc[i] = vsplat(0)
            acc1[i] = vsplat(0)
        multiply_runs(pixels, vectors, reading, t, x, w, &reads, &writes, acc, acc1)
        if t.storing == STREAMED:
            store_tile(pixels, vectors, STREAMED, t, init, out, acc, acc1)
        elif t.storing == VECTORS:
            store_tile(pixels, vectors, VECTORS, t, init, out, acc, acc1)
        else:
            store_tile(pixels, vectors, LANES, t, init, out, acc, acc1)
        x, w = x + vectors*t.x_vector, w + vectors*t.w_vector
        init, out = init + vectors*t.init_vector, out + vectors*t.out_vector


cdef inline void lane_tile_of(
    Py_ssize_t pixels, const int vectors, const int reading, const LaneProduct* t,
) noexcept nogil:
    """Every height has a tile of its own; those that the instruction set has no registers for compile to nothing."""
    if pixels == 1:
        lane_tile(1, vectors, reading, t)
    elif pixels == 2:
        lane_tile(2, vectors, reading, t)
    elif pixels == 3:
        lane_tile(3, vectors, reading, t)
    elif pixels == 4:
        lane_tile(4, vectors, reading, t)
    elif vectors == 1 or LANE_ROWS > 4:
        if pixels == 5:
            lane_tile(5, vectors, reading, t)
        elif pixels == 6:
            lane_tile(6, vectors, reading, t)
        elif pixels == 7:
            lane_tile(7, vectors, reading, t)
        elif pixels == 8:
            lane_tile(8, vectors, reading, t)
        elif pixels == 9:
            lane_tile(9, vectors, reading, t)
        elif pixels == 10:
            lane_tile(10, vectors, reading, t)
        elif vectors == 1 and NARROW_LANE_ROWS > 10:
            if pixels == 11:
                lane_tile(11, vectors, reading, t)
            elif pixels == 12:
                lane_tile(12, vectors, reading, t)
            elif pixels == 13:
                lane_tile(13, vectors, reading, t)
            elif pixels == 14:
                lane_tile(14, vectors, reading, t)


cdef inline void lane_tile_deep(Py_ssize_t pixels, const int reading, LaneProduct p) noexcept nogil:
    """A tile of one vector: DEPTH_CHANNELS at a time, in as many runs as these leave room for."""
    cdef Py_ssize_t channels = p.channels, count = p.runs, first = 0, r, deep
    cdef Py_ssize_t together = max(DEPTH_CHANNELS // p.piece, <Py_ssize_t>1)*p.piece
    cdef const real* x = p.x
    cdef const real* w = p.w
    cdef const Run* run = p.run
    if channels*count <= DEPTH_CHANNELS:
        lane_tile_of(pixels, 1, reading, &p)
        return
    if p.storing == STREAMED:       # what is summed in pieces is read again, and is left to the caches
        p.storing = VECTORS
    while first < channels:
        p.x, p.w, p.channels = x + first // p.piece*p.x_piece, w + first*VLEN, min(together, channels - first)
        deep, r = max(<Py_ssize_t>1, DEPTH_CHANNELS // p.channels), 0
        while True:
            p.run, p.runs = run + r, min(deep, count - r)
            lane_tile_of(pixels, 1, reading, &p)
            pass_on(&p.reads, p.runs*p.channels)
            pass_on(&p.writes, p.runs*p.channels)
            p.init, p.init_pixel = p.out, p.out_pixel
            r += deep
            if r >= count:
                break
        first += together
