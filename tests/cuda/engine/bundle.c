/* SPDX-License-Identifier: Apache-2.0
 *
 * Models, sequences and batches for the tests of the CUDA engine.
 */
#include "tests/cuda/engine/bundle.h"
#include "tests/kernels/random.h"

#include <err.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORD_UNWRITTEN ((enum record_status)99) /* until the engine writes one */

/* Makes a tensor [rows][columns] of random numbers around a mean. */
static struct tensor tensor_make(struct small_model *small, uint64_t *state, uint32_t rows,
                                 uint32_t columns, float mean) {
    float *data = small->floats + small->used;
    for (size_t i = 0; i < (size_t)rows * columns; i++)
        data[i] = mean + 0.1f * random_normal(state);
    small->used += (size_t)rows * columns;
    return (struct tensor){(unsigned char *)data, TENSOR_F32, rows, columns, columns, 1};
}

static struct layer_weights layer_make(struct small_model *small, uint64_t *state) {
    const uint32_t h = MODEL_HIDDEN;
    return (struct layer_weights){
        .input_norm_gain = tensor_make(small, state, 1, h, 1),
        .input_norm_bias = tensor_make(small, state, 1, h, 0),
        .qkv_weight = tensor_make(small, state, 3 * h, h, 0),
        .qkv_bias = tensor_make(small, state, 1, 3 * h, 0),
        .dense_weight = tensor_make(small, state, h, h, 0),
        .dense_bias = tensor_make(small, state, 1, h, 0),
        .post_norm_gain = tensor_make(small, state, 1, h, 1),
        .post_norm_bias = tensor_make(small, state, 1, h, 0),
        .fc1_weight = tensor_make(small, state, h, h, 0),
        .fc1_bias = tensor_make(small, state, 1, h, 0),
        .fc2_weight = tensor_make(small, state, h, h, 0),
        .fc2_bias = tensor_make(small, state, 1, h, 0),
    };
}

void small_model_make(struct small_model *small, uint32_t layers, enum gelu gelu) {
    const uint32_t h = MODEL_HIDDEN;
    uint64_t state = 5;
    *small = (struct small_model){0};
    size_t floats = (size_t)h * (MODEL_VOCABULARY + MODEL_POSITIONS + 2 + layers * (6 * h + 10));
    small->floats = calloc(floats, sizeof(float));
    struct model *model = &small->model;
    snprintf(model->name, sizeof model->name, "small");
    model->config = (struct model_config){.layers = layers,
                                          .hidden = h,
                                          .ffn = h,
                                          .heads = 1,
                                          .positions = MODEL_POSITIONS,
                                          .vocabulary = MODEL_VOCABULARY,
                                          .epsilon = 1e-5f,
                                          .gelu = gelu};
    model->layers = calloc(layers, sizeof *model->layers);
    if (!small->floats || !model->layers)
        err(1, "model");
    model->word_embeddings = tensor_make(small, &state, MODEL_VOCABULARY, h, 0);
    model->position_embeddings = tensor_make(small, &state, MODEL_POSITIONS, h, 0);
    model->final_norm_gain = tensor_make(small, &state, 1, h, 1);
    model->final_norm_bias = tensor_make(small, &state, 1, h, 0);
    for (uint32_t i = 0; i < layers; i++)
        model->layers[i] = layer_make(small, &state);
}

void small_model_free(struct small_model *small) {
    free(small->floats);
    free(small->model.layers);
}

void sequence_make(struct sequence *sequence, uint32_t tokens, uint64_t seed) {
    sequence->tokens = tokens;
    sequence->first_residue = tokens > 1;
    sequence->residues = tokens > 2 ? tokens - 2 : 1;
    for (uint32_t t = 0; t < tokens; t++)
        sequence->ids[t] = (uint16_t)(5 + random_next(&seed) % 25);
}

size_t item_bytes(const struct engine_item *item) {
    size_t rows = item->pooling == POOLING_NONE ? item->residues : 1;
    return rows * MODEL_HIDDEN * dtype_size(item->dtype);
}

static struct engine_item item_make(const struct sequence *sequence, uint32_t first_token,
                                    enum pooling pooling, enum dtype dtype) {
    struct engine_item item = {.first_token = first_token,
                               .tokens = sequence->tokens,
                               .first_residue = sequence->first_residue,
                               .residues = sequence->residues,
                               .pooling = pooling,
                               .dtype = dtype,
                               .status = RECORD_UNWRITTEN};
    item.rows = aligned_alloc(64, item_bytes(&item));
    if (!item.rows)
        err(1, "rows");
    memset(item.rows, 0xff, item_bytes(&item));
    return item;
}

void bundle_make(struct bundle *bundle, const struct sequence *sequences, const unsigned *order,
                 unsigned count, enum pooling pooling, enum dtype dtype) {
    size_t tokens = 0;
    for (unsigned i = 0; i < count; i++)
        tokens += sequences[order ? order[i] : i].tokens;
    *bundle = (struct bundle){.ids = malloc(tokens * sizeof(uint16_t)),
                              .items = calloc(count, sizeof(struct engine_item))};
    if (!bundle->ids || !bundle->items)
        err(1, "batch");
    bundle->batch = (struct engine_batch){
        .ids = bundle->ids, .items = bundle->items, .count = count, .user = bundle};
    for (unsigned i = 0; i < count; i++) {
        const struct sequence *sequence = &sequences[order ? order[i] : i];
        bundle->items[i] = item_make(sequence, bundle->batch.tokens, pooling, dtype);
        memcpy(bundle->ids + bundle->batch.tokens, sequence->ids,
               sequence->tokens * sizeof(uint16_t));
        bundle->batch.tokens += sequence->tokens;
    }
}

void bundle_free(struct bundle *bundle) {
    for (uint32_t i = 0; i < bundle->batch.count; i++)
        free(bundle->items[i].rows);
    free(bundle->items);
    free(bundle->ids);
}

struct engine_batch *engine_next(struct engine *engine) {
    struct pollfd fd = {esm1nv_engine.completion_fd(engine), POLLIN, 0};
    struct engine_batch *batch = esm1nv_engine.reap(engine); /* asking early gives nothing */
    if (batch)
        return batch;
    return poll(&fd, 1, 600000) == 1 ? esm1nv_engine.reap(engine) : NULL;
}

void bundle_run(struct engine *engine, struct bundle *bundle) {
    esm1nv_engine.submit(engine, &bundle->batch);
    if (engine_next(engine) != &bundle->batch)
        errx(1, "the engine did not answer");
}

void bundle_compute(struct bundle *bundle, struct engine *engine, const struct sequence *sequences,
                    const unsigned *order, unsigned count, enum pooling pooling, enum dtype dtype) {
    bundle_make(bundle, sequences, order, count, pooling, dtype);
    bundle_run(engine, bundle);
}

unsigned bundle_others(const struct bundle *bundle, enum record_status status) {
    unsigned others = 0;
    for (uint32_t i = 0; i < bundle->batch.count; i++)
        others += bundle->items[i].status != status;
    return others;
}

struct engine *engine_make(const struct model *model, enum precision precision, const char *devices,
                           uint32_t max_tokens) {
    struct engine_options options = {
        .precision = precision, .devices = devices, .max_batch_tokens = max_tokens};
    struct engine *engine;
    struct error error;
    if (esm1nv_engine.open(&engine, model, &options, &error) < 0)
        errx(1, "open: %s", error.text);
    return engine;
}

unsigned scaled(unsigned volume, unsigned least) {
    const char *scale = getenv("ESM1NV_TEST_SCALE");
    double left = volume * (scale ? atof(scale) : 1);
    return left > least ? (unsigned)left : least;
}

static char cache[64];

const char *test_cache_make(void) {
    snprintf(cache, sizeof cache, "/tmp/esm1nv-cuda-XXXXXX");
    if (!mkdtemp(cache))
        err(1, "%s", cache);
    unsetenv("CACHE_DIRECTORY");
    setenv("XDG_CACHE_HOME", cache, 1);
    return cache;
}

size_t test_cache_files(char path[512]) {
    glob_t found = {0};
    snprintf(path, 512, "%s/esm1nv/*", cache);
    if (glob(path, 0, NULL, &found) == 0)
        snprintf(path, 512, "%s", found.gl_pathv[0]);
    globfree(&found);
    return found.gl_pathc;
}

void test_cache_clear(void) {
    char path[512];
    while (test_cache_files(path) > 0)
        unlink(path);
    snprintf(path, sizeof path, "%s/esm1nv", cache);
    rmdir(path);
}

void test_cache_remove(void) {
    test_cache_clear();
    rmdir(cache);
}
