"""Lists of calls, run from front to back without Python: what a compiled network is.

The images of a run are cut into pieces. Threads take whole pieces, each with an arena of its own, so that nobody waits
for anybody between two calls, and what one call wrote is still in the thread's cache for the next. Where there are
fewer pieces than threads, all threads work on each call of each piece.

Memory 0 of a call is the input of its piece, memory 1 the output and memory 2 the arena.
"""

from cython.parallel cimport prange, threadid
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from convkit._kernels._axis cimport Range
from convkit._kernels._blocks cimport lend, take_back
from convkit._kernels._call cimport NOWHERE, Call, Place, PyCapsule_GetPointer, Run, capsule, epilogue, memory_at
from convkit._kernels._convolution cimport Convolution, convolution
from convkit._kernels._epilogue cimport Epilogue, finish
from convkit._kernels._pass cimport DONE, NO_MEMORY, NOT_FINITE, Pass, compute_of, compute_pass, filters_of
from convkit._kernels._simd cimport (
    VLEN, flush_denormals, real, restore_denormals, vload, vload_lanes, vstore, vstore_lanes,
)
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth

cdef enum:
    RUN = 4096                      # elements that a thread takes at a time
    BAND_BYTES = 256*1024           # of a convolution's output that is pooled at a time


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


# A convolution and a max-pooling of its output are done together, band by band of each image: threads wait for each
# other once, not twice, and the output stays in the caches of the one that pools it.


cdef Range rows_read(const Call* c, const Call* pool, Range windows) noexcept nogil:
    """The rows of the convolution's output that some rows of windows read, from one on where a band may begin."""
    cdef Py_ssize_t stride = pool.spacing_h[0], reach = pool.spacing_h[2], padding = pool.spacing_h[3]
    cdef Range rows
    rows.first = max(<Py_ssize_t>0, windows.first*stride - padding)
    rows.behind = min(c.out_rows, (windows.behind - 1)*stride + reach - padding)
    rows.first = rows.first // c.together*c.together
    return rows


cdef int convolve_rows(const Call* c, Py_ssize_t image, Range rows, real* const* memory, real* out) noexcept nogil:
    """Compute some rows of one image's output."""
    cdef Pass p = c.convolution
    p.convolution.images, p.threads = 1, 1
    p.convolution.down.padding -= rows.first*p.convolution.down.stride
    p.convolution.down.out_size = rows.behind - rows.first
    p.input, p.output = memory_at(memory, c.x) + image*c.rows*c.cols*c.channels, out
    p.epilogue = epilogue(c, memory)
    p.epilogue.output = out
    return c.compute(&p)


cdef bint pool_rows(
    const Call* pool, Py_ssize_t image, Range windows, Range rows, real* const* memory, real* x,
) noexcept nogil:
    """Pool these rows, which lie at x."""
    cdef Call c = pool[0]
    cdef real* memories[2]
    cdef Py_ssize_t stride, per, reach, padding, dilation
    stride, per, reach, padding, dilation = pool.spacing_h
    c.images, c.rows, c.out_rows = 1, rows.behind - rows.first, windows.behind - windows.first
    c.spacing_h = (stride, per, reach, padding - windows.first*stride + rows.first, dilation)
    memories[0] = x
    memories[1] = memory_at(memory, pool.out) + (image*pool.out_rows + windows.first)*pool.out_cols*pool.out_channels
    c.x.memory, c.x.offset, c.out.memory, c.out.offset = 0, 0, 1, 0
    return c.run(&c, memories, 1)


cdef int compute_band(
    const Call* c, Py_ssize_t bands, Py_ssize_t index, real* const* memory, real* room,
) noexcept nogil:
    cdef const Call* pool = c + 1
    cdef Range windows, rows
    cdef int done
    windows.first, windows.behind = index % bands*pool.out_rows // bands, (index % bands + 1)*pool.out_rows // bands
    rows = rows_read(c, pool, windows)
    done = convolve_rows(c, index // bands, rows, memory, room)
    if done == DONE and not pool_rows(pool, index // bands, windows, rows, memory, room):
        return NO_MEMORY
    return done


cdef Py_ssize_t rows_of_band(const Call* c, Py_ssize_t bands) noexcept nogil:
    """At most so many rows of the convolution's output does a band take."""
    cdef Py_ssize_t stride = c[1].spacing_h[0], reach = c[1].spacing_h[2]
    return min(c.out_rows, (ceil_div(c[1].out_rows, bands) - 1)*stride + reach + c.together - 1)


cdef Py_ssize_t bands_of(const Call* c, int threads) noexcept nogil:
    """Into how many bands an image is cut: enough for the threads; and of windows apart, such as fit a cache."""
    cdef Py_ssize_t bands = ceil_div(threads, c.images), bytes = c.out_rows*c.out_cols*c.out_channels*sizeof(real)
    if c[1].spacing_h[2] <= c[1].spacing_h[0]:
        bands = max(bands, ceil_div(bytes, BAND_BYTES))
    return min(bands, c[1].out_rows)


cdef double operations_of(const Call* c) noexcept nogil:
    cdef const Convolution* v = &c.convolution.convolution
    return <double>c.images*c.out_rows*c.out_cols*c.out_channels*v.down.kernel*v.across.kernel*v.filters


cdef bint convolve_pooled(const Call* c, real* const* memory, int threads) noexcept nogil:
    """A convolution, and the max-pooling that is the next call."""
    cdef Py_ssize_t bands, count, size, index
    cdef real* room
    cdef int done, failed = 0, spoiled = 0
    threads = worth(threads, operations_of(c))
    bands = bands_of(c, threads)
    count, size = c.images*bands, rows_of_band(c, bands)*c.out_cols*c.out_channels
    if bands == 1:
        return convolve(c, memory, threads) and c[1].run(c + 1, memory, threads)
    room = <real*>lend(threads*size*sizeof(real))
    if room is NULL:
        return False
    if threads == 1:                # a team of one waits for itself, in the operating system
        for index in range(count):
            done = compute_band(c, bands, index, memory, room)
            failed |= done == NO_MEMORY
            spoiled |= done == NOT_FINITE
    else:
        for index in prange(count, schedule='static', num_threads=threads):
            done = compute_band(c, bands, index, memory, room + threadid()*size)
            failed |= done == NO_MEMORY
            spoiled |= done == NOT_FINITE
    take_back(room, threads*size*sizeof(real))
    if spoiled:                     # images are computed again as a whole, for any number of threads
        return convolve(c, memory, threads) and c[1].run(c + 1, memory, threads)
    return not failed


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
    call.together, call.pooled = c["together"], c["pooled"]


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
    cdef Py_ssize_t i = 0
    cdef bint done
    memory[0], memory[1], memory[2] = <real*>x, out, arena
    while i < count:
        if calls[i].pooled:
            done = convolve_pooled(&calls[i], memory, threads)
            i += 1                  # the pooling
        else:
            done = calls[i].run(&calls[i], memory, threads)
        if not done:
            return False
        i += 1
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
    cdef bint apart = pieces >= threads > 1     # otherwise all threads, or the only one, work on each call
    cdef Py_ssize_t bytes = max(<Py_ssize_t>1, (threads if apart else 1)*room)*sizeof(real), i
    cdef real* arena = <real*>lend(bytes)
    cdef bint failed = arena is NULL
    cdef bint* any_failed = &failed
    if failed:
        return False
    if not apart:
        for i in range(pieces):
            failed |= not run_piece(first, second, i, x, out, arena, threads)
    else:
        for i in prange(pieces, schedule='dynamic', num_threads=threads):
            if not run_piece(first, second, i, x, out, arena + threadid()*room, 1):
                any_failed[0] = True
    take_back(arena, bytes)
    return not failed
