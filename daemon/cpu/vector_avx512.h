/* SPDX-License-Identifier: Apache-2.0
 *
 * Sixteen floats in one AVX-512 register, for simd.h. A block of sums is 6 rows x 4 vectors,
 * because 24 registers of sums, 4 of weights and 1 of an activation fit into the 32 there are.
 */
#ifndef ESM1NV_CPU_VECTOR_H
#define ESM1NV_CPU_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

#define BLOCK_VECTORS 4

typedef __m512 v16;
typedef __mmask16 v16_mask;

static inline v16 v16_set(float x) {
    return _mm512_set1_ps(x);
}

static inline v16 v16_load(const void *from) {
    return _mm512_loadu_ps(from);
}

static inline void v16_store(void *to, v16 x) {
    _mm512_storeu_ps(to, x);
}

/* The dword at `from` in every lane. */
static inline v16 v16_broadcast(const uint32_t *from) {
    return _mm512_castsi512_ps(_mm512_set1_epi32((int)*from));
}

/* v16_add and so on, lane by lane. v16_max and v16_min give b when either lane is NaN or both are
 * zero. */
#define V16_BINARY(name)                                                                           \
    static inline v16 v16_##name(v16 a, v16 b) {                                                   \
        return _mm512_##name##_ps(a, b);                                                           \
    }
V16_BINARY(add)
V16_BINARY(sub)
V16_BINARY(mul)
V16_BINARY(div)
V16_BINARY(max)
V16_BINARY(min)

/* a * b + c, rounded once. */
static inline v16 v16_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}

static inline v16 v16_abs(v16 x) {
    return _mm512_abs_ps(x);
}

static inline v16 v16_negate(v16 x) {
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

/* Rounds to the nearest integer, ties to even. */
static inline v16 v16_round(v16 x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x * 2^n for integers n, exact as long as the result is a normal number. */
static inline v16 v16_scale(v16 x, v16 n) {
    return _mm512_scalef_ps(x, n);
}

/* One half of the bf16 pairs in 16 dwords, as floats. */
static inline v16 v16_load_low(const uint32_t *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(from), 16));
}

static inline v16 v16_load_high(const uint32_t *from) {
    __m512i mask = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(from), mask));
}

/* One half of the pair at `from`, in every lane. */
static inline v16 v16_broadcast_low(const uint32_t *from) {
    return _mm512_castsi512_ps(_mm512_set1_epi32((int)(*from << 16)));
}

static inline v16 v16_broadcast_high(const uint32_t *from) {
    return _mm512_castsi512_ps(_mm512_set1_epi32((int)(*from & 0xffff0000)));
}

/* Selects the lanes below count, which is 1 to 16. */
static inline v16_mask v16_below(unsigned count) {
    return (v16_mask)(0xffffu >> (16 - count));
}

static inline v16 v16_select(v16_mask mask, v16 a, v16 b) {
    return _mm512_mask_mov_ps(b, mask, a);
}

/* Adds lanes i and i + 8, then i + 4, i + 2 and i + 1, as lanes_sum() does. */
static inline float v16_sum(v16 x) {
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}

static inline float v16_largest(v16 x) {
    return _mm512_reduce_max_ps(x);
}

/* Rounds to nearest even and makes NaN quiet. x is never denormal, because arithmetic flushes. */
static inline void v16_store_bf16(uint16_t *to, v16 x) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x));
#else
    __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    __m512i rounded = _mm512_add_epi32(bits, bias);
    __mmask16 nan = _mm512_fpclass_ps_mask(x, 0x81);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    __m512i shifted = _mm512_srli_epi32(rounded, 16);
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(shifted));
#endif
}

/* Pairs the 16 bf16 at `low`, as low halves, with those at `high`. */
static inline v16 v16_pair(const uint16_t *low, const uint16_t *high) {
    __m512i l = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)low));
    __m512i h = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)high));
    return _mm512_castsi512_ps(_mm512_or_si512(l, _mm512_slli_epi32(h, 16)));
}

/* Transposes: to[j * to_step + i] = from[i * from_step + j] for i and j below 16. */
static inline void v16_turn(const uint32_t *from, size_t from_step, uint32_t *to, size_t to_step) {
    __m512 a[16], b[16];
    for (size_t i = 0; i < 16; i++)
        a[i] = _mm512_loadu_ps(from + i * from_step);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d x = _mm512_castps_pd(b[i + j]), y = _mm512_castps_pd(b[i + j + 2]);
            a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
            a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        }
    for (size_t i = 0; i < 4; i++) {
        __m512 p = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x44);
        __m512 q = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x44);
        __m512 r = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xee);
        __m512 s = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xee);
        _mm512_storeu_ps(to + i * to_step, _mm512_shuffle_f32x4(p, q, 0x88));
        _mm512_storeu_ps(to + (i + 4) * to_step, _mm512_shuffle_f32x4(p, q, 0xdd));
        _mm512_storeu_ps(to + (i + 8) * to_step, _mm512_shuffle_f32x4(r, s, 0x88));
        _mm512_storeu_ps(to + (i + 12) * to_step, _mm512_shuffle_f32x4(r, s, 0xdd));
    }
}

#endif
