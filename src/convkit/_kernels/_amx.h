#pragma once
/* AMX tiles: eight registers of at most 16 rows of 64 bytes, and the product of two that hold bfloat16.

   The assembler is written out because of what the compiler's own intrinsics leave out: that tiles are loaded from, and
   stored to, memory. Ordinary stores would be moved across them. Tile numbers must be literals.

   With CONVKIT_EMULATE_AMX the same names compute the same numbers without AMX, at a hundredth of its speed, so that
   the kernels can be tested on any processor with AVX-512. */

#include "simd.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What LDTILECFG reads. */
typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t colsb[16]; /* bytes of a row */
  uint8_t rows[16];
} tile_shapes;

#ifndef CONVKIT_EMULATE_AMX

CONVKIT_INLINE void tiles_begin(const tile_shapes *shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(*shapes)); }
CONVKIT_INLINE void tiles_end(void) { __asm__ volatile("tilerelease" : : : "memory"); }
#define tile_zero(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define tile_load(t, rows, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(rows), "r"((Py_ssize_t)(stride)) : "memory")
#define tile_store(t, rows, stride) \
  __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(rows), "r"((Py_ssize_t)(stride)) : "memory")
#define tile_dpbf16ps(sum, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)

/* Other instructions between two products, where there are none to do: products that wait for each other take the
   places of those of another hyperthread, and both are slower. Eight are as good as more. */
#define tile_gap() __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop")

#else

#define tile_gap()

/* One thread's tiles. What the processor answers by an exception ends the process here. */
static __thread struct {
  tile_shapes shapes;
  uint8_t tile[8][16][64];
} emulated;

static void emulated_fault(const char *what, int tile) {
  fprintf(stderr, "convkit: emulated AMX: %s (tile %d)\n", what, tile);
  abort();
}

static void emulated_use(int t) {
  if (emulated.shapes.palette != 1) emulated_fault("tiles are not configured", t);
  if (t < 0 || t > 7 || !emulated.shapes.rows[t] || !emulated.shapes.colsb[t])
    emulated_fault("the tile has no shape", t);
}

__attribute__((unused)) static void tiles_begin(const tile_shapes *shapes) {
  for (int t = 0; t < 16; t++)
    if (shapes->rows[t] > (t < 8 ? 16 : 0) || shapes->colsb[t] > (t < 8 ? 64 : 0)) emulated_fault("bad shape", t);
  for (int i = 0; i < 14; i++)
    if (shapes->reserved[i]) emulated_fault("reserved bytes are set", i);
  if (shapes->palette != 1 || shapes->start_row) emulated_fault("bad palette or start row", 0);
  memset(&emulated, 0, sizeof emulated);
  emulated.shapes = *shapes;
}
__attribute__((unused)) static void tiles_end(void) { memset(&emulated, 0, sizeof emulated); }

__attribute__((unused)) static void tile_zero(int t) {
  emulated_use(t);
  memset(emulated.tile[t], 0, sizeof emulated.tile[t]);
}
__attribute__((unused)) static void tile_load(int t, const void *rows, Py_ssize_t stride) {
  tile_zero(t);
  for (int i = 0; i < emulated.shapes.rows[t]; i++)
    memcpy(emulated.tile[t][i], (const char *)rows + i * stride, emulated.shapes.colsb[t]);
}
__attribute__((unused)) static void tile_store(int t, void *rows, Py_ssize_t stride) {
  emulated_use(t);
  for (int i = 0; i < emulated.shapes.rows[t]; i++)
    memcpy((char *)rows + i * stride, emulated.tile[t][i], emulated.shapes.colsb[t]);
}

/* TDPBF16PS, as Intel's manual defines it: each sum has two chains of fused multiply-adds, over the first and over the
   second elements of the pairs; the two are added, and then added to what was there. Each step rounds to nearest even;
   denormals count as zero, and become zero. The caller's MXCSR does not matter. */
__attribute__((unused, noinline)) static void tile_dpbf16ps(int sum, int a, int b) {
  emulated_use(sum), emulated_use(a), emulated_use(b);
  const tile_shapes *s = &emulated.shapes;
  if (sum == a || sum == b || a == b) emulated_fault("operands must differ", sum);
  if (s->rows[a] != s->rows[sum] || s->colsb[b] != s->colsb[sum] || s->colsb[a] != 4 * s->rows[b])
    emulated_fault("shapes do not fit", sum);
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(0x9fc0);
  for (int m = 0; m < s->rows[sum]; m++) {
    __m512 first = _mm512_setzero_ps(), second = first;
    for (int k = 0; k < s->rows[b]; k++) {
      uint32_t pair;
      memcpy(&pair, &emulated.tile[a][m][4 * k], sizeof pair);
      const __m512i pairs = _mm512_loadu_si512(emulated.tile[b][k]), upper = _mm512_set1_epi32((int)0xffff0000);
      first = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)(pair << 16))),
                              _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)), first);
      second = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)(pair & 0xffff0000))),
                               _mm512_castsi512_ps(_mm512_and_si512(pairs, upper)), second);
    }
    const __m512 was = _mm512_loadu_ps(emulated.tile[sum][m]);
    const __m512 is = _mm512_add_ps(was, _mm512_add_ps(first, second));
    memcpy(emulated.tile[sum][m], &is, s->colsb[sum]);
  }
  _mm_setcsr(mode);
}

#endif

/* Eight tiles of 16 rows of 64 bytes: 16 x 16 sums, 16 rows of 32 bfloat16, or 16 rows of 16 pairs of them. */
CONVKIT_INLINE void full_tiles_begin(void) {
  tile_shapes shapes = {.palette = 1};
  for (int t = 0; t < 8; t++) shapes.rows[t] = 16, shapes.colsb[t] = 64;
  tiles_begin(&shapes);
}

/* bfloat16 is the upper half of a float. */

/* The nearest bfloat16 of finite numbers, ties to even, as a float. */
CONVKIT_INLINE vr vround_bf16(vr v) {
  const vu bits = (vu)v;
  return (vr)((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}
/* The same with ties away from zero, which takes fewer instructions. */
CONVKIT_INLINE vr vnear_bf16(vr v) { return (vr)(((vu)v + 0x8000) & 0xffff0000u); }
/* Store the upper halves of the first `lanes` lanes. */
CONVKIT_INLINE void vstore_bf16(void *p, vr v, int lanes) {
  if (lanes == VLEN) _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16((__m512i)((vu)v >> 16)));
  else _mm512_mask_cvtepi32_storeu_epi16(p, (__mmask16)((1u << lanes) - 1), (__m512i)((vu)v >> 16));
}
/* Pairs of upper halves: an element of `first` below one of `second`. */
CONVKIT_INLINE vr vpair_bf16(vr first, vr second) { return (vr)((vu)first >> 16 | ((vu)second & 0xffff0000u)); }
/* All bits where |v| is neither zero nor within [least, most], given as bits. A NaN is beyond every number. */
CONVKIT_INLINE vi vbeyond(vr v, uint32_t least, uint32_t most) {
  const vu bits = (vu)v & 0x7fffffffu;
  return (vi)(((bits < least) | (bits > most)) & (bits != 0));
}
/* The same for all numbers of a run, of which one only wants to know whether there were any: as bits, the largest, and
   the smallest less one, so that zero is the largest of all there. */
typedef struct {
  __m512i least, most;
} magnitudes;
CONVKIT_INLINE magnitudes no_magnitudes(void) {
  const magnitudes none = {_mm512_set1_epi32(-1), _mm512_setzero_si512()};
  return none;
}
CONVKIT_INLINE void vmeasure(magnitudes *seen, vr v) {
  const vu bits = (vu)v & 0x7fffffffu;
  seen->least = _mm512_min_epu32(seen->least, (__m512i)(bits - 1));
  seen->most = _mm512_max_epu32(seen->most, (__m512i)bits);
}
CONVKIT_INLINE int are_beyond(const magnitudes *seen, uint32_t least, uint32_t most) {
  const __m512i below = _mm512_set1_epi32((int)(least ? least - 1 : 0)), above = _mm512_set1_epi32((int)most);
  return (_mm512_cmplt_epu32_mask(seen->least, below) | _mm512_cmpgt_epu32_mask(seen->most, above)) != 0;
}
CONVKIT_INLINE int vany(vi v) { return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0; }

/* The bfloat16 next to it towards zero. */
CONVKIT_INLINE vr vcut_bf16(vr v) { return (vr)((vu)v & 0xffff0000u); }

/* The nearest bfloat16 of two vectors of numbers, ties to even, as pairs; what is not finite is not finite there. */
#ifdef CONVKIT_EMULATE_AMX
CONVKIT_INLINE vr vround_pairs(vr first, vr second) {
  const vr lower = vselect((vi)(first == first), vround_bf16(first), vsplat(__builtin_inff()));
  const vr upper = vselect((vi)(second == second), vround_bf16(second), vsplat(__builtin_inff()));
  return vpair_bf16(lower, upper);
}
#else
CONVKIT_INLINE vr vround_pairs(vr first, vr second) { return vpair_lanes(first, second); }
#endif

/* Four numbers of an image. */
#ifdef CONVKIT_BFLOAT16
CONVKIT_INLINE __m128 load_quad(const stored *p) {
  return (__m128)_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)p)), 16);
}
#else
CONVKIT_INLINE __m128 load_quad(const stored *p) { return _mm_loadu_ps(p); }
#endif
/* The nearest bfloat16 of two vectors of numbers, one behind the other. */
#ifdef CONVKIT_EMULATE_AMX
CONVKIT_INLINE vr vround_row(vr first, vr second) {
  const __m256i lower = _mm512_cvtepi32_epi16((__m512i)((vu)vround_bf16(first) >> 16));
  const __m256i upper = _mm512_cvtepi32_epi16((__m512i)((vu)vround_bf16(second) >> 16));
  return (vr)_mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1);
}
#else
CONVKIT_INLINE vr vround_row(vr first, vr second) {
  return (vr)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
#endif
/* vmeasure of such a row: of the largest alone. */
CONVKIT_INLINE void vmeasure_row(magnitudes *seen, vr row) {
  const __m512i bits = _mm512_and_si512((__m512i)row, _mm512_set1_epi16(0x7fff));
  seen->most = _mm512_max_epu32(seen->most, _mm512_max_epu32(bits, _mm512_slli_epi32(bits, 16)));
}
/* Sixteen bfloat16 of each of two places, as pairs. */
CONVKIT_INLINE vr vpair_stored(const stored *first, const stored *second) {
  const __m512i lower = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)first));
  const __m512i upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)second));
  return (vr)_mm512_or_si512(lower, _mm512_slli_epi32(upper, 16));
}

/* Of 32 numbers, those `where` bits are set: the bfloat16 that `index` tells of `from`. The others stay. */
CONVKIT_INLINE vr vshuffle_words(vr to, uint32_t where, vr index, const void *from) {
  return (vr)_mm512_mask_permutexvar_epi16((__m512i)to, where, (__m512i)index, _mm512_loadu_si512(from));
}

/* What pairs are of, as floats. */
CONVKIT_INLINE vr vlower_bf16(vr pairs) { return (vr)((vu)pairs << 16); }
CONVKIT_INLINE vr vupper_bf16(vr pairs) { return (vr)((vu)pairs & 0xffff0000u); }

/* Note how small numbers are, zero apart: twice their bits without the sign, less one. Begin with visplat(-1). */
CONVKIT_INLINE void vnote_least(vi *seen, vr v) {
  *seen = (vi)_mm512_min_epu32((__m512i)*seen, (__m512i)(((vu)v << 1) - 1));
}
/* Whether one was less than a number that is given as bits. */
CONVKIT_INLINE int vnoted_less(vi seen, uint32_t than) {
  return than && _mm512_cmplt_epu32_mask((__m512i)seen, _mm512_set1_epi32((int)(2 * than - 1)));
}
/* The same of pairs of bfloat16. */
CONVKIT_INLINE void vnote_least_pairs(vi *seen, vr pairs) {
  const __m512i twice = _mm512_slli_epi16((__m512i)pairs, 1);
  *seen = (vi)_mm512_min_epu16((__m512i)*seen, _mm512_sub_epi16(twice, _mm512_set1_epi16(1)));
}
CONVKIT_INLINE int vnoted_less_pairs(vi seen, uint32_t than) {
  return than && _mm512_cmplt_epu16_mask((__m512i)seen, _mm512_set1_epi16((short)((than >> 15) - 1)));
}

/* Four numbers of each of four places. */
CONVKIT_INLINE __m512 four_quads(const stored *a, const stored *b, const stored *c, const stored *d) {
  const __m256 lower = _mm256_insertf128_ps(_mm256_castps128_ps256(load_quad(a)), load_quad(b), 1);
  const __m512 most = _mm512_insertf32x4(_mm512_castps256_ps512(lower), load_quad(c), 2);
  return _mm512_insertf32x4(most, load_quad(d), 3);
}
/* Four numbers, each from every second source, of `first` and those behind it, at two places: as the first lanes of
   four vectors, and zeros. */
CONVKIT_INLINE void vquads(const stored *const *first, Py_ssize_t place, Py_ssize_t second, int lanes, vr *rows) {
  const __mmask16 some = (__mmask16)((1u << lanes) - 1);
  __m512 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const stored *lower = first[2 * i] + place, *upper = first[2 * i + 8] + place;
    r[i] = four_quads(lower, upper, lower + second, upper + second);
  }
  const __m512d a = (__m512d)_mm512_unpacklo_ps(r[0], r[1]), b = (__m512d)_mm512_unpacklo_ps(r[2], r[3]);
  const __m512d c = (__m512d)_mm512_unpackhi_ps(r[0], r[1]), d = (__m512d)_mm512_unpackhi_ps(r[2], r[3]);
  rows[0] = (vr)_mm512_maskz_mov_ps(some, (__m512)_mm512_unpacklo_pd(a, b));
  rows[1] = (vr)_mm512_maskz_mov_ps(some, (__m512)_mm512_unpackhi_pd(a, b));
  rows[2] = (vr)_mm512_maskz_mov_ps(some, (__m512)_mm512_unpacklo_pd(c, d));
  rows[3] = (vr)_mm512_maskz_mov_ps(some, (__m512)_mm512_unpackhi_pd(c, d));
}
