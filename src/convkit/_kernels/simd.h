#pragma once
/* One SIMD vocabulary for every instruction set, through GCC and Clang vector extensions.

   CONVKIT_DOUBLE picks the element type, the -m flags the vector's width. A kernel says `vr` (a vector of
   `real`), vload, vstore, vsplat and plain + - *, and is compiled unchanged for SSE2, AVX2, AVX-512 and NEON. */

#include <Python.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifdef CONVKIT_DOUBLE
typedef double real;
#else
typedef float real;
#endif

/* TILE_ROWS x TILE_VECTORS accumulators, the vectors of one row of the second operand and a broadcast must
   fit the register file: 28 + 2 + 1 of 32 registers, or 12 + 2 + 1 of 16. The fused multiply-add has a latency of
   four or five cycles and two issue in each, so ten accumulators are the least that keep the unit busy. */
#if defined(__AVX512F__)
#define VBYTES 64
#define TILE_ROWS 14
#elif defined(__AVX__)
#define VBYTES 32
#define TILE_ROWS 6
#elif defined(__aarch64__)
#define VBYTES 16
#define TILE_ROWS 14
#else
#define VBYTES 16
#define TILE_ROWS 6
#endif
#define TILE_VECTORS 2
/* A tile one vector wide has half the accumulators, so it may be taller. */
#define NARROW_TILE_ROWS (TILE_ROWS < 12 ? 12 : TILE_ROWS)
/* Of the tile that works lane by lane, which also holds the weights of three taps for each vector. */
#define LANE_ROWS (TILE_ROWS > 6 ? 10 : 4)
#define NARROW_LANE_ROWS (TILE_ROWS > 6 ? 14 : 10)
#define VLEN ((int)(VBYTES / sizeof(real)))

#define CONVKIT_INLINE static inline __attribute__((always_inline))

/* `cdef inline` must mean it: the tile is written once with its height as an argument, and becomes a block of
   registers only where that argument is a literal. */
#undef CYTHON_INLINE
#define CYTHON_INLINE inline __attribute__((always_inline))

/* aligned(sizeof(real)): loads and stores may be unaligned, as rows of an image are. */
typedef real vr __attribute__((vector_size(VBYTES), aligned(sizeof(real)), may_alias));

CONVKIT_INLINE vr vload(const real *p) { return *(const vr *)p; }
CONVKIT_INLINE void vstore(real *p, vr v) { *(vr *)p = v; }
CONVKIT_INLINE vr vsplat(real a) { return a - (vr){0}; }

/* Load or store the first `lanes` lanes, and touch nothing behind them. */
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  return (vr)_mm512_maskz_loadu_pd((__mmask8)((1u << lanes) - 1), p);
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  _mm512_mask_storeu_pd(p, (__mmask8)((1u << lanes) - 1), (__m512d)v);
}
#elif defined(__AVX512F__)
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  return (vr)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p);
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1), (__m512)v);
}
#elif defined(__AVX2__)
#ifdef CONVKIT_DOUBLE
typedef long long lane_bits;
#define CONVKIT_LANES(name) _mm256_##name##_pd
#else
typedef int lane_bits;
#define CONVKIT_LANES(name) _mm256_##name##_ps
#endif
/* The masks of all lane counts overlap in one run of ones and zeros. */
static const lane_bits first_lanes[2 * VLEN] = {
#ifdef CONVKIT_DOUBLE
    -1, -1, -1, -1
#else
    -1, -1, -1, -1, -1, -1, -1, -1
#endif
};
CONVKIT_INLINE __m256i lane_mask(int lanes) {
  return _mm256_loadu_si256((const __m256i *)(first_lanes + VLEN - lanes));
}
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  return (vr)CONVKIT_LANES(maskload)(p, lane_mask(lanes));
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) { CONVKIT_LANES(maskstore)(p, lane_mask(lanes), v); }
#else
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  vr v = {0};
  for (int i = 0; i < lanes; i++) v[i] = p[i];
  return v;
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  for (int i = 0; i < lanes; i++) p[i] = v[i];
}
#endif

/* Integers, one for each lane; comparisons give all bits where they hold. */
#ifdef CONVKIT_DOUBLE
typedef int64_t vi __attribute__((vector_size(VBYTES)));
#else
typedef int32_t vi __attribute__((vector_size(VBYTES)));
#endif

CONVKIT_INLINE vi visplat(int i) { return i - (vi){0}; }
CONVKIT_INLINE vi viequal(vi a, vi b) { return a == b; }
CONVKIT_INLINE vi viselect(vi where, vi a, vi b) { return (where & a) | (~where & b); }
CONVKIT_INLINE vr vselect(vi where, vr a, vr b) { return (vr)viselect(where, (vi)a, (vi)b); }
/* Whether `a` takes the place of `b` as the maximum: a NaN beats everything. */
CONVKIT_INLINE vi vbeats(vr a, vr b) { return (a > b) | (a != a); }

/* Lane i is lane index[i] of the two vectors, counted through both. */
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vpermute(vr low, vr high, vi index) {
  return (vr)_mm512_permutex2var_pd((__m512d)low, (__m512i)index, (__m512d)high);
}
#elif defined(__AVX512F__)
CONVKIT_INLINE vr vpermute(vr low, vr high, vi index) {
  return (vr)_mm512_permutex2var_ps((__m512)low, (__m512i)index, (__m512)high);
}
#elif defined(__AVX2__) && !defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vpermute(vr low, vr high, vi index) {
  vr a = (vr)_mm256_permutevar8x32_ps((__m256)low, (__m256i)index);
  vr b = (vr)_mm256_permutevar8x32_ps((__m256)high, (__m256i)index);
  return vselect(index < VLEN, a, b);
}
#else
CONVKIT_INLINE vr vpermute(vr low, vr high, vi index) {
  vr v;
  for (int i = 0; i < VLEN; i++) v[i] = index[i] < VLEN ? low[index[i]] : high[index[i] - VLEN];
  return v;
}
#endif

/* Integers of the lanes as bytes, or as 32 bits, in memory. */
#define CONVKIT_INTEGERS(type, name)                                                             \
  typedef type v##name __attribute__((vector_size(sizeof(type) * VLEN), aligned(sizeof(type)), may_alias)); \
  CONVKIT_INLINE vi viload_##name(const type *p, int lanes) {                                    \
    vi v = {0};                                                                                  \
    if (lanes == VLEN) return __builtin_convertvector(*(const v##name *)p, vi);                  \
    for (int i = 0; i < lanes; i++) v[i] = p[i];                                                 \
    return v;                                                                                    \
  }                                                                                              \
  CONVKIT_INLINE void vistore_##name(type *p, vi v, int lanes) {                                 \
    if (lanes == VLEN) *(v##name *)p = __builtin_convertvector(v, v##name);                      \
    else for (int i = 0; i < lanes; i++) p[i] = (type)v[i];                                      \
  }
CONVKIT_INTEGERS(uint8_t, u8)
CONVKIT_INTEGERS(int32_t, i32)

/* Forget how a pointer was computed. Without it the compiler gives each row of a tile a pointer of its own,
   runs out of general registers, and reloads them from the stack in the innermost loop. */
CONVKIT_INLINE const real *opaque(const real *p) { __asm__("" : "+r"(p)); return p; }
CONVKIT_INLINE Py_ssize_t opaque_stride(Py_ssize_t s) { __asm__("" : "+r"(s)); return s; }

/* Keep a vector in a register: else the compiler reads it from memory again for every use. Volatile, to stay in order:
   loads that it moves up need registers that there are not. */
#if defined(__SSE2__)
CONVKIT_INLINE vr pinned(vr v) { __asm__ volatile("" : "+v"(v)); return v; }
#elif defined(__aarch64__)
CONVKIT_INLINE vr pinned(vr v) { __asm__ volatile("" : "+w"(v)); return v; }
#else
CONVKIT_INLINE vr pinned(vr v) { return v; }
#endif

/* Call what lies at an address, which need not exist, into the cache. */
CONVKIT_INLINE void prefetch(const real *p) { __builtin_prefetch(p); }

/* Denormals cost a hundred cycles each in a multiply. Kernels that do arithmetic flush them to zero on every
   thread they run on, and hand the thread back in the mode in which they found it. */
#if defined(__SSE2__)
CONVKIT_INLINE unsigned long flush_denormals(void) {
  unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040); /* flush to zero, denormals are zero */
  return mode;
}
CONVKIT_INLINE void restore_denormals(unsigned long mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__)
CONVKIT_INLINE unsigned long flush_denormals(void) {
  unsigned long mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  __asm__ volatile("msr fpcr, %0" : : "r"(mode | (1ul << 24)));
  return mode;
}
CONVKIT_INLINE void restore_denormals(unsigned long mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
CONVKIT_INLINE unsigned long flush_denormals(void) { return 0; }
CONVKIT_INLINE void restore_denormals(unsigned long mode) { (void)mode; }
#endif
