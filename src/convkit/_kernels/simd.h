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

/* What images and filters hold: real; or bfloat16, as which AMX's kernels, compiled anew, read and write them. */
#ifdef CONVKIT_BFLOAT16
typedef uint16_t stored;
#else
typedef real stored;
#endif
enum { OF_BFLOAT16 = sizeof(stored) < sizeof(float) };

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
/* A tile one vector wide has half the accumulators, so it may be higher. */
#define NARROW_TILE_ROWS (VBYTES == 64 ? 16 : TILE_ROWS < 12 ? 12 : TILE_ROWS)
/* Of the tile that works lane by lane, which also holds the weights of three taps for each vector. */
#define LANE_ROWS (TILE_ROWS > 6 ? 10 : 4)
#define NARROW_LANE_ROWS (TILE_ROWS > 6 ? 14 : 10)
/* Channels that the tile that sums a weight's gradient lane by lane takes, with one tap: 8, 6 and 4 of them with one,
   two and three taps; or 6, 4 and 2. */
#define SUM_SOURCES (TILE_ROWS > 6 ? 8 : 6)
/* Winograd's tiles, of one vector of outputs, of which a row of four points is summed in registers: where there are
   enough of these, and a multiply-add takes its broadcast from memory. */
#define POINT_TILES (VBYTES == 64 ? 6 : 0)
/* Of the tile whose lanes are columns: it also holds a vector of input and a broadcast. */
#define PLANAR_SUMS (TILE_ROWS > 6 ? 24 : 12)
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

/* What the register tile does with an element of one operand, in all lanes, and a vector of the other: a multiply-add of
   NUMBERS numbers each. With CONVKIT_PAIRS an element is a pair of bfloat16, as large as a float; sums are floats. */
#ifdef CONVKIT_PAIRS
#define NUMBERS 2
CONVKIT_INLINE vr velement(real a) { return (vr)_mm512_set1_ps(a); }
CONVKIT_INLINE vr vmultiply_add(vr sum, vr a, vr b) {
  return (vr)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
CONVKIT_INLINE vr vmultiply(vr a, vr b) { return vmultiply_add((vr){0}, a, b); }
#else
#define NUMBERS 1
CONVKIT_INLINE vr velement(real a) { return vsplat(a); }
CONVKIT_INLINE vr vmultiply_add(vr sum, vr a, vr b) { return sum + a * b; }
CONVKIT_INLINE vr vmultiply(vr a, vr b) { return a * b; }
#endif

/* Keep a load apart from the choice that follows: as one masked load it would begin only when the mask is known. */
#if defined(__SSE2__)
CONVKIT_INLINE vr vloaded(vr v) { __asm__("" : "+x"(v)); return v; }
#else
CONVKIT_INLINE vr vloaded(vr v) { return v; }
#endif

/* Load or store the first `lanes` lanes, and touch nothing behind them. */
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  return (vr)_mm512_maskz_loadu_pd((__mmask8)((1u << lanes) - 1), p);
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  if (lanes == VLEN) vstore(p, v);
  else _mm512_mask_storeu_pd(p, (__mmask8)((1u << lanes) - 1), (__m512d)v);
}
#elif defined(__AVX512F__)
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  return (vr)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p);
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  if (lanes == VLEN) vstore(p, v);
  else _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1), (__m512)v);
}
#elif defined(__AVX2__)
CONVKIT_INLINE __m256i mask_of(int lanes) {
#ifdef CONVKIT_DOUBLE
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(lanes), _mm256_setr_epi64x(0, 1, 2, 3));
#else
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#endif
}
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  if (lanes == VLEN) return vload(p);
#ifdef CONVKIT_DOUBLE
  return (vr)_mm256_maskload_pd(p, mask_of(lanes));
#else
  return (vr)_mm256_maskload_ps(p, mask_of(lanes));
#endif
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  if (lanes == VLEN) vstore(p, v);
#ifdef CONVKIT_DOUBLE
  else _mm256_maskstore_pd(p, mask_of(lanes), (__m256d)v);
#else
  else _mm256_maskstore_ps(p, mask_of(lanes), (__m256)v);
#endif
}
#else
CONVKIT_INLINE vr vload_lanes(const real *p, int lanes) {
  vr v = {0};
  if (lanes == VLEN) return vload(p);
  for (int i = 0; i < VLEN; i++) if (i < lanes) v[i] = p[i];
  return v;
}
CONVKIT_INLINE void vstore_lanes(real *p, vr v, int lanes) {
  if (lanes == VLEN) vstore(p, v);
  else for (int i = 0; i < VLEN; i++) if (i < lanes) p[i] = v[i];
}
#endif

/* Doubles, whatever `real` is: sums over many rows are kept in them. */
#define VDLEN ((int)(VBYTES / sizeof(double)))
typedef double vd __attribute__((vector_size(VBYTES), aligned(sizeof(double)), may_alias));

CONVKIT_INLINE vd vdload(const double *p) { return *(const vd *)p; }
CONVKIT_INLINE void vdstore(double *p, vd v) { *(vd *)p = v; }
CONVKIT_INLINE vd vdsplat(double a) { return a - (vd){0}; }
#if defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vd vdload_real(const real *p) { return vdload(p); }
#elif defined(__AVX512F__)
CONVKIT_INLINE vd vdload_real(const real *p) { return (vd)_mm512_cvtps_pd(_mm256_loadu_ps(p)); }
#elif defined(__AVX__)
CONVKIT_INLINE vd vdload_real(const real *p) { return (vd)_mm256_cvtps_pd(_mm_loadu_ps(p)); }
#else
CONVKIT_INLINE vd vdload_real(const real *p) { return (vd){p[0], p[1]}; }
#endif

/* What a vector holds, as doubles: HALVES vectors of them. */
#define HALVES (VLEN / VDLEN)
#if defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vd vdhalf(vr v, int half) { (void)half; return (vd)v; }
#elif defined(__AVX512F__)
CONVKIT_INLINE vd vdhalf(vr v, int half) {
  return (vd)_mm512_cvtps_pd(half ? _mm512_extractf32x8_ps((__m512)v, 1) : _mm512_castps512_ps256((__m512)v));
}
#elif defined(__AVX__)
CONVKIT_INLINE vd vdhalf(vr v, int half) {
  return (vd)_mm256_cvtps_pd(half ? _mm256_extractf128_ps((__m256)v, 1) : _mm256_castps256_ps128((__m256)v));
}
#else
CONVKIT_INLINE vd vdhalf(vr v, int half) { return (vd){v[2 * half], v[2 * half + 1]}; }
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
CONVKIT_INLINE vi vless(vr a, vr b) { return a < b; }
CONVKIT_INLINE vi vatmost(vr a, vr b) { return a <= b; }
/* The larger and the smaller; b where either is a NaN, so that a NaN in b stays. */
CONVKIT_INLINE vr vmax(vr a, vr b) { return vselect(a > b, a, b); }
CONVKIT_INLINE vr vmin(vr a, vr b) { return vselect(a < b, a, b); }
/* The square root of each lane, correctly rounded. */
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vsqrt(vr v) { return (vr)_mm512_sqrt_pd((__m512d)v); }
#elif defined(__AVX512F__)
CONVKIT_INLINE vr vsqrt(vr v) { return (vr)_mm512_sqrt_ps((__m512)v); }
#elif defined(__AVX__) && defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vsqrt(vr v) { return (vr)_mm256_sqrt_pd((__m256d)v); }
#elif defined(__AVX__)
CONVKIT_INLINE vr vsqrt(vr v) { return (vr)_mm256_sqrt_ps((__m256)v); }
#elif defined(__SSE2__) && defined(CONVKIT_DOUBLE)
CONVKIT_INLINE vr vsqrt(vr v) { return (vr)_mm_sqrt_pd((__m128d)v); }
#elif defined(__SSE2__)
CONVKIT_INLINE vr vsqrt(vr v) { return (vr)_mm_sqrt_ps((__m128)v); }
#else
CONVKIT_INLINE vr vsqrt(vr v) {
  for (int i = 0; i < VLEN; i++) v[i] = sizeof(real) == 4 ? __builtin_sqrtf(v[i]) : __builtin_sqrt(v[i]);
  return v;
}
#endif
CONVKIT_INLINE vr vcopysign(vr magnitude, vr sign) { return vselect((vi)-(vr){0}, sign, magnitude); }
/* Where `value`, found at `place`, is larger than `best`, it takes its place as the maximum; a NaN always does. */
CONVKIT_INLINE void vkeep_larger(vr *best, vi *best_place, vr value, vi place) {
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
  const __mmask8 larger = _mm512_cmp_pd_mask((__m512d)value, (__m512d)*best, _CMP_GT_OQ) |
                          _mm512_cmp_pd_mask((__m512d)value, (__m512d)value, _CMP_UNORD_Q);
  *best = (vr)_mm512_mask_mov_pd((__m512d)*best, larger, (__m512d)value);
  *best_place = (vi)_mm512_mask_mov_epi64((__m512i)*best_place, larger, (__m512i)place);
#elif defined(__AVX512F__)
  const __mmask16 larger = _mm512_cmp_ps_mask((__m512)value, (__m512)*best, _CMP_GT_OQ) |
                           _mm512_cmp_ps_mask((__m512)value, (__m512)value, _CMP_UNORD_Q);
  *best = (vr)_mm512_mask_mov_ps((__m512)*best, larger, (__m512)value);
  *best_place = (vi)_mm512_mask_mov_epi32((__m512i)*best_place, larger, (__m512i)place);
#else
  const vi larger = (value > *best) | (value != value);
  *best = vselect(larger, value, *best);
  *best_place = viselect(larger, place, *best_place);
#endif
}

/* v * 2^n for an integer n, where the result is a normal number. n comes as n + ROUNDER, whose last bits it is: adding
   ROUNDER to a small number is what rounds it to an integer. Unsigned, because sums of those may overflow. */
#ifdef CONVKIT_DOUBLE
typedef uint64_t vu __attribute__((vector_size(VBYTES)));
#define ROUNDER 0x1.8p52
#define FRACTION_BITS 52
#else
typedef uint32_t vu __attribute__((vector_size(VBYTES)));
#define ROUNDER 0x1.8p23f
#define FRACTION_BITS 23
#endif
CONVKIT_INLINE vr vscale(vr v, vr rounded) { return (vr)((vu)v + ((vu)rounded << FRACTION_BITS)); }

/* Note sums, where elements are pairs; and tell whether one of those was an Inf or a NaN. */
#ifdef CONVKIT_PAIRS
CONVKIT_INLINE void vsee(vi *seen, vr v) { *seen = (vi)_mm512_max_epu32((__m512i)*seen, (__m512i)((vu)v << 1)); }
CONVKIT_INLINE int vsaw_endless(vi seen) {
  return _mm512_cmpge_epu32_mask((__m512i)seen, _mm512_set1_epi32((int)0xff000000)) != 0;
}
#else
CONVKIT_INLINE void vsee(vi *seen, vr v) { (void)seen, (void)v; }
CONVKIT_INLINE int vsaw_endless(vi seen) { (void)seen; return 0; }
#endif
#ifdef __AVX512BF16__
/* Pairs of neighbours among the numbers of two vectors, each rounded to the nearest bfloat16; denormals become zero. */
CONVKIT_INLINE vr vpairs(vr first, vr second) { return (vr)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first); }
/* The same of a number from each. */
CONVKIT_INLINE vr vpair_lanes(vr lower, vr upper) {
  typedef uint16_t halves __attribute__((vector_size(64)));
  const halves from = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (vr)_mm512_permutexvar_epi16((__m512i)from, (__m512i)vpairs(lower, upper));
}
#endif

/* Lanes from other lanes: lane i of the result is lane from[i] of a, followed by b. */
CONVKIT_INLINE vr vpermute(vr a, vr b, vi from) {
#ifdef __clang__
  vr v = {0};
  for (int i = 0; i < VLEN; i++) v[i] = from[i] < VLEN ? a[from[i]] : b[from[i] - VLEN];
  return v;
#else
  return __builtin_shuffle(a, b, from);
#endif
}
/* Lane i of the result is lane from[i] of v. */
CONVKIT_INLINE vr vpick(vr v, vi from) {
#ifdef __clang__
  vr picked = {0};
  for (int i = 0; i < VLEN; i++) picked[i] = v[from[i]];
  return picked;
#else
  return __builtin_shuffle(v, from);
#endif
}
CONVKIT_INLINE vi vipick(vi v, vi from) { return (vi)vpick((vr)v, from); }
CONVKIT_INLINE vi vilanes(void) { /* 0, 1, 2, ... */
  vi v = {0};
#pragma GCC unroll 16
  for (int i = 0; i < VLEN; i++) v[i] = i;
  return v;
}
CONVKIT_INLINE vi vifirst(int lanes) { return vilanes() < visplat(lanes); }

/* The sum and the maximum over the lanes, in every lane: always in the same order. */
CONVKIT_INLINE vr vfold_sum(vr v) {
#pragma GCC unroll 4
  for (int apart = VLEN / 2; apart; apart /= 2) v += vpermute(v, v, vilanes() ^ apart);
  return v;
}
/* The same of v + low, where `low` is what the sums of v have lost in rounding: here too it is kept to the end. */
CONVKIT_INLINE vr vfold_exact(vr v, vr low) {
#pragma GCC unroll 4
  for (int apart = VLEN / 2; apart; apart /= 2) {
    vr other = vpermute(v, v, vilanes() ^ apart), sum = v + other, added = sum - v;
    low += vpermute(low, low, vilanes() ^ apart) + ((v - (sum - added)) + (other - added));
    v = sum;
  }
  return v + low;
}
CONVKIT_INLINE vr vfold_max(vr v) {
#pragma GCC unroll 4
  for (int apart = VLEN / 2; apart; apart /= 2) v = vmax(v, vpermute(v, v, vilanes() ^ apart));
  return v;
}

/* Transpose VLEN rows of VLEN lanes in registers: squares are swapped across the diagonal, then within each square
   squares of half the size. */
CONVKIT_INLINE void vtranspose(vr *rows) {
  vi lane = vilanes();
#pragma GCC unroll 4
  for (int apart = VLEN / 2; apart; apart /= 2) {
    vi here = (lane & apart) == 0;
    vi upper = viselect(here, lane, VLEN + lane - apart), lower = viselect(here, lane + apart, VLEN + lane);
#pragma GCC unroll 16
    for (int i = 0; i < VLEN; i++) {
      if (i & apart) continue;
      vr a = rows[i], b = rows[i + apart];
      rows[i] = vpermute(a, b, upper);
      rows[i + apart] = vpermute(a, b, lower);
    }
  }
}

/* Store past the caches, to an address that is a multiple of VBYTES. `vstream_end` comes after the last. */
#if defined(__AVX512F__)
CONVKIT_INLINE void vstream(real *p, vr v) { _mm512_stream_si512((void *)p, (__m512i)v); }
#elif defined(__AVX__)
CONVKIT_INLINE void vstream(real *p, vr v) { _mm256_stream_si256((void *)p, (__m256i)v); }
#elif defined(__SSE2__)
CONVKIT_INLINE void vstream(real *p, vr v) { _mm_stream_si128((void *)p, (__m128i)v); }
#else
CONVKIT_INLINE void vstream(real *p, vr v) { vstore(p, v); }
#endif
#if defined(__SSE2__)
CONVKIT_INLINE void vstream_end(void) { _mm_sfence(); }
#else
CONVKIT_INLINE void vstream_end(void) {}
#endif

/* Integers of the lanes as bytes, or as 32 bits, in memory. */
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
#define CONVKIT_LOAD_LANES_u8(p, lanes) (vi)_mm512_cvtepu8_epi64(_mm_maskz_loadu_epi8((1u << lanes) - 1, p))
#define CONVKIT_LOAD_LANES_i32(p, lanes) (vi)_mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32((1u << lanes) - 1, p))
#define CONVKIT_STORE_LANES_u8(p, v, lanes) _mm_mask_storeu_epi8(p, (1u << lanes) - 1, _mm512_cvtepi64_epi8((__m512i)v))
#define CONVKIT_STORE_LANES_i32(p, v, lanes) _mm256_mask_storeu_epi32(p, (1u << lanes) - 1, _mm512_cvtepi64_epi32((__m512i)v))
#elif defined(__AVX512F__)
#define CONVKIT_LOAD_LANES_u8(p, lanes) (vi)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8((1u << lanes) - 1, p))
#define CONVKIT_LOAD_LANES_i32(p, lanes) (vi)_mm512_maskz_loadu_epi32((1u << lanes) - 1, p)
#define CONVKIT_STORE_LANES_u8(p, v, lanes) _mm_mask_storeu_epi8(p, (1u << lanes) - 1, _mm512_cvtepi32_epi8((__m512i)v))
#define CONVKIT_STORE_LANES_i32(p, v, lanes) _mm512_mask_storeu_epi32(p, (1u << lanes) - 1, (__m512i)v)
#else
#define CONVKIT_LOAD_LANES(p, lanes) ({ vi v = {0}; for (int i = 0; i < lanes; i++) v[i] = p[i]; v; })
#define CONVKIT_STORE_LANES(p, v, lanes) for (int i = 0; i < lanes; i++) p[i] = v[i]
#define CONVKIT_LOAD_LANES_u8 CONVKIT_LOAD_LANES
#define CONVKIT_LOAD_LANES_i32 CONVKIT_LOAD_LANES
#define CONVKIT_STORE_LANES_u8 CONVKIT_STORE_LANES
#define CONVKIT_STORE_LANES_i32 CONVKIT_STORE_LANES
#endif
/* The compiler widens bytes one by one. */
#if defined(__AVX512F__) && defined(CONVKIT_DOUBLE)
#define CONVKIT_WIDEN_u8(p) (vi)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p))
#elif defined(__AVX512F__)
#define CONVKIT_WIDEN_u8(p) (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p))
#elif defined(__AVX2__) && !defined(CONVKIT_DOUBLE)
#define CONVKIT_WIDEN_u8(p) (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))
#else
#define CONVKIT_WIDEN_u8(p) __builtin_convertvector(*(const vu8 *)p, vi)
#endif
#define CONVKIT_WIDEN_i32(p) __builtin_convertvector(*(const vi32 *)p, vi)

#define CONVKIT_INTEGERS(type, name)                                                             \
  typedef type v##name __attribute__((vector_size(sizeof(type) * VLEN), aligned(sizeof(type)), may_alias)); \
  CONVKIT_INLINE vi viload_##name(const type *p, int lanes) {                                    \
    if (lanes == VLEN) return CONVKIT_WIDEN_##name(p);                                           \
    return CONVKIT_LOAD_LANES_##name(p, lanes);                                                  \
  }                                                                                              \
  CONVKIT_INLINE void vistore_##name(type *p, vi v, int lanes) {                                 \
    if (lanes == VLEN) *(v##name *)p = __builtin_convertvector(v, v##name);                      \
    else CONVKIT_STORE_LANES_##name(p, v, lanes);                                                \
  }
CONVKIT_INTEGERS(uint8_t, u8)
CONVKIT_INTEGERS(int32_t, i32)

/* What images and filters hold, as real: one, a vector, or the first lanes of one. bfloat16 is widened, which is exact,
   and rounded to the nearest, ties to even: finite numbers are. */
#ifdef CONVKIT_BFLOAT16
CONVKIT_INLINE real real_of(stored bits) {
  const union { uint32_t bits; float real; } wide = {(uint32_t)bits << 16};
  return wide.real;
}
CONVKIT_INLINE stored stored_of(real x) {
  const union { float real; uint32_t bits; } wide = {x};
  return (stored)((wide.bits + 0x7fff + (wide.bits >> 16 & 1)) >> 16);
}
CONVKIT_INLINE vr vwiden(__m256i halves) { return (vr)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16); }
CONVKIT_INLINE vr vload_stored(const stored *p) { return vwiden(_mm256_loadu_si256((const __m256i *)p)); }
CONVKIT_INLINE vr vload_stored_lanes(const stored *p, int lanes) {
  return vwiden(_mm256_maskz_loadu_epi16((__mmask16)((1u << lanes) - 1), p));
}
CONVKIT_INLINE void vstore_stored_lanes(stored *p, vr v, int lanes) {
  const vu bits = (vu)v, rounded = bits + 0x7fff + (bits >> 16 & 1);
  _mm512_mask_cvtepi32_storeu_epi16(p, (__mmask16)((1u << lanes) - 1), (__m512i)(rounded >> 16));
}
#else
CONVKIT_INLINE real real_of(stored x) { return x; }
CONVKIT_INLINE stored stored_of(real x) { return x; }
CONVKIT_INLINE vr vload_stored(const stored *p) { return vload(p); }
CONVKIT_INLINE vr vload_stored_lanes(const stored *p, int lanes) { return vload_lanes(p, lanes); }
CONVKIT_INLINE void vstore_stored_lanes(stored *p, vr v, int lanes) { vstore_lanes(p, v, lanes); }
#endif

/* Bring a cache line near. Any address will do: nothing is read that a program could see. */
CONVKIT_INLINE void prefetch(const void *p) { __builtin_prefetch(p); }
CONVKIT_INLINE void prefetch_second(const void *p) { __builtin_prefetch(p, 0, 2); } /* into the second-level cache */
CONVKIT_INLINE void prefetch_to_write(const void *p) { __builtin_prefetch(p, 1); }

/* Forget how a pointer was computed. Without it the compiler gives each row of a tile a pointer of its own,
   runs out of general registers, and reloads them from the stack in the innermost loop. */
CONVKIT_INLINE const real *opaque(const real *p) { __asm__("" : "+r"(p)); return p; }
CONVKIT_INLINE const void *opaque_pointer(const void *p) { __asm__("" : "+r"(p)); return p; }
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
