"""Two-dimensional convolution: forward, backward-input and backward-weight, on one register tile.

Images lie as NHWC, weights as the caller has them under the logical shape (K, C/groups, R, S). Forward, and each
phase of backward-input, is a correlation: the weights are packed once into panels that the tile reads from front
to back, then threads take units of work (an image's group, a strip of its outputs, a share of the output channels),
stage the strip and run tiles over it. Every output is summed whole by one tile in one order, so neither the number of
threads nor the cut into strips can be seen in the result.

Scratch: the packed weights, or for backward-weight the partial sums (PARTIAL_BYTES, or one copy of the gradient where
that is larger); and a strip for each thread (STRIP_BYTES, or the input of one tile where that is larger). A function
returns False where there is no memory for them, True otherwise.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, adjoint_axis, forward_axis, is_identity, stays_inside
from convkit._kernels._simd cimport TILE_ROWS, VLEN, flush_denormals, real, restore_denormals
from convkit._kernels._strip cimport Image, Strips, cache_sized, ceil_div, cut, stage
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, narrow_tile, tile_height, tile_vectors, wide_tile
from convkit._kernels._weights cimport Weights, block_count, pack_block, padded

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef enum:
    # Products summed in registers at a time: the error of a chain grows with its length, and the panel of so many
    # weights stays in first-level cache or near it.
    DEPTH = 768


cdef void multiply(int vectors, Py_ssize_t rows, const Product* product) noexcept nogil:
    if vectors == 2:
        wide_tile(rows, product)
    else:
        narrow_tile(rows, product)


cdef void* scratch(Py_ssize_t bytes) noexcept nogil:
    return aligned_alloc(64, ceil_div(bytes + 1, 64)*64)


# ---------------------------------------------------------------------------------------------------------------------
# Forward and backward-input: a correlation


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, groups, channels, lanes     # channels and lanes of one group
    const real* input
    Image source
    real* output
    Image target
    const real* packed
    const real* bias                # padded(lanes) of each group
    bint in_place                   # read the image itself: it needs no stage
    Strips strips
    const Py_ssize_t* segment       # see Product
    Py_ssize_t segments, length
    Py_ssize_t shares               # a strip's blocks of lanes are dealt out in so many shares


cdef void merge_pixels(Py_ssize_t* images, Axis* y, Axis* x) noexcept nogil:
    """A 1x1 layer sees pixels, not images: let all of them be one row, which fills the last tiles too."""
    if is_identity(y) and is_identity(x):
        x.count = x.in_size = images[0]*y.count*x.count
        x.in_step = 1 if x.count > 1 else 0
        images[0] = y.count = y.in_size = 1
        y.in_step = 0


cdef void divide(Correlation* t, int threads) noexcept nogil:
    """Cut into strips that fit the cache, then smaller until every thread has a few."""
    cdef Py_ssize_t outer = t.images*t.groups, enough = 4*threads if threads > 1 else 1
    cdef Py_ssize_t blocks = block_count(t.lanes)
    t.strips = cache_sized(&t.y, &t.x, t.channels)
    while outer*t.strips.down*t.strips.across < enough and t.strips.rows > 1:
        cut(&t.strips, &t.y, &t.x, ceil_div(t.strips.rows, 2), t.strips.cols)
    t.shares = max(<Py_ssize_t>1, min(blocks, enough // max(<Py_ssize_t>1, outer*t.strips.down*t.strips.across)))


cdef void lay_segments(Correlation* t, Py_ssize_t* segment) noexcept nogil:
    """The runs of the sum: one for each tap, or for each row of taps where those lie next to each other."""
    cdef Py_ssize_t row, col, r, s
    if t.in_place:
        row, col = t.source.row*t.y.grain, t.source.col*t.x.grain
    else:
        row, col = t.strips.width*t.channels, t.channels
    cdef bint joined = col == t.channels and (t.x.tap_step == 1 or t.x.taps == 1)
    t.segment = segment
    t.segments = t.y.taps if joined else t.y.taps*t.x.taps
    t.length = t.channels*t.x.taps if joined else t.channels
    if t.x.taps == 0:
        t.segments = 0
    for r in range(t.y.taps):
        if joined:
            segment[r] = r*t.y.tap_step*row
        else:
            for s in range(t.x.taps):
                segment[r*t.x.taps + s] = r*t.y.tap_step*row + s*t.x.tap_step*col


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* strip) noexcept nogil:
    """One strip of one group of one image, for one share of the lanes."""
    cdef const Strips* strips = &t.strips
    cdef Py_ssize_t share = unit % t.shares, col, row, group, image
    unit = unit // t.shares
    col = (unit % strips.across)*strips.cols
    unit = unit // strips.across
    row = (unit % strips.down)*strips.rows
    unit = unit // strips.down
    group = unit % t.groups
    image = unit // t.groups
    cdef Py_ssize_t rows = min(strips.rows, t.y.count - row), cols = min(strips.cols, t.x.count - col)
    if rows <= 0 or cols <= 0:
        return
    cdef unsigned long mode = flush_denormals()
    cdef const real* source = t.input + image*t.source.image + group*t.channels
    cdef real* target = (t.output + image*t.target.image + (t.y.out_first + t.y.out_step*row)*t.target.row
                         + (t.x.out_first + t.x.out_step*col)*t.target.col + group*t.lanes)
    cdef Product p
    cdef Py_ssize_t a_line
    if t.in_place:
        p.a = (source + (t.y.first + t.y.grain*t.y.in_step*row)*t.source.row
               + (t.x.first + t.x.grain*t.x.in_step*col)*t.source.col)
        p.a_row = t.x.grain*t.x.in_step*t.source.col
        a_line = t.y.grain*t.y.in_step*t.source.row
    else:
        stage(source, &t.source, t.channels, &t.y, &t.x, row, rows, col, cols, strips.width, strip)
        p.a = strip
        p.a_row = t.x.in_step*t.channels
        a_line = t.y.in_step*strips.width*t.channels
    p.a_col, p.out_row = 1, t.x.out_step*t.target.col
    cdef Py_ssize_t blocks = block_count(t.lanes), block
    for block in range(share*blocks // t.shares, (share + 1)*blocks // t.shares):
        correlate_block(t, p, group, block*BLOCK, rows, cols, a_line, target)
    restore_denormals(mode)


cdef void correlate_block(
    const Correlation* t, Product p, Py_ssize_t group, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t cols,
    Py_ssize_t a_line, real* target,
) noexcept nogil:
    """All of a strip's outputs for one block of lanes, DEPTH products of their sums at a time."""
    cdef Py_ssize_t remaining = min(t.lanes - first, <Py_ssize_t>BLOCK)
    cdef Py_ssize_t pieces = max(<Py_ssize_t>1, ceil_div(t.length, DEPTH)), piece, start, behind
    cdef Py_ssize_t together = max(<Py_ssize_t>1, DEPTH // max(t.length, <Py_ssize_t>1)), segment = 0
    cdef int vectors = tile_vectors(remaining)
    cdef const real* a = p.a
    cdef const real* panel = t.packed + (group*padded(t.lanes) + first)*t.y.taps*t.x.taps*t.channels
    p.init, p.init_row = t.bias + group*padded(t.lanes) + first, 0
    p.lanes = <int>(remaining - (vectors - 1)*VLEN)
    p.b_row = vectors*VLEN
    p.b_segment = t.length*p.b_row
    target = target + first
    while True:
        # Either many whole segments, or one segment piece by piece.
        p.segment, p.segments = t.segment + segment, min(together, t.segments - segment)
        for piece in range(pieces):
            start, behind = piece*t.length // pieces, (piece + 1)*t.length // pieces
            p.b, p.length = panel + segment*p.b_segment + start*p.b_row, behind - start
            correlate_rows(t, &p, vectors, a + start, rows, cols, a_line, target)
            p.init, p.init_row = target, p.out_row
        segment += together
        if segment >= t.segments:
            break


cdef void correlate_rows(
    const Correlation* t, Product* p, int vectors, const real* a, Py_ssize_t rows, Py_ssize_t cols,
    Py_ssize_t a_line, real* target,
) noexcept nogil:
    cdef Py_ssize_t j, i, height, line = t.y.out_step*t.target.row
    cdef const real* init = p.init
    cdef Py_ssize_t init_line = line if p.init_row else 0
    for j in range(rows):
        i = 0
        while i < cols:
            height = tile_height(cols - i, vectors)
            p.a = a + j*a_line + i*p.a_row
            p.init = init + j*init_line + i*p.init_row
            p.out = target + j*line + i*p.out_row
            multiply(vectors, height, p)
            i += height


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """Pack, divide the work and run it. `bias` may be NULL."""
    if t.images*t.y.count*t.x.count*t.groups*t.lanes == 0:
        return True
    merge_pixels(&t.images, &t.y, &t.x)
    cdef Py_ssize_t taps = t.y.taps*t.x.taps, wide = padded(t.lanes), unit, g
    threads = worth(threads, <double>t.images*t.y.count*t.x.count*t.groups*t.lanes*(taps*t.channels + 1))
    t.in_place = stays_inside(&t.y) and stays_inside(&t.x)
    divide(t, threads)
    cdef Py_ssize_t weights = t.groups*wide*(taps*t.channels + 1)
    cdef Py_ssize_t strip = 0 if t.in_place else ceil_div(t.strips.height*t.strips.width*t.channels, 64)*64
    cdef real* memory = <real*>scratch((weights + 64 + threads*strip)*sizeof(real) + (taps + 1)*sizeof(Py_ssize_t))
    if memory is NULL:
        return False
    cdef real* strip_memory = memory + ceil_div(weights, 64)*64
    cdef real* padded_bias = memory + t.groups*wide*taps*t.channels
    lay_segments(t, <Py_ssize_t*>(strip_memory + threads*strip))
    for unit in prange(t.groups*block_count(t.lanes), schedule='static', num_threads=threads):
        pack_block(w, &t.y, &t.x, unit, memory)
    memset(padded_bias, 0, t.groups*wide*sizeof(real))
    if bias is not NULL:
        for g in range(t.groups):
            memcpy(padded_bias + g*wide, bias + g*t.lanes, t.lanes*sizeof(real))
    t.packed, t.bias = memory, padded_bias
    with parallel(num_threads=threads):
        for unit in prange(t.images*t.groups*t.strips.down*t.strips.across*t.shares, schedule='dynamic'):
            correlate_unit(t, unit, strip_memory + threadid()*strip)
    free(memory)
    return True


cdef Image nhwc(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t channels) noexcept nogil:
    cdef Image strides
    strides.image, strides.row, strides.col = rows*cols*channels, cols*channels, channels
    return strides


def forward(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, :] w_kcrs, const real[::1] bias_k, real[:, :, :, ::1] out_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """out = x * w + bias; `padding` is that of the top and left edge, the others follow from out's size."""
    cdef Correlation t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done
    t.images = x_nhwc.shape[0]
    t.groups, t.channels, t.lanes = groups, w_kcrs.shape[1], w_kcrs.shape[0] // groups
    t.y = forward_axis(x_nhwc.shape[1], out_nhwc.shape[1], w_kcrs.shape[2], stride_h, padding_h, dilation_h)
    t.x = forward_axis(x_nhwc.shape[2], out_nhwc.shape[2], w_kcrs.shape[3], stride_w, padding_w, dilation_w)
    t.source = nhwc(x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3])
    t.target = nhwc(out_nhwc.shape[1], out_nhwc.shape[2], out_nhwc.shape[3])
    t.input, t.output = &x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0]
    w.data, w.groups, w.channels, w.lanes = &w_kcrs[0, 0, 0, 0], groups, t.channels, t.lanes
    w.lane, w.channel = w_kcrs.strides[0] // size, w_kcrs.strides[1] // size
    w.row, w.col, w.group = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size, t.lanes*w.lane
    with nogil:
        done = correlate(&t, &w, &bias_k[0] if bias_k.shape[0] else NULL, threads)
    return done


def backward_input(
    const real[:, :, :, ::1] grad_out_nhwc, const real[:, :, :, :] w_kcrs, real[:, :, :, ::1] grad_x_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """The gradient of the input: for each phase of the stride, a correlation with the taps that belong to it."""
    cdef Correlation t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real), phase_h, phase_w
    cdef bint done = True
    w.data, w.groups, w.channels, w.lanes = &w_kcrs[0, 0, 0, 0], groups, w_kcrs.shape[0] // groups, w_kcrs.shape[1]
    w.lane, w.channel = w_kcrs.strides[1] // size, w_kcrs.strides[0] // size
    w.row, w.col, w.group = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size, w.channels*w.channel
    t.source = nhwc(grad_out_nhwc.shape[1], grad_out_nhwc.shape[2], grad_out_nhwc.shape[3])
    t.target = nhwc(grad_x_nhwc.shape[1], grad_x_nhwc.shape[2], grad_x_nhwc.shape[3])
    t.input, t.output = &grad_out_nhwc[0, 0, 0, 0], &grad_x_nhwc[0, 0, 0, 0]
    with nogil:
        for phase_h in range(min(stride_h, grad_x_nhwc.shape[1])):
            for phase_w in range(min(stride_w, grad_x_nhwc.shape[2])):
                t.images, t.groups, t.channels, t.lanes = grad_x_nhwc.shape[0], groups, w.channels, w.lanes
                t.y = adjoint_axis(phase_h, grad_x_nhwc.shape[1], grad_out_nhwc.shape[1], w_kcrs.shape[2],
                                   stride_h, padding_h, dilation_h)
                t.x = adjoint_axis(phase_w, grad_x_nhwc.shape[2], grad_out_nhwc.shape[2], w_kcrs.shape[3],
                                   stride_w, padding_w, dilation_w)
                done = done and correlate(&t, &w, NULL, threads)
    return done


# ---------------------------------------------------------------------------------------------------------------------
# Backward-weight: rows of the tile are (tap column, channel), the sum runs over output pixels


cdef enum:
    STRIP_PIXELS = 256              # output pixels summed in registers: their gradients stay in first-level cache
    SHARE_BYTES = 512*1024          # sums one unit of work holds in cache
    PARTIAL_BYTES = 8*1024*1024     # all partial sums together, where there is more than one
    ENOUGH_UNITS = 32               # parallelism offered, whatever the number of threads


cdef struct WeightGradient:
    Axis y, x
    Py_ssize_t images, groups, channels, lanes
    const real* input
    Image source
    const real* grad
    Image target
    bint in_place
    Strips strips
    Py_ssize_t line, pixel          # of the staged strip, or of the image read in place
    const Py_ssize_t* segment
    Py_ssize_t chunks, shares       # the pixels are cut into chunks, the blocks of lanes dealt out in shares
    real* sums                      # [chunk][group] and then as packed weights
    Py_ssize_t sums_group, sums_chunk


cdef void divide_sum(WeightGradient* t) noexcept nogil:
    """Cut the sum into chunks by the shape alone: the result must not depend on the number of threads."""
    cdef Py_ssize_t blocks = block_count(t.lanes), taps = t.y.taps*t.x.taps
    cdef Py_ssize_t block_bytes = taps*t.channels*BLOCK*<Py_ssize_t>sizeof(real)
    cdef Py_ssize_t cols = min(t.x.count, <Py_ssize_t>STRIP_PIXELS), fit, strips
    t.strips = cache_sized(&t.y, &t.x, t.channels)
    cols = min(cols, t.strips.cols)
    cut(&t.strips, &t.y, &t.x, min(t.strips.rows, max(<Py_ssize_t>1, STRIP_PIXELS // cols)), cols)
    t.shares = min(blocks, ceil_div(blocks*block_bytes, SHARE_BYTES))
    strips = t.images*t.strips.down*t.strips.across
    fit = max(<Py_ssize_t>1, PARTIAL_BYTES // (t.groups*blocks*block_bytes))
    t.chunks = max(<Py_ssize_t>1, min(strips, min(fit, ceil_div(ENOUGH_UNITS, t.groups*t.shares))))
    t.shares = max(t.shares, min(blocks, ceil_div(ENOUGH_UNITS, t.groups*t.chunks)))


cdef void sum_unit(const WeightGradient* t, Py_ssize_t unit, real* strip) noexcept nogil:
    """One chunk of the pixels, for one share of one group's lanes."""
    cdef Py_ssize_t blocks = block_count(t.lanes), strips = t.images*t.strips.down*t.strips.across
    cdef Py_ssize_t share = unit % t.shares, group = unit // t.shares % t.groups, chunk = unit // t.shares // t.groups
    cdef Py_ssize_t first = share*blocks // t.shares*BLOCK
    cdef Py_ssize_t behind = min(t.lanes, (share + 1)*blocks // t.shares*BLOCK)
    cdef real* sums = t.sums + chunk*t.sums_chunk + group*t.sums_group
    cdef Py_ssize_t rows = t.y.taps*t.x.taps*t.channels, i
    cdef unsigned long mode = flush_denormals()
    memset(sums + first*rows, 0, (padded(behind) - first)*rows*sizeof(real))
    for i in range(chunk*strips // t.chunks, (chunk + 1)*strips // t.chunks):
        sum_strip(t, i, group, first, behind, sums, strip)
    restore_denormals(mode)


cdef void sum_strip(
    const WeightGradient* t, Py_ssize_t index, Py_ssize_t group, Py_ssize_t first, Py_ssize_t behind,
    real* sums, real* strip,
) noexcept nogil:
    """Add the products of one strip for the lanes [first, behind)."""
    cdef Py_ssize_t col = index % t.strips.across*t.strips.cols
    cdef Py_ssize_t row = index // t.strips.across % t.strips.down*t.strips.rows
    cdef Py_ssize_t image = index // t.strips.across // t.strips.down
    cdef Py_ssize_t rows = min(t.strips.rows, t.y.count - row), cols = min(t.strips.cols, t.x.count - col)
    if rows <= 0 or cols <= 0:
        return
    cdef const real* source = t.input + image*t.source.image + group*t.channels
    cdef const real* grad = t.grad + image*t.target.image + row*t.target.row + col*t.target.col + group*t.lanes
    cdef real* ragged = strip + t.strips.height*t.strips.width*t.channels*(not t.in_place)
    cdef Product p
    if t.in_place:
        p.a = (source + (t.y.first + t.y.grain*t.y.in_step*row)*t.source.row
               + (t.x.first + t.x.grain*t.x.in_step*col)*t.source.col)
    else:
        stage(source, &t.source, t.channels, &t.y, &t.x, row, rows, col, cols, t.strips.width, strip)
        p.a = strip
    p.a_row, p.a_col = 1, t.x.in_step*t.pixel
    p.segment, p.segments, p.length = t.segment, rows, cols
    p.lanes = VLEN
    cdef Py_ssize_t lanes
    while first < behind:
        lanes = min(behind - first, <Py_ssize_t>BLOCK)
        p.init_row = p.out_row = tile_vectors(lanes)*VLEN
        if lanes == p.out_row:
            p.b, p.b_row, p.b_segment = grad + first, t.target.col, t.target.row
        else:
            widen(grad + first, &t.target, rows, cols, lanes, p.out_row, ragged)
            p.b, p.b_row, p.b_segment = ragged, p.out_row, cols*p.out_row
        sum_block(t, p, sums + first*t.y.taps*t.x.taps*t.channels)
        first += lanes


cdef void widen(
    const real* grad, const Image* strides, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t lanes, Py_ssize_t width,
    real* ragged,
) noexcept nogil:
    """Copy lanes that do not fill their vectors, with zeros behind: the next pixel's, or no memory, lies there."""
    cdef Py_ssize_t j, i, k
    for j in range(rows):
        for i in range(cols):
            for k in range(lanes):
                ragged[k] = grad[j*strides.row + i*strides.col + k]
            for k in range(lanes, width):
                ragged[k] = 0
            ragged = ragged + width


cdef void sum_block(const WeightGradient* t, Product p, real* sums) noexcept nogil:
    """All taps and channels against one block of lanes."""
    cdef int vectors = 2 if p.out_row == BLOCK else 1
    cdef bint joined = t.pixel == t.channels and (t.x.tap_step == 1 or t.x.taps == 1)
    cdef Py_ssize_t runs = 1 if joined else t.x.taps, length = t.channels*t.x.taps // runs
    cdef Py_ssize_t r, s, i, height
    cdef const real* a = p.a
    cdef const real* run
    for r in range(t.y.taps):
        for s in range(runs):
            run = a + r*t.y.tap_step*t.line + s*t.x.tap_step*t.pixel
            i = 0
            while i < length:
                height = tile_height(length - i, vectors)
                p.a = run + i
                p.init = p.out = sums
                multiply(vectors, height, &p)
                sums = sums + height*p.out_row
                i += height


cdef void finish_unit(const WeightGradient* t, const Weights* w, Py_ssize_t unit) noexcept nogil:
    """Add up the chunks, in order, for one row of taps of one block, and write the weights' gradient."""
    cdef Py_ssize_t blocks = block_count(t.lanes), r = unit % t.y.taps
    cdef Py_ssize_t first = unit // t.y.taps % blocks*BLOCK, group = unit // t.y.taps // blocks
    cdef Py_ssize_t lanes = min(t.lanes - first, <Py_ssize_t>BLOCK), width = tile_vectors(lanes)*VLEN
    cdef Py_ssize_t run = t.x.taps*t.channels*width, s, c, k, chunk
    cdef real* total = t.sums + group*t.sums_group + first*t.y.taps*t.x.taps*t.channels + r*run
    cdef const real* part
    cdef real* target = <real*>w.data + group*w.group + first*w.lane + r*w.row
    for chunk in range(1, t.chunks):
        part = total + chunk*t.sums_chunk
        for k in range(run):
            total[k] += part[k]
    for s in range(t.x.taps):
        for c in range(t.channels):
            for k in range(lanes):
                target[s*w.col + c*w.channel + k*w.lane] = total[k]
            total = total + width


cdef bint sum_gradient(WeightGradient* t, const Weights* w, int threads) noexcept nogil:
    cdef Py_ssize_t taps = t.y.taps*t.x.taps, blocks = block_count(t.lanes), unit, j
    if taps*t.channels*t.lanes*t.groups == 0:
        return True
    threads = worth(threads, <double>t.images*t.y.count*t.x.count*t.groups*t.lanes*taps*t.channels)
    merge_pixels(&t.images, &t.y, &t.x)
    if t.images*t.y.count*t.x.count == 0:
        # Nothing to sum: no image, of any size, leaves zeros.
        t.images = 0
        t.y.count = t.x.count = 1
    t.in_place = stays_inside(&t.y) and stays_inside(&t.x)
    divide_sum(t)
    t.line = t.source.row*t.y.grain if t.in_place else t.strips.width*t.channels
    t.pixel = t.source.col*t.x.grain if t.in_place else t.channels
    t.sums_group = padded(t.lanes)*taps*t.channels
    t.sums_chunk = t.groups*t.sums_group
    cdef Py_ssize_t strip = 0 if t.in_place else t.strips.height*t.strips.width*t.channels
    strip = ceil_div(strip + t.strips.rows*t.strips.cols*BLOCK, 64)*64
    cdef Py_ssize_t sums = ceil_div(t.chunks*t.sums_chunk, 64)*64
    cdef real* memory = <real*>scratch((sums + threads*strip)*sizeof(real) + t.strips.rows*sizeof(Py_ssize_t))
    if memory is NULL:
        return False
    cdef real* strips = memory + sums
    cdef Py_ssize_t* segment = <Py_ssize_t*>(strips + threads*strip)
    for j in range(t.strips.rows):
        segment[j] = j*t.y.in_step*t.line
    t.segment, t.sums = segment, memory
    with parallel(num_threads=threads):
        for unit in prange(t.chunks*t.groups*t.shares, schedule='dynamic'):
            sum_unit(t, unit, strips + threadid()*strip)
    for unit in prange(t.groups*blocks*t.y.taps, schedule='static', num_threads=threads):
        finish_unit(t, w, unit)
    free(memory)
    return True


def backward_weight(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, ::1] grad_out_nhwc, real[:, :, :, :] grad_w_kcrs,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int threads,
):
    """The gradient of the weight, summed over images and positions in an order that the shape alone decides."""
    cdef WeightGradient t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done
    t.images, t.groups = x_nhwc.shape[0], groups
    t.channels, t.lanes = grad_w_kcrs.shape[1], grad_w_kcrs.shape[0] // groups
    t.y = forward_axis(x_nhwc.shape[1], grad_out_nhwc.shape[1], grad_w_kcrs.shape[2], stride_h, padding_h, dilation_h)
    t.x = forward_axis(x_nhwc.shape[2], grad_out_nhwc.shape[2], grad_w_kcrs.shape[3], stride_w, padding_w, dilation_w)
    t.source = nhwc(x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3])
    t.target = nhwc(grad_out_nhwc.shape[1], grad_out_nhwc.shape[2], grad_out_nhwc.shape[3])
    t.input, t.grad = &x_nhwc[0, 0, 0, 0], &grad_out_nhwc[0, 0, 0, 0]
    w.data, w.groups, w.channels, w.lanes = &grad_w_kcrs[0, 0, 0, 0], groups, t.channels, t.lanes
    w.lane, w.channel = grad_w_kcrs.strides[0] // size, grad_w_kcrs.strides[1] // size
    w.row, w.col, w.group = grad_w_kcrs.strides[2] // size, grad_w_kcrs.strides[3] // size, t.lanes*w.lane
    with nogil:
        done = sum_gradient(&t, &w, threads)
    return done


#: (rows, lanes) of the register tile: tests take their sizes from it.
TILE = (TILE_ROWS, VLEN)
