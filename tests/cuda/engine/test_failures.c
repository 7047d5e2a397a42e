/* SPDX-License-Identifier: Apache-2.0
 *
 * CUDA errors, at every call of a batch's way and of an opening: the batch's records fail with the
 * error's name, the device comes back, later batches give the bytes they gave before, and nothing
 * is left over. Devices that do not come back, several devices, and the end at any time.
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

static const uint32_t lengths[SEQUENCES] = {3, 70, 1, 64, 30};
static struct sequence sequences[SEQUENCES];
static struct small_model small;

static void bundle_fresh(struct bundle *bundle) {
    bundle_make(bundle, sequences, NULL, SEQUENCES, POOLING_NONE, DTYPE_F32);
}

static struct bundle healthy; /* the rows of an engine without any failure */

static bool same_rows(const struct bundle *bundle) {
    bool same = true;
    for (unsigned i = 0; i < SEQUENCES; i++)
        same &= memcmp(bundle->items[i].rows, healthy.items[i].rows,
                       item_bytes(&bundle->items[i])) == 0;
    return same;
}

/* Either it went well, with the right bytes, or all of it failed with that name. Whether it did. */
static bool outcome_check(const struct bundle *bundle, const char *name, unsigned nth) {
    bool failed = bundle->batch.failure[0] != '\0';
    if (failed)
        CHECK(bundle_others(bundle, RECORD_ENGINE) == 0 && strstr(bundle->batch.failure, name) &&
                  strstr(bundle->batch.failure, "GPU 0"),
              "call %u: '%s'", nth, bundle->batch.failure);
    else
        CHECK(bundle_others(bundle, RECORD_OK) == 0 && same_rows(bundle), "call %u: other rows",
              nth);
    return failed;
}

static void works_check(struct engine *engine, unsigned nth) {
    struct bundle bundle;
    bundle_fresh(&bundle);
    bundle_run(engine, &bundle);
    CHECK(!bundle.batch.failure[0] && bundle_others(&bundle, RECORD_OK) == 0 && same_rows(&bundle),
          "after a failure of call %u: '%s'", nth, bundle.batch.failure);
    bundle_free(&bundle);
}

static void healthy_make(void) {
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    bundle_fresh(&healthy);
    bundle_run(engine, &healthy);
    CHECK(bundle_others(&healthy, RECORD_OK) == 0, "'%s'", healthy.batch.failure);
    esm1nv_engine.close(engine);
}

/* Fails the nth call from a batch's submission on, for every n that there is. */
static void batch_failures(bool sticky) {
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    unsigned failures = 0;
    for (unsigned nth = 1; nth <= 9; nth++) {
        struct bundle bundle;
        bundle_fresh(&bundle);
        emulation_fail(NULL, nth, cudaErrorIllegalAddress, sticky, 0);
        bundle_run(engine, &bundle);
        failures += outcome_check(&bundle, "cudaErrorIllegalAddress", nth);
        bundle_free(&bundle);
        CHECK(!esm1nv_engine.broken(engine), "%s", esm1nv_engine.broken(engine));
        works_check(engine, nth);
    }
    CHECK(failures >= 8, "only %u calls could fail", failures);
    esm1nv_engine.close(engine);
    emulation_reset();
}

/* A kernel that fails while it runs, deep in the pass. */
static void kernel_failure(void) {
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    struct bundle bundles[3];
    emulation_fail("kernel", 3, cudaErrorLaunchFailure, true, 0);
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
    esm1nv_engine.close(engine);
    emulation_reset();
}

/* What an opening calls and must not rely on. What frees or ends is left out, for nobody could
 * then; the emulation's streams are made WithPriority, whoever asks. */
static const char *const openers[] = {"cudaGetDeviceCount",
                                      "cudaDeviceGetAttribute",
                                      "cudaGetDeviceProperties",
                                      "cudaMemGetInfo",
                                      "cudaSetDevice",
                                      "cudaMalloc",
                                      "cudaHostAlloc",
                                      "cudaStreamCreateWithFlags",
                                      "cudaEventCreateWithFlags",
                                      "cudaMemcpyAsync",
                                      "cudaMemsetAsync",
                                      "cudaEventRecord",
                                      "cudaEventSynchronize",
                                      "cudaEventElapsedTime",
                                      "cudaStreamBeginCapture",
                                      "cudaGraphInstantiateWithFlags",
                                      "cublasLtCreate",
                                      "cublasLtMatmulDescCreate",
                                      "cublasLtMatmulDescSetAttribute",
                                      "cublasLtMatrixLayoutCreate",
                                      "cublasLtMatmulPreferenceCreate",
                                      "cublasLtMatmulPreferenceSetAttribute",
                                      "cublasLtMatmulAlgoGetHeuristic",
                                      "cublasLtMatmulAlgoCheck",
                                      "cublasLtMatmul",
                                      "launch",
                                      "kernel"};

/* A small card, without what has been measured: an opening that does all, soon. */
static void least_to_measure(void) {
    test_cache_clear();
    emulation_set_sm(0, 70);
    emulation_set_memory(0, (size_t)40 << 20);
}

static void open_check(const char *name, unsigned nth) {
    struct engine_options options = {.max_batch_tokens = 512};
    struct engine *engine;
    struct error error = {0};
    least_to_measure();
    int failure =
        strncmp(name, "cublasLt", 8) ? (int)cudaErrorUnknown : (int)CUBLAS_STATUS_EXECUTION_FAILED;
    emulation_fail(name, nth, failure, nth % 2, 0);
    int result = esm1nv_engine.open(&engine, &small.model, &options, &error);
    CHECK(result < 0 ? error.text[0] && !engine : engine != NULL, "%s %u: '%s'", name, nth,
          error.text);
    esm1nv_engine.close(engine);
    CHECK(emulation_live() == 0, "%s %u, '%s': %zu things left", name, nth, error.text,
          emulation_live());
    emulation_reset();
}

/* Every call of an opening fails once; a stride keeps it short. */
static void open_failures(void) {
    const unsigned most = scaled(6, 2);
    for (unsigned i = 0; i < sizeof(openers) / sizeof(*openers); i++) {
        least_to_measure();
        struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
        unsigned calls = emulation_calls(openers[i]);
        esm1nv_engine.close(engine);
        emulation_reset();
        CHECK(calls > 0, "%s is never called", openers[i]);
        for (unsigned nth = 1; nth <= calls; nth += 1 + calls / most)
            open_check(openers[i], nth);
    }
}

static void broken_check(struct engine *engine, const char *word) {
    struct bundle bundle;
    bundle_fresh(&bundle);
    bundle_run(engine, &bundle);
    CHECK(bundle.batch.failure[0] && bundle_others(&bundle, RECORD_ENGINE) == 0, "it works");
    bundle_free(&bundle);
    bundle_fresh(&bundle); /* by now it is known */
    bundle_run(engine, &bundle);
    const char *broken = esm1nv_engine.broken(engine);
    CHECK(broken && strstr(broken, word) && strstr(bundle.batch.failure, word), "'%s', '%s'",
          broken ? broken : "not broken", bundle.batch.failure);
    bundle_free(&bundle);
}

static void reopening_fails(void) {
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    CHECK(!esm1nv_engine.broken(engine), "broken from the start");
    emulation_fail("cudaGraphLaunch", 1, cudaErrorECCUncorrectable, true, 1);
    broken_check(engine, "cudaErrorECCUncorrectable");
    esm1nv_engine.close(engine);
    cudaDeviceReset(); /* for what the reset that failed has left */
    emulation_reset();
}

/* Reopening goes well, but never a batch. */
static void always_fails(void) {
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    unsigned failed = 0;
    for (int i = 0; i < 10 && !esm1nv_engine.broken(engine); i++) {
        struct bundle bundle;
        bundle_fresh(&bundle);
        emulation_fail("cudaGraphLaunch", 1, cudaErrorIllegalInstruction, true, 0);
        bundle_run(engine, &bundle);
        failed += bundle.batch.failure[0] != '\0';
        bundle_free(&bundle);
    }
    CHECK(failed >= 4 && failed < 10, "given up after %u batches", failed);
    esm1nv_engine.close(engine);
    emulation_reset();
}

/* Many batches on several devices, some of which fail: all come back, in order, right or failed. */
static void several_devices(bool failing) {
    enum { AT_ONCE = 6 };
    struct bundle bundles[AT_ONCE];
    unsigned rounds = scaled(20, 3), submitted = 0, reaped = 0, failed = 0;
    emulation_set_device_count(3);
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, "0,2", 512);
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
    esm1nv_engine.close(engine);
    emulation_reset();
}

/* The device that is left does the work of both. */
static void one_of_two(void) {
    unsigned failed = 0;
    emulation_set_device_count(2);
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, "all", 512);
    emulation_fail("cudaGraphLaunch", 1, cudaErrorECCUncorrectable, true, 1);
    for (int i = 0; i < 8; i++) {
        struct bundle bundle;
        bundle_fresh(&bundle);
        bundle_run(engine, &bundle);
        failed += bundle.batch.failure[0] != '\0';
        bundle_free(&bundle);
    }
    CHECK(failed == 1 && !esm1nv_engine.broken(engine), "%u batches failed", failed);
    esm1nv_engine.close(engine);
    cudaSetDevice(0);
    cudaDeviceReset();
    cudaSetDevice(1);
    cudaDeviceReset();
    emulation_reset();
}

/* Two engines on one card, as when a model is loaded anew beside the old one: a failure of one must
 * not take the other's memory away. */
static void two_engines(void) {
    struct engine *first = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    struct engine *second = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
    struct bundle bundle;
    bundle_fresh(&bundle);
    emulation_fail("cudaGraphLaunch", 1, cudaErrorLaunchTimeout, false, 0);
    bundle_run(first, &bundle);
    CHECK(bundle.batch.failure[0], "it works");
    bundle_free(&bundle);
    works_check(second, 0);
    works_check(first, 1);
    esm1nv_engine.close(first);
    works_check(second, 2);
    esm1nv_engine.close(second);
    emulation_reset();
}

/* Closing finishes what was submitted, reaped or not. */
static void close_any_time(void) {
    unsigned rounds = scaled(24, 6);
    uint64_t state = 3;
    for (unsigned round = 0; round < rounds; round++) {
        struct bundle bundles[3];
        struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, 512);
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

static void case_run(const char *name, void (*test)(void)) {
    test_case(name);
    test();
    CHECK(emulation_live() == 0, "%zu things are left on the devices", emulation_live());
}

static void batch_failures_once(void) {
    batch_failures(false);
}

static void batch_failures_sticky(void) {
    batch_failures(true);
}

static void devices_work(void) {
    several_devices(false);
}

static void devices_fail(void) {
    several_devices(true);
}

int main(void) {
    test_cache_make();
    for (unsigned i = 0; i < SEQUENCES; i++)
        sequence_make(&sequences[i], lengths[i], i);
    small_model_make(&small, 1, GELU_TANH);
    emulation_reset();
    case_run("an engine without failures", healthy_make);
    case_run("an error at any call of a batch, that passes", batch_failures_once);
    case_run("an error at any call of a batch, that stays until the reset", batch_failures_sticky);
    case_run("an error of a kernel, with several batches on their way", kernel_failure);
    case_run("an error at any call of opening", open_failures);
    case_run("a device that cannot be opened again", reopening_fails);
    case_run("a device that fails again and again", always_fails);
    case_run("two devices share batches, in order", devices_work);
    case_run("two devices that fail at times", devices_fail);
    case_run("one of two devices is lost", one_of_two);
    case_run("two engines on one device", two_engines);
    case_run("closing at any time", close_any_time);
    bundle_free(&healthy);
    small_model_free(&small);
    test_cache_remove();
    return test_done();
}
