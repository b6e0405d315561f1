"""A float32 as bfloat16 parts: h is the nearest bfloat16, m that of the rest, l what is left then.

A float32 has 24 bits and each part 8, with a sign of its own: x = h + m + l, exactly, and so are the differences by
which they are found. That holds where no part leaves the range of normal numbers, which AMX knows alone: from
LEAST_SPLIT = 2^-103, where the last bit of x is the smallest normal number, to MOST_SPLIT, beyond which h would be
infinite. Zero has parts, too. What is outside is replaced by zero, lest it should spoil its neighbours, and reported:
whoever asked computes that image again in float32.

Products may underflow where their factors do not. Results under LEAST_SUM = 2^-80 are therefore computed again, too:
in a larger one, what 2^14 products of parts can have lost by it (2^-126 each) is less than 2^-30 of it. A single part
has no more to lose than a float32 has.
"""

from libc.stdint cimport uint32_t

from convkit._kernels._amx cimport (
    vbeyond, vcut_bf16, vlower_bf16, vnear_bf16, vpair_bf16, vround_bf16, vround_pairs, vstore_bf16, vupper_bf16,
)
from convkit._kernels._simd cimport real, vi, vr, vselect, vsplat, vstore


# Bits of floats.
cdef enum:
    LEAST_SPLIT = 0x0c000000        # 2^-103
    MOST_SPLIT = 0x7f7f7fff         # what is larger rounds to 2^128
    LEAST_SUM = 0x17800000          # 2^-80
    MOST_SUM = 0x7f7fffff           # the largest number
    # Of packed weights: elements before them, of which the first one tells whether all have parts.
    HEAD = 16
    HAS_NO_PARTS = 1


cdef inline uint32_t least_split(int parts) noexcept nogil:
    return LEAST_SPLIT if parts > 1 else 0


cdef inline uint32_t least_sum(int parts) noexcept nogil:
    return LEAST_SUM if parts > 1 else 0


cdef inline vr splittable(vr v, uint32_t least, vi* beyond) noexcept nogil:
    """Numbers that have parts; others become zero and are remembered."""
    cdef vi outside = vbeyond(v, least, MOST_SPLIT)
    beyond[0] = beyond[0] | outside
    return vselect(outside, vsplat(0), v)


cdef inline void store_parts(const int parts, vr v, char* target, Py_ssize_t part, int lanes) noexcept nogil:
    """Store the parts of the first lanes, each `part` bytes behind the one before."""
    cdef vr high = vround_bf16(v), rest, middle
    vstore_bf16(target, high, lanes)
    if parts > 1:
        rest = v - high
        middle = vround_bf16(rest)
        vstore_bf16(target + part, middle, lanes)
        if parts > 2:
            vstore_bf16(target + 2*part, rest - middle, lanes)


cdef inline vr rounded_part(const int parts, vr v) noexcept nogil:
    """The nearest bfloat16: ties to even where it is all that is left of a number."""
    return vround_bf16(v) if parts == 1 else vnear_bf16(v)


cdef inline void store_pairs(const int parts, vr first, vr second, char* target, Py_ssize_t part) noexcept nogil:
    """Store two numbers' parts as pairs."""
    cdef vr first_part = rounded_part(parts, first), second_part = rounded_part(parts, second)
    vstore(<real*>target, vpair_bf16(first_part, second_part))
    if parts > 1:
        first, second = first - first_part, second - second_part
        first_part, second_part = vnear_bf16(first), vnear_bf16(second)
        vstore(<real*>(target + part), vpair_bf16(first_part, second_part))
        if parts > 2:
            # What is left is a bfloat16.
            vstore(<real*>(target + 2*part), vpair_bf16(first - first_part, second - second_part))


cdef inline void store_cut_pairs(const int parts, vr first, vr second, char* target, Py_ssize_t part) noexcept nogil:
    """The same, but of three parts, the first two are cut off: less work.

    The rests are twice as large then, and of one sign; but where the other factor's are of either, none adds up, and
    what three parts leave out is far below the rounding of sums.
    """
    cdef vr first_part, second_part
    if parts < 3:
        store_pairs(parts, first, second, target, part)
        return
    first_part, second_part = vcut_bf16(first), vcut_bf16(second)
    vstore(<real*>target, vpair_bf16(first_part, second_part))
    first, second = first - first_part, second - second_part
    first_part, second_part = vcut_bf16(first), vcut_bf16(second)
    vstore(<real*>(target + part), vpair_bf16(first_part, second_part))
    vstore(<real*>(target + 2*part), vpair_bf16(first - first_part, second - second_part))


cdef inline void round_pairs(const int parts, vr first, vr second, char* target, Py_ssize_t part) noexcept nogil:
    """Store two vectors of numbers' parts as pairs; of what is not finite, no part is."""
    cdef vr pairs
    cdef int i
    for i in range(parts):
        # A third part needs no rounding.
        pairs = vpair_bf16(first, second) if i == 2 else vround_pairs(first, second)
        vstore(<real*>(target + i*part), pairs)
        first, second = first - vlower_bf16(pairs), second - vupper_bf16(pairs)
