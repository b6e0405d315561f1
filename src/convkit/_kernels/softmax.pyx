"""Softmax and its logarithm along one axis of a dense array, which lies in memory as (outer, classes, inner).

Where classes lie next to each other (inner = 1), the vectors of a line run along them and its sums end with one over
the lanes; else each lane is a line of its own. Sums are taken in the order of memory.
"""

from cython.parallel cimport prange
from libc.math cimport INFINITY, log

from convkit._kernels._call cimport Call, capsule, memory_at
from convkit._kernels._exp cimport vexp, vexp_of_sum
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vatmost, vfold_exact, vfold_max, vfold_sum, vifirst, vload,
    vload_lanes, vmax, vr, vselect, vsplat, vstore, vstore_lanes,
)
from convkit._kernels._threads cimport worth

cdef enum:
    BAND = 32                       # lines, or vectors of lines, that a thread takes at a time


cdef struct Line:
    Py_ssize_t vectors, step        # how many, and how far apart
    int lanes, last                 # of each vector, and of the last one
    bint along                      # whether all lanes belong to one sum


cdef inline Line line_at(Py_ssize_t classes, Py_ssize_t inner, Py_ssize_t block) noexcept nogil:
    """Line or lines of vector `block` of the inner axis."""
    cdef Line line
    line.along = inner == 1
    if line.along:
        line.vectors, line.step, line.lanes = (classes + VLEN - 1) // VLEN, VLEN, VLEN
        line.last = <int>(classes - (line.vectors - 1)*VLEN)
    else:
        line.vectors, line.step = classes, inner
        line.lanes = line.last = <int>min(<Py_ssize_t>VLEN, inner - block*VLEN)
    return line


cdef inline int lanes_of(const Line* line, Py_ssize_t i) noexcept nogil:
    return line.last if i == line.vectors - 1 else line.lanes


cdef inline vr load(const real* p, int lanes, real rest) noexcept nogil:
    return vload(p) if lanes == VLEN else vselect(vifirst(lanes), vload_lanes(p, lanes), vsplat(rest))


cdef inline void store(real* p, vr v, int lanes) noexcept nogil:
    if lanes == VLEN:
        vstore(p, v)
    else:
        vstore_lanes(p, v, lanes)


cdef inline vr largest(const Line* line, const real* x) noexcept nogil:
    """A NaN may be passed over: it makes the sum one."""
    cdef vr most = vsplat(-INFINITY)
    cdef Py_ssize_t i
    for i in range(line.vectors):
        most = vmax(most, load(x + i*line.step, lanes_of(line, i), -INFINITY))
    return vfold_max(most) if line.along else most


cdef inline vr exp_below(vr x, vr most) noexcept nogil:
    """exp(x - most), with what the difference loses in rounding, which for x far below `most` is many ulps."""
    cdef vr difference = x - most
    cdef vr taken = difference - x
    cdef vr lost = (x - (difference - taken)) - (most + taken)
    # Where something is infinite, nothing is lost but the difference of infinities.
    return vexp_of_sum(difference, vselect(vatmost(lost, lost), lost, vsplat(0)))


cdef inline void add(vr* sum, vr* rest, vr v) noexcept nogil:
    """Add, and keep what is rounded off for the next time (Kahan)."""
    cdef vr term = v - rest[0]
    cdef vr total = sum[0] + term
    rest[0] = (total - sum[0]) - term
    sum[0] = total


cdef inline vr logarithms(vr v, bint alike) noexcept nogil:
    """The logarithm of each lane; of the first where all are alike."""
    cdef real lane[VLEN]
    cdef int i
    vstore(lane, v)
    if alike:
        return vsplat(<real>log(lane[0]))
    for i in range(VLEN):
        lane[i] = <real>log(lane[i])
    return vload(lane)


cdef inline void softmax_line(const bint logarithm, const Line* line, const real* x, real* out) noexcept nogil:
    cdef vr most = largest(line, x), sum = vsplat(0), rest = vsplat(0), e
    cdef Py_ssize_t i
    for i in range(line.vectors):
        e = exp_below(load(x + i*line.step, lanes_of(line, i), -INFINITY), most)
        if not logarithm:
            store(out + i*line.step, e, lanes_of(line, i))
        add(&sum, &rest, e)
    sum = vfold_exact(sum, -rest) if line.along else sum - rest
    if logarithm:
        sum = logarithms(sum, line.along)
    for i in range(line.vectors):
        if logarithm:
            e = (load(x + i*line.step, lanes_of(line, i), 0) - most) - sum
        else:
            e = load(out + i*line.step, lanes_of(line, i), 0) / sum
        store(out + i*line.step, e, lanes_of(line, i))


cdef inline void gradient_line(
    const bint logarithm, const Line* line, const real* grad, const real* y, real* grad_x,
) noexcept nogil:
    cdef vr sum = vsplat(0), g, v
    cdef Py_ssize_t i
    for i in range(line.vectors):
        g = load(grad + i*line.step, lanes_of(line, i), 0)
        sum = sum + (g if logarithm else g*load(y + i*line.step, lanes_of(line, i), 0))
    if line.along:
        sum = vfold_sum(sum)
    for i in range(line.vectors):
        g = load(grad + i*line.step, lanes_of(line, i), 0)
        v = load(y + i*line.step, lanes_of(line, i), 0)
        store(grad_x + i*line.step, g - vexp(v)*sum if logarithm else (g - sum)*v, lanes_of(line, i))


cdef inline Py_ssize_t blocks_of(Py_ssize_t inner) noexcept nogil:
    """Vectors that cover the inner axis."""
    return (inner + VLEN - 1) // VLEN


cdef void softmax_band(
    bint logarithm, const real* x, Py_ssize_t classes, Py_ssize_t inner, Py_ssize_t first, Py_ssize_t behind, real* out,
) noexcept nogil:
    cdef Py_ssize_t unit, blocks = blocks_of(inner), at
    cdef Line line
    cdef unsigned long mode = flush_denormals()
    for unit in range(first, behind):
        line = line_at(classes, inner, unit % blocks)
        at = unit // blocks*classes*inner + unit % blocks*VLEN
        if logarithm:
            softmax_line(True, &line, x + at, out + at)
        else:
            softmax_line(False, &line, x + at, out + at)
    restore_denormals(mode)


cdef void gradient_band(
    bint logarithm, const real* grad, const real* y, Py_ssize_t classes, Py_ssize_t inner, Py_ssize_t first,
    Py_ssize_t behind, real* grad_x,
) noexcept nogil:
    cdef Py_ssize_t unit, blocks = blocks_of(inner), at
    cdef Line line
    cdef unsigned long mode = flush_denormals()
    for unit in range(first, behind):
        line = line_at(classes, inner, unit % blocks)
        at = unit // blocks*classes*inner + unit % blocks*VLEN
        if logarithm:
            gradient_line(True, &line, grad + at, y + at, grad_x + at)
        else:
            gradient_line(False, &line, grad + at, y + at, grad_x + at)
    restore_denormals(mode)


cdef void softmax_units(
    bint logarithm, const real* x, Py_ssize_t outer, Py_ssize_t classes, Py_ssize_t inner, real* out, int threads,
) noexcept nogil:
    cdef Py_ssize_t units = outer*blocks_of(inner), band
    threads = worth(threads, 4.0*outer*classes*inner)
    for band in prange((units + BAND - 1) // BAND, schedule='static', num_threads=threads):
        softmax_band(logarithm, x, classes, inner, band*BAND, min(units, (band + 1)*BAND), out)


cdef bint run(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = the softmax of x over its channels, or, if `kind` is not 0, the logarithm of that."""
    cdef Py_ssize_t outer = c.images*c.rows*c.cols
    softmax_units(c.kind, memory_at(memory, c.x), outer, c.channels, 1, memory_at(memory, c.out), threads)
    return True


CALL = capsule(run)


def forward(const real[:, :, ::1] x, real[:, :, ::1] out, bint logarithm, int threads):
    """The softmax, or its logarithm, along the middle axis."""
    cdef Py_ssize_t outer = x.shape[0], classes = x.shape[1], inner = x.shape[2]
    with nogil:
        softmax_units(logarithm, &x[0, 0, 0], outer, classes, inner, &out[0, 0, 0], threads)


def backward(
    const real[:, :, ::1] grad, const real[:, :, ::1] out, real[:, :, ::1] grad_x, bint logarithm, int threads,
):
    """The gradient, from the output of the forward pass."""
    cdef Py_ssize_t classes = grad.shape[1], inner = grad.shape[2], units = grad.shape[0]*blocks_of(inner), band
    threads = worth(threads, 4.0*grad.shape[0]*classes*inner)
    for band in prange((units + BAND - 1) // BAND, nogil=True, schedule='static', num_threads=threads):
        gradient_band(logarithm, &grad[0, 0, 0], &out[0, 0, 0], classes, inner, band*BAND,
                      min(units, (band + 1)*BAND), &grad_x[0, 0, 0])
