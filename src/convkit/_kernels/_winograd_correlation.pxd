"""A correlation by Winograd's tiles: how it is cut and laid out, its transformed weights, and where outputs go."""

from convkit._kernels._axis cimport Axis, Range, phase_axis
from convkit._kernels._convolution cimport Convolution, source_image, target_image
from convkit._kernels._epilogue cimport Epilogue, finish, is_plain
from convkit._kernels._image cimport Image
from convkit._kernels._pass cimport Pass
from convkit._kernels._simd cimport POINT_TILES, VLEN, real, vfold_sum, vload, vr, vsplat, vstore
from convkit._kernels._stream cimport put_lanes
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._tile cimport BLOCK
from convkit._kernels._weights cimport padded
from convkit._kernels._winograd cimport transform_weight
from convkit._kernels._winograd_parts cimport Part, Parts, parts_of
from convkit._kernels._winograd_rows cimport SIDE
from convkit._kernels._winograd_tiles cimport LINE, Line, NextPixels, Pixels, Planes, Tiles, next_pixels, unread

cdef enum:
    # Products summed in registers at a time. The error of a chain grows with its length, and in sums of Winograd's
    # products it counts three times as much as in a direct convolution's, whose chains have 768.
    DEPTH = 128
    FEW_CHANNELS = 64               # of a group, at most, for tiles to go by rows of points
    PAGE_LANES = 256                # rows of so many lanes, or a multiple, would fall into the same few cache sets


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, groups, channels, lanes      # channels and lanes of one group
    Pixels source
    real* output
    Image target
    int m                           # 2 or 4
    int points                      # (m + 2)^2
    Tiles tiles
    Py_ssize_t unit                 # tiles of a unit of work, of one group,
    Py_ssize_t run                  # so many of them at a time where `by_rows`
    bint by_rows                    # whether channels are so few that tiles go by rows of points (_winograd_rows.pxd)
    Py_ssize_t shares               # the blocks of lanes are dealt out in so many shares
    Parts parts                     # of the filters
    Py_ssize_t pieces               # of the channels: what is summed in registers at a time, of all parts
    const real* packed              # U, by an earlier call of `pack`; NULL for none
    # U of each group: [point][block of lanes][piece][part][channel][lanes of the block], or by rows
    # [block of lanes][row of points][channel][point][lanes of the block].
    real* panels
    Py_ssize_t panel_group, panel_point
    Planes v, q                     # of a thread: where they are laid out, but not where they are
    const real* bias                # padded(lanes) of each group
    bint streams                    # the output goes past the caches
    bint* spoiled                   # set where an output is not finite
    Epilogue epilogue


cdef inline Correlation correlation_of(const Pass* p) noexcept nogil:
    """For three to five taps an axis; stride and dilation are 1; nothing is empty."""
    cdef const Convolution* c = &p.convolution
    cdef Correlation t
    t.y, t.x, t.images = phase_axis(&c.down, 0), phase_axis(&c.across, 0), c.images
    t.source.data, t.source.strides, t.output, t.target = p.input, source_image(c), p.output, target_image(c)
    t.source.rows, t.source.cols = t.y.in_size, t.x.in_size
    t.source.first_row, t.source.first_col = t.y.first, t.x.first
    t.groups, t.channels, t.lanes = c.groups, c.filters, c.lanes
    if c.down.adjoint:
        t.channels, t.lanes = c.lanes, c.filters
    t.packed, t.epilogue = p.packed, p.epilogue
    return t


cdef inline Correlation group_of(const Correlation* all_groups, Py_ssize_t group) noexcept nogil:
    """One group, as a convolution of its own."""
    cdef Correlation t = all_groups[0]
    t.source.data += group*t.channels
    t.output += group*t.lanes
    t.panels += group*t.panel_group
    t.bias += group*padded(t.lanes)
    return t


cdef inline Planes planes_of(Py_ssize_t tiles, Py_ssize_t channels, Py_ssize_t parts) noexcept nogil:
    """Rows and planes that the caches hold side by side."""
    cdef Planes p
    p.data, p.part = NULL, padded(channels)
    p.tile = parts*p.part + (LINE // <Py_ssize_t>sizeof(real) if parts*p.part % PAGE_LANES == 0 else 0)
    p.point = tiles*p.tile + VLEN
    return p


# ---------------------------------------------------------------------------------------------------------------------
# Weights


cdef inline void lay_panels(Correlation* t, int m) noexcept nogil:
    """Lay out the transformed weights."""
    t.m, t.points = m, (m + 2)*(m + 2)
    t.parts = parts_of(t.y.taps, t.x.taps)
    t.pieces = ceil_div(t.parts.count*t.channels, DEPTH)
    t.by_rows = POINT_TILES > 0 and m == 2 and t.parts.count == 1 and t.channels <= FEW_CHANNELS
    t.panel_point = t.parts.count*t.channels*padded(t.lanes) + VLEN
    t.panel_group = t.points*t.panel_point


cdef inline Range piece_of(const Correlation* t, Py_ssize_t index) noexcept nogil:
    """The channels of a piece."""
    cdef Range piece
    piece.first, piece.behind = index*t.channels // t.pieces, (index + 1)*t.channels // t.pieces
    return piece


cdef inline real* panel_of(
    const Correlation* t, Py_ssize_t block, const Range* piece, Py_ssize_t part, Py_ssize_t width,
) noexcept nogil:
    """Where the weights of one block of lanes, `width` of them, and one piece of a part's channels begin."""
    cdef Py_ssize_t before = block*BLOCK*t.channels + piece.first*width
    return t.panels + t.parts.count*before + part*(piece.behind - piece.first)*width


cdef inline Py_ssize_t piece_room(const Correlation* t) noexcept nogil:
    """Elements of one piece's taps."""
    return t.y.taps*t.x.taps*ceil_div(t.channels, t.pieces)*BLOCK


cdef inline void transform_panel(
    const Correlation* t, const int m, const Part* part, const real* taps, Py_ssize_t size, real* panel,
) noexcept nogil:
    """A part's weights of one piece, `taps` being [tap][channel][lane], `size` elements of each tap."""
    cdef const real* first = taps + (part.row*t.x.taps + part.col)*size
    cdef Py_ssize_t i = 0
    while i < size:
        transform_weight(m, part, first + i, t.x.taps*size, size, panel + i, (m + 2)*t.panel_point, t.panel_point)
        i += VLEN


cdef inline void transform_rows(
    const Correlation* t, const real* taps, Py_ssize_t width, real* panel,
) noexcept nogil:
    """The same of all channels of a block of lanes, `width` of them, by rows of points."""
    cdef Py_ssize_t size = t.channels*width, i = 0
    while i < size:
        transform_weight(2, t.parts.part, taps + i, t.x.taps*size, size, panel + i // width*SIDE*width + i % width,
                         SIDE*size, width)
        i += VLEN


# ---------------------------------------------------------------------------------------------------------------------
# Outputs, and what tiles to come will need


cdef inline vr put_outputs(
    const Correlation* t, const int m, const Line* tile, Py_ssize_t k, Py_ssize_t behind, vr* y,
) noexcept nogil:
    """Write one vector, from lane `k` on, of a line's first tile. Lanes of the result are NaN, or zero where all
    outputs are finite."""
    cdef Py_ssize_t rows = t.y.count - tile.row, cols = t.x.count - tile.col
    cdef real* out = t.output + tile.image*t.target.image + tile.row*t.target.row + tile.col*t.target.col + k
    cdef vr zero = vsplat(0), bad = zero, bias = vload(t.bias + k)
    cdef int lanes = <int>min(behind - k, <Py_ssize_t>VLEN), i, j
    for i in range(m):
        for j in range(m):
            y[i*m + j] = y[i*m + j] + bias
            bad = bad + y[i*m + j]*zero
    if rows >= m and cols >= m and lanes == VLEN and not t.streams:
        for i in range(m):
            for j in range(m):
                vstore(out + i*t.target.row + j*t.target.col, y[i*m + j])
        return bad
    for i in range(m):
        for j in range(m):
            if i < rows and j < cols:
                put_lanes(out + i*t.target.row + j*t.target.col, y[i*m + j], lanes, t.streams)
    return bad


cdef inline void finish_tile(
    const Correlation* t, const int m, const Line* tile, Py_ssize_t first, Py_ssize_t behind,
) noexcept nogil:
    """What becomes of lanes [first, behind) of a line's first tile."""
    cdef Py_ssize_t rows = min(<Py_ssize_t>m, t.y.count - tile.row), cols = min(<Py_ssize_t>m, t.x.count - tile.col), i
    cdef real* out = t.output + tile.image*t.target.image + tile.row*t.target.row + tile.col*t.target.col
    if is_plain(&t.epilogue):
        return
    for i in range(rows):
        finish(&t.epilogue, cols, t.target.col, behind - first, out + i*t.target.row + first)


cdef inline void note(const Correlation* t, vr bad) noexcept nogil:
    """Note whether outputs are not finite: lanes are NaN then, else zero."""
    cdef real lanes[VLEN]
    vstore(lanes, vfold_sum(bad))
    if lanes[0] != lanes[0]:
        t.spoiled[0] = True


cdef inline NextPixels outputs_ahead(
    const Correlation* t, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t times,
) noexcept nogil:
    """Where a run of tiles will be written, to be brought near in so many `times`: nothing of what passes caches."""
    if t.streams:
        tiles = 0
    return next_pixels(&t.tiles, t.output, t.y.count*t.x.count, t.target.col, t.lanes, first, tiles, times)


cdef inline NextPixels inputs_ahead(
    const Correlation* t, Py_ssize_t first, Py_ssize_t tiles, Py_ssize_t times,
) noexcept nogil:
    """The same of what it reads."""
    return next_pixels(&t.tiles, unread(&t.source), t.source.rows*t.source.cols, t.source.strides.col, t.channels,
                       first, tiles, times)
