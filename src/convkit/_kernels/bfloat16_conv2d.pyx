"""Two-dimensional convolution of float32 by products of bfloat16: forward and backward-input.

The correlation of conv2d.pyx, whose elements are pairs of channels, each rounded to bfloat16 where it is staged or
packed (_pairs.pxd). An instruction multiplies two pairs in each lane, and adds both products to a float32: twice the
multiply-adds of float32 where the processor has as many units for it.

A call with a sum that is not finite is said to be NOT_FINITE, and computed again in float32: of what has no bfloat16
nothing else comes.
"""

from convkit._kernels._axis cimport Spatial, phase_count
from convkit._kernels._correlation cimport Correlation, Operands, begin, make_room, only_one_has_taps, phase_of
from convkit._kernels._correlation_units cimport correlate
from convkit._kernels._epilogue cimport is_plain
from convkit._kernels._pairs cimport copy_pairs, pack_block_of_pairs
from convkit._kernels._pass cimport DONE, NO_MEMORY, NOT_FINITE, Pass, computing, packing
from convkit._kernels._scratch cimport granted
from convkit._kernels._simd cimport real
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport Product, even_tiles
from convkit._kernels._weights cimport Weights, block_count, padded, weights_of


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of their shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef Operands operands() noexcept nogil:
    """Pairs of bfloat16."""
    cdef Operands o
    o.copy, o.pack, o.multiply = copy_pairs, pack_block_of_pairs, multiply
    return o


cdef int compute(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p, operands()), one
    cdef Weights w = weights_of(p)
    cdef const Spatial* down = &p.convolution.down
    cdef const Spatial* across = &p.convolution.across
    cdef bint endless = False, done = True
    cdef Py_ssize_t phase
    t.spoiled = &endless
    t.alone = p.bias is NULL and is_plain(&t.epilogue) and only_one_has_taps(down, across)
    for phase in range(phase_count(down)*phase_count(across)):
        one = phase_of(&t, &w, down, across, phase, 0)
        if not t.alone or one.y.taps*one.x.taps:
            done = done and correlate(&one, &w, p.bias, p.threads)
    if not done:
        return NO_MEMORY
    return NOT_FINITE if endless else DONE


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p, operands()), one
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t phase, most = 0
    for phase in range(phase_count(&p.convolution.down)*phase_count(&p.convolution.across)):
        one = phase_of(&t, &w, &p.convolution.down, &p.convolution.across, phase, 0)
        most = max(most, granted(make_room(&one, &w, p.threads).bytes))
    return most


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t taps = p.convolution.down.kernel*p.convolution.across.kernel
    return w.groups*padded(w.lanes)*taps*ceil_div(w.channels, 2)


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef Correlation t = begin(p, operands())
    cdef Weights w = weights_of(p)
    cdef Py_ssize_t block
    t = phase_of(&t, &w, &p.convolution.down, &p.convolution.across, 0, 0)
    for block in range(w.groups*block_count(w.lanes)):
        pack_block_of_pairs(&w, &t.y, &t.x, block, packed)
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)
