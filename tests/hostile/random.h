/* SPDX-License-Identifier: Apache-2.0
 *
 * The attackers' randomness: splitmix64, so that a seed tells everything an attacker does but the
 * moment of it.
 */
#ifndef ESM1NV_TESTS_HOSTILE_RANDOM_H
#define ESM1NV_TESTS_HOSTILE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state) {
    uint64_t mixed = *state += UINT64_C(0x9E3779B97F4A7C15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ (mixed >> 31);
}

/* From 0 to bound - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound) {
    return random_next(state) % bound;
}

static inline void random_fill(uint64_t *state, uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_next(state);
}

#endif
