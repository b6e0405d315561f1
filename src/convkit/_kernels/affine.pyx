"""One pass for what a batch norm, a sum and an activation make of an image: act(a(x) + b(y)).

`a` and `b` are affine maps of each channel, and both maps, y and the activation may be missing. Each term is computed
as the operation that it stands for computes it, so the bits are those of one operation after the other.

A function returns False where there is no memory for its scratch: maps, tiled over a group of rows.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from convkit._kernels._affine cimport Affine, affine_room, tiled
from convkit._kernels._rectifiers cimport IDENTITY, LEAKY_RELU, RELU, RELU6, rectified, rectified_gradient
from convkit._kernels._rows cimport BAND, WIDE, group_width
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload_lanes, vr, vsplat, vstream_end,
)
from convkit._kernels._stream cimport put_lanes, streams
from convkit._kernels._threads cimport worth

cdef enum:
    VECTORS = 4                     # side by side

cdef enum:                          # which terms there are, of a sum of flags
    A = 1
    Y = 2
    B = 4

KINDS = {"": IDENTITY, "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY_RELU}


cdef struct Terms:
    int flags
    int kind
    Py_ssize_t width                # of a group of rows
    Affine a
    Affine b
    real slope


cdef inline void columns(
    const int vectors, const int lanes, const int flags, const int kind, const Terms* t, Py_ssize_t c, const real* x,
    const real* y, Py_ssize_t groups, real* out, bint stream,
) noexcept nogil:
    """A few vectors of each group of rows, from channel c on: what is known of the channels stays in registers."""
    cdef vr a_centre[VECTORS]
    cdef vr a_scale[VECTORS]
    cdef vr a_shift[VECTORS]
    cdef vr b_centre[VECTORS]
    cdef vr b_scale[VECTORS]
    cdef vr b_shift[VECTORS]
    cdef vr slope = vsplat(t.slope), sum, term
    cdef Py_ssize_t _, width = t.width
    cdef int v
    for v in range(vectors):
        if flags & A:
            a_centre[v] = vload_lanes(t.a.centre + c + v*VLEN, lanes)
            a_scale[v] = vload_lanes(t.a.scale + c + v*VLEN, lanes)
            a_shift[v] = vload_lanes(t.a.shift + c + v*VLEN, lanes)
        if flags & B:
            b_centre[v] = vload_lanes(t.b.centre + c + v*VLEN, lanes)
            b_scale[v] = vload_lanes(t.b.scale + c + v*VLEN, lanes)
            b_shift[v] = vload_lanes(t.b.shift + c + v*VLEN, lanes)
    for _ in range(groups):
        for v in range(vectors):
            sum = vload_lanes(x + v*VLEN, lanes)
            if flags & A:
                sum = sum - a_centre[v]
                sum = sum*a_scale[v] + a_shift[v]
            if flags & Y:
                term = vload_lanes(y + v*VLEN, lanes)
                if flags & B:
                    term = term - b_centre[v]
                    term = term*b_scale[v] + b_shift[v]
                sum = sum + term
            put_lanes(out + v*VLEN, rectified(kind, sum, slope), lanes, stream)
        x, y, out = x + width, y + width, out + width


cdef inline void group_columns(
    const int flags, const int kind, const Terms* t, const real* x, const real* y, Py_ssize_t groups, Py_ssize_t count,
    real* out, bint stream,
) noexcept nogil:
    """The first columns of groups of rows."""
    cdef Py_ssize_t c = 0
    while c + VECTORS*VLEN <= count:
        columns(VECTORS, VLEN, flags, kind, t, c, x + c, y + c, groups, out + c, stream)
        c += VECTORS*VLEN
    while c + VLEN <= count:
        columns(1, VLEN, flags, kind, t, c, x + c, y + c, groups, out + c, stream)
        c += VLEN
    if c < count:
        columns(1, <int>(count - c), flags, kind, t, c, x + c, y + c, groups, out + c, False)


cdef inline void run(
    const int flags, const int kind, const Terms* t, const real* x, const real* y, Py_ssize_t length, real* out,
    bint stream,
) noexcept nogil:
    """A run of elements, in order: groups are taken together only if they are as wide as what is worked on."""
    cdef Py_ssize_t groups = length // t.width, together = groups if t.width == VECTORS*VLEN else 1, at = 0
    while at < groups*t.width:
        group_columns(flags, kind, t, x + at, y + at, together, t.width, out + at, stream)
        at += together*t.width
    group_columns(flags, kind, t, x + at, y + at, 1, length - at, out + at, stream)


cdef inline void activated_run(
    const int flags, const Terms* t, const real* x, const real* y, Py_ssize_t length, real* out, bint stream,
) noexcept nogil:
    if t.kind == RELU:
        run(flags, RELU, t, x, y, length, out, stream)
    elif t.kind == RELU6:
        run(flags, RELU6, t, x, y, length, out, stream)
    elif t.kind == LEAKY_RELU:
        run(flags, LEAKY_RELU, t, x, y, length, out, stream)
    else:
        run(flags, IDENTITY, t, x, y, length, out, stream)


cdef void band(
    const Terms* t, const real* x, const real* y, Py_ssize_t length, real* out, bint stream,
) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    if t.flags == A:
        activated_run(A, t, x, y, length, out, stream)
    elif t.flags == A + Y:
        activated_run(A + Y, t, x, y, length, out, stream)
    elif t.flags == A + Y + B:
        activated_run(A + Y + B, t, x, y, length, out, stream)
    restore_denormals(mode)
    if t.flags == Y:                # a sum of images is NumPy's, denormals and all
        activated_run(Y, t, x, y, length, out, stream)
    if stream:
        vstream_end()


cdef inline void sum_block(
    const int lanes, const int kind, const real* a, const real* b, const real* out, vr slope, real* grad, bint stream,
) noexcept nogil:
    cdef vr sum = vload_lanes(a, lanes) + vload_lanes(b, lanes)
    put_lanes(grad, rectified_gradient(kind, sum, vload_lanes(out, lanes), slope), lanes, stream)


cdef inline void sum_run(
    const int kind, const real* a, const real* b, const real* out, Py_ssize_t count, vr slope, real* grad, bint stream,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VLEN <= count:
        sum_block(VLEN, kind, a + i, b + i, out + i, slope, grad + i, stream)
        i += VLEN
    if i < count:
        sum_block(<int>(count - i), kind, a + i, b + i, out + i, slope, grad + i, False)


cdef void sum_band(
    int kind, const real* a, const real* b, const real* out, Py_ssize_t count, real slope, real* grad, bint stream,
) noexcept nogil:
    if kind == RELU:
        sum_run(RELU, a, b, out, count, vsplat(slope), grad, stream)
    elif kind == RELU6:
        sum_run(RELU6, a, b, out, count, vsplat(slope), grad, stream)
    else:
        sum_run(LEAKY_RELU, a, b, out, count, vsplat(slope), grad, stream)
    if stream:
        vstream_end()


def backward_of_sum(
    const real[::1] a, const real[::1] b, const real[::1] out, int kind, real slope, real[::1] grad, int threads,
):
    """The gradient of the activation's input, of its output and of two gradients that came back to that."""
    cdef Py_ssize_t count = a.shape[0], unit
    cdef bint stream = streams(&grad[0], count)
    for unit in prange((count + BAND - 1) // BAND, nogil=True, schedule='static',
                       num_threads=worth(threads, <double>count)):
        sum_band(kind, &a[unit*BAND], &b[unit*BAND], &out[unit*BAND], min(<Py_ssize_t>BAND, count - unit*BAND), slope,
                 &grad[unit*BAND], stream)


def forward(
    const real[:, ::1] x_mc, const real[:, ::1] a_3c, const real[:, ::1] y_mc, const real[:, ::1] b_3c, int kind,
    real slope, real[:, ::1] out_mc, int threads,
):
    """out = act(a(x) + b(y)). Both maps and y may be None, but not a and y together, nor y without b."""
    cdef Py_ssize_t channels = x_mc.shape[1], length = x_mc.shape[0]*channels, size, unit
    cdef const real* x = &x_mc[0, 0]
    cdef const real* y = x if y_mc is None else &y_mc[0, 0]
    cdef real* out = &out_mc[0, 0]
    cdef real* memory
    cdef bint stream
    cdef Terms t
    if length == 0:
        return True
    memory = <real*>malloc(2*affine_room(channels)*sizeof(real))
    if memory is NULL:
        return False
    t.flags, t.kind, t.slope, t.width = 0, kind, slope, group_width(channels)
    if a_3c is not None:
        t.flags |= A
        t.a = tiled(&a_3c[0, 0], channels, memory)
    if y_mc is not None:
        t.flags |= Y
    if b_3c is not None:
        t.flags |= B
        t.b = tiled(&b_3c[0, 0], channels, memory + affine_room(channels))
    stream = (channels < WIDE or channels % VLEN == 0) and streams(out, length)
    if t.flags == Y:                # nothing in it has a period
        t.width = VECTORS*VLEN
    size = max(<Py_ssize_t>1, BAND // t.width)*t.width
    for unit in prange((length + size - 1) // size, nogil=True, schedule='static',
                       num_threads=worth(threads, <double>length)):
        band(&t, x + unit*size, y + unit*size, min(size, length - unit*size), out + unit*size, stream)
    free(memory)
    return True
