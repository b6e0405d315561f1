"""The loss of labels: negative logarithms of the probabilities of the right classes, and its gradient.

Each row has the logarithms of one image's or pixel's classes. With `weight` w of the classes (1 where it is None) and
`smoothing` s, a row with label t has the loss

    -(1 - s)*w[t]*logp[t] - s/C*sum over c of w[c]*logp[c]

and neither loss nor gradient where t is the label to ignore.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

from convkit._kernels._exp cimport vexp
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload_lanes, vr, vsplat, vstore_lanes,
)
from convkit._kernels._threads cimport worth

cdef enum:
    BAND = 32                       # rows that a thread takes at a time


cdef struct Loss:
    const int64_t* label
    const real* weight              # or NULL
    int64_t ignored
    Py_ssize_t classes
    double smoothing


cdef inline double weight_of(const Loss* o, Py_ssize_t c) noexcept nogil:
    return 1 if o.weight is NULL else o.weight[c]


cdef inline double spread(const Loss* o, const real* logp) noexcept nogil:
    """The weighted sum over the classes of a row."""
    cdef double sum = 0
    cdef Py_ssize_t c
    for c in range(o.classes):
        sum += weight_of(o, c)*logp[c]
    return sum


cdef void losses_of(
    const Loss* o, const real* logp, Py_ssize_t first, Py_ssize_t behind, real* losses,
) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t row
    cdef int64_t t
    cdef double loss
    for row in range(first, behind):
        t = o.label[row]
        losses[row] = 0
        if t != o.ignored:
            loss = (o.smoothing - 1)*weight_of(o, t)*logp[row*o.classes + t]
            if o.smoothing != 0:
                loss -= o.smoothing/o.classes*spread(o, logp + row*o.classes)
            losses[row] = <real>loss
    restore_denormals(mode)


cdef inline void spread_gradient(const Loss* o, const real* logp, real through, real smooth, real* grad) noexcept nogil:
    """What each class of a row gets: through*exp(logp) of the softmax, less `smooth` times its weight."""
    cdef Py_ssize_t c = 0
    cdef int lanes
    cdef vr v
    while c < o.classes:
        lanes = <int>min(<Py_ssize_t>VLEN, o.classes - c)
        v = vsplat(through)*vexp(vload_lanes(logp + c, lanes))
        if smooth != 0:
            v = v - vsplat(smooth)*(vsplat(1) if o.weight is NULL else vload_lanes(o.weight + c, lanes))
        vstore_lanes(grad + c, v, lanes)
        c += VLEN


cdef void gradients_of(
    const Loss* o, const real* logp, const real* grad_losses, double weights, Py_ssize_t first, Py_ssize_t behind,
    real* grad,
) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    cdef Py_ssize_t row
    cdef int64_t t
    cdef double arrived, own, shared
    for row in range(first, behind):
        t = o.label[row]
        arrived = own = shared = 0
        if t != o.ignored:
            arrived = grad_losses[row]
            own, shared = (1 - o.smoothing)*weight_of(o, t), o.smoothing/o.classes
        spread_gradient(o, logp + row*o.classes, <real>(arrived*(own + shared*weights)), <real>(arrived*shared),
                        grad + row*o.classes)
        if t != o.ignored:
            grad[row*o.classes + t] -= <real>(arrived*own)
    restore_denormals(mode)


cdef inline Loss loss_of(
    const int64_t[::1] labels, const real[::1] weight, int64_t ignored, Py_ssize_t classes, double smoothing,
) noexcept:
    cdef Loss o
    o.label, o.weight = &labels[0], NULL
    if weight is not None:
        o.weight = &weight[0]
    o.ignored, o.classes, o.smoothing = ignored, classes, smoothing
    return o


def first_wrong(const int64_t[::1] labels, int64_t classes, int64_t ignored):
    """The place of the first label that is neither a class nor `ignored`; -1 if there is none."""
    cdef Py_ssize_t row
    for row in range(labels.shape[0]):
        if not 0 <= labels[row] < classes and labels[row] != ignored:
            return row
    return -1


def forward(
    const real[:, ::1] logp, const int64_t[::1] labels, const real[::1] weight, int64_t ignored, double smoothing,
    real[::1] losses, int threads,
):
    """The loss of each row; returns the sum of all, and of the weights of the labels: how much they count."""
    cdef Py_ssize_t rows = logp.shape[0], classes = logp.shape[1], band, row
    cdef double total = 0, counted = 0
    cdef Loss o = loss_of(labels, weight, ignored, classes, smoothing)
    threads = worth(threads, <double>rows*(classes if smoothing != 0 else 1))
    for band in prange((rows + BAND - 1) // BAND, nogil=True, schedule='static', num_threads=threads):
        losses_of(&o, &logp[0, 0], band*BAND, min(rows, (band + 1)*BAND), &losses[0])
    for row in range(rows):
        total += losses[row]
        counted += 0 if labels[row] == ignored else weight_of(&o, labels[row])
    return total, counted


def backward(
    const real[::1] grad_losses, const real[:, ::1] logp, const int64_t[::1] labels, const real[::1] weight,
    int64_t ignored, double smoothing, real[:, ::1] grad_scores, int threads,
):
    """The gradient of the scores of which `logp` is the logarithm of the softmax: no other stands in between."""
    cdef Py_ssize_t rows = logp.shape[0], classes = logp.shape[1], band, c
    cdef Loss o = loss_of(labels, weight, ignored, classes, smoothing)
    cdef double weights = 0
    for c in range(classes):
        weights += weight_of(&o, c)
    threads = worth(threads, 4.0*rows*classes)
    for band in prange((rows + BAND - 1) // BAND, nogil=True, schedule='static', num_threads=threads):
        gradients_of(&o, &logp[0, 0], &grad_losses[0], weights, band*BAND, min(rows, (band + 1)*BAND),
                     &grad_scores[0, 0])
