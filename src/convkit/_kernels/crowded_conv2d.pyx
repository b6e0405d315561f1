"""Convolution of few channels to few outputs, which crowd on vectors (see _crowded.pxd).

Every output is summed whole by one thread in an order that the shape decides.

Scratch: the packed weights; and for each thread staged lines (STRIP_BYTES, or the input of FEWEST_LINES lines of
outputs where that is larger).
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free

from convkit._kernels._crowded cimport Crowd, Pattern, Room, list_runs, make_room, set_up, stage_lines, weight_at
from convkit._kernels._epilogue cimport Epilogue, finish
from convkit._kernels._lanewise cimport PICKED, VECTORS, LaneProduct, Run, lane_tile_deep, lane_tile_height
from convkit._kernels._lines cimport Phase
from convkit._kernels._pass cimport Pass, computing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport VLEN, flush_denormals, real, restore_denormals, viload_i32
from convkit._kernels._weights cimport Weights, weights_of


cdef struct Correlation:
    Crowd crowd
    real* output
    const real* packed              # a panel for each pattern
    const real* bias                # a vector for each
    const Run* run
    Epilogue epilogue


cdef void pack(const Crowd* t, const Weights* w, const real* bias, real* panels, real* biases) noexcept nogil:
    """Lay weights and biases out on the lanes of each pattern. `bias` may be NULL."""
    cdef Py_ssize_t a, r, i, output
    cdef int k
    for a in range(t.patterns):
        for k in range(VLEN):
            output = (t.pattern[a].first + k) % t.outputs
            biases[a*VLEN + k] = 0 if bias is NULL else bias[output]
            for r in range(t.y.kernel):
                for i in range(t.taps):
                    panels[a*t.panel + (r*t.taps + i)*VLEN + k] = weight_at(t, w, r, i, output)[0]


cdef void correlate_unit(const Correlation* t, Py_ssize_t unit, real* x) noexcept nogil:
    cdef const Crowd* crowd = &t.crowd
    cdef const Pattern* pattern
    cdef Py_ssize_t row = unit % crowd.down*crowd.rows, lines = min(crowd.rows, crowd.y.count - row), image, a, v, i
    cdef Py_ssize_t height, zero = 0
    cdef real* out
    cdef LaneProduct p
    cdef unsigned long mode = flush_denormals()
    image = unit // crowd.down
    out = t.output + image*crowd.target.image + row*crowd.target.row
    stage_lines(crowd, crowd.input + image*crowd.source.image, row, lines, x)
    p.x_pixel, p.x_vector, p.w_vector, p.init_vector, p.out_vector = crowd.y.in_step*crowd.line, 0, 0, 0, 0
    p.w_tap, p.out_pixel = crowd.y.phase.apart*crowd.taps*VLEN, crowd.target.row
    p.channels, p.piece, p.x_piece = crowd.taps, crowd.piece, crowd.piece
    p.run, p.runs, p.line_at = t.run, crowd.y.phase.runs, &zero
    p.storing, p.blocks, p.reads.quota, p.writes.quota = VECTORS, 1, 0, 0
    for a in range(crowd.patterns):
        pattern = &crowd.pattern[a]
        p.where, p.w = viload_i32(pattern.where, VLEN), t.packed + a*crowd.panel
        for v in range(pattern.count):
            i = 0
            while i < lines:
                height = lane_tile_height(lines - i, 1)
                p.x = x + i*p.x_pixel + pattern.x + v*crowd.x_period
                p.out = out + i*p.out_pixel + pattern.first + v*crowd.period
                p.init, p.init_pixel = t.bias + a*VLEN, 0
                lane_tile_deep(height, PICKED, p)
                i += height
    finish(&t.epilogue, lines, crowd.target.row, crowd.target.row, out)
    restore_denormals(mode)


cdef Room forward_room(const Crowd* t, int threads) noexcept nogil:
    return make_room(t, t.patterns*(t.panel + VLEN), 0, 0, threads)


cdef bint correlate(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """Pack, divide the work and run it. `bias` may be NULL."""
    cdef Crowd* crowd = &t.crowd
    cdef Room room = forward_room(crowd, threads)
    cdef real* memory = <real*>scratch(room.bytes)
    cdef real* biases = memory + crowd.patterns*crowd.panel
    cdef Run* run = <Run*>(memory + room.shared + room.threads*room.strip)
    cdef Py_ssize_t unit
    if memory is NULL:
        return False
    pack(crowd, w, bias, memory, biases)
    list_runs(crowd, run)
    t.packed, t.bias, t.run = memory, biases, run
    with parallel(num_threads=room.threads):
        for unit in prange(crowd.images*crowd.down, schedule='static'):
            correlate_unit(t, unit, memory + room.shared + threadid()*room.strip)
    free(memory)
    return True


cdef int compute(const Pass* p) noexcept nogil:
    cdef Correlation t
    cdef Weights w = weights_of(p)
    cdef Phase phase
    set_up(&t.crowd, p, &phase)
    t.output, t.epilogue = p.output, p.epilogue
    return correlate(&t, &w, p.bias, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Crowd t
    cdef Phase phase
    set_up(&t, p, &phase)
    return granted(forward_room(&t, p.threads).bytes)


FORWARD = computing(compute, scratch_bytes)
