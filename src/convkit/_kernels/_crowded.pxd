"""Few channels and few outputs: pixels crowd on a vector.

A line of outputs is a run of elements, pixel by pixel, and vectors take them as they lie, several pixels each. Of a
staged line of the input all that one vector reads, at one tap, lies close together, and a permutation brings each lane
its own. So the tiles of _lanewise.pxd and _lanewise_gradient.pxd do the rest; what they call a pixel is a line here,
and what they call a channel is one of all channels of a row of taps.

A vector whose first lane is another output takes other weights: after as many elements as vectors and outputs have for
a common multiple, they repeat. The last vector ends with the line and shares lanes with the one before it: it computes
the same there again, or leaves it out of the sum.

Threads take units of work: an image, some lines of its outputs, whose input they stage with its padding.
"""

from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset

from convkit._kernels._axis cimport Axis, gcd, phase_axis
from convkit._kernels._convolution cimport Convolution, input_image, output_image
from convkit._kernels._image cimport Image
from convkit._kernels._lanewise cimport RUN, Run
from convkit._kernels._lanewise_gradient cimport Source
from convkit._kernels._lines cimport Phase, Side, forward_side
from convkit._kernels._pass cimport Pass
from convkit._kernels._simd cimport NARROW_LANE_ROWS, VLEN, real
from convkit._kernels._strip cimport ceil_div
from convkit._kernels._threads cimport worth
from convkit._kernels._weights cimport Weights

cdef enum:
    STRIP_BYTES = 24*1024           # of staged lines: half of the first-level cache
    FEWEST_LINES = NARROW_LANE_ROWS
    MOST_PATTERNS = VLEN + 1
    DEPTH = 768                     # pixels, at most: the error of a chain of sums grows with its length
    ENOUGH_UNITS = 8                # parallelism offered, whatever the number of threads


cdef struct Pattern:
    # Vectors of a line that take the same weights: `count` of them, `period` elements apart.
    Py_ssize_t first, count
    Py_ssize_t x                    # where in a staged line the first of them begins to read
    int32_t where[VLEN]             # how far behind that each lane does
    int repeated                    # so many lanes are the previous vector's


cdef struct Crowd:
    Side y
    Py_ssize_t images, outputs, channels
    Py_ssize_t step, taps           # elements of a line from one pixel's input to the next one's; that a pixel reads
    const real* input
    Image source
    Image target
    # The output, or its gradient; its lines are cut into vectors.
    Pattern pattern[MOST_PATTERNS]
    Py_ssize_t patterns
    Py_ssize_t period, x_period     # elements, of a line of outputs and of the input, after which patterns repeat
    Py_ssize_t piece                # elements that every lane finds in one vector of the input
    # Units of at most so many lines.
    Py_ssize_t rows, down
    Py_ssize_t before, inside       # elements of a staged line in the left padding, and in the image
    Py_ssize_t line, strip          # elements of a staged line, and of a unit
    Py_ssize_t panel                # of the weights of one pattern: [tap][lane]


cdef inline void add_pattern(Crowd* t, Py_ssize_t first, Py_ssize_t count, int repeated) noexcept nogil:
    cdef Pattern* pattern = &t.pattern[t.patterns]
    cdef int i
    pattern.first, pattern.count, pattern.repeated = first, count, repeated
    pattern.x = first // t.outputs*t.step
    for i in range(VLEN):
        pattern.where[i] = <int32_t>((first + i) // t.outputs*t.step - pattern.x)
    t.piece = min(t.piece, <Py_ssize_t>(VLEN - pattern.where[VLEN - 1]))
    t.patterns += 1


cdef inline void cut_line(Crowd* t) noexcept nogil:
    """Cut lines of at least VLEN outputs into vectors."""
    cdef Py_ssize_t whole = t.target.row // VLEN, v
    t.period = t.outputs*VLEN // gcd(t.outputs, VLEN)
    t.x_period = t.period // t.outputs*t.step
    t.patterns, t.piece = 0, VLEN
    for v in range(min(whole, t.period // VLEN)):
        add_pattern(t, v*VLEN, ceil_div(whole - v, t.period // VLEN), 0)
    if t.target.row % VLEN != 0:
        add_pattern(t, t.target.row - VLEN, 1, <int>(VLEN - t.target.row % VLEN))


cdef inline void cut_down(Crowd* t, Py_ssize_t rows) noexcept nogil:
    """Cut into units of about, and at most, so many lines: all of nearly the same size."""
    t.down = ceil_div(t.y.count, rows)
    t.rows = ceil_div(t.y.count, t.down)
    # The last vector may read beyond the last line.
    t.strip = ((t.rows - 1)*t.y.in_step + t.y.reach)*t.line + VLEN


cdef inline void set_up(Crowd* t, const Pass* p, Phase* phase) noexcept nogil:
    """For one group, columns of taps that are not dilated, and lines of at least VLEN outputs."""
    cdef const Convolution* c = &p.convolution
    cdef Axis y = phase_axis(&c.down, 0)
    t.y = forward_side(&y, c.down.kernel, phase)
    t.images, t.outputs, t.channels = c.images, c.outputs, c.channels
    t.step, t.taps = c.across.stride*c.channels, c.across.kernel*c.channels
    t.input, t.source, t.target = p.input, input_image(c), output_image(c)
    cut_line(t)
    t.line = (t.target.cols - 1)*t.step + t.taps
    t.before = min(c.across.padding*c.channels, t.line)
    t.inside = min(t.line - t.before, t.source.row)
    t.panel = c.down.kernel*t.taps*VLEN
    cut_down(t, t.y.count)
    while t.rows > FEWEST_LINES and (t.strip*<Py_ssize_t>sizeof(real) > STRIP_BYTES or t.rows > DEPTH
                                     or t.images*t.down < ENOUGH_UNITS):
        cut_down(t, max(<Py_ssize_t>FEWEST_LINES, ceil_div(t.rows, 2)))


cdef inline void stage_lines(
    const Crowd* t, const real* image, Py_ssize_t row, Py_ssize_t lines, real* x,
) noexcept nogil:
    """Stage what so many lines of outputs from `row` on read, with zeros where the image ends."""
    cdef Py_ssize_t h = t.y.first + t.y.grain*t.y.in_step*row, _
    for _ in range((lines - 1)*t.y.in_step + t.y.reach):
        memset(x, 0, t.line*sizeof(real))
        if 0 <= h < t.source.rows:
            memcpy(x + t.before, image + h*t.source.row, t.inside*sizeof(real))
        x, h = x + t.line, h + t.y.grain


cdef inline real* weight_at(
    const Crowd* t, const Weights* w, Py_ssize_t row, Py_ssize_t tap, Py_ssize_t output,
) noexcept nogil:
    """One weight, of one of all channels of a row of taps."""
    return w.data + output*w.lane + tap % t.channels*w.channel + row*w.row + tap // t.channels*w.col


cdef inline void list_runs(const Crowd* t, Run* run) noexcept nogil:
    """Where runs of taps of one column begin, in a staged line and in the weights."""
    cdef const Phase* y = t.y.phase
    cdef Py_ssize_t first, r
    for first in range(min(y.apart, y.taps)):
        r = first
        while r < y.taps:
            run.line, run.x, run.w = 0, r*y.tap_step*t.line, r*t.taps*VLEN
            run.taps = <int>min(<Py_ssize_t>RUN, ceil_div(y.taps - r, y.apart))
            run += 1
            r += RUN*y.apart


cdef struct Room:
    # Scratch: what all threads share, staged lines for each, and tables.
    Py_ssize_t shared, strip, bytes
    int threads


cdef inline Room make_room(
    const Crowd* t, Py_ssize_t shared, Py_ssize_t sources, Py_ssize_t lines, int threads,
) noexcept nogil:
    cdef Room room
    cdef Py_ssize_t outputs = t.images*t.target.image
    room.threads = worth(threads, <double>outputs*(t.y.kernel*t.taps + 1))
    room.shared, room.strip = ceil_div(shared, 64)*64, ceil_div(t.strip, 64)*64
    room.bytes = ((room.shared + room.threads*room.strip)*sizeof(real) + t.y.phase.runs*sizeof(Run)
                  + sources*sizeof(Source) + lines*sizeof(Py_ssize_t))
    return room
