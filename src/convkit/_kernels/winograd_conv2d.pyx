"""Winograd's convolution with 3x3 filters of stride 1: forward and backward-input, in tiles of m x m outputs.

The weights are transformed once, by all threads, into U[point][channel][output], (m + 2)^2 points a tile. Then threads
take units of work: a run of tiles, which may go on from one image to the next, and a share of the outputs. Of their
input they make V[point][tile][channel], multiply that with U, point by point, into Q[point][tile][output], and make
outputs of Q. A point is done with all of its panels before the next one's: what is in use at a time is small, and
every panel that comes from memory serves all tiles of the unit.

Each output is the same products summed in the same order in whatever unit it is: threads cannot be seen in the result.

An infinite input, and sums near overflow, would give NaN where a direct convolution gives infinity or a number: images
with an output that is not finite are computed again, by the direct kernel. Denormals count as zero, in the transforms
too: as if inputs and weights were off by a few times the smallest normal number.

Scratch: U, which is (m + 2)^2/9 times the weights, and V and Q for each thread, together UNIT_BYTES, or those of one
tile where that has more. A function returns False where there is no memory for them, True otherwise.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, phase_axis
from convkit._kernels._blocks cimport lend, lent, take_back
from convkit._kernels._convolution cimport Convolution, convolution
from convkit._kernels._simd cimport (
    TILE_ROWS, VLEN, flush_denormals, prefetch, real, restore_denormals, vfold_sum, vload, vr, vsplat, vstore,
    vstream_end,
)
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._strip cimport Image, ceil_div, nhwc
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport BLOCK, Product, even_tiles, tile_count, tile_vectors
from convkit._kernels._weights cimport Weights, block_count, pack_block, padded
from convkit._kernels._winograd cimport (
    MOST_POINTS, TAPS, transform_input, transform_output, transform_weight,
)

from . import conv2d as direct

cdef enum:
    LINE = 64                       # bytes of a cache line
    # Products summed in registers at a time. The error of a chain grows with its length, and in sums of Winograd's
    # products it counts three times as much as in a direct convolution's, whose chains have 768.
    DEPTH = 128
    CHUNK = 64                      # channels whose weights are transformed at a time
    # Columns of a unit's outputs, if its tiles were a row. With fewer, panels of deep layers come from memory too
    # often; with more, V and Q of shallow layers leave the second-level cache.
    UNIT_COLUMNS = 112
    UNIT_BYTES = 4*1024*1024
    SHARE_BLOCKS = 32               # blocks of lanes of a unit, at most: Q of more would leave no room for tiles
    PAGE_LANES = 256                # rows of so many lanes, or a multiple, would fall into the same few cache sets


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, channels, lanes
    const real* input
    Image source
    real* output
    Image target
    int m                           # 2 or 4
    int points                      # (m + 2)^2
    Py_ssize_t down, across         # tiles of an image,
    Py_ssize_t tiles                # of all images,
    Py_ssize_t unit                 # of a unit of work
    Py_ssize_t shares               # the blocks of lanes are dealt out in so many shares
    Py_ssize_t next_unit            # tiles from a unit to the next one of the same thread
    real* panels                    # U: [point][block of lanes][channel][lanes of the block]
    Py_ssize_t panel_point
    Py_ssize_t v_tile, v_point      # distances of tiles and of points in V,
    Py_ssize_t q_tile, q_point      # and in Q
    const real* bias                # padded(lanes)
    const real* zeros               # a pixel outside of the image
    bint streams                    # the output goes past the caches
    char* spoiled                   # of each image: an output is not finite


# ---------------------------------------------------------------------------------------------------------------------
# Weights


cdef inline void transform_panel(
    const Correlation* t, const int m, const real* taps, Py_ssize_t channels, Py_ssize_t width, real* panel,
) noexcept nogil:
    """Weights of one block, `taps` being [tap][channel][lane]."""
    cdef Py_ssize_t i = 0
    while i < channels*width:
        transform_weight(m, taps + i, channels*width, panel + i, t.panel_point)
        i += VLEN


cdef void pack_chunk(const Correlation* t, const Weights* w, Py_ssize_t index, real* taps) noexcept nogil:
    """Transform the weights of one block of lanes and CHUNK channels; there is room for them at `taps`."""
    cdef Py_ssize_t chunks = ceil_div(w.channels, CHUNK), first = index // chunks*BLOCK, start = index % chunks*CHUNK
    cdef Weights part = w[0]
    part.data = w.data + first*w.lane + start*w.channel
    part.lanes, part.channels = min(w.lanes - first, <Py_ssize_t>BLOCK), min(w.channels - start, <Py_ssize_t>CHUNK)
    cdef Py_ssize_t width = tile_vectors(part.lanes)*VLEN
    cdef real* panel = t.panels + first*w.channels + start*width
    cdef unsigned long mode = flush_denormals()
    pack_block(&part, &t.y, &t.x, 0, taps)
    if t.m == 2:
        transform_panel(t, 2, taps, part.channels, width, panel)
    else:
        transform_panel(t, 4, taps, part.channels, width, panel)
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# Tiles


cdef struct Tile:
    Py_ssize_t image, row, col      # its first output


cdef inline Tile tile_at(const Correlation* t, const int m, Py_ssize_t index) noexcept nogil:
    cdef Tile tile
    tile.col = index % t.across*m
    index = index // t.across
    tile.row = index % t.down*m
    tile.image = index // t.down
    return tile


cdef inline void find_pixels(
    const Correlation* t, const int m, const Tile* tile, const real** pixel,
) noexcept nogil:
    """Point to all pixels that a tile reads, and to zeros where they are outside of the image."""
    cdef Py_ssize_t row = t.y.first + tile.row, col = t.x.first + tile.col, i, j
    cdef const real* corner = t.input + tile.image*t.source.image + row*t.source.row + col*t.source.col
    cdef bint inside = row >= 0 and row + m + 2 <= t.y.in_size and col >= 0 and col + m + 2 <= t.x.in_size
    if inside:
        for i in range(m + 2):
            for j in range(m + 2):
                pixel[i*(m + 2) + j] = corner + i*t.source.row + j*t.source.col
        return
    for i in range(m + 2):
        for j in range(m + 2):
            inside = 0 <= row + i < t.y.in_size and 0 <= col + j < t.x.in_size
            pixel[i*(m + 2) + j] = corner + i*t.source.row + j*t.source.col if inside else t.zeros


cdef inline void read_tiles(
    const Correlation* t, const int m, Py_ssize_t first, Py_ssize_t tiles, real* v,
) noexcept nogil:
    """Transform the input of a run of tiles into V."""
    cdef const real* pixel[MOST_POINTS]
    cdef Tile tile
    cdef Py_ssize_t i, c
    for i in range(tiles):
        tile = tile_at(t, m, first + i)
        find_pixels(t, m, &tile, pixel)
        c = 0
        while c + VLEN <= t.channels:
            transform_input(m, True, pixel, c, VLEN, v + c, t.v_point)
            c += VLEN
        if c < t.channels:
            transform_input(m, False, pixel, c, <int>(t.channels - c), v + c, t.v_point)
        v = v + t.v_tile


cdef inline vr write_tile(
    const Correlation* t, const int m, const Tile* tile, Py_ssize_t first, Py_ssize_t behind, const real* q,
) noexcept nogil:
    """Transform lanes [first, behind) of one tile of Q into outputs. Lanes of the result are NaN, or zero where all
    outputs are finite."""
    cdef Py_ssize_t rows = min(<Py_ssize_t>m, t.y.count - tile.row), cols = min(<Py_ssize_t>m, t.x.count - tile.col)
    cdef Py_ssize_t i, j, k = first
    cdef real* out = t.output + tile.image*t.target.image + tile.row*t.target.row + tile.col*t.target.col
    cdef vr zero = vsplat(0), bad = zero, bias
    cdef vr y[16]
    while k < behind:
        transform_output(m, q + k - first, t.q_point, y)
        bias = vload(t.bias + k)
        for i in range(m):
            for j in range(m):
                y[i*m + j] = y[i*m + j] + bias
                bad = bad + y[i*m + j]*zero
                if i < rows and j < cols:
                    put_lanes(out + i*t.target.row + j*t.target.col + k, y[i*m + j],
                              <int>min(behind - k, <Py_ssize_t>VLEN), t.streams)
        k += VLEN
    return bad


cdef inline void write_tiles(
    const Correlation* t, const int m, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t lane, Py_ssize_t behind,
    const real* q,
) noexcept nogil:
    """Transform Q into outputs of a run of tiles, and note in which images they are not finite."""
    cdef Tile tile
    cdef Py_ssize_t i
    cdef vr bad = vsplat(0)
    cdef real lanes[VLEN]
    for i in range(tiles):
        tile = tile_at(t, m, first + i)
        bad = bad + write_tile(t, m, &tile, lane, behind, q + i*t.q_tile)
        if i == tiles - 1 or (first + i + 1) % (t.down*t.across) == 0:
            vstore(lanes, vfold_sum(bad))
            if lanes[0] != lanes[0]:
                t.spoiled[tile.image] = True
            bad = vsplat(0)


# ---------------------------------------------------------------------------------------------------------------------
# Products


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of the tile's shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef void fetch(
    const Correlation* t, const real* data, Py_ssize_t image, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t part,
    Py_ssize_t parts,
) noexcept nogil:
    """Bring near one of `parts` parts of the pixels that belong to a run of tiles."""
    cdef Py_ssize_t line = LINE // sizeof(real), lines = tiles*image // (t.down*t.across*line), i
    cdef const real* pixels = data + first*image // (t.down*t.across)
    for i in range(part*lines // parts, (part + 1)*lines // parts):
        prefetch(pixels + i*line)


cdef inline void multiply_block(const Correlation* t, Product* p, int vectors, Py_ssize_t tiles) noexcept nogil:
    """One block of lanes of all tiles at one point, DEPTH channels at a time."""
    cdef Py_ssize_t pieces = ceil_div(t.channels, DEPTH), piece, channel = 0
    cdef const real* v = p.a
    cdef real* q = p.out
    p.b_row, p.ahead_step = vectors*VLEN, vectors*VLEN*<Py_ssize_t>sizeof(real) // tile_count(tiles, vectors)
    p.init, p.init_row = t.zeros, 0
    for piece in range(pieces):
        p.a, p.out, p.length = v + channel, q, (piece + 1)*t.channels // pieces - channel
        p.ahead = <const char*>(p.b + p.length*p.b_row)
        multiply(vectors, tiles, p)
        channel += p.length
        p.b = p.b + p.length*p.b_row
        p.init, p.init_row = q, p.out_row


cdef void multiply_points(
    const Correlation* t, Py_ssize_t tile, Py_ssize_t tiles, Py_ssize_t first, Py_ssize_t behind, const real* v,
    real* q,
) noexcept nogil:
    """V times U into Q for blocks [first, behind) of lanes.

    Meanwhile the next panel, the input of the next tiles and the lines of these tiles' outputs come near.
    """
    cdef Py_ssize_t point, block, none = 0, part = 0, parts = t.points*(behind - first)
    cdef Product p
    p.a_row, p.a_col = t.v_tile, 1
    p.segment, p.b_segment, p.segments = &none, &none, 1
    p.out_row, p.lanes, p.stream = t.q_tile, VLEN, False
    for point in range(t.points):
        for block in range(first, behind):
            fetch(t, t.input + TAPS*t.source.row, t.source.image, tile + t.next_unit, tiles, part, parts)
            if not t.streams:
                fetch(t, t.output, t.target.image, tile, tiles, part, parts)
            part += 1
            p.a, p.out = v + point*t.v_point, q + point*t.q_point + (block - first)*BLOCK
            p.b = t.panels + point*t.panel_point + block*BLOCK*t.channels
            multiply_block(t, &p, tile_vectors(t.lanes - block*BLOCK), tiles)


cdef void correlate_unit(const Correlation* t, Py_ssize_t index, real* v) noexcept nogil:
    cdef Py_ssize_t share = index % t.shares, tile = index // t.shares*t.unit, tiles = min(t.unit, t.tiles - tile)
    cdef Py_ssize_t blocks = block_count(t.lanes)
    cdef Py_ssize_t first = share*blocks // t.shares, behind = (share + 1)*blocks // t.shares
    cdef Py_ssize_t lane = first*BLOCK, behind_lane = min(behind*BLOCK, t.lanes)
    cdef real* q = v + t.points*t.v_point
    if tiles <= 0:
        return
    cdef unsigned long mode = flush_denormals()
    if t.m == 2:
        read_tiles(t, 2, tile, tiles, v)
    else:
        read_tiles(t, 4, tile, tiles, v)
    multiply_points(t, tile, tiles, first, behind, v, q)
    if t.m == 2:
        write_tiles(t, 2, tile, tiles, lane, behind_lane, q)
    else:
        write_tiles(t, 4, tile, tiles, lane, behind_lane, q)
    if t.streams:
        vstream_end()
    restore_denormals(mode)


# ---------------------------------------------------------------------------------------------------------------------
# All of it


cdef struct Room:
    Py_ssize_t panels, biases, zeros, unit      # elements; the last for each of the threads
    Py_ssize_t bytes
    int threads


cdef inline Py_ssize_t apart(Py_ssize_t lanes) noexcept nogil:
    """The distance of rows of so many lanes that the caches hold side by side."""
    return padded(lanes) + (LINE // <Py_ssize_t>sizeof(real) if padded(lanes) % PAGE_LANES == 0 else 0)


cdef inline Py_ssize_t whole_lines(Py_ssize_t elements) noexcept nogil:
    return ceil_div(elements, LINE)*LINE


cdef Room divide(Correlation* t, int m, int threads) noexcept nogil:
    """Cut the work into units, about as many for each thread, and lay out the scratch."""
    cdef Py_ssize_t blocks = block_count(t.lanes), room
    cdef Room r
    t.m, t.points = m, (m + 2)*(m + 2)
    t.down, t.across = ceil_div(t.y.count, m), ceil_div(t.x.count, m)
    t.tiles = t.images*t.down*t.across
    r.threads = worth(threads, <double>t.tiles*t.points*t.channels*t.lanes)
    t.shares = ceil_div(blocks, SHARE_BLOCKS)
    if t.tiles < r.threads*TILE_ROWS:
        t.shares = min(blocks, max(t.shares, <Py_ssize_t>r.threads))
    t.v_tile, t.q_tile = apart(t.channels), apart(ceil_div(blocks, t.shares)*BLOCK)
    room = UNIT_BYTES // (t.points*(t.v_tile + t.q_tile)*<Py_ssize_t>sizeof(real))
    t.unit = max(<Py_ssize_t>1, min(room, min(t.tiles, <Py_ssize_t>(UNIT_COLUMNS//m//TILE_ROWS*TILE_ROWS))))
    if t.shares % r.threads:
        t.unit = ceil_div(t.tiles, ceil_div(ceil_div(t.tiles, t.unit), r.threads)*r.threads)
    t.next_unit = max(<Py_ssize_t>1, r.threads // t.shares)*t.unit
    t.v_point, t.q_point = t.unit*t.v_tile + VLEN, t.unit*t.q_tile + VLEN
    t.panel_point = padded(t.lanes)*t.channels + VLEN
    r.panels, r.biases = whole_lines(t.points*t.panel_point), whole_lines(padded(t.lanes))
    r.zeros = whole_lines(max(padded(t.channels), <Py_ssize_t>BLOCK))
    r.unit = whole_lines(max(t.points*(t.v_point + t.q_point), <Py_ssize_t>(TAPS*TAPS*CHUNK*BLOCK)))
    r.bytes = (r.panels + r.biases + r.zeros + r.threads*r.unit)*sizeof(real)
    return r


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int m, int threads) noexcept nogil:
    """Transform the weights, then share out the units. `bias` may be NULL."""
    if t.images*t.y.count*t.x.count*t.channels*t.lanes == 0:
        return False
    cdef Room r = divide(t, m, threads)
    cdef real* memory = <real*>lend(r.bytes)
    cdef real* biases = memory + r.panels
    cdef real* units = biases + r.biases + r.zeros
    cdef Py_ssize_t unit, count = ceil_div(t.tiles, t.unit)*t.shares
    cdef Py_ssize_t chunks = block_count(t.lanes)*ceil_div(t.channels, CHUNK)
    if memory is NULL:
        return False
    memset(biases, 0, (r.biases + r.zeros)*sizeof(real))
    if bias is not NULL:
        memcpy(biases, bias, t.lanes*sizeof(real))
    t.panels, t.bias, t.zeros = memory, biases, biases + r.biases
    t.streams = t.lanes % VLEN == 0 and streams(t.output, t.images*t.target.image)
    with parallel(num_threads=r.threads):
        for unit in prange(chunks, schedule='static'):
            pack_chunk(t, w, unit, units + threadid()*r.unit)
        for unit in prange(count, schedule='dynamic'):
            correlate_unit(t, unit, units + threadid()*r.unit)
    take_back(memory, r.bytes)
    return True


def runs_of(const char[::1] marks):
    """Where each run of marked images begins, and where the next image follows."""
    cdef Py_ssize_t count = marks.shape[0], i
    return [(first, next((i for i in range(first, count) if not marks[i]), count))
            for first in range(count) if marks[first] and (first == 0 or not marks[first - 1])]


cdef void prepare(Correlation* t, Weights* w, Convolution* c, bint adjoint) noexcept nogil:
    """All but where arrays lie, of the forward pass or of the gradient of its input."""
    cdef Image x = nhwc(c.down.in_size, c.across.in_size, c.channels)
    cdef Image y = nhwc(c.down.out_size, c.across.out_size, c.outputs)
    c.down.adjoint = c.across.adjoint = adjoint
    t.y, t.x, t.images = phase_axis(&c.down, 0), phase_axis(&c.across, 0), c.images
    t.source, t.target = (y, x) if adjoint else (x, y)
    t.channels, t.lanes = (c.outputs, c.channels) if adjoint else (c.channels, c.outputs)
    w.groups, w.channels, w.lanes, w.group = 1, t.channels, t.lanes, 0


def forward(
    const real[:, :, :, ::1] x_nhwc, const real[:, :, :, :] w_kcrs, const real[::1] bias_k, real[:, :, :, ::1] out_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int m, int threads,
):
    """out = x * w + bias, in tiles of m x m; stride, dilation and groups are 1."""
    cdef Correlation t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done
    cdef char[::1] spoiled = bytearray(x_nhwc.shape[0])
    cdef Convolution c = convolution(x_nhwc.shape, w_kcrs.shape, out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    prepare(&t, &w, &c, False)
    t.input, t.output, t.spoiled = &x_nhwc[0, 0, 0, 0], &out_nhwc[0, 0, 0, 0], &spoiled[0]
    w.data, w.lane, w.channel = &w_kcrs[0, 0, 0, 0], w_kcrs.strides[0] // size, w_kcrs.strides[1] // size
    w.row, w.col = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size
    with nogil:
        done = correlate(&t, &w, &bias_k[0] if bias_k.shape[0] else NULL, m, threads)
    for first, behind in runs_of(spoiled):
        done = done and direct.forward(
            x_nhwc[first:behind], w_kcrs, bias_k, out_nhwc[first:behind], stride_h, stride_w, padding_h, padding_w,
            dilation_h, dilation_w, groups, threads)
    return done


def forward_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int m, int threads,
):
    """Bytes of scratch that `forward` takes for arrays of these shapes, if all outputs are finite."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    cdef Correlation t
    cdef Weights w
    prepare(&t, &w, &c, False)
    return lent(divide(&t, m, threads).bytes)


def backward_input(
    const real[:, :, :, ::1] grad_out_nhwc, const real[:, :, :, :] w_kcrs, real[:, :, :, ::1] grad_x_nhwc,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int m, int threads,
):
    """The gradient of the input: the correlation of the output's with the filters rotated by 180 degrees."""
    cdef Correlation t
    cdef Weights w
    cdef Py_ssize_t size = sizeof(real)
    cdef bint done
    cdef char[::1] spoiled = bytearray(grad_x_nhwc.shape[0])
    cdef Convolution c = convolution(grad_x_nhwc.shape, w_kcrs.shape, grad_out_nhwc.shape,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    prepare(&t, &w, &c, True)
    t.input, t.output, t.spoiled = &grad_out_nhwc[0, 0, 0, 0], &grad_x_nhwc[0, 0, 0, 0], &spoiled[0]
    w.data, w.lane, w.channel = &w_kcrs[0, 0, 0, 0], w_kcrs.strides[1] // size, w_kcrs.strides[0] // size
    w.row, w.col = w_kcrs.strides[2] // size, w_kcrs.strides[3] // size
    with nogil:
        done = correlate(&t, &w, NULL, m, threads)
    for first, behind in runs_of(spoiled):
        done = done and direct.backward_input(
            grad_out_nhwc[first:behind], w_kcrs, grad_x_nhwc[first:behind], stride_h, stride_w, padding_h, padding_w,
            dilation_h, dilation_w, groups, threads)
    return done


def backward_input_scratch(
    x_nhwc, w_kcrs, out_nhwc, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
    Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, int m, int threads,
):
    """Bytes of scratch that `backward_input` takes for arrays of these shapes, if all results are finite."""
    cdef Py_ssize_t[4] x_sizes = x_nhwc, w_sizes = w_kcrs, out_sizes = out_nhwc
    cdef Convolution c = convolution(x_sizes, w_sizes, out_sizes,
                                     stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w, groups)
    cdef Correlation t
    cdef Weights w
    prepare(&t, &w, &c, True)
    return lent(divide(&t, m, threads).bytes)
