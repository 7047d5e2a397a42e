/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kernel's test is run on: in the emulation several kinds of device, each in every order of
 * threads; else the device that is there, with its own kernels and those of the oldest kind.
 */
#ifndef ESM1NV_TESTS_RUNS_H
#define ESM1NV_TESTS_RUNS_H

#include "cuda/kernels.h"

#include <stddef.h>

struct run {
    enum gpu_type type;
    uint32_t sm;
    uint64_t digest; /* of all that was given to run_add */
};

typedef void run_function(struct run *run);

/* Runs a test on everything, a case each. Fails the case if the digest depends on the order. */
void runs_each(const char *what, run_function *test);

/* Adds bytes that must not depend on the order of threads. */
void run_add(struct run *run, const void *bytes, size_t size);

/* 1, or a smaller fraction of the volume, as $ESM1NV_TEST_SCALE wants it. */
double runs_scale(void);

/* The test program: 0, 1, or 77 without a device. */
int runs_main(void (*tests)(void));

#endif
