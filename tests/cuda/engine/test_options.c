/* SPDX-License-Identifier: Apache-2.0
 *
 * This checks what the CUDA engine says of machines without a GPU, of options that it cannot
 * fulfil, and of itself; and the file in which it keeps its choice of algorithms.
 */
#include "tests/check.h"
#include "tests/cuda/emulation/emulation.h"
#include "tests/cuda/engine/bundle.h"

#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

static struct small_model small;

/* There are so many devices, and the first call fails with an error, or not (0). */
static void probe_check(int devices, int failure, const char *word) {
    struct error error = {0};
    emulation_set_device_count(devices);
    if (failure != 0)
        emulation_fail("cudaGetDeviceCount", 1, failure, false, 0);
    int result = esm1nv_engine.probe(&error);
    CHECK(result < 0 && error.status == EX_CONFIG && strstr(error.text, word), "%s: %d, '%s'", word,
          result, error.text);
    emulation_reset();
}

static void test_probe(void) {
    struct error error = {0};
    test_case("machines without driver, device or tensor cores are told so");
    CHECK(esm1nv_engine.probe(&error) == 0, "'%s'", error.text);
    probe_check(0, 0, "no NVIDIA GPU");
    probe_check(1, cudaErrorNoDevice, "no NVIDIA GPU");
    probe_check(1, cudaErrorStubLibrary, "stub");
    probe_check(1, cudaErrorInsufficientDriver, "too old");
    probe_check(EMULATION_NO_DRIVER, 0, "no NVIDIA driver");
    CHECK(esm1nv_engine.abi == ENGINE_ABI && strcmp(esm1nv_engine.name, "cuda") == 0, "table");
}

static void refused(struct engine_options options, const char *word) {
    struct engine *engine;
    struct error error = {0};
    int result = esm1nv_engine.open(&engine, &small.model, &options, &error);
    CHECK(result < 0 && !engine && error.status == EX_CONFIG && strstr(error.text, word),
          "%s: %d, status %d, '%s'", word, result, error.status, error.text);
    esm1nv_engine.close(engine);
}

static void test_options(void) {
    test_case("impossible options are refused");
    refused((struct engine_options){.precision = PRECISION_F32, .max_batch_tokens = 512}, "f32");
    refused((struct engine_options){.max_batch_tokens = MODEL_POSITIONS - 1}, "batches");
    emulation_set_device(0, 75, 0, NULL);
    refused((struct engine_options){.precision = PRECISION_BF16, .max_batch_tokens = 512}, "bf16");
    emulation_reset();
    emulation_set_device(0, 0, 1 << 20, NULL);
    refused((struct engine_options){.max_batch_tokens = 512}, "MB");
    emulation_reset();
    esm1nv_engine.close(NULL);
}

static void test_devices(void) {
    static const char *const wrong[][2] = {{"2", "has 2"},     {"0,0", "twice"},
                                           {"0,", "neither"},  {"", "neither"},
                                           {"-1", "neither"},  {"first", "neither"},
                                           {"0;1", "neither"}, {"99999999999999999999", "has 2"}};
    test_case("devices are named by number, and are alike");
    emulation_set_device_count(2);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused((struct engine_options){.devices = wrong[i][0], .max_batch_tokens = 512},
                wrong[i][1]);
    emulation_set_device(1, 90, 0, NULL);
    refused((struct engine_options){.devices = "all", .max_batch_tokens = 512}, "not alike");
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, "1", 512);
    CHECK(strcmp(esm1nv_engine.info(engine)->instructions, "sm_90") == 0, "sm_90");
    esm1nv_engine.close(engine);
    emulation_reset();
}

static void range_check(enum precision precision, float value, bool fits) {
    float *weight = (float *)(void *)(uintptr_t)small.model.layers[0].fc1_weight.data;
    float kept = weight[5];
    weight[5] = value;
    if (fits)
        esm1nv_engine.close(engine_make(&small.model, precision, NULL, 512));
    else
        refused((struct engine_options){.precision = precision, .max_batch_tokens = 512},
                "dense_h_to_4h.weight");
    weight[5] = kept;
}

static void test_range(void) {
    test_case("a weight that does not fit the type refuses the model");
    range_check(PRECISION_F16, 7e4f, false);
    range_check(PRECISION_F16, -65520.0f, false);
    range_check(PRECISION_F16, 65504.0f, true);
    range_check(PRECISION_BF16, 7e4f, true);
    range_check(PRECISION_BF16, 3.4e38f, false);
    CHECK(emulation_live() == 0, "%zu things are left", emulation_live());
}

static void info_check(int sm, size_t memory, uint32_t max_tokens, uint32_t want) {
    emulation_set_device(0, sm, memory, NULL);
    struct engine *engine = engine_make(&small.model, PRECISION_AUTO, NULL, max_tokens);
    const struct engine_info *info = esm1nv_engine.info(engine);
    CHECK(info->batch_tokens == want, "sm %d, %zu MB: %u tokens", sm, memory >> 20,
          info->batch_tokens);
    CHECK(info->device_bytes > info->weight_bytes && info->device_bytes <= memory &&
              strcmp(info->backend, "cuda") == 0 && strcmp(info->precision, "f16") == 0 &&
              info->depth == 3 && info->device[0],
          "%llu bytes, %s %s, depth %u, '%s'", (unsigned long long)info->device_bytes,
          info->backend, info->precision, info->depth, info->device);
    esm1nv_engine.close(engine);
    emulation_reset();
}

static void test_info(void) {
    test_case("batches suit the card, its memory and the limit");
    info_check(70, (size_t)1 << 30, 100000, 2048);
    info_check(86, (size_t)1 << 30, 100000, 4096);
    info_check(90, (size_t)1 << 30, 100000, 8192);
    info_check(90, (size_t)1 << 30, 1000, 1000);
    info_check(90, (size_t)110 << 20, 100000, 4096);
    info_check(90, (size_t)80 << 20, 100000, 512);
}

/* Returns how many heuristics an opening asks for on a card of that name, which has those
 * epilogues: 4 and more, or none with a cache. */
static unsigned heuristics_of(const char *name, enum emulation_epilogues epilogues) {
    emulation_reset();
    emulation_set_device(0, 0, 0, name);
    emulation_set_epilogues(epilogues);
    esm1nv_engine.close(engine_make(&small.model, PRECISION_AUTO, NULL, 512));
    return emulation_calls("cublasLtMatmulAlgoGetHeuristic");
}

static unsigned heuristics(void) {
    return heuristics_of(NULL, EMULATION_EPILOGUES_ALL);
}

static void cache_damage(const char *path, long at, const char *what) {
    FILE *file = fopen(path, "r+");
    CHECK(file, "%s", path);
    if (!file)
        return;
    if (at < 0) {
        fseek(file, 0, SEEK_END);
        fputc('x', file);
    } else {
        fseek(file, at, SEEK_SET);
        int byte = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(byte ^ 1, file);
    }
    fclose(file);
    CHECK(heuristics() >= 4, "%s: believed", what);
    CHECK(heuristics() == 0, "%s: not mended", what);
}

static void test_cache(const char *folder) {
    char path[512];
    test_case("the choice of algorithms is kept in a file");
    test_cache_clear();
    CHECK(heuristics() >= 4, "nothing was asked");
    CHECK(test_cache_files(path) == 1, "not one file");
    CHECK(heuristics() == 0, "asked again");
    test_case("a damaged file is as none, and mended");
    cache_damage(path, 3, "key");
    cache_damage(path, 300, "choices");
    cache_damage(path, -1, "longer");
    CHECK(test_cache_files(path) == 1, "not one file");
    test_case("another card has its own file");
    CHECK(heuristics_of("Another GPU", EMULATION_EPILOGUES_ALL) >= 4 && test_cache_files(path) == 2,
          "it took the first card's");
    test_case("no folder for the file is no failure");
    emulation_reset();
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    CHECK(heuristics() >= 4 && heuristics() >= 4, "found");
    setenv("CACHE_DIRECTORY", "", 1);
    setenv("XDG_CACHE_HOME", folder, 1);
    CHECK(heuristics() == 0, "not found again");
}

/* A choice that the library no longer offers is measured anew. */
static void test_fallback(void) {
    const enum emulation_epilogues kinds[] = {EMULATION_EPILOGUES_NONE, EMULATION_EPILOGUES_BIAS,
                                              EMULATION_EPILOGUES_ALL};
    test_case("a library without fused epilogues serves as well; one without algorithms is named");
    for (int i = 0; i < 3; i++)
        heuristics_of(NULL, kinds[i]);
    test_cache_clear();
    emulation_set_epilogues(EMULATION_EPILOGUES_NOTHING);
    refused((struct engine_options){.max_batch_tokens = 512}, "no algorithm for query_key_value");
    emulation_reset();
}

int main(void) {
    const char *folder = test_cache_make();
    small_model_make(&small, 1, GELU_TANH);
    emulation_reset();
    test_probe();
    test_options();
    test_devices();
    test_range();
    test_info();
    test_cache(folder);
    test_fallback();
    CHECK(emulation_live() == 0, "%zu things are left", emulation_live());
    small_model_free(&small);
    test_cache_remove();
    return test_done();
}
