"""One spatial axis of a correlation: which inputs meet which taps in which outputs.

A convolution's forward pass and, for each phase of its stride, its backward-input pass are both

    out[out_first + out_step*j]  =  sum over t < taps of  in[first + grain*(in_step*j + tap_step*t)]
                                                          * weight[weight_first + weight_step*t]

with `in` zero outside of [0, in_size). Inputs that lie between the multiples of `grain` are never read (every
other column under a 1x1 kernel of stride 2), so a staged strip leaves them out.
"""


cdef struct Axis:
    Py_ssize_t columns              # in all phases together
    Py_ssize_t count, out_first, out_step
    Py_ssize_t first, in_size, in_step, grain
    Py_ssize_t taps, tap_step
    Py_ssize_t weight_first, weight_step


cdef struct Spatial:
    # One axis of a convolution, as its forward pass sees it; `adjoint` where the gradient of its input is meant.
    Py_ssize_t in_size, out_size, kernel, stride, padding, dilation
    bint adjoint


cdef struct Range:
    Py_ssize_t first, behind


cdef inline Range inside(Py_ssize_t start, Py_ssize_t step, Py_ssize_t size, Py_ssize_t count) noexcept nogil:
    """Those i < count for which start + i*step lies in [0, size)."""
    cdef Range r
    r.first, r.behind = 0, count
    if start >= 0 and start + step*(count - 1) < size:      # the common case, without a division
        return r
    if step == 0:
        if start < 0 or start >= size:
            r.behind = 0
        return r
    if start < 0:
        r.first = min(count, (-start + step - 1) // step)
    r.behind = min(count, (size - start + step - 1) // step) if start < size else 0
    r.behind = max(r.behind, r.first)
    return r


cdef inline Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef inline void coarsen(Axis* axis) noexcept nogil:
    """Measure steps in the coarsest grain that reaches every input that is read."""
    if axis.taps <= 1:
        axis.tap_step = 0
    if axis.count <= 1:
        axis.in_step = 0
    cdef Py_ssize_t grain = gcd(axis.in_step, axis.tap_step)
    axis.grain = grain if grain > 0 else 1
    axis.in_step = axis.in_step // axis.grain
    axis.tap_step = axis.tap_step // axis.grain


cdef inline Axis forward_axis(
    Py_ssize_t in_size, Py_ssize_t out_size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation,
) noexcept nogil:
    cdef Axis axis
    axis.count, axis.out_first, axis.out_step = out_size, 0, 1
    axis.columns = out_size
    axis.first, axis.in_size, axis.in_step = -padding, in_size, stride
    axis.taps, axis.tap_step = kernel, dilation
    axis.weight_first, axis.weight_step = 0, 1
    coarsen(&axis)
    return axis


cdef inline Axis adjoint_axis(
    Py_ssize_t phase, Py_ssize_t in_size, Py_ssize_t out_size, Py_ssize_t kernel, Py_ssize_t stride,
    Py_ssize_t padding, Py_ssize_t dilation,
) noexcept nogil:
    """The gradient at inputs phase, phase + stride, ... as a correlation over the output's gradient.

    Input h met tap r in output p where p*stride = h + padding - r*dilation. Within one phase the taps that
    divide are every (stride / gcd(stride, dilation))-th, and p falls as r rises: the taps are taken backwards.
    """
    cdef Axis axis
    cdef Py_ssize_t common = gcd(stride, dilation), apart = stride // common, r = 0
    while r < apart and (phase + padding - r*dilation) % stride != 0:
        r += 1
    axis.taps = (kernel - r + apart - 1) // apart if r < apart and r < kernel else 0
    axis.weight_first, axis.weight_step = r + apart*(axis.taps - 1), -apart
    axis.count = (in_size - phase + stride - 1) // stride if phase < in_size else 0
    axis.out_first, axis.out_step, axis.columns = phase, stride, in_size
    axis.first = (phase + padding - axis.weight_first*dilation) // stride if axis.taps else 0
    axis.in_size, axis.in_step = out_size, 1
    axis.tap_step = dilation // common
    coarsen(&axis)
    return axis


cdef inline Py_ssize_t phase_count(const Spatial* s) noexcept nogil:
    """How many correlations make up the axis: one for each phase of the stride that there is an input for."""
    return min(s.stride, s.in_size) if s.adjoint else 1


cdef inline Axis phase_axis(const Spatial* s, Py_ssize_t phase) noexcept nogil:
    if s.adjoint:
        return adjoint_axis(phase, s.in_size, s.out_size, s.kernel, s.stride, s.padding, s.dilation)
    return forward_axis(s.in_size, s.out_size, s.kernel, s.stride, s.padding, s.dilation)


cdef inline Py_ssize_t phases_with_taps(const Spatial* s) noexcept nogil:
    cdef Py_ssize_t phase, count = 0
    for phase in range(phase_count(s)):
        count += phase_axis(s, phase).taps > 0
    return count


cdef inline void leave_out(Axis* axis, Py_ssize_t outputs) noexcept nogil:
    """Begin behind so many of the outputs."""
    axis.first += axis.grain*axis.in_step*outputs
    axis.out_first += axis.out_step*outputs
    axis.count -= outputs


cdef inline Py_ssize_t span(const Axis* axis, Py_ssize_t outputs) noexcept nogil:
    """Grains that `outputs` neighbouring outputs read."""
    return (outputs - 1)*axis.in_step + (axis.taps - 1)*axis.tap_step + 1


cdef inline Range reads(const Axis* axis, Py_ssize_t output, Py_ssize_t outputs) noexcept nogil:
    """The inputs from the first to the last that neighbouring outputs read, but for the padding."""
    cdef Range r
    cdef Py_ssize_t first = axis.first + axis.grain*axis.in_step*output
    r.first = max(first, <Py_ssize_t>0)
    r.behind = max(r.first, min(first + axis.grain*(span(axis, outputs) - 1) + 1, axis.in_size))
    return r


cdef inline Range taps_inside(const Axis* axis, Py_ssize_t output) noexcept nogil:
    """Taps of an output that do not read the padding."""
    return inside(axis.first + axis.grain*axis.in_step*output, axis.grain*axis.tap_step, axis.in_size, axis.taps)


cdef inline Range outputs_inside(const Axis* axis, Py_ssize_t tap) noexcept nogil:
    """Outputs of which tap `tap` does not read the padding."""
    return inside(axis.first + axis.grain*axis.tap_step*tap, axis.grain*axis.in_step, axis.in_size, axis.count)


cdef inline Range outputs_between(const Axis* axis, Py_ssize_t output, Py_ssize_t outputs) noexcept nogil:
    """Outputs of all phases that so many of this one share out among them."""
    cdef Range r
    r.first = axis.out_first + axis.out_step*output if output else 0
    r.behind = axis.out_first + axis.out_step*(output + outputs) if output + outputs < axis.count else axis.columns
    return r


cdef inline bint stays_inside(const Axis* axis) noexcept nogil:
    """Whether no output reads the padding."""
    return axis.first >= 0 and axis.first + axis.grain*(span(axis, axis.count) - 1) < axis.in_size


cdef inline bint is_identity(const Axis* axis) noexcept nogil:
    """Whether output j reads input j and nothing else."""
    return (axis.taps == 1 and axis.first == 0 and axis.grain == 1 and axis.count == axis.in_size
            and axis.out_step == 1 and axis.in_step == (1 if axis.count > 1 else 0))
