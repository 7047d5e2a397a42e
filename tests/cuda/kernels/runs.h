/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kernel's test is run on: in the emulation several kinds of device, each in every order of
 * threads; else the device that is there, with its own kernels and those of the oldest kind.
 * Results are compared by a digest, 64-bit FNV-1a. All in a header, as what check.h counts is.
 */
#ifndef ESM1NV_TESTS_RUNS_H
#define ESM1NV_TESTS_RUNS_H

#include "cuda/kernels.h"
#include "device.h"
#include "tests/check.h"

#ifdef GPU_EMULATION
#include "emulation.h"
#endif

#include <stddef.h>
#include <stdlib.h>

struct run {
    enum gpu_type type;
    uint32_t sm;
    uint64_t digest; /* of all that was given to run_add */
};

typedef void run_function(struct run *run);

#define DIGEST_START UINT64_C(0xcbf29ce484222325)
#define DIGEST_PRIME UINT64_C(0x100000001b3)
#define SKIPPED 77

#ifdef GPU_EMULATION

#define ORDERS 3u
static const char *const order_names[ORDERS] = {"forward", "backward", "rotated"};
static const struct run runs[] = {
    {GPU_F16, 70, 0}, {GPU_F16, 80, 0}, {GPU_BF16, 80, 0}, {GPU_F16, 90, 0}};
#define RUNS (sizeof runs / sizeof *runs)

static inline struct run run_choose(unsigned index, unsigned order) {
    emulation_set_sm(0, (int)runs[index].sm);
    emulation_set_order((enum emulation_order)order);
    return runs[index];
}

#else

#define ORDERS 1u
static const char *const order_names[ORDERS] = {"on a device"};
#define RUNS 3u

/* The device with its own kernels in both types, then with those for sm_70. */
static inline struct run run_choose(unsigned index, unsigned order) {
    int major = 0, minor = 0;
    (void)order;
    device_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "major");
    device_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "minor");
    uint32_t sm = (uint32_t)(10 * major + minor);
    bool bf16 = index == 1 && sm >= 80;
    return (struct run){bf16 ? GPU_BF16 : GPU_F16, index == 2 ? 70 : sm, 0};
}

#endif

/* 1, or a smaller fraction of the volume, as $ESM1NV_TEST_SCALE wants it. */
static inline double runs_scale(void) {
    const char *scale = getenv("ESM1NV_TEST_SCALE");
    return scale ? atof(scale) : 1.0;
}

/* Runs a test on everything, a case each; with less volume, not on what is last and least, and each
 * kind of device in one order, another one. Fails the case if the digest depends on the order. */
static inline void runs_each(const char *what, run_function *test) {
    const bool less = runs_scale() < 1;
    for (unsigned i = 0; i < (less ? RUNS - 1 : RUNS); i++) {
        uint64_t first = 0;
        for (unsigned turn = 0; turn < (less ? 1 : ORDERS); turn++) {
            unsigned order = (i + turn) % ORDERS;
            struct run run = run_choose(i, order);
            char name[160];
            snprintf(name, sizeof name, "%s, %s, sm_%u, %s", what,
                     run.type == GPU_F16 ? "f16" : "bf16", run.sm, order_names[order]);
            test_case(name);
            run.digest = DIGEST_START;
            test(&run);
            device_end();
            first = turn == 0 ? run.digest : first;
            CHECK(run.digest == first, "results depend on the order of threads");
        }
    }
}

/* Adds bytes that must not depend on the order of threads. */
static inline void run_add(struct run *run, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++)
        run->digest = (run->digest ^ p[i]) * DIGEST_PRIME;
}

/* The test program: 0, 1, or 77 without a device. */
static inline int runs_main(void (*tests)(void)) {
    if (device_count() == 0) {
        printf("1..0 # SKIP no CUDA device\n");
        return SKIPPED;
    }
    tests();
    return test_done();
}

#endif
