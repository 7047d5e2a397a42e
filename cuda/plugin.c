/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend: implements engine.h, and exports the plugin's only symbol. An engine consists
 * of a queue, the weights as devices need them, and a worker for each GPU.
 */
#include "cuda/worker.h"
#include "daemon/engine/queued.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

struct cuda_engine {
    struct engine engine;
    char instructions[16], device[96];
    struct sizes sizes;
    struct weights weights;
    struct choices choices;
    unsigned count;
    struct worker workers[]; /* [count] */
};

/* Returns the number type, or -1. */
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

static void info_write(struct cuda_engine *cuda, const struct card *card) {
    uint32_t flat = cuda->sizes.largest, most = cuda->engine.queue.max_tokens;
    snprintf(cuda->instructions, sizeof cuda->instructions, "sm_%u", card->sm);
    if (cuda->count > 1)
        snprintf(cuda->device, sizeof cuda->device, "%u x %s", cuda->count, card->name);
    else
        snprintf(cuda->device, sizeof cuda->device, "%s", card->name);
    cuda->engine.info =
        (struct engine_info){.backend = "cuda",
                             .precision = cuda->sizes.type == GPU_BF16 ? "bf16" : "f16",
                             .instructions = cuda->instructions,
                             .threads = 2 * cuda->count,
                             .depth = cuda->engine.queue.depth,
                             .batch_tokens = flat < most ? flat : most,
                             .weight_bytes = cuda->sizes.weights,
                             .device = cuda->device,
                             .device_bytes = cuda->sizes.device_bytes};
}

static int workers_start(struct cuda_engine *cuda, const struct card *cards, struct error *error) {
    for (unsigned i = 0; i < cuda->count; i++) {
        struct worker *worker = &cuda->workers[i];
        *worker = (struct worker){
            .queue = &cuda->engine.queue, .all = cuda->workers, .count = cuda->count};
        if (device_open(&worker->device, &cards[i], &cuda->sizes, &cuda->weights, &cuda->choices,
                        error) < 0)
            return -1;
    }
    for (unsigned i = 0; i < cuda->count; i++)
        if (worker_start(&cuda->workers[i], error) < 0)
            return -1;
    return 0;
}

static void cuda_close(struct engine *engine) {
    if (!engine)
        return;
    struct cuda_engine *cuda = container_of(engine, struct cuda_engine, engine);
    engine_queue_close(&engine->queue);
    for (unsigned i = 0; i < cuda->count; i++)
        worker_stop(&cuda->workers[i]);
    for (unsigned i = 0; i < cuda->count; i++)
        device_close(&cuda->workers[i].device);
    engine_queue_finish(&engine->queue);
    weights_finish(&cuda->weights);
    free(cuda);
}

static int engine_make(struct engine **out, const struct model *model,
                       const struct engine_options *options, const struct card *cards, int count,
                       struct error *error) {
    int type = type_choose(options, cards, error);
    if (type < 0)
        return -1;
    struct cuda_engine *cuda = calloc(1, sizeof *cuda + (size_t)count * sizeof *cuda->workers);
    if (!cuda)
        return error_set(error, EX_SOFTWARE, "out of memory");
    *out = &cuda->engine;
    cuda->count = (unsigned)count;
    if (engine_queue_init(&cuda->engine.queue, SETS * cuda->count, &model->config,
                          options->max_batch_tokens, error) < 0 ||
        weights_init(&cuda->weights, model, (enum gpu_type)type, error) < 0)
        return -1;
    struct card least = cards[0];
    for (int i = 1; i < count; i++)
        if (cards[i].free_bytes < least.free_bytes)
            least.free_bytes = cards[i].free_bytes;
    sizes_init(&cuda->sizes, &model->config, (enum gpu_type)type, cuda->weights.places.bytes,
               &least, options->max_batch_tokens);
    info_write(cuda, &cards[0]);
    return workers_start(cuda, cards, error);
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

__attribute__((visibility("default"))) extern const struct engine_table esm1nv_engine;

const struct engine_table esm1nv_engine = {.abi = ENGINE_ABI,
                                           .name = "cuda",
                                           .default_batch_tokens = 8192,
                                           .probe = cards_probe,
                                           .open = cuda_open,
                                           .info = queued_info,
                                           .submit = queued_submit,
                                           .completion_fd = queued_completion_fd,
                                           .reap = queued_reap,
                                           .broken = queued_broken,
                                           .close = cuda_close};
