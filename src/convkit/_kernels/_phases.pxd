"""The phases of a stride: inputs whose places differ by multiples of it. Staged apart, what neighbouring outputs read
through one tap are neighbours, whatever the stride."""

from convkit._kernels._axis cimport Axis, Range, inside


cdef inline Py_ssize_t phases(const Axis* axis) noexcept nogil:
    return max(axis.in_step, <Py_ssize_t>1)


cdef inline Py_ssize_t tap_phase(const Axis* axis, Py_ssize_t tap) noexcept nogil:
    return axis.tap_step*tap % phases(axis)


cdef inline Py_ssize_t tap_place(const Axis* axis, Py_ssize_t tap) noexcept nogil:
    """Where in its phase a tap reads, from the place of the output."""
    return axis.tap_step*tap // phases(axis)


cdef inline Range phase_inside(
    const Axis* axis, Py_ssize_t phase, Py_ssize_t output, Py_ssize_t count,
) noexcept nogil:
    """Which of `count` places of a phase, from that of an output on, are not padding."""
    cdef Py_ssize_t step = axis.grain*phases(axis)
    return inside(axis.first + axis.grain*phase + step*output, step, axis.in_size, count)
