"""Pixels of few channels crowd on a vector: where its lanes find what they pool.

A row of pixels is a run of elements, and a vector takes them as they lie, whatever pixels they are of. What its lanes
read of another row, each at one tap of its own window, lies close together there: a permutation of one or two vectors
brings it to them.

A tap outside of the image is replaced by another one of its window: read twice, a maximum is the same.
"""

from libc.stdint cimport INT32_MIN, int32_t
from libc.stdlib cimport free, malloc

from convkit._kernels._simd cimport VLEN, real, vi, viload_i32, vload, vpermute, vr
from convkit._kernels._windows cimport Axis

cdef enum:
    MOST_PICKS = 240                # 32 KB of them: they stay in the first-level cache


cdef struct Pick:
    # What the lanes of one vector read at one tap.
    Py_ssize_t at                   # the element of the row at which that begins
    int32_t lane[VLEN]              # how far behind it each lane finds its own,
    int32_t place[VLEN]             # and the tap's place in the window: negative where the lane has none


cdef struct Crowd:
    # How a row is cut into vectors.
    Py_ssize_t blocks, taps         # so many vectors read so many taps each
    Py_ssize_t start[MOST_PICKS + 1]        # the first element of each, and the end of the last
    Pick* pick                      # [block][tap]; NULL if lanes do not find what they read close together


cdef struct Tap:
    Py_ssize_t element
    int32_t place


cdef inline Tap tap_of_window(const Axis* axis, Py_ssize_t channels, Py_ssize_t element, Py_ssize_t s) noexcept nogil:
    """Tap s of the window whose output is the element."""
    cdef Py_ssize_t q = element // channels, first = axis.window[q].first
    cdef Tap tap
    s = min(max(s, first), first + axis.window[q].taps - 1)
    tap.element, tap.place = (axis.window[q].start + s)*channels + element - q*channels, <int32_t>s
    return tap


cdef inline Tap window_of_tap(const Axis* axis, Py_ssize_t channels, Py_ssize_t element, Py_ssize_t k) noexcept nogil:
    """The k-th window that holds the element."""
    cdef Py_ssize_t col = element // channels, q = axis.holders[col].first + k
    cdef Tap tap
    tap.place = <int32_t>(col - axis.window[q].start) if q < axis.holders[col].behind else INT32_MIN
    tap.element = min(q, axis.count - 1)*channels + element - col*channels
    return tap


cdef inline Py_ssize_t note_taps(
    const bint back, const Axis* axis, Py_ssize_t channels, Py_ssize_t start, Py_ssize_t behind, Py_ssize_t k,
    Py_ssize_t reach, Pick* pick,
) noexcept nogil:
    """Note what lanes from element `start` on read at one tap; return how far they go within `reach` elements."""
    cdef Py_ssize_t e, low = 0, high = 0, away
    cdef Tap tap
    for e in range(start, behind):
        tap = window_of_tap(axis, channels, e, k) if back else tap_of_window(axis, channels, e, k)
        if e == start:
            pick.at = tap.element
        away = tap.element - pick.at
        low, high = min(low, away), max(high, away)
        if high - low >= reach:
            return e
        pick.lane[e - start], pick.place[e - start] = <int32_t>away, tap.place
    return behind


cdef inline void settle(Pick* pick, int lanes, Py_ssize_t last) noexcept nogil:
    """Count from the first element that a lane reads, or from `last`; lanes that are left over do as the first does."""
    cdef int32_t low = 0
    cdef int i
    for i in range(lanes):
        low = min(low, pick.lane[i])
    low = <int32_t>min(<Py_ssize_t>low, last - pick.at)
    pick.at += low
    for i in range(VLEN):
        pick.lane[i] = pick.lane[i] - low if i < lanes else pick.lane[0]
        pick.place[i] = pick.place[i if i < lanes else 0]


cdef inline void lay_crowd(
    Crowd* crowd, const bint back, const Axis* axis, Py_ssize_t channels, Py_ssize_t elements, Py_ssize_t taps,
    Py_ssize_t read, Py_ssize_t reach,
) noexcept nogil:
    """Cut a row of `elements`, which read a row of `read` elements at so many taps, `reach` at a time."""
    cdef Pick* pick
    cdef Py_ssize_t start = 0, behind, k, most = MOST_PICKS // taps
    crowd.blocks, crowd.taps, crowd.start[0], crowd.pick = 0, taps, 0, NULL
    # Wider pixels fill vectors by themselves; of one vector each, they gain if that saves looking for their windows.
    if axis.dilation != 1 or channels >= VLEN + back or read < reach or elements > most*VLEN:
        return
    pick = crowd.pick = <Pick*>malloc(MOST_PICKS*sizeof(Pick))
    while pick is not NULL and start < elements and crowd.blocks < most:
        behind = min(start + VLEN, elements)
        for k in range(taps):
            behind = note_taps(back, axis, channels, start, behind, k, reach, pick + k)
        for k in range(taps):
            settle(pick + k, <int>(behind - start), read - reach)
        pick += taps
        crowd.blocks += 1
        crowd.start[crowd.blocks] = start = behind
    if start < elements:
        free(crowd.pick)
        crowd.pick = NULL


cdef inline void lay_windows(Crowd* crowd, const Axis* axis, Py_ssize_t channels) noexcept nogil:
    """Vectors of a row of the output: each reads its windows' taps, from two vectors. free() the picks."""
    lay_crowd(crowd, False, axis, channels, axis.count*channels, axis.widest, axis.size*channels, 2*VLEN)


cdef inline void lay_holders(Crowd* crowd, const Axis* axis, Py_ssize_t channels) noexcept nogil:
    """Vectors of a row of the input: each reads the windows that hold its pixels, from one vector. free() the picks."""
    cdef Py_ssize_t most = 1, col
    for col in range(axis.size):
        most = max(most, axis.holders[col].behind - axis.holders[col].first)
    lay_crowd(crowd, True, axis, channels, axis.size*channels, most, axis.count*channels, VLEN)


cdef inline int lanes_in(const Crowd* crowd, Py_ssize_t block) noexcept nogil:
    return <int>(crowd.start[block + 1] - crowd.start[block])


cdef inline vr picked(const Pick* pick, const real* row) noexcept nogil:
    """What the lanes read of two vectors of a row."""
    row = row + pick.at
    return vpermute(vload(row), vload(row + VLEN), viload_i32(pick.lane, VLEN))


cdef inline vi place_of(const Pick* pick) noexcept nogil:
    return viload_i32(pick.place, VLEN)
