/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: float from and to half and bfloat16 by bits, to nearest even, whatever the
 * processor's rounding and flushing modes are.
 */
#ifndef EMULATION_CONVERT_H
#define EMULATION_CONVERT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float emulation_half_to_float(unsigned short half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u;
    uint32_t fraction = half & 1023u, bits;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    } else if (exponent == 31) {
        bits = sign | 0x7F800000u | fraction << 13;
    } else {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline unsigned short emulation_half_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    unsigned short sign = (unsigned short)(bits >> 16 & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u)
        return 0x7FFFu; /* the hardware's one NaN */
    if (bits >= 0x477FF000u)
        return (unsigned short)(sign | 0x7C00u); /* 65520 and more round to infinity */
    if (bits < 0x38800000u) {                    /* below 2^-14: subnormal halves, steps of 2^-24 */
        if (bits < 0x33000000u)
            return sign;
        unsigned shift = 126 - (bits >> 23);
        uint32_t fraction = (bits & 0x7FFFFFu) | 0x800000u;
        uint32_t rest = fraction & ((1u << shift) - 1), middle = 1u << (shift - 1);
        fraction >>= shift;
        fraction += rest > middle || (rest == middle && (fraction & 1));
        return (unsigned short)(sign | fraction);
    }
    bits += 0xFFFu + (bits >> 13 & 1);
    return (unsigned short)(sign | ((bits - 0x38000000u) >> 13));
}

static inline float emulation_bfloat_to_float(unsigned short bfloat) {
    uint32_t bits = (uint32_t)bfloat << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline unsigned short emulation_bfloat_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return 0x7FFFu;
    return (unsigned short)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

#endif
