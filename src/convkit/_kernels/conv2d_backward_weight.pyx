"""The gradient of a convolution's weight, on the register tile.

How the sum is cut into units of work, and how much scratch they need, is in `_weight_sum.pxd`. A unit stages its strips
of input, copies the gradient of the output in blocks of lanes, and lets the tile pass over both.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._ahead cimport Memory, go_ahead, nothing_ahead, pixels_between, share_of, spread_over
from convkit._kernels._axis cimport Range, outputs_inside, phase_axis, reads
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._panels cimport stage_blocks
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weight_stage cimport stage_input
from convkit._kernels._weight_sum cimport (
    STAGED_LANES, Room, Strip, Sums, WeightGradient, make_room, rows_of, runs_of, strip_at,
)
from convkit._kernels._weights cimport block_count, weights_of

cdef enum:
    FEW_PIXELS = 64                 # of a strip, so few that sums take longer to write than to compute


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef Py_ssize_t first_strip(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    """The strip that a unit begins with: behind the last, if there is no such unit."""
    cdef Py_ssize_t chunk = unit // (t.lane_shares*t.channel_shares*t.groups)
    return min(chunk, t.chunks)*t.count // t.chunks


cdef Py_ssize_t tiles_of(const WeightGradient* t, const Sums* u) noexcept nogil:
    """Count the tiles that pass over each pixel of a unit."""
    cdef Py_ssize_t first = u.first, count = 0, panel
    cdef int vectors
    while first < u.behind:
        vectors = tile_vectors(min(u.behind - first, <Py_ssize_t>BLOCK))
        for panel in range(u.first_panel, u.behind_panel):
            count += t.y.taps*runs_of(t, panel)*tile_count(rows_of(t, panel), vectors)
        first += BLOCK
    return count


cdef void look_ahead(
    const WeightGradient* t, Sums* u, Py_ssize_t unit, Py_ssize_t index, Py_ssize_t next,
) noexcept nogil:
    """While one strip is summed, let another come, if its pixels lie in one piece.

    Units that take channels, or lanes, of the same pixels share those out: they read them in each other's caches.
    """
    cdef Strip s = strip_at(t, index), n = strip_at(t, next)
    cdef Memory input, grad
    cdef Range rows, cols
    u.ahead = nothing_ahead(t.grad)
    if next == index or next >= t.count or n.images <= 0 or t.groups > 1 or (t.strips.across > 1 and t.y.count > 1):
        return
    rows.first, rows.behind, cols.first, cols.behind = n.row, n.row + n.rows, n.col, n.col + n.cols
    grad = pixels_between(t.grad, &t.target, n.image, n.images, rows, cols)
    rows, cols = reads(&t.folded, n.row, n.rows), reads(&t.x, n.col, n.cols)
    input = pixels_between(t.input, &t.source, n.image, n.images, rows, cols)
    if t.folded.grain > 1 or t.x.grain > 1:
        grad.behind = grad.first    # pixels that are apart take longer than those that are not
    u.ahead = spread_over(share_of(input, unit // t.lane_shares % t.channel_shares, t.channel_shares),
                          share_of(grad, unit % t.lane_shares, t.lane_shares),
                          s.images*s.rows*s.cols*tiles_of(t, u))


cdef void lay_pixels(const WeightGradient* t, Sums* u, const Strip* s) noexcept nogil:
    """For each row of taps, the rows of pixels that it meets: those whose input does not lie in the padding."""
    cdef Py_ssize_t r, i, j, n, most = t.depth*t.strips.rows, line = s.cols, image = s.rows*s.cols
    if t.grad_in_place:
        line, image = t.target.row // t.target.col, t.target.image // t.target.col
    cdef Range outputs
    for r in range(t.y.taps):
        outputs = outputs_inside(&t.y, r)
        n = r*most
        for i in range(s.images):
            for j in range(max(outputs.first - s.row, <Py_ssize_t>0), min(outputs.behind - s.row, s.rows)):
                u.segment[n] = i*t.image + (j*t.y.in_step + r*t.y.tap_step)*t.line
                u.pixel[n] = i*image + j*line
                n += 1
        u.segments[r] = n - r*most


cdef void skip_sums(Py_ssize_t rows, int vectors, Product* p, bint fresh) noexcept nogil:
    """Nothing to add to so many rows of sums; fresh ones become zero."""
    cdef Py_ssize_t i
    for i in range(rows if fresh else 0):
        memset(p.out + i*p.out_row, 0, ((vectors - 1)*VLEN + p.lanes)*sizeof(real))
    p.out = p.out + rows*p.out_row


cdef void sum_block(
    const WeightGradient* t, Sums* u, Py_ssize_t first, Py_ssize_t panel, const real* b, Py_ssize_t cols,
    bint fresh,
) noexcept nogil:
    """All taps of a panel's channels against one block of lanes."""
    cdef Py_ssize_t lanes = min(u.behind - first, <Py_ssize_t>BLOCK), taps = t.y.taps*t.x.taps
    cdef int vectors = tile_vectors(lanes)
    cdef Py_ssize_t width = vectors*VLEN, runs = runs_of(t, panel), rows = rows_of(t, panel), r, s, n
    cdef real zeros[BLOCK]
    cdef Product p
    for n in range(BLOCK):
        zeros[n] = 0
    p.a_row, p.a_seven, p.a_col, p.length, p.stream = 1, 7, t.x.in_step*t.pixel, cols, False
    p.b, p.b_row = b, u.b_row
    p.out, p.out_row, p.lanes = u.total + (first*t.channels + panel*t.wide*width)*taps, width, VLEN
    if t.direct:
        p.out, p.out_row = u.total + panel*t.wide*t.result.channel + first, t.result.channel
        p.lanes = <int>(lanes - (vectors - 1)*VLEN)
    for r in range(t.y.taps):
        n = r*t.depth*t.strips.rows
        p.segment, p.b_segment, p.segments = u.segment + n, u.pixel + n, u.segments[r]
        for s in range(runs):
            p.a = u.a + (panel - u.first_panel)*t.panel + s*t.x.tap_step*t.pixel
            if fresh:
                p.init, p.init_row = zeros, 0
            else:
                p.init, p.init_row = p.out, p.out_row
            if p.segments:
                go_ahead(&u.ahead, &p)
                multiply(vectors, rows, &p)
                u.ahead.at = p.ahead
            else:
                skip_sums(rows, vectors, &p, fresh)


cdef void sum_blocks(
    const WeightGradient* t, Sums* u, Py_ssize_t first, Py_ssize_t behind, Py_ssize_t first_panel,
    Py_ssize_t behind_panel, Py_ssize_t cols, bint fresh,
) noexcept nogil:
    cdef const real* b = u.b
    cdef Py_ssize_t panel
    while first < behind:
        for panel in range(first_panel, behind_panel):
            sum_block(t, u, first, panel, b, cols, fresh)
        first += BLOCK
        b = b + u.block


cdef void sum_strip(const WeightGradient* t, Sums* u, Py_ssize_t index, bint fresh) noexcept nogil:
    """Add the products of one strip; `fresh` sums begin at zero."""
    cdef Strip s = strip_at(t, index)
    cdef Py_ssize_t first = u.first, behind, panel
    cdef const real* grad = (t.grad + s.image*t.target.image + s.row*t.target.row + s.col*t.target.col
                             + u.group*t.lanes)
    stage_input(t, u, &s)
    lay_pixels(t, u, &s)
    while first < u.behind:
        if t.grad_in_place:
            behind, u.block = u.behind, BLOCK
            u.b, u.b_row = grad + first, t.target.col
        else:
            behind, u.block = min(u.behind, first + STAGED_LANES), t.depth*t.strips.rows*t.strips.cols*BLOCK
            stage_blocks(grad + first, &t.target, s.images, s.rows, s.cols, behind - first, u.block, u.grads)
            u.b, u.b_row = u.grads, BLOCK
        if s.images*s.rows*s.cols < FEW_PIXELS:
            # Little is summed: write the sums in the order in which they lie.
            for panel in range(u.first_panel, u.behind_panel):
                sum_blocks(t, u, first, behind, panel, panel + 1, s.cols, fresh)
        else:
            sum_blocks(t, u, first, behind, u.first_panel, u.behind_panel, s.cols, fresh)
        first = behind


cdef void sum_unit(
    const WeightGradient* t, Py_ssize_t unit, real* memory, Py_ssize_t staged, Py_ssize_t grads, Py_ssize_t runs,
    int threads,
) noexcept nogil:
    cdef Sums sums
    cdef Sums* u = &sums
    u.staged, u.grads = memory, memory + staged
    u.segment = <Py_ssize_t*>(u.grads + grads)
    u.pixel, u.segments = u.segment + runs, u.segment + 2*runs
    cdef Py_ssize_t blocks = block_count(t.lanes), shared = ceil_div(t.panels, t.channel_shares), i, chunk
    cdef Py_ssize_t lane_share = unit % t.lane_shares, channel_share, this = unit
    unit = unit // t.lane_shares
    channel_share = unit % t.channel_shares
    unit = unit // t.channel_shares
    u.group, chunk = unit % t.groups, unit // t.groups
    u.first_panel, u.behind_panel = channel_share*shared, min(t.panels, (channel_share + 1)*shared)
    u.first = lane_share*blocks // t.lane_shares*BLOCK
    u.behind = min(t.lanes, (lane_share + 1)*blocks // t.lane_shares*BLOCK)
    u.total = t.sums + chunk*t.sums_chunk + u.group*t.sums_group
    if t.direct:
        u.total = <real*>t.result.data + u.group*t.result.group
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t begin = chunk*t.count // t.chunks, end = (chunk + 1)*t.count // t.chunks
    for i in range(begin, end):
        if i + 1 < end:
            look_ahead(t, u, this, i, i + 1)
        else:
            look_ahead(t, u, this, i, first_strip(t, this + threads))
        sum_strip(t, u, i, i == begin)
    restore_denormals(mode)


cdef void finish_unit(const WeightGradient* t, Py_ssize_t unit) noexcept nogil:
    """Add up the chunks, in order, for one row of taps of one block, and write the weights' gradient."""
    cdef Py_ssize_t blocks = block_count(t.lanes), r = unit % t.y.taps, taps = t.y.taps*t.x.taps
    cdef Py_ssize_t first = unit // t.y.taps % blocks*BLOCK, group = unit // t.y.taps // blocks
    cdef Py_ssize_t lanes = min(t.lanes - first, <Py_ssize_t>BLOCK), width = tile_vectors(lanes)*VLEN
    cdef Py_ssize_t panel, wide, run, s, c, k, n, chunk, channels = t.channels // t.fold
    cdef real* block = t.sums + group*t.sums_group + first*taps*t.channels
    cdef real* total
    cdef const real* part
    cdef real* target = <real*>t.result.data + group*t.result.group + first*t.result.lane + r*t.result.row
    cdef real* tap
    for panel in range(t.panels):
        wide = min(t.wide, t.channels - panel*t.wide)
        run = t.x.taps*wide*width
        total = block + panel*t.wide*taps*width + r*run
        for chunk in range(1, t.chunks):
            part = total + chunk*t.sums_chunk
            for k in range(run):
                total[k] += part[k]
        for s in range(t.x.taps):
            for c in range(wide):
                n = panel*t.wide + c
                tap = target + s*t.result.col + n // channels*t.result.row + n % channels*t.result.channel
                if t.result.lane == 1:
                    memcpy(tap, total, lanes*sizeof(real))
                else:
                    for k in range(lanes):
                        tap[k*t.result.lane] = total[k]
                total = total + width


cdef bint sum_gradient(WeightGradient* t, int threads) noexcept nogil:
    cdef Room room = make_room(t, threads)
    cdef Py_ssize_t unit
    if room.bytes == 0:
        return True
    t.sums = <real*>scratch(room.bytes)
    if t.sums is NULL:
        return False
    threads = room.threads
    if t.images == 0:
        memset(t.sums, 0, room.sums*sizeof(real))
    with parallel(num_threads=threads):
        for unit in prange(t.chunks*t.groups*t.channel_shares*t.lane_shares, schedule='dynamic'):
            sum_unit(t, unit, <real*>(<char*>(t.sums + room.sums) + threadid()*room.share), room.staged, room.grads,
                     room.runs, threads)
    for unit in prange(0 if t.direct else t.groups*block_count(t.lanes)*t.y.taps, schedule='static',
                       num_threads=threads):
        finish_unit(t, unit)
    free(t.sums)
    return True


cdef WeightGradient begin(const Pass* p) noexcept nogil:
    cdef WeightGradient t
    cdef const Convolution* c = &p.convolution
    t.images, t.groups, t.channels, t.lanes = c.images, c.groups, c.filters, c.lanes
    t.y, t.x = phase_axis(&c.down, 0), phase_axis(&c.across, 0)
    t.input, t.grad, t.source, t.target = p.input, p.grad, input_image(c), output_image(c)
    t.prologue = p.prologue
    t.result = weights_of(p)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    cdef WeightGradient t = begin(p)
    return sum_gradient(&t, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef WeightGradient t = begin(p)
    return granted(make_room(&t, p.threads).bytes)


BACKWARD_WEIGHT = computing(compute, scratch_bytes)
