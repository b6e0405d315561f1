"""Any order of memory into channels-last."""

from cython.parallel cimport prange
from libc.string cimport memcpy

from convkit._kernels._simd cimport real
from convkit._kernels._threads cimport worth


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
    threads = worth(threads, <double>images*rows*cols*channels)
    for unit in prange(images*rows, nogil=True, schedule='static', num_threads=threads):
        reorder_row(x + unit // rows*image + unit % rows*row, channel, col, channels, cols, out + unit*cols*channels)
