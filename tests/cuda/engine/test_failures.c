/* SPDX-License-Identifier: Apache-2.0
 *
 * CUDA errors come from every call on a batch's way and of an opening. The records of the batch
 * must fail with the error's name, the device must come back, later batches must give the bytes
 * they gave before, and nothing may be left over. Other cases are devices that do not come back,
 * several devices, and an end at any time.
 */
#include "tests/check.h"
#include "tests/cuda/emulation/emulation.h"
#include "tests/cuda/engine/bundle.h"
#include "tests/kernels/random.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCES 5
#define OPENERS_MAX 48

static const uint32_t lengths[SEQUENCES] = {3, 70, 1, 64, 30};
static struct sequence sequences[SEQUENCES];
static struct small_model small;

static int device_count = 1;  /* of the case under way */
static struct bundle healthy; /* the rows of an engine without any failure */

static struct engine *engine_new(const char *devices) {
    return engine_make(&small.model, PRECISION_AUTO, devices, 512);
}

static void bundle_fresh(struct bundle *bundle) {
    bundle_make(bundle, sequences, NULL, SEQUENCES, POOLING_NONE, DTYPE_F32);
}

static bool same_rows(const struct bundle *bundle) {
    bool same = true;
    for (unsigned i = 0; i < SEQUENCES; i++)
        same &= memcmp(bundle->items[i].rows, healthy.items[i].rows,
                       item_bytes(&bundle->items[i])) == 0;
    return same;
}

/* A batch either went well, with the right bytes, or all of it failed with that name. Returns
 * whether it failed. */
static bool outcome_check(const struct bundle *bundle, const char *name, unsigned nth) {
    bool failed = bundle->batch.failure[0] != '\0';
    if (failed)
        CHECK(bundle_others(bundle, RECORD_ENGINE) == 0 && strstr(bundle->batch.failure, name) &&
                  (device_count > 1 || strstr(bundle->batch.failure, "GPU 0")),
              "call %u: '%s'", nth, bundle->batch.failure);
    else
        CHECK(bundle_others(bundle, RECORD_OK) == 0 && same_rows(bundle), "call %u: other rows",
              nth);
    return failed;
}

/* Runs a batch, which may fail with that name. Returns whether it did. */
static bool batch_fails(struct engine *engine, const char *name, unsigned nth) {
    struct bundle bundle;
    bundle_fresh(&bundle);
    bundle_run(engine, &bundle);
    bool failed = outcome_check(&bundle, name, nth);
    bundle_free(&bundle);
    return failed;
}

static void works_check(struct engine *engine, unsigned nth) {
    CHECK(!batch_fails(engine, "", nth), "it fails still, after a failure of call %u", nth);
}

static void healthy_make(struct engine *engine, bool flag) {
    (void)flag;
    bundle_fresh(&healthy);
    bundle_run(engine, &healthy);
    CHECK(bundle_others(&healthy, RECORD_OK) == 0, "'%s'", healthy.batch.failure);
}

/* Fails the nth call from a batch's submission on, for every n that a batch has. */
static void batch_failures(struct engine *engine, bool sticky) {
    unsigned failures = 0;
    for (unsigned nth = 1; nth <= 9; nth++) {
        emulation_fail(NULL, nth, cudaErrorIllegalAddress, sticky, 0);
        failures += batch_fails(engine, "cudaErrorIllegalAddress", nth);
        CHECK(!esm1nv_engine.broken(engine), "%s", esm1nv_engine.broken(engine));
        works_check(engine, nth);
    }
    CHECK(failures >= 8, "only %u calls could fail", failures);
}

/* One kernel fails while it runs, deep in the pass. */
static void kernel_failure(struct engine *engine, bool sticky) {
    struct bundle bundles[3];
    emulation_fail("kernel", 3, cudaErrorLaunchFailure, sticky, 0);
    for (int i = 0; i < 3; i++) {
        bundle_fresh(&bundles[i]);
        esm1nv_engine.submit(engine, &bundles[i].batch);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(engine_next(engine) == &bundles[i].batch, "batch %d is missing", i);
        bool failed = outcome_check(&bundles[i], "cudaErrorLaunchFailure", (unsigned)i);
        CHECK(failed || i > 0, "the first batch did not fail");
        bundle_free(&bundles[i]);
    }
    works_check(engine, 3);
}

/* Makes the card small and forgets what was measured, so that an opening does all that it can do,
 * and soon. */
static void least_to_measure(void) {
    test_cache_clear();
    emulation_set_device(0, 70, (size_t)40 << 20, NULL);
}

static void open_check(const char *name, unsigned nth) {
    struct engine_options options = {.max_batch_tokens = 512};
    struct engine *engine;
    struct error error = {0};
    least_to_measure();
    int failure = strncmp(name, "cublasLt", 8) == 0 ? (int)CUBLAS_STATUS_EXECUTION_FAILED
                                                    : (int)cudaErrorUnknown;
    emulation_fail(name, nth, failure, nth % 2, 0);
    int result = esm1nv_engine.open(&engine, &small.model, &options, &error);
    CHECK(result < 0 ? error.text[0] && !engine : engine != NULL, "%s %u: '%s'", name, nth,
          error.text);
    esm1nv_engine.close(engine);
    CHECK(emulation_live() == 0, "%s %u, '%s': %zu things left", name, nth, error.text,
          emulation_live());
    emulation_reset();
}

/* Lists the functions that an opening calls and must not rely on, and how often it calls them. What
 * frees or ends something is left out, for nobody could do that after it failed. */
struct opener {
    char name[48];
    unsigned calls;
};

static unsigned openers_find(struct opener openers[OPENERS_MAX]) {
    const char *name;
    unsigned count = 0;
    least_to_measure();
    esm1nv_engine.close(engine_new(NULL));
    for (unsigned i = 0; (name = emulation_called(i)) && count < OPENERS_MAX; i++) {
        if (strstr(name, "Destroy") || strstr(name, "Free") || strstr(name, "End"))
            continue;
        snprintf(openers[count].name, sizeof openers->name, "%s", name);
        openers[count++].calls = emulation_calls(name);
    }
    emulation_reset();
    return count;
}

/* A stride keeps the test short where a function is called often. */
static void open_failures(struct engine *none, bool flag) {
    struct opener openers[OPENERS_MAX];
    const unsigned most = scaled(6, 2), count = openers_find(openers);
    (void)none, (void)flag;
    CHECK(count >= 27, "an opening calls only %u functions", count);
    for (unsigned i = 0; i < count; i++)
        for (unsigned nth = 1; nth <= openers[i].calls; nth += 1 + openers[i].calls / most)
            open_check(openers[i].name, nth);
}

static void reopening_fails(struct engine *engine, bool sticky) {
    CHECK(!esm1nv_engine.broken(engine), "broken from the start");
    emulation_fail("cudaGraphLaunch", 1, cudaErrorECCUncorrectable, sticky, 1);
    for (unsigned i = 0; i < 3; i++) /* at the second it is known, and a third finds nobody */
        CHECK(batch_fails(engine, i == 0 ? "" : "cudaErrorECCUncorrectable", i), "it works");
    const char *broken = esm1nv_engine.broken(engine);
    CHECK(broken && strstr(broken, "cudaErrorECCUncorrectable"), "'%s'",
          broken ? broken : "not broken");
}

/* The device can be opened again each time, but every batch fails. */
static void always_fails(struct engine *engine, bool sticky) {
    unsigned failed = 0;
    for (unsigned i = 0; i < 10 && !esm1nv_engine.broken(engine); i++) {
        emulation_fail("cudaGraphLaunch", 1, cudaErrorIllegalInstruction, sticky, 0);
        failed += batch_fails(engine, "", i);
    }
    CHECK(failed >= 4 && failed < 10, "given up after %u batches", failed);
}

/* Many batches run on several devices, some of which fail. All batches must come back, in order,
 * right or failed. */
static void several_devices(struct engine *engine, bool failing) {
    enum { AT_ONCE = 6 };
    struct bundle bundles[AT_ONCE];
    unsigned rounds = scaled(20, 3), submitted = 0, reaped = 0, failed = 0;
    const struct engine_info *info = esm1nv_engine.info(engine);
    CHECK(info->depth == 6 && strncmp(info->device, "2 x ", 4) == 0, "depth %u, %s", info->depth,
          info->device);
    while (reaped < rounds * AT_ONCE) {
        while (submitted < rounds * AT_ONCE && submitted - reaped < AT_ONCE) {
            bundle_fresh(&bundles[submitted % AT_ONCE]);
            if (failing && submitted % 16 == 3)
                emulation_fail("cudaGraphLaunch", 1, cudaErrorIllegalAddress, true, 0);
            esm1nv_engine.submit(engine, &bundles[submitted++ % AT_ONCE].batch);
        }
        struct bundle *bundle = &bundles[reaped % AT_ONCE];
        struct engine_batch *batch = engine_next(engine);
        CHECK(batch == &bundle->batch, "batch %u is missing or out of order", reaped);
        if (batch != &bundle->batch)
            break;
        CHECK(bundle->batch.failure[0] || same_rows(bundle), "batch %u: other rows", reaped);
        failed += bundle->batch.failure[0] != '\0';
        bundle_free(bundle);
        reaped++;
    }
    CHECK(failing == (failed > 0), "%u batches failed", failed);
}

/* The device that is left must do the work of both. */
static void one_of_two(struct engine *engine, bool sticky) {
    unsigned failed = 0;
    emulation_fail("cudaGraphLaunch", 1, cudaErrorECCUncorrectable, sticky, 1);
    for (unsigned i = 0; i < 8; i++)
        failed += batch_fails(engine, "cudaErrorECCUncorrectable", i);
    CHECK(failed == 1 && !esm1nv_engine.broken(engine), "%u batches failed", failed);
}

/* Two engines share one card, as when a model is loaded anew beside the old one. A failure of one
 * must not take the other's memory away. */
static void two_engines(struct engine *second, bool sticky) {
    struct engine *first = engine_new(NULL);
    emulation_fail("cudaGraphLaunch", 1, cudaErrorLaunchTimeout, sticky, 0);
    CHECK(batch_fails(first, "", 0), "it works");
    works_check(second, 0);
    works_check(first, 1);
    esm1nv_engine.close(first);
    works_check(second, 2);
}

/* Closing must finish what was submitted, reaped or not. */
static void close_any_time(struct engine *none, bool flag) {
    unsigned rounds = scaled(24, 6);
    uint64_t state = 3;
    (void)none, (void)flag;
    for (unsigned round = 0; round < rounds; round++) {
        struct bundle bundles[3];
        struct engine *engine = engine_new(NULL);
        unsigned count = round % 4, reaped = count ? random_next(&state) % count : 0;
        if (round % 5 == 4)
            emulation_fail(NULL, 1 + round % 9, cudaErrorIllegalAddress, true, 0);
        for (unsigned i = 0; i < count; i++) {
            bundle_fresh(&bundles[i]);
            esm1nv_engine.submit(engine, &bundles[i].batch);
        }
        for (unsigned i = 0; i < reaped; i++)
            CHECK(engine_next(engine) == &bundles[i].batch, "batch %u is missing", i);
        esm1nv_engine.close(engine);
        for (unsigned i = 0; i < count; i++) {
            outcome_check(&bundles[i], "cudaErrorIllegalAddress", round);
            bundle_free(&bundles[i]);
        }
        emulation_reset();
    }
}

/* Each case runs on so many devices; where there are none, the test opens its engines itself.
 * Devices that a test loses are reset at the end, because the engine cannot free what they held. */
static const struct {
    const char *name;
    void (*run)(struct engine *engine, bool flag);
    bool flag;
    int count;
    const char *devices;
    bool lost;
} cases[] = {
    {"an engine without failures", healthy_make, false, 1, NULL, false},
    {"an error at any call of a batch, that passes", batch_failures, false, 1, NULL, false},
    {"an error at any call of a batch, that stays until the reset", batch_failures, true, 1, NULL,
     false},
    {"an error of a kernel, with several batches on their way", kernel_failure, true, 1, NULL,
     false},
    {"an error at any call of opening", open_failures, false, 0, NULL, false},
    {"a device that cannot be opened again", reopening_fails, true, 1, NULL, true},
    {"a device that fails again and again", always_fails, true, 1, NULL, false},
    {"two devices share batches, in order", several_devices, false, 3, "0,2", false},
    {"two devices that fail at times", several_devices, true, 3, "0,2", false},
    {"one of two devices is lost", one_of_two, true, 2, "all", true},
    {"two engines on one device", two_engines, false, 1, NULL, false},
    {"closing at any time", close_any_time, false, 0, NULL, false},
};

static void case_run(size_t i) {
    struct engine *engine = NULL;
    test_case(cases[i].name);
    device_count = cases[i].count;
    if (cases[i].count > 0) {
        emulation_set_device_count(cases[i].count);
        engine = engine_new(cases[i].devices);
    }
    cases[i].run(engine, cases[i].flag);
    esm1nv_engine.close(engine);
    for (int device = 0; cases[i].lost && device < cases[i].count; device++) {
        cudaSetDevice(device);
        cudaDeviceReset();
    }
    CHECK(emulation_live() == 0, "%zu things are left on the devices", emulation_live());
    emulation_reset();
}

int main(void) {
    test_cache_make();
    for (unsigned i = 0; i < SEQUENCES; i++)
        sequence_make(&sequences[i], lengths[i], i);
    small_model_make(&small, 1, GELU_TANH);
    emulation_reset();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        case_run(i);
    bundle_free(&healthy);
    small_model_free(&small);
    test_cache_remove();
    return test_done();
}
