/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend behind engine.h: the plugin's one exported symbol. An engine is a queue, the
 * weights as the devices want them, and a worker for each GPU.
 */
#include "cuda/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

struct engine {
    struct engine_info info;
    char instructions[16], device[96];
    struct sizes sizes;
    struct weights weights;
    struct choices choices;
    struct engine_queue queue;
    unsigned count;
    struct worker workers[]; /* [count] */
};

static int cuda_probe(struct error *error) {
    return cards_probe(error);
}

/* The number type, or -1. */
static int type_choose(const struct engine_options *options, const struct card *card,
                       struct error *error) {
    if (options->precision == PRECISION_F32)
        return error_set(error, EX_CONFIG,
                         "precision f32 is not for the cuda backend; use f16, bf16, or the cpu "
                         "backend");
    if (options->precision != PRECISION_BF16)
        return GPU_F16;
    if (card->sm < 80)
        return error_set(error, EX_CONFIG,
                         "precision bf16 needs compute capability 8.0 or later, GPU %d (%s) has "
                         "%u.%u; use f16",
                         card->ordinal, card->name, card->sm / 10, card->sm % 10);
    return GPU_BF16;
}

static void info_write(struct engine *engine, const struct card *card) {
    uint32_t flat = engine->sizes.largest, most = engine->queue.max_tokens;
    snprintf(engine->instructions, sizeof engine->instructions, "sm_%u", card->sm);
    if (engine->count > 1)
        snprintf(engine->device, sizeof engine->device, "%u x %s", engine->count, card->name);
    else
        snprintf(engine->device, sizeof engine->device, "%s", card->name);
    engine->info =
        (struct engine_info){.backend = "cuda",
                             .precision = engine->sizes.type == GPU_BF16 ? "bf16" : "f16",
                             .instructions = engine->instructions,
                             .threads = 2 * engine->count,
                             .depth = engine->queue.depth,
                             .batch_tokens = flat < most ? flat : most,
                             .weight_bytes = engine->sizes.weights,
                             .device = engine->device,
                             .device_bytes = engine->sizes.device_bytes};
}

static int workers_start(struct engine *engine, const struct card *cards, struct error *error) {
    for (unsigned i = 0; i < engine->count; i++) {
        struct worker *worker = &engine->workers[i];
        *worker = (struct worker){
            .queue = &engine->queue, .all = engine->workers, .count = engine->count};
        if (device_open(&worker->device, &cards[i], &engine->sizes, &engine->weights,
                        &engine->choices, error) < 0)
            return -1;
    }
    for (unsigned i = 0; i < engine->count; i++)
        if (worker_start(&engine->workers[i], error) < 0)
            return -1;
    return 0;
}

static void cuda_close(struct engine *engine) {
    if (!engine)
        return;
    engine_queue_close(&engine->queue);
    for (unsigned i = 0; i < engine->count; i++)
        worker_stop(&engine->workers[i]);
    for (unsigned i = 0; i < engine->count; i++)
        device_close(&engine->workers[i].device);
    engine_queue_finish(&engine->queue);
    weights_finish(&engine->weights);
    free(engine);
}

static int engine_make(struct engine **out, const struct model *model,
                       const struct engine_options *options, const struct card *cards, int count,
                       struct error *error) {
    int type = type_choose(options, cards, error);
    if (type < 0)
        return -1;
    struct engine *engine = calloc(1, sizeof *engine + (size_t)count * sizeof *engine->workers);
    if (!engine)
        return error_set(error, EX_SOFTWARE, "out of memory");
    *out = engine;
    engine->count = (unsigned)count;
    if (engine_queue_init(&engine->queue, SETS * engine->count, &model->config,
                          options->max_batch_tokens, error) < 0 ||
        weights_init(&engine->weights, model, (enum gpu_type)type, error) < 0)
        return -1;
    struct card least = cards[0];
    for (int i = 1; i < count; i++)
        if (cards[i].free_bytes < least.free_bytes)
            least.free_bytes = cards[i].free_bytes;
    sizes_init(&engine->sizes, &model->config, (enum gpu_type)type, engine->weights.places.bytes,
               &least, options->max_batch_tokens);
    info_write(engine, &cards[0]);
    return workers_start(engine, cards, error);
}

static int cuda_open(struct engine **out, const struct model *model,
                     const struct engine_options *options, struct error *error) {
    struct card cards[CARDS_MAX];
    *out = NULL;
    int count = cards_choose(cards, options->devices, error);
    if (count < 0)
        return -1;
    if (engine_make(out, model, options, cards, count, error) == 0)
        return 0;
    cuda_close(*out);
    *out = NULL;
    return -1;
}

static const struct engine_info *cuda_info(const struct engine *engine) {
    return &engine->info;
}

static void cuda_submit(struct engine *engine, struct engine_batch *batch) {
    engine_queue_submit(&engine->queue, batch);
}

static int cuda_completion_fd(const struct engine *engine) {
    return engine->queue.fd;
}

static struct engine_batch *cuda_reap(struct engine *engine) {
    return engine_queue_reap(&engine->queue);
}

static const char *cuda_broken(const struct engine *engine) {
    return engine->queue.broken;
}

__attribute__((visibility("default"))) extern const struct engine_table esm1nv_engine;

const struct engine_table esm1nv_engine = {.abi = ENGINE_ABI,
                                           .name = "cuda",
                                           .default_batch_tokens = 8192,
                                           .probe = cuda_probe,
                                           .open = cuda_open,
                                           .info = cuda_info,
                                           .submit = cuda_submit,
                                           .completion_fd = cuda_completion_fd,
                                           .reap = cuda_reap,
                                           .broken = cuda_broken,
                                           .close = cuda_close};
