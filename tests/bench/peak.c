/* SPDX-License-Identifier: Apache-2.0
 *
 * One burst, compiled once per instruction set with its flags and -DPEAK_SET=1 (avx2), 2 (avx512)
 * or 3 (avx512bf16): as many independent sums as hide the latency, all in registers.
 */
#include "tests/bench/peak.h"

#include <immintrin.h>

#if PEAK_SET == 1
#define PEAK_NAME peak_avx2_f32
#define SUMS 12
#define OPERATIONS 16
typedef __m256 vector;
#define SET(x) _mm256_set1_ps(x)
#define MULTIPLY_ADD(sum, a, b) _mm256_fmadd_ps(a, b, sum)
#else
#define SUMS 24
typedef __m512 vector;
#define SET(x) _mm512_set1_ps(x)
#if PEAK_SET == 2
#define PEAK_NAME peak_avx512_f32
#define OPERATIONS 32
#define MULTIPLY_ADD(sum, a, b) _mm512_fmadd_ps(a, b, sum)
#else
#define PEAK_NAME peak_avx512bf16_bf16
#define OPERATIONS 64
#define MULTIPLY_ADD(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#endif
#endif

/* Sums stay in registers only where every loop over them is unrolled. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

double PEAK_NAME(unsigned steps) {
    vector sums[SUMS], a = SET(0.5f), b = SET(0.25f);
    UNROLL
    for (int i = 0; i < SUMS; i++)
        sums[i] = SET((float)i);
    __asm__ volatile("" : "+v"(a), "+v"(b)); /* not constants */
    for (unsigned step = 0; step < steps; step++) {
        UNROLL
        for (int i = 0; i < SUMS; i++) {
            sums[i] = MULTIPLY_ADD(sums[i], a, b);
            __asm__("" : "+v"(sums[i])); /* keep it, here */
        }
    }
    vector all = sums[0];
    UNROLL
    for (int i = 1; i < SUMS; i++)
        all += sums[i];
    __asm__ volatile("" : : "v"(all));
    return (double)steps * SUMS * OPERATIONS;
}
