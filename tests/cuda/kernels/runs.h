/* SPDX-License-Identifier: Apache-2.0
 *
 * This says what a kernel's test is run on: in the emulation on several kinds of device, with each
 * order of threads; otherwise on the device that is there, with its own kernels and with those of
 * the oldest kind. Results are compared by a digest, 64-bit FNV-1a. It is all in a header because
 * the counters of check.h are.
 */
#ifndef ESM1NV_TESTS_RUNS_H
#define ESM1NV_TESTS_RUNS_H

#include "batch.h"
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
    uint32_t size;   /* of those that the test is run with */
};

typedef void run_function(struct run *run);

#define DIGEST_START UINT64_C(0xcbf29ce484222325)
#define DIGEST_PRIME UINT64_C(0x100000001b3)

#ifdef GPU_EMULATION

#define ORDERS 3u
static const char *const order_names[ORDERS] = {"forward", "backward", "rotated"};
static const struct run runs[] = {
    {GPU_F16, 70, 0, 0}, {GPU_F16, 80, 0, 0}, {GPU_BF16, 80, 0, 0}, {GPU_F16, 90, 0, 0}};
#define RUNS (sizeof runs / sizeof *runs)

static inline struct run run_choose(unsigned index, unsigned order) {
    emulation_set_device(0, (int)runs[index].sm, 0, NULL);
    emulation_set_order((enum emulation_order)order);
    return runs[index];
}

#else

#define ORDERS 1u
static const char *const order_names[ORDERS] = {"on a device"};
#define RUNS 3u

/* The device runs its own kernels in both types, and then those for sm_70. */
static inline struct run run_choose(unsigned index, unsigned order) {
    int major = 0, minor = 0;
    (void)order;
    MUST(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    MUST(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
    uint32_t sm = (uint32_t)(10 * major + minor);
    bool bf16 = index == 1 && sm >= 80;
    return (struct run){bf16 ? GPU_BF16 : GPU_F16, index == 2 ? 70 : sm, 0, 0};
}

#endif

/* Returns how much of the volume is wanted, by $ESM1NV_TEST_SCALE: 1, or a smaller fraction. */
static inline double runs_scale(void) {
    const char *scale = getenv("ESM1NV_TEST_SCALE");
    return scale ? atof(scale) : 1.0;
}

/* Runs a test with all sizes on every kind of device, in each order of threads, a case each. With
 * less volume, the last kind is left out and each kind has one order, another one each time. A case
 * fails if the digest depends on the order. */
static inline void runs_sizes(const char *what, run_function *test, const uint32_t *sizes,
                              unsigned count) {
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
            for (unsigned s = 0; s < count; s++) {
                run.size = sizes[s];
                test(&run);
                device_end();
            }
            first = turn == 0 ? run.digest : first;
            CHECK(run.digest == first, "results depend on the order of threads");
        }
    }
}

/* Likewise without sizes. */
static inline void runs_each(const char *what, run_function *test) {
    runs_sizes(what, test, (const uint32_t[]){0}, 1);
}

/* No byte from `used` on, of memory that was given no data, may have been written. */
static inline void rest_check(const void *bytes, size_t used, size_t size) {
    for (size_t i = used; i < size; i++)
        CHECK(((const unsigned char *)bytes)[i] == DEVICE_PATTERN, "byte %zu written", i);
}

/* Adds bytes to the digest, which must not depend on the order of threads. */
static inline void run_add(struct run *run, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < size; i++)
        run->digest = (run->digest ^ p[i]) * DIGEST_PRIME;
}

/* Runs the tests, if there is a device, and returns the exit status. */
static inline int runs_main(void (*tests)(void)) {
    if (device_count() == 0) {
        printf("1..0 # SKIP no CUDA device\n");
        return 0;
    }
    tests();
    return test_done();
}

#endif
