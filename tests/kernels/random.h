/* SPDX-License-Identifier: Apache-2.0
 *
 * Repeatable random floats of several kinds, for tests of the CPU kernels.
 */
#ifndef ESM1NV_TESTS_RANDOM_H
#define ESM1NV_TESTS_RANDOM_H

#include "daemon/cpu/arithmetic.h"
#include "tests/lib/random.h"

#include <stddef.h>

enum values {
    VALUES_NORMAL,   /* about N(0, 1) */
    VALUES_WIDE,     /* any sign, exponents around the middle, zeros of both signs */
    VALUES_TINY,     /* products and sums that go denormal, denormals, zeros */
    VALUES_HUGE,     /* sums that overflow */
    VALUES_INFINITE, /* normal ones with some infinities and NaN */
    VALUES_KINDS
};

static const char *const values_names[VALUES_KINDS] = {"normal", "wide", "tiny", "huge",
                                                       "infinite"};

static inline uint32_t random_next(uint64_t *state) {
    return (uint32_t)(random_bits(state) >> 32);
}

/* In [0, 1). */
static inline double random_unit(uint64_t *state) {
    return random_next(state) * 0x1p-32;
}

/* A sum of uniform numbers is normal enough, and the same everywhere. */
static inline float random_normal(uint64_t *state) {
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += random_unit(state);
    return (float)sum;
}

static inline float random_exponent(uint64_t *state, uint32_t lowest, uint32_t count) {
    uint32_t exponent = lowest + random_next(state) % count;
    return float_from_bits((random_next(state) & 0x807fffffu) | exponent << 23);
}

static inline float random_float(uint64_t *state, enum values kind) {
    uint32_t special = random_next(state) % 64;
    float zero = special & 1 ? -0.0f : 0.0f;
    switch (kind) {
    case VALUES_WIDE:
        return special < 2 ? zero : random_exponent(state, 107, 40);
    case VALUES_TINY:
        return special < 4 ? zero : random_exponent(state, special < 8 ? 0 : 58, 16);
    case VALUES_HUGE:
        return random_exponent(state, 180, 20);
    case VALUES_INFINITE:
        if (special == 0 && random_next(state) % 8 == 0)
            return random_next(state) % 3 ? (random_next(state) % 2 ? INFINITY : -INFINITY) : NAN;
        return random_normal(state);
    default:
        return random_normal(state);
    }
}

static inline void random_floats(uint64_t *state, enum values kind, float *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = random_float(state, kind);
}

#endif
