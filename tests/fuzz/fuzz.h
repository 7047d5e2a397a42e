/* SPDX-License-Identifier: Apache-2.0
 *
 * What every fuzz target has: one function that takes any bytes, and a way to stop when a promise
 * is broken. The same source runs under libFuzzer and, with replay.c, over files.
 */
#ifndef ESM1NV_FUZZ_H
#define ESM1NV_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The data end where their allocation ends, so that a sanitizer sees every read beyond. Returns 0.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n");                                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* This is input that is read as a row of instructions; beyond its end there are zeros. */
struct tape {
    const uint8_t *at;
    size_t left;
};

/* Takes a little-endian number of so many bytes. */
static inline uint64_t tape_number(struct tape *tape, unsigned bytes) {
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes && tape->left > 0; i++, tape->left--)
        number |= (uint64_t)*tape->at++ << 8 * i;
    return number;
}

#endif
