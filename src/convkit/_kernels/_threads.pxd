"""How many threads a piece of work is worth."""

cdef enum:
    # A thread that joins costs a few microseconds: give each at least this many elementary operations
    # (multiply-adds, or elements moved).
    WORTH_A_THREAD = 100000


cdef inline int worth(int threads, double operations) noexcept nogil:
    if operations < WORTH_A_THREAD*<double>threads:
        return 1 + <int>(operations / WORTH_A_THREAD)
    return threads
