"""Neighbouring output columns side by side in a vector, where one column's channels would fill too little of it.

Three channels fill 3 of 16 lanes; five columns of them fill 15. The columns of a group read different inputs, so the
group's weights are spread out: for every input that any of the columns reads, a row of lanes with the weight by which
it enters each column, mostly zero (a Toeplitz matrix). The wider the group, the fuller the vector and the more zeros:
`best_width` weighs them. Zeros times infinity are NaN, so whoever uses this must look for NaN in what comes out.
"""

from convkit._kernels._axis cimport Axis, Spatial, phase_axis, phase_count
from convkit._kernels._simd cimport VLEN, real
from convkit._kernels._tile cimport BLOCK
from convkit._kernels._weights cimport Weights, padded


cdef inline Py_ssize_t column_start(const Spatial* across, Py_ssize_t column) noexcept nogil:
    """The first input of a group's column, where the group begins at column 0."""
    cdef Axis axis = phase_axis(across, column % phase_count(across))
    return axis.first + column // phase_count(across)*axis.grain*axis.in_step


cdef inline Axis group_axis(const Spatial* across, Py_ssize_t width) noexcept nogil:
    """Groups of `width` columns as one axis, whose taps are all inputs of a group. Columns that remain are left out."""
    cdef Axis axis, group
    cdef Py_ssize_t column, start, behind = 0
    for column in range(width):
        axis = phase_axis(across, column % phase_count(across))
        start = column_start(across, column)
        if column == 0 or start < group.first:
            group.first = start
        if column == 0 or start + (axis.taps - 1)*axis.grain*axis.tap_step >= behind:
            behind = start + (axis.taps - 1)*axis.grain*axis.tap_step + 1
    group.taps, group.tap_step, group.grain = behind - group.first, 1, 1
    group.count, group.out_first, group.out_step = axis.columns // width, 0, width
    group.columns = axis.columns
    group.in_size, group.in_step = axis.in_size, width // phase_count(across)*axis.grain*axis.in_step
    group.weight_first, group.weight_step = 0, 1
    return group


cdef inline Py_ssize_t best_width(const Spatial* across, Py_ssize_t lanes) noexcept nogil:
    """Columns of a group: those that cost the fewest products of vectors, or 0 where one column alone is best."""
    cdef Py_ssize_t phases = phase_count(across), width, best = 0, phase, taps = 0
    cdef double cost, least
    if 2*lanes > VLEN or across.stride > 8 or phases == 0:
        return 0
    for phase in range(phases):
        taps += phase_axis(across, phase).taps
    # A little better is not worth the trouble.
    least = 0.8*taps/phases*padded(lanes)
    width = phases
    while width*lanes <= BLOCK and 2*width <= phase_axis(across, 0).columns:
        cost = <double>group_axis(across, width).taps*padded(width*lanes)/width
        if cost < least:
            best, least = width, cost
        width += phases
    return best


cdef inline Weights spread_weights(const Weights* w, Py_ssize_t width, Py_ssize_t taps) noexcept nogil:
    """How the weights of a group's columns lie: (rows, taps, channels, width*lanes)."""
    cdef Weights group
    group.data, group.groups, group.channels, group.lanes = NULL, 1, w.channels, width*w.lanes
    group.lane, group.channel, group.group = 1, group.lanes, 0
    group.col = group.channels*group.channel
    group.row = taps*group.col
    return group


cdef inline void spread(
    const Spatial* across, Py_ssize_t width, const Weights* w, Py_ssize_t rows, const Weights* group, real* zeros,
) noexcept nogil:
    """Spread the weights of all `rows` rows out, as the group's, into memory that is zero."""
    cdef Axis axis, all_taps = group_axis(across, width)
    cdef Py_ssize_t r, column, s, c, k, place
    for r in range(rows):
        for column in range(width):
            axis = phase_axis(across, column % phase_count(across))
            for s in range(axis.taps):
                place = column_start(across, column) + s*axis.grain*axis.tap_step - all_taps.first
                for c in range(w.channels):
                    for k in range(w.lanes):
                        zeros[r*group.row + place*group.col + c*group.channel + column*w.lanes + k] = w.data[
                            r*w.row + (axis.weight_first + axis.weight_step*s)*w.col + c*w.channel + k*w.lane]
