"""The vector vocabulary of simd.h, for Cython."""

cdef extern from "simd.h" nogil:
    ctypedef double real        # float or double: the C compiler knows, Cython need not
    ctypedef double vr          # a vector of VLEN real
    enum:
        VLEN
        TILE_ROWS
        TILE_VECTORS
        NARROW_TILE_ROWS
    vr vload(const real* p)
    void vstore(real* p, vr v)
    vr vload_lanes(const real* p, int lanes)
    void vstore_lanes(real* p, vr v, int lanes)
    vr vsplat(real a)
    const real* opaque(const real* p)
    Py_ssize_t opaque_stride(Py_ssize_t s)
    unsigned long flush_denormals()
    void restore_denormals(unsigned long mode)
