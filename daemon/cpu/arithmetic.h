/* SPDX-License-Identifier: Apache-2.0
 *
 * Every scalar operation that the encoder's results are made of, in portable C. It is the
 * definition that all instruction sets reproduce bit for bit; tests/kernels/NUMERICS.md says why
 * each operation is as it is. fmaf() rounds once. The compiler must not fuse anything else
 * (-ffp-contract=off), and the calling thread must have called arithmetic_flush_denormals().
 */
#ifndef ESM1NV_CPU_ARITHMETIC_H
#define ESM1NV_CPU_ARITHMETIC_H

#include "ipc/base/half.h"

#include <math.h>
#include <xmmintrin.h>

#define LANES 16 /* partial sums of every long sum, whatever the width of a register */

/* 2^f on [-1/2, 1/2] = 1 + f (C1 + f (C2 + ...)), relative error 9.2e-8. */
#define EXP2_C1 0x1.62e42ap-1f
#define EXP2_C2 0x1.ebf9bcp-3f
#define EXP2_C3 0x1.c6b752p-5f
#define EXP2_C4 0x1.3cea88p-7f
#define EXP2_C5 0x1.5bba14p-10f
/* Within these bounds, 2^x times a number in [0.7, 1.5] is a normal number. */
#define EXP2_LOW -125.0f
#define EXP2_HIGH 126.0f

/* softmax(s / 8) in powers of two: log2(e) / 8. */
#define SOFTMAX_SCALE 0.18033688011112042f

/* GELU, tanh form, is x / (1 + 2^(x (A + B x^2))) with A = -2 log2(e) sqrt(2 / pi), B = 0.044715 A.
 */
#define GELU_TANH_A -2.302208198144325f
#define GELU_TANH_B -0.102943239580023f

/* GELU, erf form: the normal distribution's tail is 2^(x^2 E) q(t), with E = -log2(e) / 2,
 * t = 1 / (1 + P |x|) and q(t) = t (Q1 + t (Q2 + ...)), relative error 3.6e-8 up to |x| = 6. */
#define GELU_ERF_E -0.7213475204444817f
#define GELU_ERF_P 0.23f
#define GELU_ERF_Q1 0.091937594f
#define GELU_ERF_Q2 0.08867913f
#define GELU_ERF_Q3 0.10893744f
#define GELU_ERF_Q4 -0.00979263f
#define GELU_ERF_Q5 0.27012423f
#define GELU_ERF_Q6 -0.25232178f
#define GELU_ERF_Q7 0.27858803f
#define GELU_ERF_Q8 -0.07615202f

/* Flush-to-zero and denormals-are-zero, for the calling thread. */
static inline void arithmetic_flush_denormals(void) {
    _mm_setcsr(_mm_getcsr() | 0x8040);
}

/* As maxps and minps: b when either is NaN or both are zero. */
static inline float float_max(float a, float b) {
    return a > b ? a : b;
}

static inline float float_min(float a, float b) {
    return a < b ? a : b;
}

/* The sum of 16 partial sums: adds lanes i and i + 8, then i + 4, i + 2 and i + 1. Overwrites them.
 */
static inline float lanes_sum(float lanes[LANES]) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = lanes[i] + lanes[i + half];
    return lanes[0];
}

/* The two bf16 of a dword, widened exactly. */
static inline float pair_low(uint32_t pair) {
    return float_from_bits(pair << 16);
}

static inline float pair_high(uint32_t pair) {
    return float_from_bits(pair & 0xffff0000u);
}

/* 2^x for x from EXP2_LOW to EXP2_HIGH; NaN gives NaN. Adding 1.5 * 2^23 leaves rint(x) in the low
 * bits of the sum. */
static inline float exp2_bounded(float x) {
    float shifted = x + 12582912.0f;
    float f = x - (shifted - 12582912.0f);
    float p = fmaf(EXP2_C5, f, EXP2_C4);
    p = fmaf(p, f, EXP2_C3);
    p = fmaf(p, f, EXP2_C2);
    p = fmaf(p, f, EXP2_C1);
    p = fmaf(p, f, 1.0f);
    return p * float_from_bits((float_bits(shifted) << 23) + 0x3f800000u);
}

static inline float gelu_tanh(float x) {
    float t = x * fmaf(x * x, GELU_TANH_B, GELU_TANH_A);
    t = float_min(EXP2_HIGH, float_max(EXP2_LOW, t));
    return x / (1.0f + exp2_bounded(t));
}

static inline float gelu_erf(float x) {
    float magnitude = float_from_bits(float_bits(x) & 0x7fffffffu);
    float t = 1.0f / fmaf(magnitude, GELU_ERF_P, 1.0f);
    float q = fmaf(GELU_ERF_Q8, t, GELU_ERF_Q7);
    q = fmaf(q, t, GELU_ERF_Q6);
    q = fmaf(q, t, GELU_ERF_Q5);
    q = fmaf(q, t, GELU_ERF_Q4);
    q = fmaf(q, t, GELU_ERF_Q3);
    q = fmaf(q, t, GELU_ERF_Q2);
    q = fmaf(q, t, GELU_ERF_Q1);
    float tail = (q * t) * exp2_bounded(float_max(EXP2_LOW, (x * x) * GELU_ERF_E));
    return fmaf(-magnitude, tail, float_max(0.0f, x));
}

#endif
