/* SPDX-License-Identifier: Apache-2.0
 *
 * Randomness that a seed repeats: splitmix64.
 */
#ifndef ESM1NV_TESTS_LIB_RANDOM_H
#define ESM1NV_TESTS_LIB_RANDOM_H

#include <stdint.h>

static inline uint64_t random_bits(uint64_t *state) {
    uint64_t mixed = *state += UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ mixed >> 31;
}

/* From 0 to bound - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound) {
    return random_bits(state) % bound;
}

#endif
