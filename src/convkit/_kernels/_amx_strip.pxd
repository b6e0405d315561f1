"""The input of a convolution by AMX tiles: how strips of it are cut and laid out, and their staging, piece by piece.

A tile's 16 rows are positions of outputs:

    in a line       neighbouring positions of the staged strip, across the ends of its rows: what lies between two
                    images' rows is computed and thrown away, one column where both have a column of padding to share
    side by side    the same pixel of 16 images, where images are so small that ends would be many

With a stride, the strip is staged in its phases, so that neighbouring outputs always read neighbouring positions.

Staged, in bytes: [block of 32 channels][phase][row][column][part][32 channels], and side by side, where a tile is as
memory has it, [block of 32 channels][phase][row][column][part][image][32 channels]. Channels that would leave much of
the last block empty lie without gaps, [part][phase][row][image][column][channels], and are summed over along with the
columns of taps, as one range. Numbers of a block that is summed in one product lie in pairs, which are those of the
weights: the first half with the second; of bfloat16, neighbours, so that a block is staged as it lies.

An input is split into its parts once, while its strip is staged, and serves all taps and all outputs. Numbers that have
no parts are noted.
"""

from libc.string cimport memcpy, memset

from convkit._kernels._amx cimport DEEP, PAIR, TILE, are_beyond, magnitudes, no_magnitudes, vany, vmeasure
from convkit._kernels._amx_weights cimport Run
from convkit._kernels._axis cimport Axis, Range
from convkit._kernels._epilogue cimport Epilogue
from convkit._kernels._image cimport Image
from convkit._kernels._phases cimport phase_inside, phases, tap_phase, tap_place
from convkit._kernels._simd cimport (
    OF_BFLOAT16, VLEN, prefetch, real, stored, vi, visplat, vload_stored, vload_stored_lanes, vr,
)
from convkit._kernels._split cimport MOST_SPLIT, least_split, splittable, store_pairs, store_parts
from convkit._kernels._strip cimport ceil_div

cdef enum:
    # A strip, of sixteen images or of one: two of them, and a block's weights, stay in the second-level cache.
    WIDE_STRIP_BYTES = 768*1024
    STRIP_BYTES = 256*1024
    CYCLES = 18                     # of a product of two tiles; to split an element takes about one
    PIECE = 128                     # elements to split at a time, while products go on
    AHEAD = 512                     # elements from what is split to what is fetched
    # Channels summed before the result is added to the output, for one part and one row of taps: with more, a strip has
    # so few positions that the weights, which each strip reads anew, cost more than the output's way to and fro.
    CHUNK = 1152


cdef struct Correlation:
    Axis y, x
    Py_ssize_t images, channels, lanes
    const stored* input
    Image source
    stored* output
    Image target
    const real* bias                # NULL if there is none
    bint again                      # add to what the output holds
    bint last                       # no more channels will be added
    Epilogue epilogue
    bint streams                    # the output goes past the caches
    int parts
    bint* beyond                    # set where a number has no parts, or a result is out of their range
    bint merged                     # all images into one row of pixels
    # How the input is staged. Positions are counted in staged columns.
    bint lined                      # channels without gaps, summed along with columns
    Py_ssize_t together             # images side by side: 1 or TILE
    Py_ssize_t down, across         # phases of the stride
    Py_ssize_t rows, cols           # outputs of a strip,
    Py_ssize_t strips_down, strips_across
    Py_ssize_t height, width        # and rows and columns of a phase of its input
    Py_ssize_t pitch                # columns of a row: positions to where the next begins
    Py_ssize_t line                 # positions from row to row, if several images' lie between
    Py_ssize_t plane                # positions of a phase
    # Bytes from position to position, part to part, block to block of channels, and image to image of a tile.
    Py_ssize_t pixel, part, block, apart
    # The weights, and what each step reads.
    Py_ssize_t steps
    const Py_ssize_t* reach         # bytes from a position to what a step reads for it
    const Py_ssize_t* place         # bytes from a block's first tile to a step's
    const char* packed              # the tiles, by an earlier call of `pack`; NULL for none
    const char* tiles
    Py_ssize_t shares               # a strip's blocks of lanes are dealt out in so many shares
    Py_ssize_t piece                # pixels to split at a time


# ---------------------------------------------------------------------------------------------------------------------
# The plan: how a strip lies, and what the steps of a sum are


cdef inline Py_ssize_t runs_of_row(const Correlation* t) noexcept nogil:
    """Steps for a row of taps, where channels lie without gaps."""
    return ceil_div(t.x.taps*t.channels, DEEP)


cdef inline Py_ssize_t steps_of_row(const Correlation* t) noexcept nogil:
    return t.steps // t.y.taps


cdef inline Run run_of(const Correlation* t, Py_ssize_t step) noexcept nogil:
    cdef Run run
    cdef Py_ssize_t channel
    if t.lined:
        run.row, run.first = step // steps_of_row(t), step % steps_of_row(t)*DEEP
        run.count = min(<Py_ssize_t>DEEP, t.x.taps*t.channels - run.first)
    else:
        channel = step // t.x.taps % ceil_div(t.channels, DEEP)*DEEP
        run.row, run.first = step // steps_of_row(t), step % t.x.taps*t.channels + channel
        run.count = min(<Py_ssize_t>DEEP, t.channels - channel)
    return run


cdef inline Py_ssize_t reach_of(const Correlation* t, Py_ssize_t step) noexcept nogil:
    """Bytes from an output's position to what a step reads for it."""
    cdef Run run = run_of(t, step)
    cdef Py_ssize_t col = 0 if t.lined else run.first // t.channels
    cdef Py_ssize_t phase = tap_phase(&t.y, run.row)*t.across + tap_phase(&t.x, col)
    cdef Py_ssize_t place = tap_place(&t.y, run.row)*t.line + tap_place(&t.x, col)
    cdef Py_ssize_t rest = 2*run.first if t.lined else run.first % t.channels // DEEP*t.block
    return (phase*t.plane + place)*t.pixel + rest


cdef inline Py_ssize_t shared_columns(const Correlation* t) noexcept nogil:
    """Columns of padding that the end of a row and the beginning of the next have in common, behind its outputs."""
    cdef Py_ssize_t phase, shared = t.width - t.cols
    cdef Range across
    if t.strips_across > 1 or t.together > 1:
        return 0
    for phase in range(t.across):
        across = phase_inside(&t.x, phase, 0, t.width)
        shared = min(shared, min(across.first, t.width - across.behind))
    return shared


cdef inline void lay_strip(Correlation* t, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    """Lay out strips of at most rows x cols outputs, all of nearly the same size."""
    cdef Py_ssize_t reach, slack
    t.strips_down, t.strips_across = ceil_div(t.y.count, rows), ceil_div(t.x.count, cols)
    t.rows, t.cols = ceil_div(t.y.count, t.strips_down), ceil_div(t.x.count, t.strips_across)
    if t.strips_across > 1:
        t.cols = ceil_div(t.cols, PAIR)*PAIR
    reach = tap_place(&t.x, t.x.taps - 1)
    t.height, t.width = t.rows + tap_place(&t.y, t.y.taps - 1), t.cols + reach
    t.pitch = t.line = t.width - shared_columns(t)
    # Behind the last row: what it has in common with a next one, and the rest of the last tile.
    slack = t.width + PAIR
    if t.lined:
        if t.together > 1:
            t.pitch |= 1            # an even number of lines between a tile's rows would crowd them into few sets
            t.line = t.together*t.pitch
        t.plane = t.height*t.line + slack
        t.pixel, t.apart = 2*t.channels, t.pitch*2*t.channels
        t.part = ceil_div(t.down*t.across*t.plane*t.pixel, 64)*64 + 64
        t.block = 0
    else:
        t.plane = t.height*t.line + (0 if t.together > 1 else slack)
        t.apart, t.part = 2*DEEP, 2*DEEP*t.together
        t.pixel = t.parts*t.part
        t.block = t.down*t.across*t.plane*t.pixel


cdef inline Py_ssize_t strip_bytes(const Correlation* t) noexcept nogil:
    return t.parts*t.part if t.lined else ceil_div(t.channels, DEEP)*t.block


cdef inline Py_ssize_t tiles_of(const Correlation* t) noexcept nogil:
    """Tiles of rows that all images need, in strips as they are laid out."""
    if t.together > 1:
        return ceil_div(t.images, TILE)*t.y.count*t.x.count
    return t.images*t.strips_down*t.strips_across*ceil_div((t.rows - 1)*t.pitch + t.cols, TILE)


cdef inline void cut_to_fit(Correlation* t) noexcept nogil:
    """Cut into the largest strips that fit the cache: whole rows, if one fits."""
    cdef Py_ssize_t room = STRIP_BYTES if t.together == 1 else WIDE_STRIP_BYTES, cols = t.x.count, strips = 1
    lay_strip(t, 1, cols)
    while strip_bytes(t) > room and cols > PAIR and t.together == 1:
        cols = max(<Py_ssize_t>PAIR, cols*7 // 8 // PAIR*PAIR)
        lay_strip(t, 1, cols)
    lay_strip(t, t.y.count, cols)
    while strip_bytes(t) > room and strips < t.y.count:
        strips += 1
        lay_strip(t, ceil_div(t.y.count, strips), cols)


cdef inline double cycles(const Correlation* t) noexcept nogil:
    """What the products of all tiles take, and to split what they read, again where strips overlap.

    Side by side, strips are wide, and further from the processor: measured with 16 to 256 channels of 5x5 to 14x14.
    """
    cdef double products = <double>tiles_of(t)*t.steps*ceil_div(t.lanes, TILE)*t.parts*(t.parts + 1)/2
    cdef double rows = t.y.in_size + (t.strips_down - 1)*(t.height - t.rows)*t.down
    cdef double cols = t.x.in_size + (t.strips_across - 1)*(t.width - t.cols)*t.across
    cdef double split = t.shares*t.images*rows*cols*t.channels
    return CYCLES*products + split*(1 if t.together == 1 else 0.8 + 0.35*t.parts)


cdef inline Py_ssize_t strips_of(const Correlation* t) noexcept nogil:
    return max(<Py_ssize_t>1, ceil_div(t.images, t.together)*t.strips_down*t.strips_across)


cdef inline Py_ssize_t units_of(const Correlation* t) noexcept nogil:
    return strips_of(t)*t.shares


cdef inline Py_ssize_t heavy(const Correlation* t) noexcept nogil:
    """How many times as many weights there are as numbers in the images of a strip: so many shares of lanes pay."""
    return t.lanes*t.y.taps*t.x.taps // max(<Py_ssize_t>1, t.together*t.y.in_size*t.x.in_size)


cdef inline void cut(Correlation* t, int threads) noexcept nogil:
    """Cut into strips that fit the cache, then smaller until every thread has a few.

    Where threads would share an image whose weights are heavier than itself, each takes some of the lanes: to stage
    the image twice costs less than to read all weights twice.
    """
    cdef Py_ssize_t enough = 4*threads if threads > 1 else 1, blocks = ceil_div(t.lanes, PAIR), rows, cols
    cut_to_fit(t)
    rows, cols = t.rows, t.cols
    t.shares = 1
    if ceil_div(t.images, t.together) < threads:
        t.shares = max(<Py_ssize_t>1, min(heavy(t), min(<Py_ssize_t>threads, blocks)))
    while rows > 1 and units_of(t) < enough:
        rows = ceil_div(rows, 2)
        lay_strip(t, rows, cols)
    while cols > 2*PAIR and t.together == 1 and units_of(t) < enough:
        cols = ceil_div(cols, 2)
        lay_strip(t, rows, cols)
    t.shares = max(t.shares, min(blocks, enough // strips_of(t)))


cdef inline void divide(Correlation* t, int threads) noexcept nogil:
    """Put tiles in a line, or side by side where that takes fewer cycles, cut as either is."""
    cdef Correlation other = t[0]
    t.together, other.together = 1, TILE
    cut(t, threads)
    if not t.merged:
        cut(&other, threads)
        if strip_bytes(&other) <= WIDE_STRIP_BYTES and cycles(&other) < cycles(t):
            t[0] = other


cdef inline void choose_layout(Correlation* t) noexcept nogil:
    """Channels without gaps where that takes fewer steps, and taps that lie side by side read one range."""
    t.down, t.across = phases(&t.y), phases(&t.x)
    t.lined = t.across == 1 and (t.x.tap_step == 1 or t.x.taps == 1) and (
        runs_of_row(t) < t.x.taps*ceil_div(t.channels, DEEP))
    t.piece = max(<Py_ssize_t>1, PIECE // t.channels)
    t.steps = t.y.taps*(runs_of_row(t) if t.lined else t.x.taps*ceil_div(t.channels, DEEP))


cdef inline Py_ssize_t chunk_of(const Correlation* t, Py_ssize_t channels) noexcept nogil:
    """Channels to sum at a time: at most so few that the input of two tiles fits a strip, and all nearly as many.

    All of them, if sums would be rounded between one chunk and the next.
    """
    cdef Py_ssize_t columns = (PAIR + tap_place(&t.x, t.x.taps - 1))*(1 + tap_place(&t.y, t.y.taps - 1))
    if OF_BFLOAT16:
        return channels
    cdef Py_ssize_t most = STRIP_BYTES // (2*DEEP*t.parts*columns*phases(&t.y)*phases(&t.x))*DEEP
    most = max(<Py_ssize_t>DEEP, min(CHUNK // (t.parts*t.y.taps), most))
    return ceil_div(ceil_div(channels, ceil_div(channels, most)), DEEP)*DEEP


# ---------------------------------------------------------------------------------------------------------------------
# Staging


cdef inline void blank(const Correlation* t, Py_ssize_t count, char* target) noexcept nogil:
    """Zeros in so many positions of one image."""
    cdef Py_ssize_t i, block, whole = t.block*ceil_div(t.channels, DEEP)
    if t.lined:
        for i in range(t.parts):
            memset(target + i*t.part, 0, count*t.pixel)
        return
    block = 0
    while block < whole:
        if t.together == 1:
            memset(target + block, 0, count*t.pixel)
        else:
            for i in range(count*t.parts):
                memset(target + block + i*t.part, 0, 2*DEEP)
        block += t.block


cdef inline void split_gapless(
    const Correlation* t, const int parts, const stored* pixel, char* target, vi* beyond,
) noexcept nogil:
    """A pixel whose channels lie without gaps."""
    cdef Py_ssize_t c = 0
    cdef int lanes
    cdef vr v
    while c < t.channels:
        lanes = <int>min(t.channels - c, <Py_ssize_t>VLEN)
        v = splittable(vload_stored_lanes(pixel + c, lanes), least_split(parts), beyond)
        store_parts(parts, v, target + 2*c, t.part, lanes)
        c += VLEN


cdef inline void split_blocks(
    const Correlation* t, const int parts, const stored* pixel, Py_ssize_t ahead, char* target, magnitudes* seen,
) noexcept nogil:
    """A pixel whose channels lie in blocks: the first half of a block is paired with the second."""
    cdef Py_ssize_t c = 0
    cdef vr first, second
    while c + DEEP <= t.channels:
        prefetch(pixel + ahead + c)
        prefetch(pixel + ahead + c + VLEN)
        first, second = vload_stored(pixel + c), vload_stored(pixel + c + VLEN)
        vmeasure(seen, first)
        vmeasure(seen, second)
        store_pairs(parts, first, second, target, t.part)
        target = target + t.block
        c += DEEP
    if c < t.channels:
        first = vload_stored_lanes(pixel + c, <int>min(t.channels - c, <Py_ssize_t>VLEN))
        second = vload_stored_lanes(pixel + c + VLEN, <int>max(<Py_ssize_t>0, t.channels - c - VLEN))
        vmeasure(seen, first)
        vmeasure(seen, second)
        store_pairs(parts, first, second, target, t.part)


cdef inline void copy_pixels(
    const Correlation* t, const stored* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    """Copy a run of pixels of bfloat16. What is not finite makes no result that is."""
    cdef Py_ssize_t i, c, whole = 0 if t.lined else t.channels // DEEP, rest = t.channels - whole*DEEP
    cdef Py_ssize_t ahead = (AHEAD // t.channels + 1)*step
    cdef char* block
    if t.lined and step == t.channels:
        memcpy(target, pixel, count*t.pixel)
        return
    for i in range(count):
        block = target + i*t.pixel
        for c in range(whole):
            prefetch(pixel + ahead + c*DEEP)
            memcpy(block, pixel + c*DEEP, 2*DEEP)
            block = block + t.block
        if rest:
            memcpy(block, pixel + whole*DEEP, 2*rest)
            if not t.lined:
                memset(block + 2*rest, 0, 2*(DEEP - rest))
        pixel = pixel + step


cdef inline bint split_pixels(
    const Correlation* t, const int parts, const stored* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    """Split a run of pixels; return whether one of them has no parts."""
    cdef Py_ssize_t i, ahead = (AHEAD // t.channels + 1)*step
    cdef magnitudes seen = no_magnitudes()
    cdef vi beyond = visplat(0)
    if t.lined:
        for i in range(count):
            split_gapless(t, parts, pixel + i*step, target + i*t.pixel, &beyond)
        return vany(beyond)
    for i in range(count):
        split_blocks(t, parts, pixel + i*step, ahead, target + i*t.pixel, &seen)
    return are_beyond(&seen, least_split(parts), MOST_SPLIT)


cdef inline void stage_run(
    const Correlation* t, const stored* pixel, Py_ssize_t step, Py_ssize_t count, char* target,
) noexcept nogil:
    """Split a run of pixels."""
    cdef bint beyond
    if OF_BFLOAT16:
        copy_pixels(t, pixel, step, count, target)
        return
    if t.parts == 3:
        beyond = split_pixels(t, 3, pixel, step, count, target)
    elif t.parts == 2:
        beyond = split_pixels(t, 2, pixel, step, count, target)
    else:
        beyond = split_pixels(t, 1, pixel, step, count, target)
    if beyond:
        t.beyond[0] = True


cdef struct Part:
    # What one unit of work computes: a strip of an image, or of TILE of them, for a share of the lanes.
    Py_ssize_t image, images, row, rows, col, cols, first_lane, behind_lane


cdef inline Part part_of(const Correlation* t, Py_ssize_t unit) noexcept nogil:
    cdef Part u
    cdef Py_ssize_t blocks = ceil_div(t.lanes, PAIR), share = unit // strips_of(t), strip
    u.first_lane, u.behind_lane = share*blocks // t.shares*PAIR, min(t.lanes, (share + 1)*blocks // t.shares*PAIR)
    unit = unit % strips_of(t)
    u.col = unit % t.strips_across*t.cols
    unit = unit // t.strips_across
    strip, unit = unit % t.strips_down, unit // t.strips_down
    u.row = strip*t.y.count // t.strips_down
    u.rows = (strip + 1)*t.y.count // t.strips_down - u.row
    u.image = unit*t.together
    u.images = min(t.together, t.images - u.image)
    u.cols = max(<Py_ssize_t>0, min(t.cols, t.x.count - u.col))
    return u


cdef struct Stage:
    # A strip that is being staged: the line at hand, and how far it has come.
    Part part
    char* strip
    Py_ssize_t lines, line          # how many there are, and which comes next
    Py_ssize_t image, col           # of the line: its image, and the input's column of its first position
    const stored* source
    char* target
    Py_ssize_t at, behind           # positions of it that are left


cdef inline void begin_strip(const Correlation* t, Stage* s, Py_ssize_t unit, char* strip) noexcept nogil:
    s.part, s.strip = part_of(t, unit), strip
    s.lines = s.part.images*t.down*t.across*(s.part.rows + t.height - t.rows)
    if s.part.rows == 0 or s.part.cols == 0:
        s.lines = 0
    s.line = s.at = s.behind = 0


cdef inline void begin_line(const Correlation* t, Stage* s) noexcept nogil:
    """Find the next line: one phase of a row of one image. Where it lies in the padding it becomes zeros."""
    cdef Py_ssize_t rest = s.line, width = s.part.cols + t.width - t.cols, across, down, h, row
    cdef Range inside
    across = rest % t.across
    rest = rest // t.across
    down = rest % t.down
    rest = rest // t.down
    s.image = rest % s.part.images
    h = rest // s.part.images
    s.line += 1
    s.target = s.strip + ((down*t.across + across)*t.plane + h*t.line)*t.pixel + s.image*t.apart
    s.image += s.part.image
    row = t.y.first + t.y.grain*(phases(&t.y)*(s.part.row + h) + down)
    if row < 0 or row >= t.y.in_size:
        blank(t, width, s.target)
        return
    inside = phase_inside(&t.x, across, s.part.col, width)
    blank(t, inside.first, s.target)
    blank(t, width - inside.behind, s.target + inside.behind*t.pixel)
    s.at, s.behind = inside.first, inside.behind
    s.col = t.x.first + t.x.grain*(across + phases(&t.x)*s.part.col)
    s.source = t.input + s.image*t.source.image + row*t.source.row


cdef inline bint stage_piece(const Correlation* t, Stage* s) noexcept nogil:
    """Stage a few pixels, or find the next line; return whether there was anything to do."""
    cdef Py_ssize_t step = t.x.grain*phases(&t.x), col = s.col + step*s.at, count = s.behind - s.at
    if count == 0:
        if s.line == s.lines:
            return False
        begin_line(t, s)
        return True
    count = min(count, t.piece)
    stage_run(t, s.source + col*t.source.col, step*t.source.col, count, s.target + s.at*t.pixel)
    s.at += count
    return True
