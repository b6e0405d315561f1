"""Maximum and average pooling of NHWC images, forward and backward, vectorised over channels.

Both backward passes gather: an input pixel visits the windows that hold it, in order of their taps. No two threads
write one pixel, and the order of a sum is the shape's.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from convkit._kernels._simd cimport (
    VLEN, real, vbeats, vi, viequal, viload_i32, viload_u8, viselect, visplat, vistore_i32, vistore_u8, vload,
    vload_lanes, vr, vselect, vsplat, vstore, vstore_lanes,
)
from convkit._kernels._threads cimport worth

ctypedef fused index_t:
    # Position in the window, r*kernel_w + s: a byte wherever it fits.
    uint8_t
    int32_t


cdef struct Pool:
    Py_ssize_t rows, cols, channels                 # of the input
    Py_ssize_t out_rows, out_cols
    Py_ssize_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w
    bint count_include_pad


cdef struct Taps:
    # A range of a window's taps.
    Py_ssize_t first, behind


cdef inline Taps taps_inside(
    Py_ssize_t start, Py_ssize_t kernel, Py_ssize_t dilation, Py_ssize_t size,
) noexcept nogil:
    """Taps of a window that lie in [0, size), where the first lies at `start`."""
    cdef Taps taps
    taps.first = (-start + dilation - 1) // dilation if start < 0 else 0
    taps.behind = min(kernel, (size - start + dilation - 1) // dilation) if start < size else 0
    return taps


cdef inline Taps taps_at(
    Py_ssize_t position, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation,
    Py_ssize_t windows,
) noexcept nogil:
    """Taps that may lie at `position`: those of which `window_of` is not before the first or behind the last window."""
    cdef Py_ssize_t reach = position + padding - (windows - 1)*stride
    cdef Taps taps
    taps.first = (reach + dilation - 1) // dilation if reach > 0 else 0
    taps.behind = min(kernel, (position + padding) // dilation + 1)
    return taps


cdef inline bint window_of(
    Py_ssize_t position, Py_ssize_t tap, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation,
    Py_ssize_t* window,
) noexcept nogil:
    """Find the window of which tap `tap` lies at `position`, if there is one."""
    cdef Py_ssize_t start = position + padding - tap*dilation
    window[0] = start // stride
    return start % stride == 0


# ---------------------------------------------------------------------------------------------------------------------
# Maximum


cdef inline vr load(const real* p, int lanes) noexcept nogil:
    return vload(p) if lanes == VLEN else vload_lanes(p, lanes)


cdef inline void max_lanes(
    const Pool* t, const real* x, Py_ssize_t top, Py_ssize_t left, Taps down, Taps across, int lanes,
    real* out, index_t* index,
) noexcept nogil:
    """One window's maximum in a vector of channels: it and its place stay in registers over all taps."""
    cdef vr best = vsplat(-INFINITY), value
    # A window of nothing but -inf has its maximum at its first tap. One that lies in the padding with all its taps,
    # as a dilated one can, has the maximum of no numbers, at a tap where no gradient arrives.
    cdef vi place = visplat(<int>(down.first*t.kernel_w + across.first) if across.first < across.behind else 0), larger
    cdef Py_ssize_t r, s
    for r in range(down.first, down.behind):
        for s in range(across.first, across.behind):
            value = load(x + ((top + r*t.dilation_h)*t.cols + left + s*t.dilation_w)*t.channels, lanes)
            larger = vbeats(value, best)
            best = vselect(larger, value, best)
            place = viselect(larger, visplat(<int>(r*t.kernel_w + s)), place)
    if lanes == VLEN:
        vstore(out, best)
    else:
        vstore_lanes(out, best, lanes)
    if index_t is uint8_t:
        vistore_u8(index, place, lanes)
    else:
        vistore_i32(index, place, lanes)


cdef void max_row(
    const Pool* t, const real* x, Py_ssize_t out_row, real* out, index_t* index,
) noexcept nogil:
    """One row of windows. Taps in the padding are never the maximum: they are left out."""
    cdef Py_ssize_t top = out_row*t.stride_h - t.padding_h, left, q, c
    cdef Taps down = taps_inside(top, t.kernel_h, t.dilation_h, t.rows), across
    for q in range(t.out_cols):
        left = q*t.stride_w - t.padding_w
        across = taps_inside(left, t.kernel_w, t.dilation_w, t.cols)
        c = 0
        while c + VLEN <= t.channels:
            max_lanes(t, x + c, top, left, down, across, VLEN, out + c, index + c)
            c += VLEN
        if c < t.channels:
            max_lanes(t, x + c, top, left, down, across, <int>(t.channels - c), out + c, index + c)
        out = out + t.channels
        index = index + t.channels


def max_forward(
    const real[:, :, :, ::1] x_nhwc, real[:, :, :, ::1] out_nhwc, index_t[:, :, :, ::1] index_nhwc,
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t padding_h, Py_ssize_t padding_w, Py_ssize_t dilation_h, Py_ssize_t dilation_w, int threads,
):
    """The maximum of each window, and where in the window it stands (the first of equals, the last NaN)."""
    cdef Pool t = pool(
        x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3], out_nhwc.shape[1], out_nhwc.shape[2], kernel_h, kernel_w,
        stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w)
    cdef Py_ssize_t unit, image = t.rows*t.cols*t.channels, row = t.out_cols*t.channels
    cdef const real* x = &x_nhwc[0, 0, 0, 0]
    cdef real* out = &out_nhwc[0, 0, 0, 0]
    cdef index_t* index = &index_nhwc[0, 0, 0, 0]
    threads = worth(threads, <double>x_nhwc.shape[0]*t.out_rows*row*kernel_h*kernel_w)
    for unit in prange(x_nhwc.shape[0]*t.out_rows, nogil=True, schedule='static', num_threads=threads):
        max_row(&t, x + unit // t.out_rows*image, unit % t.out_rows, out + unit*row, index + unit*row)


cdef inline void add_lanes(
    const real* grad, const index_t* index, vi tap, int lanes, real* grad_x,
) noexcept nogil:
    cdef vi place
    cdef vr sum
    if index_t is uint8_t:
        place = viload_u8(index, lanes)
    else:
        place = viload_i32(index, lanes)
    sum = load(grad_x, lanes) + vselect(viequal(place, tap), load(grad, lanes), vsplat(0))
    if lanes == VLEN:
        vstore(grad_x, sum)
    else:
        vstore_lanes(grad_x, sum, lanes)


cdef inline void add_where(
    const real* grad, const index_t* index, int tap, Py_ssize_t channels, real* grad_x,
) noexcept nogil:
    """Add the gradient of a window to a pixel, in the channels in which tap `tap` was the maximum."""
    cdef Py_ssize_t c = 0
    cdef vi taps = visplat(tap)
    while c + VLEN <= channels:
        add_lanes(grad + c, index + c, taps, VLEN, grad_x + c)
        c += VLEN
    if c < channels:
        add_lanes(grad + c, index + c, taps, <int>(channels - c), grad_x + c)


cdef void max_gradient_row(
    const Pool* t, const real* grad, const index_t* index, Py_ssize_t row, real* grad_x,
) noexcept nogil:
    cdef Taps down = taps_at(row, t.kernel_h, t.stride_h, t.padding_h, t.dilation_h, t.out_rows), across
    cdef Py_ssize_t w, r, s, p = 0, q = 0, at
    memset(grad_x, 0, t.cols*t.channels*sizeof(real))
    for r in range(down.first, down.behind):
        if not window_of(row, r, t.stride_h, t.padding_h, t.dilation_h, &p):
            continue
        for w in range(t.cols):
            across = taps_at(w, t.kernel_w, t.stride_w, t.padding_w, t.dilation_w, t.out_cols)
            for s in range(across.first, across.behind):
                if window_of(w, s, t.stride_w, t.padding_w, t.dilation_w, &q):
                    at = (p*t.out_cols + q)*t.channels
                    add_where(grad + at, index + at, <int>(r*t.kernel_w + s), t.channels, grad_x + w*t.channels)


def max_backward(
    const real[:, :, :, ::1] grad_nhwc, const index_t[:, :, :, ::1] index_nhwc, real[:, :, :, ::1] grad_x_nhwc,
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t padding_h, Py_ssize_t padding_w, Py_ssize_t dilation_h, Py_ssize_t dilation_w, int threads,
):
    """Hand each window's gradient to the pixel that was its maximum."""
    cdef Pool t = pool(
        grad_x_nhwc.shape[1], grad_x_nhwc.shape[2], grad_x_nhwc.shape[3], grad_nhwc.shape[1], grad_nhwc.shape[2],
        kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w)
    cdef Py_ssize_t unit, image = t.out_rows*t.out_cols*t.channels, row = t.cols*t.channels
    cdef const real* grad = &grad_nhwc[0, 0, 0, 0]
    cdef const index_t* index = &index_nhwc[0, 0, 0, 0]
    cdef real* grad_x = &grad_x_nhwc[0, 0, 0, 0]
    threads = worth(threads, <double>grad_x_nhwc.shape[0]*t.rows*row)
    for unit in prange(grad_x_nhwc.shape[0]*t.rows, nogil=True, schedule='static', num_threads=threads):
        max_gradient_row(&t, grad + unit // t.rows*image, index + unit // t.rows*image, unit % t.rows,
                         grad_x + unit*row)


# ---------------------------------------------------------------------------------------------------------------------
# Average


cdef inline real divisor(const Pool* t, Py_ssize_t p, Py_ssize_t q) noexcept nogil:
    """How many elements window (p, q) averages: never those that ceil_mode adds beyond the padding."""
    cdef Py_ssize_t top = p*t.stride_h - t.padding_h, left = q*t.stride_w - t.padding_w
    cdef Py_ssize_t bottom = min(top + t.kernel_h, t.rows + t.padding_h)
    cdef Py_ssize_t right = min(left + t.kernel_w, t.cols + t.padding_w)
    if not t.count_include_pad:
        top, left = max(top, <Py_ssize_t>0), max(left, <Py_ssize_t>0)
        bottom, right = min(bottom, t.rows), min(right, t.cols)
    return <real>((bottom - top)*(right - left))


cdef void average_row(const Pool* t, const real* x, Py_ssize_t p, real* out) noexcept nogil:
    cdef Py_ssize_t q, r, s, c, top = p*t.stride_h - t.padding_h, left
    cdef Taps down = taps_inside(top, t.kernel_h, 1, t.rows), across
    cdef const real* pixel
    cdef real count
    memset(out, 0, t.out_cols*t.channels*sizeof(real))
    for q in range(t.out_cols):
        left = q*t.stride_w - t.padding_w
        across = taps_inside(left, t.kernel_w, 1, t.cols)
        for r in range(down.first, down.behind):
            for s in range(across.first, across.behind):
                pixel = x + ((top + r)*t.cols + left + s)*t.channels
                for c in range(t.channels):
                    out[c] += pixel[c]
        count = divisor(t, p, q)
        for c in range(t.channels):
            out[c] = out[c] / count
        out = out + t.channels


def average_forward(
    const real[:, :, :, ::1] x_nhwc, real[:, :, :, ::1] out_nhwc, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w, bint count_include_pad,
    int threads,
):
    """The mean of each window."""
    cdef Pool t = pool(
        x_nhwc.shape[1], x_nhwc.shape[2], x_nhwc.shape[3], out_nhwc.shape[1], out_nhwc.shape[2], kernel_h, kernel_w,
        stride_h, stride_w, padding_h, padding_w, 1, 1)
    t.count_include_pad = count_include_pad
    cdef Py_ssize_t unit, image = t.rows*t.cols*t.channels, row = t.out_cols*t.channels
    cdef const real* x = &x_nhwc[0, 0, 0, 0]
    cdef real* out = &out_nhwc[0, 0, 0, 0]
    threads = worth(threads, <double>x_nhwc.shape[0]*t.out_rows*row*kernel_h*kernel_w)
    for unit in prange(x_nhwc.shape[0]*t.out_rows, nogil=True, schedule='static', num_threads=threads):
        average_row(&t, x + unit // t.out_rows*image, unit % t.out_rows, out + unit*row)


cdef void average_gradient_row(const Pool* t, const real* grad, Py_ssize_t row, real* grad_x) noexcept nogil:
    cdef Taps down = taps_at(row, t.kernel_h, t.stride_h, t.padding_h, 1, t.out_rows), across
    cdef Py_ssize_t w, r, s, c, p = 0, q = 0
    cdef const real* window
    cdef real count
    memset(grad_x, 0, t.cols*t.channels*sizeof(real))
    for r in range(down.first, down.behind):
        if not window_of(row, r, t.stride_h, t.padding_h, 1, &p):
            continue
        for w in range(t.cols):
            across = taps_at(w, t.kernel_w, t.stride_w, t.padding_w, 1, t.out_cols)
            for s in range(across.first, across.behind):
                if window_of(w, s, t.stride_w, t.padding_w, 1, &q):
                    window = grad + (p*t.out_cols + q)*t.channels
                    count = divisor(t, p, q)
                    for c in range(t.channels):
                        grad_x[w*t.channels + c] += window[c] / count


def average_backward(
    const real[:, :, :, ::1] grad_nhwc, real[:, :, :, ::1] grad_x_nhwc, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w, bint count_include_pad,
    int threads,
):
    """Share each window's gradient among its pixels."""
    cdef Pool t = pool(
        grad_x_nhwc.shape[1], grad_x_nhwc.shape[2], grad_x_nhwc.shape[3], grad_nhwc.shape[1], grad_nhwc.shape[2],
        kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, 1, 1)
    t.count_include_pad = count_include_pad
    cdef Py_ssize_t unit, image = t.out_rows*t.out_cols*t.channels, row = t.cols*t.channels
    cdef const real* grad = &grad_nhwc[0, 0, 0, 0]
    cdef real* grad_x = &grad_x_nhwc[0, 0, 0, 0]
    threads = worth(threads, <double>grad_x_nhwc.shape[0]*t.rows*row)
    for unit in prange(grad_x_nhwc.shape[0]*t.rows, nogil=True, schedule='static', num_threads=threads):
        average_gradient_row(&t, grad + unit // t.rows*image, unit % t.rows, grad_x + unit*row)


cdef Pool pool(
    Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t channels, Py_ssize_t out_rows, Py_ssize_t out_cols,
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t padding_h, Py_ssize_t padding_w, Py_ssize_t dilation_h, Py_ssize_t dilation_w,
) noexcept nogil:
    cdef Pool t
    t.rows, t.cols, t.channels, t.out_rows, t.out_cols = rows, cols, channels, out_rows, out_cols
    t.kernel_h, t.kernel_w, t.stride_h, t.stride_w = kernel_h, kernel_w, stride_h, stride_w
    t.padding_h, t.padding_w, t.dilation_h, t.dilation_w = padding_h, padding_w, dilation_h, dilation_w
    t.count_include_pad = True
    return t
