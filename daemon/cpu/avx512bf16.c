/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds the kernels of simd.h for AVX-512 with bf16 dot products, and tests whether this CPU's dot
 * product is what all other instruction sets compute: two fused multiply-adds, the high pair first,
 * with denormals flushed.
 */
#include "daemon/cpu/vector_avx512.h"

#define v16_dot(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))

#define KERNELS_TABLE kernels_avx512bf16
#define KERNELS_NAME "avx512bf16"
#include "daemon/cpu/simd.h"

/* Random bits. The exponents are any for kind 0, nearly equal for 1, near the denormal range for 2.
 */
static uint32_t random_pair(uint64_t *state, unsigned kind) {
    static const uint32_t keep[3] = {0xffffffffu, 0x83ff83ffu, 0x87ff87ffu};
    static const uint32_t set[3] = {0, 0x3c003c00u, 0x20002000u};
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((uint32_t)(*state >> 32) & keep[kind]) | set[kind];
}

/* The payload of a NaN is not promised, so all NaN are made equal. */
static uint32_t comparable(float x) {
    return x != x ? 0x7fc00000u : float_bits(x);
}

static bool sixteen_agree(uint64_t *state, unsigned kind) {
    uint32_t a[16], b[16], start[16];
    float dot[16], widened[16];
    for (int i = 0; i < 16; i++) {
        a[i] = random_pair(state, kind);
        b[i] = random_pair(state, kind);
        start[i] = random_pair(state, kind) ^ (kind == 2 ? UINT32_C(0x20000000) : 0);
    }
    v16 sum = v16_load(start);
    v16_store(dot, v16_dot(sum, v16_load(a), v16_load(b)));
    sum = v16_fma(v16_load_high(a), v16_load_high(b), sum);
    v16_store(widened, v16_fma(v16_load_low(a), v16_load_low(b), sum));
    bool agree = true;
    for (int i = 0; i < 16; i++)
        agree &= comparable(dot[i]) == comparable(widened[i]);
    return agree;
}

bool avx512bf16_agrees(void) {
    unsigned mode = _mm_getcsr();
    uint64_t state = 1;
    bool agree = true;
    arithmetic_flush_denormals();
    for (unsigned i = 0; i < 6000; i++)
        agree &= sixteen_agree(&state, i % 3);
    _mm_setcsr(mode);
    return agree;
}
