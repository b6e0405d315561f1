"""The standard normal distribution, of vectors: what the error function is made of, exact in the tail too.

    P(X < -a) = exp(-a^2/2) * t(a),  a >= 0,  t(a) = q((a - 5)/(a + 5)) / (1 + a/2)

The quotient turns a into a number between -1 and 1, as M. M. Shepherd and J. G. Laframboise do for the error function
("Chebyshev approximation of (1 + 2x)exp(x^2)erfc x in 0 <= x < inf", Mathematics of Computation 36, 1981). q is the
polynomial whose largest relative error is least, found with Remez's exchange in 60 digits: 5.3e-10 in float32 (degree
10), 2.8e-17 in float64 (degree 21).
"""

from convkit._kernels._exp cimport vexp_of_sum
from convkit._kernels._simd cimport real, vcopysign, vmin, vr, vsplat


cdef inline vr half_square_exp(vr x) noexcept nogil:
    """exp(-x^2/2). Of the square of a large number the last bit counts: a part is taken whose square is exact."""
    cdef vr a = vmin(vsplat(16 if sizeof(real) == 4 else 40), vcopysign(x, vsplat(1)))     # 0 from here on
    cdef vr rounder = vsplat(49152. if sizeof(real) == 4 else 6442450944.)                 # to 1/256, and to 2^-20
    cdef vr high = (a + rounder) - rounder
    return vexp_of_sum(vsplat(-0.5)*high*high, vsplat(-0.5)*(a - high)*(a + high))


cdef inline vr tail_ratio(vr x) noexcept nogil:
    """t(|x|)."""
    cdef vr a = vmin(vsplat(16 if sizeof(real) == 4 else 40), vcopysign(x, vsplat(1)))
    cdef vr y = (a - vsplat(5)) / (a + vsplat(5))
    cdef vr q
    if sizeof(real) == 4:
        q = vsplat(9.0706475e-05)
        q = q*y + vsplat(6.8750174e-05)
        q = q*y + vsplat(-0.00074582116)
        q = q*y + vsplat(0.0020673117)
        q = q*y + vsplat(-0.0030858805)
        q = q*y + vsplat(0.000562719)
        q = q*y + vsplat(0.010726828)
        q = q*y + vsplat(-0.035440862)
        q = q*y + vsplat(0.0735496)
        q = q*y + vsplat(-0.11750492)
        q = q*y + vsplat(0.26921758)
    else:
        q = vsplat(1.0823945355704604e-09)
        q = q*y + vsplat(1.4983651983702619e-09)
        q = q*y + vsplat(-1.120847970360527e-08)
        q = q*y + vsplat(-1.6270327856521408e-08)
        q = q*y + vsplat(7.729441282981326e-08)
        q = q*y + vsplat(1.0000668639689518e-07)
        q = q*y + vsplat(-5.314238782318233e-07)
        q = q*y + vsplat(-3.71132585576233e-07)
        q = q*y + vsplat(3.894705136295746e-06)
        q = q*y + vsplat(-1.6264730202511728e-06)
        q = q*y + vsplat(-2.632311937068487e-05)
        q = q*y + vsplat(6.095349317223444e-05)
        q = q*y + vsplat(7.103422232229214e-05)
        q = q*y + vsplat(-0.000728260829045813)
        q = q*y + vsplat(0.002071578154812756)
        q = q*y + vsplat(-0.003089522423621116)
        q = q*y + vsplat(0.0005615313780642725)
        q = q*y + vsplat(0.010727154658821642)
        q = q*y + vsplat(-0.035440762439451504)
        q = q*y + vsplat(0.07354959015598547)
        q = q*y + vsplat(-0.11750491854901048)
        q = q*y + vsplat(0.269217567412522)
    return q / (vsplat(1) + vsplat(0.5)*a)
