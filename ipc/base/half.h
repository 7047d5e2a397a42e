/* SPDX-License-Identifier: Apache-2.0
 *
 * float32 as bits, and its conversion to and from the two 16-bit types. Where a value could be
 * subnormal the arithmetic is on integers, so that results do not depend on whether the thread
 * flushes subnormal numbers to zero.
 */
#ifndef ESM1NV_HALF_H
#define ESM1NV_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline bool float_is_finite(float x) {
    return (float_bits(x) & 0x7f800000u) != 0x7f800000u;
}

/* Rounds to nearest even. Subnormal numbers become zero; NaN stays NaN and becomes quiet. */
static inline uint16_t bf16_from_float(float x) {
    uint32_t bits = float_bits(x), magnitude = bits & 0x7fffffffu;
    if (magnitude < 0x00800000u)
        return (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float float_from_bf16(uint16_t bits) {
    return float_from_bits((uint32_t)bits << 16);
}

/* Rounds to nearest even and keeps subnormal results. From 65520 on, and for NaN, it is infinite.
 */
static inline uint16_t f16_from_float(float x) {
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 0x38800000u) /* 2^-14, the smallest normal */
        return (uint16_t)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13);
    uint32_t shift = 126 - (magnitude >> 23); /* to units of 2^-24 */
    if (shift > 24)
        return (uint16_t)sign;
    uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t half = (UINT32_C(1) << (shift - 1)) - 1 + (mantissa >> shift & 1);
    return (uint16_t)(sign | (mantissa + half) >> shift);
}

/* Exact, since float32 holds every float16, the subnormal ones as normal numbers. */
static inline float float_from_f16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31;
    uint32_t mantissa = bits & 0x3ff;
    if (exponent == 0) {
        float value = (float)mantissa * 0x1p-24f;
        return sign ? -value : value;
    }
    return float_from_bits(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13);
}

#endif
