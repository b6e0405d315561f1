"""Lists of calls, run from front to back without Python: what a compiled network is.

The images of a run are cut into pieces. Threads take whole pieces, each with an arena of its own, so that nobody waits
for anybody between two calls, and what one call wrote is still in the thread's cache for the next. Where there are
fewer pieces than threads, all threads work on each call of each piece.

Memory 0 of a call is the input of its piece, memory 1 the output and memory 2 the arena.
"""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from convkit._kernels._blocks cimport lend, take_back
from convkit._kernels._call cimport NOWHERE, Call, Place, PyCapsule_GetPointer, Run, capsule, epilogue, memory_at
from convkit._kernels._convolution cimport convolution
from convkit._kernels._epilogue cimport Epilogue, finish
from convkit._kernels._pass cimport NO_MEMORY, Pass, compute_of, compute_pass, filters_of
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload, vload_lanes, vstore, vstore_lanes,
)
from convkit._kernels._threads cimport worth

cdef enum:
    RUN = 4096                      # elements that a thread takes at a time


# ---------------------------------------------------------------------------------------------------------------------
# Calls that no other kernel has


cdef void add_run(const Epilogue* e, const real* x, Py_ssize_t count, real* out) noexcept nogil:
    cdef unsigned long mode = flush_denormals()
    memcpy(out, x, count*sizeof(real))
    finish(e, 1, count, count, out)
    restore_denormals(mode)


cdef bint add(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = rectifier(x + residual)."""
    cdef Epilogue e = epilogue(c, memory)
    cdef const real* x = memory_at(memory, c.x)
    cdef real* out = memory_at(memory, c.out)
    cdef Py_ssize_t count = c.images*c.rows*c.cols*c.channels, run
    threads = worth(threads, count)
    for run in prange((count + RUN - 1) // RUN, schedule='static', num_threads=threads):
        add_run(&e, x + run*RUN, min(<Py_ssize_t>RUN, count - run*RUN), out + run*RUN)
    return True


cdef void scale_pixel(const Call* c, const Epilogue* e, const real* x, real* out) noexcept nogil:
    cdef Py_ssize_t k = 0
    cdef int rest
    cdef unsigned long mode = flush_denormals()
    while k + VLEN <= c.channels:
        vstore(out + k, vload(x + k)*vload(c.scale + k) + vload(c.shift + k))
        k += VLEN
    if k < c.channels:
        rest = <int>(c.channels - k)
        vstore_lanes(out + k, vload_lanes(x + k, rest)*vload_lanes(c.scale + k, rest)
                     + vload_lanes(c.shift + k, rest), rest)
    finish(e, 1, c.channels, c.channels, out)
    restore_denormals(mode)


cdef bint scale(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = rectifier(x*scale + shift + residual), with a scale and a shift for each channel."""
    cdef Epilogue e = epilogue(c, memory)
    cdef const real* x = memory_at(memory, c.x)
    cdef real* out = memory_at(memory, c.out)
    cdef Py_ssize_t pixel
    threads = worth(threads, c.images*c.rows*c.cols*c.channels)
    for pixel in prange(c.images*c.rows*c.cols, schedule='static', num_threads=threads):
        scale_pixel(c, &e, x + pixel*c.channels, out + pixel*c.channels)
    return True


cdef bint convolve(const Call* c, real* const* memory, int threads) noexcept nogil:
    """out = rectifier(x * w + bias + residual)."""
    cdef Pass p = c.convolution
    p.input, p.output = memory_at(memory, c.x), memory_at(memory, c.out)
    p.epilogue, p.threads = epilogue(c, memory), threads
    return compute_pass(c.compute, c.by_products, &p) != NO_MEMORY


cdef bint put(const Call* c, real* const* memory, int threads) noexcept nogil:
    """Put x among the channels of an image that has more of them."""
    cdef const real* x = memory_at(memory, c.x)
    cdef real* out = memory_at(memory, c.out)
    cdef Py_ssize_t pixel
    threads = worth(threads, c.images*c.rows*c.cols*c.channels)
    for pixel in prange(c.images*c.rows*c.cols, schedule='static', num_threads=threads):
        memcpy(out + pixel*c.out_channels, x + pixel*c.channels, c.channels*sizeof(real))
    return True


ADD = capsule(add)
SCALE = capsule(scale)
CONVOLVE = capsule(convolve)
PUT = capsule(put)


# ---------------------------------------------------------------------------------------------------------------------
# Programs


cdef class _Program:
    """The calls that compute a piece of so many images."""

    cdef Call* calls
    cdef Py_ssize_t count, x_size, out_size, arena_size
    cdef object kept                # whose memory the calls read

    def __cinit__(self, Py_ssize_t count):
        self.calls = <Call*>calloc(max(count, 1), sizeof(Call))
        self.count = count
        if self.calls is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.calls)


cdef const real* elements(object array) except? NULL:
    cdef const real[::1] values
    if array is None:
        return NULL
    values = array
    return &values[0]


cdef Place place(object where):
    cdef Place p
    p.memory, p.offset = NOWHERE, 0
    if where is not None:
        p.memory, p.offset = where
    return p


cdef void write_convolution(Call* call, dict c) except *:
    cdef const real[:, :, :, :] w = c["weight"]
    cdef Py_ssize_t[4] x_sizes = c["input"], out_sizes = c["output"]
    cdef Pass* p = &call.convolution
    p.convolution = convolution(x_sizes, w.shape, out_sizes, c["geometry"])
    p.filters, p.grad = filters_of(&w[0, 0, 0, 0], w.strides), NULL
    p.packed, p.bias, p.extra, p.constant = elements(c["packed"]), elements(c["bias"]), c["extra"], True
    call.compute, call.by_products = compute_of(c["compute"]), compute_of(c["by_products"])


cdef void write_call(Call* call, dict c) except *:
    call.run = <Run>PyCapsule_GetPointer(c["run"], "convkit.run")
    call.x, call.residual, call.out = place(c["x"]), place(c["residual"]), place(c["out"])
    call.images, call.rows, call.cols, call.channels = c["input"]
    _, call.out_rows, call.out_cols, call.out_channels = c["output"]
    call.kind, call.p, call.q = c["kind"], c["p"], c["q"]
    call.scale, call.shift = elements(c["scale"]), elements(c["shift"])
    call.spacing_h, call.spacing_w = c["spacing"]
    call.count_include_pad = c["count_include_pad"]
    if c["weight"] is not None:
        write_convolution(call, c)


def program(list calls, Py_ssize_t x_size, Py_ssize_t out_size, Py_ssize_t arena_size):
    """Write calls down; sizes are those of the memories, in elements. `run` trusts all of it."""
    cdef _Program p = _Program(len(calls))
    cdef Py_ssize_t i
    p.x_size, p.out_size, p.arena_size, p.kept = x_size, out_size, arena_size, calls
    for i in range(len(calls)):
        write_call(&p.calls[i], calls[i])
    return p


cdef bint run_calls(
    const Call* calls, Py_ssize_t count, const real* x, real* out, real* arena, int threads,
) noexcept nogil:
    cdef real* memory[3]
    cdef Py_ssize_t i
    memory[0], memory[1], memory[2] = <real*>x, out, arena
    for i in range(count):
        if not calls[i].run(&calls[i], memory, threads):
            return False
    return True


cdef struct Pieces:
    # So many pieces that one program computes, one after the other in memory.
    const Call* calls
    Py_ssize_t length, count, x_size, out_size


cdef Pieces pieces_of(_Program p, Py_ssize_t count):
    cdef Pieces pieces
    pieces.calls, pieces.length, pieces.count = p.calls, p.count, count
    pieces.x_size, pieces.out_size = p.x_size, p.out_size
    return pieces


cdef bint run_piece(
    const Pieces* larger, const Pieces* smaller, Py_ssize_t index, const real* x, real* out, real* arena, int threads,
) noexcept nogil:
    cdef Py_ssize_t before = min(index, larger.count), behind = index - before
    cdef const Pieces* piece = larger if index < larger.count else smaller
    return run_calls(piece.calls, piece.length, x + before*larger.x_size + behind*smaller.x_size,
                     out + before*larger.out_size + behind*smaller.out_size, arena, threads)


def run(
    _Program larger, Py_ssize_t larger_count, _Program smaller, Py_ssize_t smaller_count, const real[::1] x,
    real[::1] out, int threads,
):
    """Run one program over the first pieces of x, and another, of smaller pieces, over the others.

    Returns whether there was memory for the arenas, one for each thread that takes pieces, and for all calls' scratch.
    """
    cdef Pieces first = pieces_of(larger, larger_count), second = pieces_of(smaller, smaller_count)
    cdef Py_ssize_t room = max(larger.arena_size, smaller.arena_size), pieces = larger_count + smaller_count
    cdef const real* x_start = &x[0]
    cdef real* out_start = &out[0]
    cdef bint done
    with nogil:
        done = run_pieces(&first, &second, pieces, x_start, out_start, room, threads)
    return done


cdef bint run_pieces(
    const Pieces* first, const Pieces* second, Py_ssize_t pieces, const real* x, real* out, Py_ssize_t room,
    int threads,
) noexcept nogil:
    cdef Py_ssize_t bytes = max(<Py_ssize_t>1, (threads if pieces >= threads else 1)*room)*sizeof(real), i
    cdef real* arena = <real*>lend(bytes)
    cdef bint failed = arena is NULL
    cdef bint* any_failed = &failed
    if failed:
        return False
    if pieces < threads:
        for i in range(pieces):
            failed |= not run_piece(first, second, i, x, out, arena, threads)
    else:
        for i in prange(pieces, schedule='dynamic', num_threads=threads):
            if not run_piece(first, second, i, x, out, arena + threadid()*room, 1):
                any_failed[0] = True
    take_back(arena, bytes)
    return not failed
