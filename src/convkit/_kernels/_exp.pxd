"""exp of vectors, and expm1 of vectors that are not positive: within 1.1 ulp in float32 and float64.

    x = n*ln 2 + r,  |r| <= ln 2 / 2,  exp(x) = 2^n * (1 + r + r^2*q(r))

ln 2 comes in two parts, of which the first times any n is exact (Cody and Waite, "Software manual for the elementary
functions", 1980). q is the polynomial whose largest error relative to expm1(r) is least on |r| <= 1.0005*ln 2 / 2,
found with Remez's exchange in 50 digits: 2.7e-10 in float32 (degree 5), 2.7e-18 in float64 (degree 10), 0.005 and
0.025 ulp.
"""

from libc.math cimport INFINITY

from convkit._kernels._simd cimport ROUNDER, real, vless, vmax, vr, vscale, vselect, vsplat


cdef inline vr reduced(vr x, vr* rounded) noexcept nogil:
    """r, and n + ROUNDER."""
    rounded[0] = x*vsplat(1.4426950408889634) + vsplat(ROUNDER)
    cdef vr n = rounded[0] - vsplat(ROUNDER)
    if sizeof(real) == 4:
        return (x - n*vsplat(0.693145751953125)) - n*vsplat(1.42860677e-06)
    return (x - n*vsplat(0.6931471803691238)) - n*vsplat(1.9082149292705877e-10)


cdef inline vr expm1_of_reduced(vr r) noexcept nogil:
    cdef vr q
    if sizeof(real) == 4:
        q = vsplat(0.000199622751)
        q = q*r + vsplat(0.0013943254)
        q = q*r + vsplat(0.00833322015)
        q = q*r + vsplat(0.0416663252)
        q = q*r + vsplat(0.166666672)
        q = q*r + vsplat(0.5)
    else:
        q = vsplat(1.7687802039891563e-09)
        q = q*r + vsplat(2.5105236569848295e-08)
        q = q*r + vsplat(2.75679354287946e-07)
        q = q*r + vsplat(2.7557255360187597e-06)
        q = q*r + vsplat(2.480157451802302e-05)
        q = q*r + vsplat(0.0001984126987484506)
        q = q*r + vsplat(0.0013888888895612992)
        q = q*r + vsplat(0.00833333333332613)
        q = q*r + vsplat(0.041666666666652245)
        q = q*r + vsplat(0.1666666666666667)
        q = q*r + vsplat(0.5000000000000001)
    return r*r*q + r


cdef inline vr vexp_of_sum(vr x, vr low) noexcept nogil:
    """exp(x + low), for a `low` that is small change to x. Infinite above the largest number, 0 below the smallest
    normal one."""
    cdef vr rounded, lowest, highest, scaled
    cdef vr r = reduced(x, &rounded) + low
    scaled = vscale(vsplat(1) + expm1_of_reduced(r), rounded)
    lowest = vsplat(-87.33654 if sizeof(real) == 4 else -708.3964185322641)
    highest = vsplat(88.72284 if sizeof(real) == 4 else 709.7827128933841)
    scaled = vselect(vless(x, lowest), vsplat(0), scaled)
    return vselect(vless(x, highest), scaled, x + vsplat(INFINITY))     # a NaN is not less, and stays


cdef inline vr vexp(vr x) noexcept nogil:
    return vexp_of_sum(x, vsplat(0))


cdef inline vr vexpm1(vr x) noexcept nogil:
    """exp(x) - 1 for x <= 0, as exact near 0 as elsewhere: 2^n*expm1(r) + (2^n - 1), and the last part is exact."""
    cdef vr rounded, scale
    cdef vr r = reduced(vmax(vsplat(-40), x), &rounded)                 # -1 from here on, and so no n is too small
    scale = vscale(vsplat(1), rounded)
    return scale*expm1_of_reduced(r) + (scale - vsplat(1))
