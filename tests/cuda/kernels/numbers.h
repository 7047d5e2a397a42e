/* SPDX-License-Identifier: Apache-2.0
 *
 * float16 and bfloat16 by their definitions, in double precision.
 */
#ifndef ESM1NV_TESTS_NUMBERS_H
#define ESM1NV_TESTS_NUMBERS_H

#include "cuda/kernels.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

struct number_format {
    int fraction;        /* bits behind the point */
    int lowest, highest; /* exponents of normal numbers */
};

static inline struct number_format number_format(enum gpu_type type) {
    return type == GPU_F16 ? (struct number_format){10, -14, 15}
                           : (struct number_format){7, -126, 127};
}

/* The largest relative error of rounding to a normal number. */
static inline double number_unit(enum gpu_type type) {
    return ldexp(1, -1 - number_format(type).fraction);
}

/* The nearest number of the type, ties to even. */
static inline double number_round(enum gpu_type type, double x) {
    struct number_format f = number_format(type);
    if (!isfinite(x) || x == 0)
        return x;
    int exponent;
    frexp(x, &exponent);
    double step = ldexp(1, (exponent - 1 < f.lowest ? f.lowest : exponent - 1) - f.fraction);
    double rounded = nearbyint(x / step) * step;
    return fabs(rounded) < ldexp(1, f.highest + 1) ? rounded : copysign(INFINITY, x);
}

static inline double number_decode(enum gpu_type type, uint16_t bits) {
    struct number_format f = number_format(type);
    int exponent = (bits & 0x7fff) >> f.fraction, fraction = bits & ((1 << f.fraction) - 1);
    double size = fraction;
    if (exponent > f.highest - f.lowest + 1)
        size = fraction ? NAN : INFINITY;
    else if (exponent > 0)
        size = ldexp(fraction + (1 << f.fraction), exponent - 1);
    size = ldexp(size, f.lowest - f.fraction);
    return bits & 0x8000 ? -size : size;
}

static inline uint16_t number_encode(enum gpu_type type, double x) {
    struct number_format f = number_format(type);
    unsigned sign = signbit(x) ? 0x8000 : 0, top = (unsigned)(f.highest - f.lowest + 2);
    double size = fabs(number_round(type, x));
    if (isnan(x))
        return (uint16_t)(top << f.fraction | 1);
    if (isinf(size))
        return (uint16_t)(sign | top << f.fraction);
    int exponent;
    frexp(size, &exponent);
    unsigned biased = size < ldexp(1, f.lowest) ? 0 : (unsigned)(exponent - f.lowest);
    double fraction = ldexp(size, f.fraction - (biased ? exponent - 1 : f.lowest));
    unsigned bits = ((biased ? biased - 1 : 0) << f.fraction) + (unsigned)fraction;
    return (uint16_t)(sign | bits);
}

#endif
