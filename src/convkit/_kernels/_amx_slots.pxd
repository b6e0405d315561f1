"""Both operands of a weights' gradient by AMX tiles: how they are cut and laid out.

A tile product sums over 32 pairs of pixels: two neighbouring columns of 16 images. A tap moves both columns alike, so
that one staged copy of the input serves all taps, and neither operand is laid out anew for them. Where images are not a
multiple of 16, they are cut into bands of rows, which are images of their own here: each is a slot. The pixels of a 1x1
layer are dealt out to 16 slots in turn.

    grad_out  [16 outputs][pair of columns][part][output][2 columns][16 slots]      tiles of A, one behind the other
    x         [16 channels][part][phase][row][column][8 pairs of slots][channel][2 slots]     two columns: a tile of B
"""

from convkit._kernels._amx cimport PAIR, TILE, TILE_BYTES
from convkit._kernels._axis cimport Axis
from convkit._kernels._image cimport Image
from convkit._kernels._phases cimport phases, tap_place
from convkit._kernels._simd cimport real, stored
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._weights cimport Weights

cdef enum:
    STRIP_BYTES = 576*1024          # of each of two,
    OWN_BYTES = 1792*1024           # which stay in the second-level cache beside what is summed of them
    SUMS_BYTES = 4*1024*1024
    UNITS = 16                      # enough for a few threads
    STEPS = 64                      # pairs of columns that one strip sums
    SHARE = 256                     # channels, and outputs, that a strip is staged for, at most
    COLUMN_BYTES = 16*2*TILE        # of one part of a staged column: 16 channels of 16 images


cdef struct WeightGradient:
    Axis y, x
    Py_ssize_t images, channels, lanes
    const stored* input
    Image source
    const stored* grad
    Image target
    Weights result                  # of one group; its data is written
    int parts
    bint* beyond                    # set where parts are not exact
    Py_ssize_t pixels               # of all images, where they are dealt out in turn; else 0
    Py_ssize_t bands, band_rows     # of an image, and outputs' rows of each
    Py_ssize_t slots
    Py_ssize_t rows, cols           # outputs of a strip,
    Py_ssize_t strips_down, strips_across
    Py_ssize_t height, width        # and rows and columns of a phase of its input
    Py_ssize_t pairs                # of its columns
    Py_ssize_t part, block          # bytes of the input staged, of a part and of 16 channels
    Py_ssize_t share_lanes, share_channels, shares_down, shares_across
    Py_ssize_t chunks
    const Py_ssize_t* a_step
    const Py_ssize_t* b_step
    real* sums                      # of all units, if there is more than one chunk


# ---------------------------------------------------------------------------------------------------------------------
# The plan: bands, strips, chunks and shares. All but the shares' outputs depend on the shape alone.


cdef inline void cut_bands(WeightGradient* t) noexcept nogil:
    """As many bands as fill the slots best. To stage a row of input takes about a quarter of the time to sum one."""
    cdef Py_ssize_t reach = tap_place(&t.y, t.y.taps - 1), bands, rows, cost, least = 0
    for bands in range(1, min(<Py_ssize_t>TILE, t.y.count) + 1):
        rows = ceil_div(t.y.count, bands)
        cost = ceil_div(t.images*bands, TILE)*(4*rows + reach)
        if bands == 1 or cost < least:
            least, t.bands, t.band_rows = cost, bands, rows
    t.slots = ceil_div(t.images*t.bands, TILE)


cdef inline void deal_pixels(WeightGradient* t) noexcept nogil:
    """Of a 1x1 layer: image i has every sixteenth pixel from the i-th on."""
    t.pixels = t.images*t.y.count*t.x.count
    t.y.count, t.x.count = 1, ceil_div(t.pixels, TILE)
    t.y.in_size, t.x.in_size = 1, t.x.count
    t.y.in_step, t.x.in_step = 0, 1 if t.x.count > 1 else 0
    t.source.image, t.target.image = t.source.col, t.target.col
    t.source.col, t.target.col = TILE*t.source.col, TILE*t.target.col
    t.bands, t.band_rows, t.slots = 1, 1, 1


cdef inline Py_ssize_t input_bytes(const WeightGradient* t, Py_ssize_t channels) noexcept nogil:
    """Of a strip of so many channels, and one column behind it."""
    return ceil_div(channels, TILE)*t.block + COLUMN_BYTES


cdef inline Py_ssize_t grad_bytes(const WeightGradient* t, Py_ssize_t lanes) noexcept nogil:
    return ceil_div(lanes, TILE)*t.rows*t.pairs*t.parts*TILE_BYTES


cdef inline void lay_strip(WeightGradient* t, Py_ssize_t rows, Py_ssize_t pairs) noexcept nogil:
    """Lay out strips of at most rows x 2*pairs outputs of a band, all of nearly the same size."""
    cdef Py_ssize_t all_pairs = ceil_div(t.x.count, 2)
    t.rows = ceil_div(t.band_rows, ceil_div(t.band_rows, rows))
    t.pairs = ceil_div(all_pairs, ceil_div(all_pairs, pairs))
    t.cols = min(t.x.count, 2*t.pairs)
    t.strips_down, t.strips_across = ceil_div(t.band_rows, t.rows), ceil_div(all_pairs, t.pairs)
    t.height, t.width = t.rows + tap_place(&t.y, t.y.taps - 1), t.cols + tap_place(&t.x, t.x.taps - 1)
    t.part = phases(&t.y)*phases(&t.x)*t.height*t.width*COLUMN_BYTES
    t.block = t.parts*t.part


cdef inline Py_ssize_t pairs_that_fit(const WeightGradient* t, Py_ssize_t rows, Py_ssize_t budget) noexcept nogil:
    """How many pairs of columns of so many rows a strip may have."""
    cdef Py_ssize_t height = phases(&t.y)*phases(&t.x)*(rows + tap_place(&t.y, t.y.taps - 1))
    cdef Py_ssize_t column = t.parts*COLUMN_BYTES*ceil_div(t.share_channels, TILE)*height
    cdef Py_ssize_t pair = 2*column + t.parts*TILE_BYTES*ceil_div(t.share_lanes, TILE)*rows
    return min((budget - tap_place(&t.x, t.x.taps - 1)*column) // pair, STEPS // rows)


cdef inline Py_ssize_t unit_floats(const WeightGradient* t) noexcept nogil:
    """Sums of a share of the outputs and of the channels, in whole blocks."""
    return t.y.taps*t.x.taps*t.share_channels*t.share_lanes


cdef inline Py_ssize_t blocks_of(const WeightGradient* t) noexcept nogil:
    """Blocks of tiles that those are, for all taps."""
    return unit_floats(t) // (PAIR*PAIR)


cdef inline Py_ssize_t strip_cost(const WeightGradient* t) noexcept nogil:
    """What all strips cost, in thirtieths of a microsecond: to stage squares, to multiply tiles, and to add sums."""
    cdef Py_ssize_t input = phases(&t.y)*phases(&t.x)*t.height*t.width*ceil_div(t.share_channels, TILE)
    cdef Py_ssize_t grad = t.rows*t.pairs*ceil_div(t.share_lanes, TILE), blocks = blocks_of(t)
    cdef Py_ssize_t shares = ceil_div(t.channels, t.share_channels)*ceil_div(t.lanes, t.share_lanes)
    cdef Py_ssize_t products = blocks*t.rows*t.pairs*t.parts*(t.parts + 1) // 2
    return shares*t.strips_down*t.strips_across*(5*input + 10*grad + products + 3*blocks)


cdef inline Py_ssize_t choose_strip(WeightGradient* t) noexcept nogil:
    """The cheapest strips that fit, or the smallest ones; return what they cost."""
    cdef Py_ssize_t down = 0, rows = 0, pairs, cost, least = 0, best_rows = 1, best_pairs = 1
    cdef Py_ssize_t budget = min(<Py_ssize_t>STRIP_BYTES, (OWN_BYTES - unit_floats(t)*<Py_ssize_t>sizeof(real)) // 2)
    while rows != 1:
        down += 1
        if ceil_div(t.band_rows, down) == rows:
            continue
        rows = ceil_div(t.band_rows, down)
        pairs = pairs_that_fit(t, rows, budget)
        if pairs < 1:
            continue
        lay_strip(t, rows, pairs)
        cost = strip_cost(t)
        if least == 0 or cost < least:
            least, best_rows, best_pairs = cost, rows, pairs
    lay_strip(t, best_rows, best_pairs)
    return strip_cost(t)


cdef inline Py_ssize_t even_share(Py_ssize_t count, Py_ssize_t most) noexcept nogil:
    """Shares of at most so many, in whole blocks, all of nearly the same size."""
    return ceil_div(ceil_div(count, ceil_div(count, most)), PAIR)*PAIR


cdef inline Py_ssize_t most_of_share(Py_ssize_t count) noexcept nogil:
    """The least of SHARE, half of it, and so on, that has all of so many, or SHARE."""
    cdef Py_ssize_t most = SHARE
    while most > PAIR and most // 2 >= count:
        most //= 2
    return most


cdef inline void choose_shares(WeightGradient* t) noexcept nogil:
    """The cheapest shares: of large ones strips are short, of small ones they are many."""
    cdef Py_ssize_t channels = most_of_share(t.channels), lanes, cost, least = 0
    cdef Py_ssize_t best_channels = PAIR, best_lanes = PAIR
    while channels >= PAIR:
        lanes = most_of_share(t.lanes)
        while lanes >= PAIR:
            t.share_channels, t.share_lanes = even_share(t.channels, channels), even_share(t.lanes, lanes)
            cost = choose_strip(t)
            if pairs_that_fit(t, t.rows, STRIP_BYTES) > 0 and (least == 0 or cost < least):
                least, best_channels, best_lanes = cost, t.share_channels, t.share_lanes
            lanes //= 2
        channels //= 2
    t.share_channels, t.share_lanes = best_channels, best_lanes
    choose_strip(t)


cdef inline void divide(WeightGradient* t, int threads) noexcept nogil:
    cdef Py_ssize_t strips, shares, bytes
    choose_shares(t)
    strips = t.slots*t.strips_down*t.strips_across
    t.shares_across = ceil_div(t.channels, t.share_channels)
    shares = t.shares_across*ceil_div(t.lanes, t.share_lanes)
    bytes = shares*unit_floats(t)*<Py_ssize_t>sizeof(real)
    t.chunks = 1
    while t.chunks*shares < UNITS and 2*t.chunks <= strips and 2*t.chunks*bytes <= SUMS_BYTES:
        t.chunks *= 2
    while t.share_lanes > PAIR and t.chunks*t.shares_across*ceil_div(t.lanes, t.share_lanes) < 2*threads:
        t.share_lanes = even_share(t.share_lanes, t.share_lanes // 2)
    t.shares_down = ceil_div(t.lanes, t.share_lanes)
