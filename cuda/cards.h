/* SPDX-License-Identifier: Apache-2.0
 *
 * The GPUs of this machine: whether there are any, and what those that the user chose are like.
 */
#ifndef ESM1NV_CUDA_CARDS_H
#define ESM1NV_CUDA_CARDS_H

#include "daemon/base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CARDS_MAX 64

struct card {
    int ordinal; /* the number that CUDA gives it */
    char name[64];
    uint32_t sm; /* 70, 80, 90, ... */
    uint32_t multiprocessors;
    size_t free_bytes;
};

/* Returns 0, or -1 with the reason why no GPU can be used: driver, device or generation. */
int cards_probe(struct error *error);

/* Fills cards with those that `devices` names, which is "all", a list such as "0,1", or NULL for
 * the first. They must all be alike, so that the bytes of a record do not depend on which one
 * computes it. Returns their number, or -1. */
int cards_choose(struct card cards[CARDS_MAX], const char *devices, struct error *error);

#endif
