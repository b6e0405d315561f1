"""The vector vocabulary of simd.h, for Cython."""

from libc.stdint cimport int32_t, uint8_t


cdef extern from "simd.h" nogil:
    ctypedef double real        # float or double: the C compiler knows, Cython need not
    ctypedef double stored      # what images and filters hold: real, or bfloat16
    ctypedef double vr          # a vector of VLEN real
    ctypedef long vi            # a vector of VLEN integers
    ctypedef double vd          # a vector of VDLEN double
    enum:
        OF_BFLOAT16             # whether they are
        VLEN
        VBYTES
        VDLEN
        HALVES
        TILE_ROWS
        TILE_VECTORS
        NARROW_TILE_ROWS
        LANE_ROWS
        NARROW_LANE_ROWS
        SUM_SOURCES
        PLANAR_SUMS
        POINT_TILES
        NUMBERS
    vr vload(const real* p)
    void vstore(real* p, vr v)
    vr vloaded(vr v)
    vr vload_lanes(const real* p, int lanes)
    void vstore_lanes(real* p, vr v, int lanes)
    real real_of(stored x)
    stored stored_of(real x)
    vr vload_stored(const stored* p)
    vr vload_stored_lanes(const stored* p, int lanes)
    void vstore_stored_lanes(stored* p, vr v, int lanes)
    vr vsplat(real a)
    vr velement(real a)
    vr vmultiply(vr a, vr b)
    vr vmultiply_add(vr sum, vr a, vr b)
    void vsee(vi* seen, vr v)
    bint vsaw_endless(vi seen)
    vr vpairs(vr first, vr second)
    vr vpair_lanes(vr lower, vr upper)
    vd vdload(const double* p)
    void vdstore(double* p, vd v)
    vd vdsplat(double a)
    vd vdload_real(const real* p)
    vd vdhalf(vr v, int half)
    vi visplat(int i)
    vi viequal(vi a, vi b)
    vi viselect(vi where, vi a, vi b)
    vr vselect(vi where, vr a, vr b)
    vi vless(vr a, vr b)
    vi vatmost(vr a, vr b)
    vr vmax(vr a, vr b)
    vr vmin(vr a, vr b)
    vr vsqrt(vr v)
    vr vcopysign(vr magnitude, vr sign)
    real ROUNDER
    vr vscale(vr v, vr rounded)
    vi vifirst(int lanes)
    vr vfold_sum(vr v)
    vr vfold_exact(vr v, vr low)
    vr vfold_max(vr v)
    void vtranspose(vr* rows)
    void vstream(real* p, vr v)
    void vstream_end()
    void vkeep_larger(vr* best, vi* best_place, vr value, vi place)
    vr vpermute(vr low, vr high, vi index)
    vr vpick(vr v, vi index)
    vi vipick(vi v, vi index)
    vi viload_u8(const uint8_t* p, int lanes)
    vi viload_i32(const int32_t* p, int lanes)
    void vistore_u8(uint8_t* p, vi v, int lanes)
    void vistore_i32(int32_t* p, vi v, int lanes)
    vr pinned(vr v)
    void prefetch(const void* p)
    void prefetch_second(const void* p)
    void prefetch_to_write(const void* p)
    const real* opaque(const real* p)
    const void* opaque_pointer(const void* p)
    Py_ssize_t opaque_stride(Py_ssize_t s)
    unsigned long flush_denormals()
    void restore_denormals(unsigned long mode)
