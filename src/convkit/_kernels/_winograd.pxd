"""Winograd's minimal filtering F(m x m, 3 x 3): m x m outputs of (m + 2) x (m + 2) products, not 9*m*m.

A line of m outputs is A^T [(G g) * (B^T d)] of three taps g and m + 2 inputs d; a tile of m x m takes each transform
down the columns, then along the rows. Lanes are channels (or outputs), which no transform mixes.

m = 2, the points 0, 1, -1 and infinity: sums, and halves of the weights. Integers stay exact, and each output depends
on the nine inputs of its own window alone: a NaN comes out just where a direct convolution has it. Chains of products
are a ninth as long as a direct convolution's, so the error is less than that has.

m = 4, the points 0, 5/8, -5/8, 3/2, -3/2 and infinity: of pairs +-a, +-b of few bits, those whose error is least, two
times a direct convolution's; half of that of the usual 1 and 2.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308, 2015. On points:
B. Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution", arXiv:1803.10986, 2018.
"""

from convkit._kernels._simd cimport real, vload, vr, vsplat, vstore
from convkit._kernels._winograd_parts cimport TAPS, Part

cdef enum:
    MOST_SIDE = 6                   # points of an axis, of the largest m
    MOST_POINTS = MOST_SIDE*MOST_SIDE

# The points a and b of m = 4, their powers and what those give.
cdef extern from *:
    """
    #define A1 ((real)0.625)
    #define A2 ((real)(0.625 * 0.625))
    #define A3 ((real)(0.625 * 0.625 * 0.625))
    #define B1 ((real)1.5)
    #define B2 ((real)(1.5 * 1.5))
    #define B3 ((real)(1.5 * 1.5 * 1.5))
    #define A2_TIMES_B2 ((real)(0.625 * 0.625 * 1.5 * 1.5))
    #define A2_PLUS_B2 ((real)(0.625 * 0.625 + 1.5 * 1.5))
    #define ZERO_SCALE ((real)(1 / (0.625 * 0.625 * 1.5 * 1.5)))
    #define A_SCALE ((real)(0.5 / (0.625 * 0.625 * (0.625 * 0.625 - 1.5 * 1.5))))
    #define B_SCALE ((real)(0.5 / (1.5 * 1.5 * (1.5 * 1.5 - 0.625 * 0.625))))
    """
    const real A1, A2, A3, B1, B2, B3, A2_TIMES_B2, A2_PLUS_B2, ZERO_SCALE, A_SCALE, B_SCALE


cdef inline void input_line(
    const int m, const bint last, vr d0, vr d1, vr d2, vr d3, vr d4, vr d5, vr* v, const int step,
) noexcept nogil:
    """B^T d, with or without the `last` point, infinity. Lines of m = 2 have no d4 and d5."""
    cdef vr even, odd
    if m == 2:
        v[0], v[step], v[2*step] = d0 - d2, d1 + d2, d2 - d1
        if last:
            v[3*step] = d1 - d3
        return
    v[0] = A2_TIMES_B2*d0 - A2_PLUS_B2*d2 + d4
    even, odd = d4 - B2*d2, A1*(d3 - B2*d1)
    v[step], v[2*step] = even + odd, even - odd
    even, odd = d4 - A2*d2, B1*(d3 - A2*d1)
    v[3*step], v[4*step] = even + odd, even - odd
    if last:
        v[5*step] = A2_TIMES_B2*d1 - A2_PLUS_B2*d3 + d5


cdef inline void weight_line(const int m, vr g0, vr g1, vr g2, vr* u, const int step) noexcept nogil:
    """G g."""
    cdef vr even, odd
    if m == 2:
        even, odd = <real>0.5*(g0 + g2), <real>0.5*g1
        u[0], u[step], u[2*step], u[3*step] = g0, even + odd, even - odd, g2
        return
    u[0], u[5*step] = ZERO_SCALE*g0, g2
    even, odd = A_SCALE*(g0 + A2*g2), A_SCALE*(A1*g1)
    u[step], u[2*step] = even + odd, even - odd
    even, odd = B_SCALE*(g0 + B2*g2), B_SCALE*(B1*g1)
    u[3*step], u[4*step] = even + odd, even - odd


cdef inline void output_line(
    const int m, vr q0, vr q1, vr q2, vr q3, vr q4, vr q5, vr* y, const int step,
) noexcept nogil:
    """A^T q."""
    cdef vr even_a, odd_a, even_b, odd_b
    if m == 2:
        y[0], y[step] = q0 + (q1 + q2), (q1 - q2) - q3
        return
    even_a, odd_a, even_b, odd_b = q1 + q2, q1 - q2, q3 + q4, q3 - q4
    y[0] = q0 + (even_a + even_b)
    y[step] = A1*odd_a + B1*odd_b
    y[2*step] = A2*even_a + B2*even_b
    y[3*step] = A3*odd_a + B3*odd_b + q5


# Passes of transforms go line by line, not in loops: what is indexed in one would live in memory.


cdef inline void weight_row(const int m, const vr* half, real* u, Py_ssize_t step) noexcept nogil:
    cdef vr row[6]
    cdef int j
    weight_line(m, half[0], half[1], half[2], row, 1)
    for j in range(m + 2):
        vstore(u + j*step, row[j])


cdef inline vr tap_of(const Part* part, int r, int s, const real* taps, Py_ssize_t row, Py_ssize_t col) noexcept nogil:
    """A tap of a part; those that it lacks are zero."""
    return vload(taps + r*row + s*col) if r < part.rows and s < part.cols else vsplat(0)


cdef inline void transform_weight(
    const int m, const Part* part, const real* taps, Py_ssize_t row, Py_ssize_t col, real* u, Py_ssize_t down,
    Py_ssize_t step,
) noexcept nogil:
    """The taps of a part, which begins at `taps`, into m + 2 rows, `down` apart, of m + 2 vectors, `step` apart."""
    cdef vr half[6*TAPS]
    cdef int s
    for s in range(TAPS):
        weight_line(m, tap_of(part, 0, s, taps, row, col), tap_of(part, 1, s, taps, row, col),
                    tap_of(part, 2, s, taps, row, col), half + s, TAPS)
    weight_row(m, half, u, step)
    weight_row(m, half + TAPS, u + down, step)
    weight_row(m, half + 2*TAPS, u + 2*down, step)
    weight_row(m, half + 3*TAPS, u + 3*down, step)
    if m == 4:
        weight_row(m, half + 4*TAPS, u + 4*down, step)
        weight_row(m, half + 5*TAPS, u + 5*down, step)


cdef inline void output_column(const int m, const real* q, Py_ssize_t step, vr* half) noexcept nogil:
    cdef vr column[6]
    cdef int i
    for i in range(m + 2):
        column[i] = vload(q + i*(m + 2)*step)
    output_line(m, column[0], column[1], column[2], column[3], column[4], column[5], half, m + 2)


cdef inline void transform_output(const int m, const real* q, Py_ssize_t step, vr* y) noexcept nogil:
    """The sums of (m + 2)^2 products, in vectors `step` apart, into m x m outputs, row by row."""
    cdef vr half[24]
    cdef const vr* h = half
    cdef int i
    output_column(m, q, step, half)
    output_column(m, q + step, step, half + 1)
    output_column(m, q + 2*step, step, half + 2)
    output_column(m, q + 3*step, step, half + 3)
    if m == 4:
        output_column(m, q + 4*step, step, half + 4)
        output_column(m, q + 5*step, step, half + 5)
    for i in range(m):
        output_line(m, h[i*(m + 2)], h[i*(m + 2) + 1], h[i*(m + 2) + 2], h[i*(m + 2) + 3], h[i*(m + 2) + 4],
                    h[i*(m + 2) + 5], y + i*m, 1)
