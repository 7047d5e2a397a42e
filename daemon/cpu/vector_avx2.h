/* SPDX-License-Identifier: Apache-2.0
 *
 * Sixteen floats in two AVX2 registers, for simd.h. A block of sums is 6 rows x 1 vector, because
 * 12 registers of sums, 2 of weights and 1 of an activation fit into the 16 there are.
 */
#ifndef ESM1NV_CPU_VECTOR_H
#define ESM1NV_CPU_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

#define BLOCK_VECTORS 1

typedef struct {
    __m256 low, high; /* lanes 0 to 7, 8 to 15 */
} v16;
typedef v16 v16_mask; /* all bits of a lane */

static inline v16 v16_set(float x) {
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline v16 v16_load(const void *from) {
    const float *floats = from;
    return (v16){_mm256_loadu_ps(floats), _mm256_loadu_ps(floats + 8)};
}

static inline void v16_store(void *to, v16 x) {
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps((float *)to + 8, x.high);
}

/* The dword at `from` in every lane. */
static inline v16 v16_broadcast(const uint32_t *from) {
    __m256 x = _mm256_castsi256_ps(_mm256_set1_epi32((int)*from));
    return (v16){x, x};
}

/* v16_add and so on, lane by lane. v16_max and v16_min give b when either lane is NaN or both are
 * zero. */
#define V16_BINARY(name)                                                                           \
    static inline v16 v16_##name(v16 a, v16 b) {                                                   \
        return (v16){_mm256_##name##_ps(a.low, b.low), _mm256_##name##_ps(a.high, b.high)};        \
    }
V16_BINARY(add)
V16_BINARY(sub)
V16_BINARY(mul)
V16_BINARY(div)
V16_BINARY(max)
V16_BINARY(min)

/* a * b + c, rounded once. */
static inline v16 v16_fma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

static inline v16 v16_abs(v16 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}

static inline v16 v16_negate(v16 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_xor_ps(x.low, sign), _mm256_xor_ps(x.high, sign)};
}

/* Rounds to the nearest integer, ties to even. */
static inline v16 v16_round(v16 x) {
    return (v16){_mm256_round_ps(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 _mm256_round_ps(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

static inline __m256 avx2_power(__m256 n) {
    __m256i bits = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}

/* x * 2^n for integers n from -126 to 127, exact as long as the result is a normal number. */
static inline v16 v16_scale(v16 x, v16 n) {
    return v16_mul(x, (v16){avx2_power(n.low), avx2_power(n.high)});
}

static inline __m256 avx2_pair_low(__m256 pairs) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16));
}

/* The mask is read from memory each time: in a register, it would push a sum out. */
static inline __m256 avx2_pair_high(__m256 pairs) {
    static const uint32_t mask[8]
        __attribute__((aligned(32))) = {0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000,
                                        0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000};
    __asm__("vandps %1, %0, %0" : "+x"(pairs) : "m"(mask));
    return pairs;
}

/* One half of the bf16 pairs in 16 dwords, as floats. */
static inline v16 v16_load_low(const uint32_t *from) {
    const float *pairs = (const float *)from;
    return (v16){avx2_pair_low(_mm256_loadu_ps(pairs)), avx2_pair_low(_mm256_loadu_ps(pairs + 8))};
}

static inline v16 v16_load_high(const uint32_t *from) {
    const float *pairs = (const float *)from;
    return (v16){avx2_pair_high(_mm256_loadu_ps(pairs)),
                 avx2_pair_high(_mm256_loadu_ps(pairs + 8))};
}

/* One half of the pair at `from`, in every lane. */
static inline v16 v16_broadcast_low(const uint32_t *from) {
    __m256 x = avx2_pair_low(v16_broadcast(from).low);
    return (v16){x, x};
}

static inline v16 v16_broadcast_high(const uint32_t *from) {
    __m256 x = avx2_pair_high(v16_broadcast(from).low);
    return (v16){x, x};
}

/* Selects the lanes below count. */
static inline v16_mask v16_below(unsigned count) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i limit = _mm256_set1_epi32((int)count), next = _mm256_set1_epi32((int)count - 8);
    return (v16_mask){_mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, lane)),
                      _mm256_castsi256_ps(_mm256_cmpgt_epi32(next, lane))};
}

static inline v16 v16_select(v16_mask mask, v16 a, v16 b) {
    return (v16){_mm256_blendv_ps(b.low, a.low, mask.low),
                 _mm256_blendv_ps(b.high, a.high, mask.high)};
}

/* Adds lanes i and i + 8, then i + 4, i + 2 and i + 1, as lanes_sum() does. */
static inline float v16_sum(v16 x) {
    __m256 y = _mm256_add_ps(x.low, x.high);
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}

static inline float v16_largest(v16 x) {
    __m256 y = _mm256_max_ps(x.low, x.high);
    __m128 z = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_max_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
}

/* Eight floats rounded to bf16, each in the upper half of its dword. */
static inline __m256i avx2_round_bf16(__m256 x) {
    __m256i bits = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    __m256i rounded = _mm256_add_epi32(bits, bias);
    __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    __m256i nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    return _mm256_blendv_epi8(rounded, quiet, nan);
}

/* Rounds to nearest even and makes NaN quiet. x is never denormal, because arithmetic flushes. */
static inline void v16_store_bf16(uint16_t *to, v16 x) {
    __m256i low = _mm256_srli_epi32(avx2_round_bf16(x.low), 16);
    __m256i high = _mm256_srli_epi32(avx2_round_bf16(x.high), 16);
    __m256i mixed = _mm256_packus_epi32(low, high); /* by 128-bit halves */
    _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(mixed, 0xd8));
}

static inline __m256 avx2_pair(const uint16_t *low, const uint16_t *high) {
    __m256i l = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)low));
    __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)high));
    return _mm256_castsi256_ps(_mm256_or_si256(l, _mm256_slli_epi32(h, 16)));
}

/* Pairs the 16 bf16 at `low`, as low halves, with those at `high`. */
static inline v16 v16_pair(const uint16_t *low, const uint16_t *high) {
    return (v16){avx2_pair(low, high), avx2_pair(low + 8, high + 8)};
}

static inline void avx2_turn(const uint32_t *from, size_t from_step, uint32_t *to, size_t to_step) {
    __m256 a[8], b[8];
    for (size_t i = 0; i < 8; i++)
        a[i] = _mm256_loadu_ps((const float *)from + i * from_step);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            __m256d x = _mm256_castps_pd(b[i + j]), y = _mm256_castps_pd(b[i + j + 2]);
            a[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(x, y));
            a[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
        }
    for (size_t i = 0; i < 4; i++) {
        __m256 upper = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
        _mm256_storeu_ps((float *)to + i * to_step, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps((float *)to + (i + 4) * to_step, upper);
    }
}

/* Transposes: to[j * to_step + i] = from[i * from_step + j] for i and j below 16. */
static inline void v16_turn(const uint32_t *from, size_t from_step, uint32_t *to, size_t to_step) {
    for (size_t i = 0; i < 16; i += 8)
        for (size_t j = 0; j < 16; j += 8)
            avx2_turn(from + i * from_step + j, from_step, to + j * to_step + i, to_step);
}

#endif
