"""Blocks of memory that are used again: an array that is gone leaves its pages to the next one of its size.

::

    Block(bytes)                   the block of that size that came back last; else fresh pages
        |
    arrays over it                 keep it alive: no block is handed out while anything uses it
        |
    Block.__dealloc__              the memory is idle now, and the next of its size takes it
        |
    more is idle than may be       what came back first returns to the operating system

At most `limit` bytes are idle, and at most twice what has been in use at once since `release_idle` was last called, or
ENOUGH where that is less. What was in use at once would be too little: blocks of sizes whose times differ add up to
more; those of a small network most of all, each of whose kernels has scratch of its own size.
"""

from cpython.buffer cimport PyBuffer_FillInfo

cdef extern from "_blocks.h" nogil:
    void lock_blocks()
    void unlock_blocks()
    int prepare_for_forks()
    void* map_memory(size_t bytes)
    void unmap_memory(void* start, size_t bytes)
    void only_touch(void* start, size_t bytes, size_t of_block)

cdef enum:
    PAGE = 4096
    SIZES = 8*64                    # eight in each doubling: more than 64 bits can need
    ENOUGH = 8*1024*1024            # bytes that may be idle, however few are in use


cdef struct Idle:
    # An idle block's place in two rings, in its first bytes: of all idle blocks, and of those of its size. A ring is
    # entered by a place that is no block: from there, `older` leads to the newest and `newer` to the oldest.
    Idle* newer
    Idle* older
    Idle* newer_of_size
    Idle* older_of_size
    size_t bytes

cdef Idle everything
cdef Idle of_size[SIZES]
cdef size_t bytes_in_use = 0, most_in_use = 0, bytes_idle = 0, limit = 0

everything.newer = everything.older = &everything
for size in range(SIZES):
    of_size[size].newer_of_size = of_size[size].older_of_size = &of_size[size]


cdef size_t block_bytes(Py_ssize_t bytes, int* size) noexcept nogil:
    """Round up to the next size that blocks have, beyond 32 KB by at most an eighth, and tell its number."""
    cdef size_t step = PAGE, steps
    cdef int doublings = 0
    while <size_t>bytes > 16*step:
        step *= 2
        doublings += 1
    steps = max(<size_t>1, (bytes + step - 1) // step)
    size[0] = 8*doublings + <int>steps - 1
    return steps*step


cdef void enter(Idle* block, size_t bytes, Idle* ring) noexcept nogil:
    global bytes_idle
    bytes_idle += bytes
    block.bytes = bytes
    block.newer, block.older = &everything, everything.older
    block.older.newer = block
    everything.older = block
    block.newer_of_size, block.older_of_size = ring, ring.older_of_size
    block.older_of_size.newer_of_size = block
    ring.older_of_size = block


cdef void leave(Idle* block) noexcept nogil:
    global bytes_idle
    bytes_idle -= block.bytes
    block.newer.older, block.older.newer = block.older, block.newer
    block.newer_of_size.older_of_size = block.older_of_size
    block.older_of_size.newer_of_size = block.newer_of_size


cdef void unmap_idle(bint all_of_it) noexcept nogil:
    """Return the oldest idle blocks to the operating system until no more is idle than may be."""
    cdef Idle* block
    while True:
        lock_blocks()
        block = everything.newer
        if block == &everything or not (all_of_it or bytes_idle > min(limit, max(<size_t>ENOUGH, 2*most_in_use))):
            unlock_blocks()
            return
        leave(block)
        unlock_blocks()
        unmap_memory(block, block.bytes)


cdef void* take(size_t bytes, int size) noexcept nogil:
    """Return an idle block, or fresh memory; if there is neither, other blocks need not stay idle."""
    lock_blocks()
    cdef Idle* block = of_size[size].older_of_size
    if block == &of_size[size]:
        block = NULL
    else:
        leave(block)
    unlock_blocks()
    if block != NULL:
        return block
    cdef void* fresh = map_memory(bytes)
    if fresh == NULL:
        unmap_idle(True)
        fresh = map_memory(bytes)
    return fresh


cdef void count_in_use(size_t bytes) noexcept nogil:
    global bytes_in_use, most_in_use
    lock_blocks()
    bytes_in_use += bytes
    most_in_use = max(most_in_use, bytes_in_use)
    unlock_blocks()


cdef void give_back(void* start, size_t bytes, int size) noexcept nogil:
    global bytes_in_use
    only_touch(start, sizeof(Idle), bytes)
    lock_blocks()
    bytes_in_use -= bytes
    enter(<Idle*>start, bytes, &of_size[size])
    unlock_blocks()
    unmap_idle(False)


cdef void* lend(Py_ssize_t bytes) noexcept nogil:
    """Memory for a kernel's scratch, at the beginning of a page; NULL where there is none."""
    cdef int size
    cdef size_t rounded = block_bytes(bytes, &size)
    cdef void* start = take(rounded, size)
    if start != NULL:
        count_in_use(rounded)
        only_touch(start, bytes, rounded)
    return start


cdef Py_ssize_t lent(Py_ssize_t bytes) noexcept nogil:
    """What `lend` takes for so many."""
    cdef int size
    return block_bytes(bytes, &size)


cdef void take_back(void* start, Py_ssize_t bytes) noexcept nogil:
    """End of the loan of so many bytes."""
    cdef int size
    cdef size_t rounded = block_bytes(bytes, &size)
    give_back(start, rounded, size)


cdef class Block:
    """Memory for one array, with NumPy's buffer protocol; what is in it is whatever was left there."""

    cdef void* start
    cdef Py_ssize_t asked
    cdef size_t bytes
    cdef int size

    def __cinit__(self, Py_ssize_t bytes):
        self.asked = bytes
        self.bytes = block_bytes(bytes, &self.size)
        self.start = take(self.bytes, self.size)
        if self.start == NULL:
            raise MemoryError(f"there is no memory for an array of {bytes} bytes")
        count_in_use(self.bytes)
        only_touch(self.start, bytes, self.bytes)

    def __dealloc__(self):
        if self.start != NULL:
            give_back(self.start, self.bytes, self.size)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.asked, 0, flags)


def release_idle():
    """Return all idle blocks to the operating system, and count from now what is in use at once."""
    global most_in_use
    lock_blocks()
    most_in_use = bytes_in_use
    unlock_blocks()
    unmap_idle(True)


def limit_idle(size_t bytes):
    """Let at most so many bytes be idle."""
    global limit
    limit = bytes
    unmap_idle(False)


def counts():
    """(bytes in use, bytes idle)."""
    return bytes_in_use, bytes_idle


if prepare_for_forks() != 0:
    raise ImportError("convkit: pthread_atfork failed: there is no memory for the fork handlers")
