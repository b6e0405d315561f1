"""Two-dimensional convolution: forward and backward-input, on one register tile.

Images lie as NHWC, weights as the caller has them under the logical shape (K, C/groups, R, S). Forward, and each
phase of backward-input, is a correlation (_correlation.pxd); so are groups of columns, where channels are few, and a
matrix times a few vectors.
"""

from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, Spatial, forward_axis, is_identity, phase_axis, phase_count
from convkit._kernels._columns cimport best_width, group_axis, spread, spread_weights
from convkit._kernels._correlation cimport (
    Correlation, Operands, begin, make_room, only_one_has_taps, phase_of, prepare,
)
from convkit._kernels._correlation_units cimport correlate
from convkit._kernels._epilogue cimport finish, is_plain, plain
from convkit._kernels._image cimport nhwc
from convkit._kernels._pass cimport Pass, computing, packing
from convkit._kernels._scratch cimport granted, scratch
from convkit._kernels._simd cimport TILE_ROWS, VLEN, real
from convkit._kernels._strip cimport copy_pixels
from convkit._kernels._tile cimport BLOCK, Product, even_tiles
from convkit._kernels._weights cimport Weights, block_count, pack_block, padded, weights_of


cdef void multiply(int vectors, Py_ssize_t rows, Product* product) noexcept nogil:
    """A row of tiles: the only place where all of their shapes are compiled."""
    even_tiles(vectors, rows, product)


cdef Operands operands() noexcept nogil:
    """Numbers, as they are."""
    cdef Operands o
    o.copy, o.pack, o.multiply = copy_pixels, pack_block, multiply
    return o


cdef bint sum_phase(Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """The only place where a correlation is compiled."""
    return correlate(t, w, bias, threads)


# ---------------------------------------------------------------------------------------------------------------------
# A matrix times a few vectors


cdef bint is_few(const Correlation* t, const Weights* w) noexcept nogil:
    """Whether this is a matrix, whose rows lie in one piece each, times a few vectors."""
    return (w.groups == 1 and w.channel == 1 and w.lane != 1 and t.images*t.y.count*t.x.count <= BLOCK
            and is_identity(&t.y) and is_identity(&t.x))


cdef Weights turn(Correlation* t, const Weights* w) noexcept nogil:
    """Let the weights, which have no bias, be the input, and the pixels the weights."""
    cdef Weights vectors
    cdef Py_ssize_t pixels = t.images*t.y.count*t.x.count
    cdef Axis one = forward_axis(1, 1, 1, 1, 0, 1), rows = forward_axis(w.lanes, w.lanes, 1, 1, 0, 1)
    vectors.data, vectors.groups, vectors.channels, vectors.lanes = <real*>t.input, 1, w.channels, pixels
    vectors.group, vectors.channel, vectors.lane, vectors.row, vectors.col = 0, 1, t.source.col, 0, 0
    t.input, t.source = w.data, nhwc(1, w.lanes, w.lane)
    t.images, t.target, t.epilogue = 1, nhwc(1, w.lanes, pixels), plain()
    prepare(t, &vectors, &one, &rows)
    return vectors


cdef Py_ssize_t few_bytes(const Weights* w, Py_ssize_t pixels) noexcept nogil:
    return w.lanes*pixels*sizeof(real)


cdef bint convolve_few(const Correlation* t, const Weights* w, const real* bias, int threads) noexcept nogil:
    """A matrix times a few vectors: the weights, read once and in order, are the input, and the pixels the weights.

    Each output is still summed over the channels, in pieces of DEPTH.
    """
    cdef Correlation turned = t[0]
    cdef Weights vectors = turn(&turned, w)
    cdef real* result = <real*>scratch(few_bytes(w, vectors.lanes))
    cdef Py_ssize_t i, k
    cdef bint done
    if result is NULL:
        return False
    turned.output = result
    done = sum_phase(&turned, &vectors, NULL, threads)
    for i in range(vectors.lanes):
        for k in range(w.lanes):
            t.output[i*t.target.col + k] = result[k*vectors.lanes + i] + (bias[k] if bias is not NULL else 0)
    finish(&t.epilogue, vectors.lanes, t.target.col, w.lanes, t.output)
    free(result)
    return done


# ---------------------------------------------------------------------------------------------------------------------
# Groups of columns


cdef Py_ssize_t spread_bytes(const Weights* group, Py_ssize_t taps) noexcept nogil:
    """Of a group's weights, and of its biases."""
    return (taps*group.channels + 1)*group.lanes*sizeof(real)


cdef bint convolve_groups(
    const Correlation* t, const Weights* w, const real* bias, const Spatial* down, const Spatial* across,
    Py_ssize_t width, bint* spoiled, int threads,
) noexcept nogil:
    """The whole groups of `width` columns, side by side in vectors (see _columns.pxd)."""
    cdef Axis rows, cols = group_axis(across, width)
    cdef Weights group = spread_weights(w, width, cols.taps)
    cdef Py_ssize_t bytes = spread_bytes(&group, down.kernel*cols.taps), phase, i
    cdef real* memory = <real*>scratch(bytes)
    cdef real* biases = memory + down.kernel*group.row
    cdef bint done = memory is not NULL
    cdef Correlation one
    if memory is NULL:
        return False
    memset(memory, 0, bytes)
    spread(across, width, w, down.kernel, &group, memory)
    group.data = memory
    if bias is not NULL:
        for i in range(width):
            memcpy(biases + i*w.lanes, bias, w.lanes*sizeof(real))
    for phase in range(phase_count(down)):
        one, rows = t[0], phase_axis(down, phase)
        one.packed, one.spoiled = NULL, spoiled     # those are not spread out
        prepare(&one, &group, &rows, &cols)
        done = done and sum_phase(&one, &group, biases, threads)
    free(memory)
    return done


# ---------------------------------------------------------------------------------------------------------------------
# A pass


cdef bint convolve(
    Correlation* t, const Weights* w, const real* bias, const Spatial* down, const Spatial* across, int threads,
) noexcept nogil:
    """Correlate every phase of the rows with groups of columns, and with every phase of the columns that remain."""
    cdef Py_ssize_t width = best_width(across, w.lanes) if w.groups == 1 else 0, phase, left = 0
    cdef bint done = True, spoiled = False
    cdef Correlation one = phase_of(t, w, down, across, 0, 0)
    if not t.constant and is_few(&one, w):
        return convolve_few(&one, w, bias, threads)
    if width:
        done = convolve_groups(t, w, bias, down, across, width, &spoiled, threads)
        left = 0 if spoiled else group_axis(across, width).count*width // phase_count(across)
    t.alone = width == 0 and bias is NULL and is_plain(&t.epilogue) and only_one_has_taps(down, across)
    for phase in range(phase_count(down)*phase_count(across)):
        one = phase_of(t, w, down, across, phase, left)
        if not t.alone or one.y.taps*one.x.taps:
            done = done and sum_phase(&one, w, bias, threads)
    return done


cdef Py_ssize_t convolve_scratch(
    Correlation* t, const Weights* w, const Spatial* down, const Spatial* across, int threads,
) noexcept nogil:
    """The most that `convolve` takes at a time, if there is no NaN."""
    cdef Py_ssize_t width = best_width(across, w.lanes) if w.groups == 1 else 0, phase, left = 0, most = 0
    cdef Correlation one = phase_of(t, w, down, across, 0, 0)
    cdef Axis rows, cols
    cdef Weights other
    if is_few(&one, w):
        other = turn(&one, w)
        return granted(few_bytes(w, other.lanes)) + granted(make_room(&one, &other, threads).bytes)
    if width:
        cols = group_axis(across, width)
        other = spread_weights(w, width, cols.taps)
        left = cols.count*width // phase_count(across)
        for phase in range(phase_count(down)):
            one, rows = t[0], phase_axis(down, phase)
            prepare(&one, &other, &rows, &cols)
            most = max(most, granted(make_room(&one, &other, threads).bytes))
        most += granted(spread_bytes(&other, down.kernel*cols.taps))
    for phase in range(phase_count(down)*phase_count(across)):
        one = phase_of(t, w, down, across, phase, left)
        most = max(most, granted(make_room(&one, w, threads).bytes))
    return most


cdef int compute(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p, operands())
    cdef Weights w = weights_of(p)
    return convolve(&t, &w, p.bias, &p.convolution.down, &p.convolution.across, p.threads)


cdef Py_ssize_t scratch_bytes(const Pass* p) noexcept nogil:
    cdef Correlation t = begin(p, operands())
    cdef Weights w = weights_of(p)
    return convolve_scratch(&t, &w, &p.convolution.down, &p.convolution.across, p.threads)


cdef Py_ssize_t packed_size(const Pass* p) noexcept nogil:
    cdef Weights w = weights_of(p)
    return w.groups*padded(w.lanes)*w.channels*p.convolution.down.kernel*p.convolution.across.kernel


cdef bint pack(const Pass* p, real* packed) noexcept nogil:
    cdef Weights w = weights_of(p)
    cdef Axis y = phase_axis(&p.convolution.down, 0), x = phase_axis(&p.convolution.across, 0)
    cdef Py_ssize_t block
    for block in range(w.groups*block_count(w.lanes)):
        pack_block(&w, &y, &x, block, packed)
    return True


FORWARD = BACKWARD_INPUT = computing(compute, scratch_bytes)
PACKING = packing(pack, packed_size)

#: (rows, lanes) of the register tile: tests take their sizes from it.
TILE = (TILE_ROWS, VLEN)
