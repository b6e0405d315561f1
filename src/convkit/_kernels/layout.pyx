"""Any order of memory into channels-last, and channels-last into C order.

An image in C order and the same image channels-last are transposes of each other, as matrices (channels, pixels) and
(pixels, channels).
"""

from cython.parallel cimport prange
from libc.string cimport memcpy

from convkit._kernels._call cimport Call, capsule, memory_at
from convkit._kernels._simd cimport VLEN, real, vload, vr, vstream_end, vtranspose
from convkit._kernels._stream cimport put, streams
from convkit._kernels._threads cimport worth

cdef enum:
    SIDE = 512                      # rows and columns that a thread transposes at a time, at most


cdef inline void square(const real* x, Py_ssize_t cols, Py_ssize_t rows, real* out, bint stream) noexcept nogil:
    """Transpose VLEN x VLEN elements in registers: whole cache lines are read and written."""
    cdef vr lanes[VLEN]
    cdef int i
    for i in range(VLEN):
        lanes[i] = vload(x + i*cols)
    vtranspose(lanes)
    for i in range(VLEN):
        put(out + i*rows, lanes[i], stream)


cdef inline void narrow(
    const real* x, Py_ssize_t cols, const Py_ssize_t rows, Py_ssize_t height, Py_ssize_t width, real* out,
) noexcept nogil:
    """Transpose height x width elements one by one, or as the compiler does it where `rows` is a literal."""
    cdef Py_ssize_t i, j
    for j in range(width):
        for i in range(height):
            out[j*rows + i] = x[i*cols + j]


cdef inline void three_columns(const real* x, Py_ssize_t rows, Py_ssize_t height, real* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(height):
        out[i] = x[3*i]
        out[rows + i] = x[3*i + 1]
        out[2*rows + i] = x[3*i + 2]


cdef void transpose_part(
    const real* x, Py_ssize_t cols, Py_ssize_t rows, Py_ssize_t top, Py_ssize_t bottom, Py_ssize_t left,
    Py_ssize_t right, real* out, bint stream,
) noexcept nogil:
    """Transpose rows [top, bottom) and columns [left, right). The last squares overlap those before them."""
    cdef Py_ssize_t i, j, row, col, height = bottom - top, width = right - left
    if rows == 3:                   # colours
        narrow(x + left, cols, 3, 3, width, out + 3*left)
    elif cols == 3:
        three_columns(x + 3*top, rows, height, out + top)
    elif height < VLEN or width < VLEN:
        narrow(x + top*cols + left, cols, rows, height, width, out + left*rows + top)
    else:
        for col in range((width + VLEN - 1) // VLEN):
            j = min(left + col*VLEN, right - VLEN)
            for row in range((height + VLEN - 1) // VLEN):
                i = min(top + row*VLEN, bottom - VLEN)
                square(x + i*cols + j, cols, rows, out + j*rows + i, stream)
    if stream:
        vstream_end()


cdef inline Py_ssize_t cut(Py_ssize_t part, Py_ssize_t parts, Py_ssize_t size) noexcept nogil:
    """Where a part begins: at a multiple of VLEN, and none is too narrow for a square where others are not."""
    return min(size, part*((size + VLEN - 1) // VLEN) // parts*VLEN)


cdef void transpose_images(
    const real* x, Py_ssize_t image, Py_ssize_t images, Py_ssize_t rows, Py_ssize_t cols, real* out, int threads,
) noexcept nogil:
    """out[n, j, i] = x[n, i, j] for matrices (rows, cols) of which `image` is the distance."""
    cdef Py_ssize_t down = (rows + SIDE - 1) // SIDE, across = (cols + SIDE - 1) // SIDE, unit, top, left
    cdef bint stream = rows % VLEN == 0 and streams(out, images*rows*cols)
    # A small image lies in the caches of those who made it: to bring it over takes longer than to join.
    threads = worth(threads, 4.0*images*rows*cols)
    for unit in prange(images*down*across, schedule='static', num_threads=threads):
        top, left = unit // across % down, unit % across
        transpose_part(x + unit // (down*across)*image, cols, rows, cut(top, down, rows), cut(top + 1, down, rows),
                       cut(left, across, cols), cut(left + 1, across, cols), out + unit // (down*across)*rows*cols,
                       stream)


cdef void reorder_row(
    const real* x, Py_ssize_t channel, Py_ssize_t col, Py_ssize_t channels, Py_ssize_t cols, real* out,
) noexcept nogil:
    """Reorder in patches of 16 x 16: each touches its cache lines once, on both sides."""
    cdef Py_ssize_t c0, i0, c, i
    if channel == 1:
        for i in range(cols):
            memcpy(out + i*channels, x + i*col, channels*sizeof(real))
        return
    for i0 in range(0, cols, 16):
        for c0 in range(0, channels, 16):
            for c in range(c0, min(channels, c0 + 16)):
                for i in range(i0, min(cols, i0 + 16)):
                    out[i*channels + c] = x[c*channel + i*col]


def channels_last(const real[:, :, :, :] x_nchw, real[:, :, :, ::1] out_nhwc, int threads):
    """out[n, h, w, c] = x[n, c, h, w], whatever the strides of x."""
    cdef Py_ssize_t images = out_nhwc.shape[0], rows = out_nhwc.shape[1], cols = out_nhwc.shape[2]
    cdef Py_ssize_t channels = out_nhwc.shape[3], size = sizeof(real), unit
    cdef Py_ssize_t image = x_nchw.strides[0] // size, channel = x_nchw.strides[1] // size
    cdef Py_ssize_t row = x_nchw.strides[2] // size, col = x_nchw.strides[3] // size
    cdef const real* x = &x_nchw[0, 0, 0, 0]
    cdef real* out = &out_nhwc[0, 0, 0, 0]
    if col == 1 and row == cols and channel == rows*cols:
        with nogil:
            transpose_images(x, image, images, channels, rows*cols, out, threads)
        return
    threads = worth(threads, <double>images*rows*cols*channels)
    for unit in prange(images*rows, nogil=True, schedule='static', num_threads=threads):
        reorder_row(x + unit // rows*image + unit % rows*row, channel, col, channels, cols, out + unit*cols*channels)


def channels_first(const real[:, :, :, ::1] x_nhwc, real[:, :, :, ::1] out_nchw, int threads):
    """out[n, c, h, w] = x[n, h, w, c]."""
    cdef Py_ssize_t pixels = x_nhwc.shape[1]*x_nhwc.shape[2], channels = x_nhwc.shape[3]
    with nogil:
        transpose_images(&x_nhwc[0, 0, 0, 0], pixels*channels, x_nhwc.shape[0], pixels, channels, &out_nchw[0, 0, 0, 0],
                         threads)


cdef bint run_last(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out[n, h, w, c] = x[n, c, h, w], which lies in C order."""
    transpose_images(memory_at(memory, c.x), c.rows*c.cols*c.channels, c.images, c.channels, c.rows*c.cols,
                     memory_at(memory, c.out), threads)
    return True


cdef bint run_first(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out[n, c, h, w] = x[n, h, w, c]."""
    transpose_images(memory_at(memory, c.x), c.rows*c.cols*c.channels, c.images, c.rows*c.cols, c.channels,
                     memory_at(memory, c.out), threads)
    return True


LAST = capsule(run_last)
FIRST = capsule(run_first)
