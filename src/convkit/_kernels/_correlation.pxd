"""A correlation by the register tile: what conv2d.pyx and bfloat16_conv2d.pyx compute, and how it is divided.

The weights are packed once into panels that the tile reads from front to back, then threads take units of work (a group
of an image or a few, a strip of its outputs, a share of the output channels), stage the strip and run tiles over it
(_correlation_units.pxd). Every output is summed in one order, which the shape decides, so neither the number of threads
nor the cut into strips can be seen in the result.

What the tile multiplies are elements as large as a number: one channel, or as many as are narrower (NUMBERS).

Scratch: the packed weights, and a strip for each thread (STRIP_BYTES, twice that where weights are heavy, or the input
of one tile where that is larger).
"""

from convkit._kernels._ahead cimport Ahead
from convkit._kernels._axis cimport (
    Axis, Range, Spatial, leave_out, phase_axis, phase_count, phases_with_taps, stays_inside,
)
from convkit._kernels._convolution cimport source_image, target_image
from convkit._kernels._epilogue cimport Epilogue
from convkit._kernels._image cimport Image
from convkit._kernels._pass cimport Pass
from convkit._kernels._prologue cimport Prologue, maps
from convkit._kernels._simd cimport NUMBERS, TILE_ROWS, real
from convkit._kernels._strip cimport STRIP_BYTES, Copy, Strips, cache_sized, ceil_div, cut, merge_pixels
from convkit._kernels._threads cimport worth
from convkit._kernels._tile cimport Product
from convkit._kernels._weights cimport Weights, block_count, is_panel, padded

cdef enum:
    # Products summed in registers at a time: the error of a chain grows with its length, and the panel of so many
    # weights stays in first-level cache or near it.
    DEPTH = 768
    SHALLOW = 64                    # the same of weights that are not packed: their rows lie on pages of their own
    FEW_PIXELS = 256                # outputs of a channel for which weights are not worth packing
    PAGE = 4096                     # bytes
    LIGHT_BYTES = 128*1024          # weights that need not be fetched: they stay in second-level cache
    HEAVY_BYTES = 2*1024*1024       # weights that no second-level cache holds


ctypedef void (*PackBlock)(
    const Weights* w, const Axis* y, const Axis* x, Py_ssize_t index, real* packed,
) noexcept nogil
ctypedef void (*Multiply)(int vectors, Py_ssize_t rows, Product* product) noexcept nogil


cdef struct Operands:
    Copy copy                       # how pixels become elements in strips,
    PackBlock pack                  # and weights in panels;
    Multiply multiply               # and a row of tiles: the only place where all of their shapes are compiled


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, groups, channels, lanes     # channels and lanes of one group
    Py_ssize_t elements             # that a pixel's channels are where they are staged
    Operands operands
    const real* input
    Image source
    real* output
    Image target
    const real* packed              # the weights, packed by an earlier call of `pack`; NULL for none
    # Sums in the order of packed weights, however few the pixels: in programs, an image's outputs do not depend on how
    # many others there are.
    bint constant
    const real* panels              # the weights, packed or as they lie
    Py_ssize_t panel_group, panel_lane      # distance of groups and of lanes there,
    Py_ssize_t panel_row            # and of rows: 0 where those are packed, as wide as their block
    const real* bias                # padded(lanes) of each group
    Prologue prologue
    bint in_place                   # read the image itself: it needs no stage
    bint tall                       # tiles run down columns
    bint streams                    # the output goes past the caches
    bint alone                      # outputs of all other phases have no taps: they become zero along with these
    Strips strips
    const Py_ssize_t* segment       # runs of the sum: where their input begins, from the first tap's,
    const Py_ssize_t* weight        # and their weights, from the panel's first row
    Py_ssize_t runs, length         # so many for each row of taps, and products in each
    Py_ssize_t depth_products       # so many products are summed before the result is added to the output
    Py_ssize_t depth                # so many images share a strip
    bint light                      # weights are few: what is staged next is fetched, not they
    Py_ssize_t shares               # a strip's blocks of lanes are dealt out in so many shares
    bint apart                      # each thread has a share of its own
    bint* spoiled                   # set where a NaN comes out, or of pairs an Inf; NULL if nobody asks
    Epilogue epilogue


cdef inline Correlation begin(const Pass* p, Operands operands) noexcept nogil:
    """All but what differs from one phase to the next."""
    cdef Correlation t
    t.images, t.source, t.target = p.convolution.images, source_image(&p.convolution), target_image(&p.convolution)
    t.input, t.output, t.packed, t.constant = p.input, p.output, p.packed, p.constant
    t.prologue, t.epilogue, t.operands = p.prologue, p.epilogue, operands
    t.alone, t.spoiled = False, NULL
    return t


cdef inline void prepare(Correlation* t, const Weights* w, const Axis* y, const Axis* x) noexcept nogil:
    t.y, t.x = y[0], x[0]
    t.groups, t.channels, t.lanes = w.groups, w.channels, w.lanes
    t.elements = ceil_div(w.channels, NUMBERS)


cdef inline Correlation phase_of(
    const Correlation* call, const Weights* w, const Spatial* down, const Spatial* across, Py_ssize_t phase,
    Py_ssize_t left,
) noexcept nogil:
    """One phase of both axes, without the first `left` columns."""
    cdef Correlation t = call[0]
    cdef Axis y = phase_axis(down, phase // phase_count(across)), x = phase_axis(across, phase % phase_count(across))
    leave_out(&x, left)
    prepare(&t, w, &y, &x)
    return t


cdef inline bint only_one_has_taps(const Spatial* down, const Spatial* across) noexcept nogil:
    """Whether all outputs but those of one phase stay zero."""
    return phase_count(down)*phase_count(across) > 1 and phases_with_taps(down)*phases_with_taps(across) == 1


cdef inline Py_ssize_t strip_room(const Correlation* t) noexcept nogil:
    """Bytes of a strip: twice as many where weights come from beyond the second-level cache for each, half as often."""
    cdef Py_ssize_t weights = t.y.taps*t.x.taps*t.elements*padded(t.lanes)*<Py_ssize_t>sizeof(real)
    return 2*STRIP_BYTES if weights > HEAVY_BYTES else STRIP_BYTES


cdef inline void divide(Correlation* t, int threads) noexcept nogil:
    """Cut into strips that fit the cache, then smaller until every thread has a few.

    Small images go several to a strip: a panel of weights that has come from memory is used for all of them. Where
    there are few strips, each thread takes all of them for lanes of its own, whose weights then stay with it.
    """
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1, blocks = block_count(t.lanes), outer
    cdef Py_ssize_t bytes = strip_room(t)
    t.strips = cache_sized(&t.y, &t.x, t.elements, bytes)
    t.depth = 1
    if t.strips.down*t.strips.across == 1:
        t.depth = bytes // max(<Py_ssize_t>1, t.strips.height*t.strips.width*t.elements*<Py_ssize_t>sizeof(real))
        t.depth = max(<Py_ssize_t>1, min(t.depth, t.images*t.groups // enough))
        t.depth = ceil_div(t.images, ceil_div(t.images, t.depth))
    outer = ceil_div(t.images, t.depth)*t.groups
    t.apart = (outer*t.strips.down*t.strips.across < enough
               and (blocks % threads == 0 or blocks >= 4*threads))
    if t.apart:
        t.shares = threads
        return
    while outer*t.strips.down*t.strips.across < enough and t.strips.rows > 1:
        cut(&t.strips, &t.y, &t.x, ceil_div(t.strips.rows, 2), t.strips.cols)
    while outer*t.strips.down*t.strips.across < enough and t.strips.cols > TILE_ROWS:
        cut(&t.strips, &t.y, &t.x, t.strips.rows, ceil_div(t.strips.cols, 2))
    t.shares = max(<Py_ssize_t>1, min(blocks, enough // max(<Py_ssize_t>1, outer*t.strips.down*t.strips.across)))


cdef inline void lay_segments(Correlation* t, Py_ssize_t* segment) noexcept nogil:
    """The runs of the sum: one for each tap, or for each row of taps where those lie next to each other."""
    cdef Py_ssize_t row, col, r, s
    if t.in_place:
        row, col = t.source.row*t.y.grain, t.source.col*t.x.grain
    else:
        row, col = t.strips.width*t.elements, t.elements
    cdef bint joined = col == t.elements and (t.x.tap_step == 1 or t.x.taps == 1)
    t.runs = 1 if joined else t.x.taps
    t.length = t.elements*t.x.taps if joined else t.elements
    t.segment, t.weight = segment, segment + t.y.taps*t.runs
    for r in range(t.y.taps):
        for s in range(t.runs):
            segment[r*t.runs + s] = r*t.y.tap_step*row + s*t.x.tap_step*col
    for r in range(t.y.taps*t.runs):
        segment[t.y.taps*t.runs + r] = r*t.length


cdef struct Part:
    # What one unit of work computes: a strip of one group of a few images, for a share of the lanes.
    Py_ssize_t share, group, image, images, row, rows, col, cols
    Py_ssize_t lines, outputs       # tiles run along lines of outputs: rows, or columns where those are longer
    Py_ssize_t abreast              # so many lines fill a tile
    const real* a                   # its first output's first input, staged or in place
    Py_ssize_t a_image, a_line      # distance of images, and of lines of outputs, there
    real* target
    Py_ssize_t target_line
    Ahead ahead                     # what is read and written next


cdef inline Part part_of(const Correlation* t, Py_ssize_t unit) noexcept nogil:
    """What a unit computes; behind the last, there are no images in it."""
    cdef const Strips* strips = &t.strips
    cdef Part part
    part.share = unit % t.shares
    unit = unit // t.shares
    part.col = (unit % strips.across)*strips.cols
    unit = unit // strips.across
    part.row = (unit % strips.down)*strips.rows
    unit = unit // strips.down
    part.group = unit % t.groups
    part.image = unit // t.groups*t.depth
    part.images = min(t.depth, t.images - part.image)
    part.rows, part.cols = min(strips.rows, t.y.count - part.row), min(strips.cols, t.x.count - part.col)
    part.lines, part.outputs = part.rows, part.cols
    return part


cdef struct Piece:
    # Of every sum, the products that are taken together: whole segments, or a part of a single one.
    Range segments
    Py_ssize_t start, length


cdef inline Py_ssize_t piece_count(const Correlation* t) noexcept nogil:
    cdef Py_ssize_t together = max(<Py_ssize_t>1, t.depth_products // max(t.length, <Py_ssize_t>1))
    cdef Py_ssize_t parts = max(<Py_ssize_t>1, ceil_div(t.length, t.depth_products))
    return max(<Py_ssize_t>1, ceil_div(t.y.taps*t.runs, together)*parts)


cdef inline Piece piece_of(const Correlation* t, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t together = max(<Py_ssize_t>1, t.depth_products // max(t.length, <Py_ssize_t>1))
    cdef Py_ssize_t parts = max(<Py_ssize_t>1, ceil_div(t.length, t.depth_products)), part = index % parts
    cdef Piece piece
    piece.segments.first = index // parts*together
    piece.segments.behind = min(piece.segments.first + together, t.y.taps*t.runs)
    piece.start = part*t.length // parts
    piece.length = (part + 1)*t.length // parts - piece.start
    return piece


cdef struct Room:
    # Scratch: the weights, the biases, a strip for each thread, and the segments.
    bint pack
    Py_ssize_t weights, biases, strip
    Py_ssize_t bytes                # 0 if there is nothing to do
    int threads


cdef inline bint suits_tile(const Correlation* t) noexcept nogil:
    """Whether a tile may read pixels where they lie: numbers as they are, without lines of others between them whose
    distance would let all fall into the same few cache sets."""
    cdef Py_ssize_t step = t.x.grain*t.x.in_step
    cdef bint far = step > 1 and step*t.source.col*<Py_ssize_t>sizeof(real) >= PAGE
    return NUMBERS == 1 and not maps(&t.prologue) and not far


cdef inline Room make_room(Correlation* t, const Weights* w, int threads) noexcept nogil:
    """Divide the work of one phase."""
    cdef Py_ssize_t taps, wide = padded(t.lanes)
    cdef Room room
    room.bytes = 0
    if t.images*t.y.count*t.x.count*t.groups*t.lanes == 0:
        return room
    merge_pixels(&t.images, &t.y, &t.x)
    taps = t.y.taps*t.x.taps
    room.threads = worth(threads, <double>t.images*t.y.count*t.x.count*t.groups*t.lanes*(taps*t.elements + 1))
    # Columns, where rows are shorter than a tile needs to hide the latency of its sums.
    t.tall = t.x.count < 8 and t.y.count > t.x.count
    t.in_place = suits_tile(t) and stays_inside(&t.x) and (stays_inside(&t.y) or not t.tall)
    divide(t, room.threads)
    t.light = not t.in_place and taps*t.elements*ceil_div(wide, t.shares)*<Py_ssize_t>sizeof(real) <= LIGHT_BYTES
    # Packing pays where every weight is used for many pixels: packed, it is next to those used with it.
    room.pack = t.packed is NULL and (
        NUMBERS > 1 or t.constant or t.images*t.y.count*t.x.count > FEW_PIXELS or not is_panel(w, &t.y, &t.x))
    room.weights = ceil_div(t.groups*wide*taps*t.elements, 64)*64 if room.pack else 0
    room.strip = 0 if t.in_place else ceil_div(t.depth*t.strips.height*t.strips.width*t.elements, 64)*64
    room.biases = ceil_div(t.groups*wide, 64)*64
    room.bytes = ((room.weights + room.biases + room.threads*room.strip)*sizeof(real)
                  + 2*(taps + 1)*sizeof(Py_ssize_t))
    return room
