"""The gradient of a convolution's input, scattered: for few channels, small filters, and no padding.

Gathered, each input would sum over all taps, of which those near the edge of an unpadded image meet no output: a 5x5
filter over 14x14 pixels would do twice the products that there are. Here each output's gradient meets the whole filter
once, and is added to its window:

    grad_x[i + r, j + s, c]  +=  sum over k of  grad_out[i, j, k] * w[k, c, r, s]

The (s, c) of one row of a filter are neighbours in memory, and fill vectors well. A tile goes down a few columns j and
keeps the sums of the rows that it has begun in registers: only those that are done are added to memory.

Threads take images. The order in which a pixel's sums are added is that of the columns.

Scratch: the packed weights.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free
from libc.string cimport memset

from convkit._kernels._convolution cimport Convolution
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport (
    PLANAR_SUMS, VLEN, flush_denormals, opaque, pinned, real, restore_denormals, vload, vload_lanes, vr, vsplat,
    vstore_lanes,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights, weights_of

cdef enum:
    MOST_ROWS = 7                   # of a filter
    MOST_COLUMNS = 4                # of a tile


cdef struct Scatter:
    Convolution sizes
    Py_ssize_t vectors              # of one row of a filter
    int lanes                       # of the last of them
    const real* packed              # [vector][k][row][lane]
    const real* grad
    real* grad_x


cdef void pack(const Scatter* t, const Weights* w, real* packed) noexcept nogil:
    """In the order in which tiles read, with zeros behind the last lane."""
    cdef const Convolution* c = &t.sizes
    cdef Py_ssize_t v, k, r, e
    memset(packed, 0, packed_bytes(t))
    for v in range(t.vectors):
        for k in range(c.outputs):
            for r in range(c.down.kernel):
                for e in range(v*VLEN, min((v + 1)*VLEN, c.across.kernel*c.channels)):
                    packed[e - v*VLEN] = w.data[k*w.channel + e % c.channels*w.lane + r*w.row + e // c.channels*w.col]
                packed = packed + VLEN


# ---------------------------------------------------------------------------------------------------------------------
# The tile: one vector of the filter's rows, down a few columns


cdef struct Column:
    # What a tile reads and writes.
    const real* w
    Py_ssize_t outputs
    const real* grad                # of the first column's first position
    Py_ssize_t grad_line, lines     # from there to the next line, and how many
    real* out                       # the vector of its window that meets the first row of the filter
    Py_ssize_t out_line, out_column         # from one line, or one column of the tile, to the next
    int lanes


cdef inline void add_row(const int columns, const Column* p, real* out, const vr* sums) noexcept nogil:
    cdef int i
    for i in range(columns):
        vstore_lanes(out, vload_lanes(out, p.lanes) + sums[i], p.lanes)
        out = out + p.out_column


cdef inline void scatter(const int rows, const int columns, const Column* p) noexcept nogil:
    """A tile whose shape is known to the compiler: all but the last argument must be literals."""
    cdef vr acc[MOST_ROWS*MOST_COLUMNS]
    cdef vr g[MOST_COLUMNS]
    cdef vr w
    cdef const real* weights
    cdef const real* grad
    cdef const real* line = p.grad
    cdef real* out = p.out
    cdef Py_ssize_t _, k, outputs = p.outputs
    cdef int r, j
    if rows*columns > PLANAR_SUMS:
        return
    for r in range(rows):
        for j in range(columns):
            acc[r*columns + j] = vsplat(0)
    for _ in range(p.lines):
        weights, grad = p.w, opaque(line)
        for k in range(outputs):
            for j in range(columns):
                g[j] = vsplat(grad[j*outputs + k])
            for r in range(rows):
                w = pinned(vload(weights + r*VLEN))
                for j in range(columns):
                    acc[r*columns + j] = acc[r*columns + j] + w*g[j]
            weights = weights + rows*VLEN
        add_row(columns, p, out, acc)
        for r in range(rows - 1):
            for j in range(columns):
                acc[r*columns + j] = acc[(r + 1)*columns + j]
        for j in range(columns):
            acc[(rows - 1)*columns + j] = vsplat(0)
        line, out = line + p.grad_line, out + p.out_line
    for r in range(rows - 1):
        add_row(columns, p, out, acc + r*columns)
        out = out + p.out_line


cdef inline void scatter_columns(const int rows, Py_ssize_t columns, const Column* p) noexcept nogil:
    if columns == 4:
        scatter(rows, 4, p)
    elif columns == 2:
        scatter(rows, 2, p)
    else:
        scatter(rows, 1, p)


cdef void scatter_tile(Py_ssize_t rows, Py_ssize_t columns, const Column* p) noexcept nogil:
    if rows == 2:
        scatter_columns(2, columns, p)
    elif rows == 3:
        scatter_columns(3, columns, p)
    elif rows == 4:
        scatter_columns(4, columns, p)
    elif rows == 5:
        scatter_columns(5, columns, p)
    elif rows == 6:
        scatter_columns(6, columns, p)
    else:
        scatter_columns(7, columns, p)


cdef inline Py_ssize_t tile_columns(Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Columns of a tile: as many as there are registers for."""
    if columns >= 4 and 4*rows <= PLANAR_SUMS:
        return 4
    return 2 if columns >= 2 and 2*rows <= PLANAR_SUMS else 1


cdef void scatter_image(const Scatter* t, Py_ssize_t image) noexcept nogil:
    cdef const Convolution* c = &t.sizes
    cdef Py_ssize_t cols = c.across.out_size, rows = c.down.kernel, j = 0, v, columns
    cdef real* grad_x
    cdef const real* grad = t.grad + image*c.down.out_size*cols*c.outputs
    cdef Column p
    cdef unsigned long mode = flush_denormals()
    p.outputs, p.grad_line, p.lines = c.outputs, cols*c.outputs, c.down.out_size
    p.out_line, p.out_column = c.across.in_size*c.channels, c.across.stride*c.channels
    grad_x = t.grad_x + image*c.down.in_size*p.out_line
    memset(grad_x, 0, c.down.in_size*p.out_line*sizeof(real))
    while j < cols:
        columns = tile_columns(rows, cols - j)
        for v in range(t.vectors):
            p.w, p.grad = t.packed + v*c.outputs*rows*VLEN, grad + j*c.outputs
            p.out, p.lanes = grad_x + j*p.out_column + v*VLEN, t.lanes if v == t.vectors - 1 else VLEN
            scatter_tile(rows, columns, &p)
        j += columns
    restore_denormals(mode)


cdef bint scatter_images(Scatter* t, const Weights* w, int threads) noexcept nogil:
    cdef const Convolution* c = &t.sizes
    cdef real* packed = <real*>scratch(packed_bytes(t))
    cdef Py_ssize_t image
    if packed is NULL:
        return False
    pack(t, w, packed)
    t.packed = packed
    threads = worth(threads, <double>c.images*c.down.out_size*c.across.out_size*c.outputs*c.down.kernel*t.vectors*VLEN)
    for image in prange(c.images, schedule='static', num_threads=threads):
        scatter_image(t, image)
    free(packed)
    return True


cdef Py_ssize_t packed_bytes(const Scatter* t) noexcept nogil:
    return t.vectors*t.sizes.outputs*t.sizes.down.kernel*VLEN*sizeof(real)


cdef Scatter begin(const Pass* p) noexcept nogil:
    cdef Scatter t
    cdef Py_ssize_t width = p.convolution.across.kernel*p.convolution.channels
    t.sizes, t.grad, t.grad_x, t.vectors = p.convolution, p.input, p.output, ceil_div(width, VLEN)
    t.lanes = <int>(width - (t.vectors - 1)*VLEN)
    return t


cdef int compute(const Pass* p) noexcept nogil:
    """For one group, no padding or dilation, rows of stride 1, and 2 to MOST_ROWS rows of taps."""
    cdef Scatter t = begin(p)
    cdef Weights w = weights_of(p)
    return scatter_images(&t, &w, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Scatter t = begin(p)
    return granted(packed_bytes(&t))


BACKWARD_INPUT = computing(compute, scratch_bytes)
