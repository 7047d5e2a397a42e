/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend behind engine.h: the plugin's one exported symbol. An engine is a queue, the
 * weights as the devices want them, and a worker for each GPU.
 */
#include "cuda/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

struct engine {
    struct engine_info info;
    char instructions[16], device[96];
    struct model_config config;
    uint32_t max_tokens; /* of a batch */
    struct sizes sizes;
    struct weights weights;
    struct choices choices;
    struct queue queue;
    bool queue_made;
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
    uint32_t good = engine->sizes.largest;
    snprintf(engine->instructions, sizeof(engine->instructions), "sm_%u", card->sm);
    if (engine->count > 1)
        snprintf(engine->device, sizeof(engine->device), "%u x %s", engine->count, card->name);
    else
        snprintf(engine->device, sizeof(engine->device), "%s", card->name);
    engine->info =
        (struct engine_info){.backend = "cuda",
                             .precision = engine->sizes.type == GPU_BF16 ? "bf16" : "f16",
                             .instructions = engine->instructions,
                             .threads = 2 * engine->count,
                             .depth = SETS * engine->count,
                             .batch_tokens = good < engine->max_tokens ? good : engine->max_tokens,
                             .weight_bytes = engine->sizes.weights,
                             .device = engine->device,
                             .device_bytes = engine->sizes.device_bytes};
}

static int engine_start(struct engine *engine, const struct card *cards, struct error *error) {
    if (queue_init(&engine->queue, engine->info.depth, error) < 0)
        return -1;
    engine->queue_made = true;
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
    if (engine->queue_made) {
        pthread_mutex_lock(&engine->queue.lock);
        engine->queue.closing = true;
        pthread_cond_broadcast(&engine->queue.changed);
        pthread_mutex_unlock(&engine->queue.lock);
        for (unsigned i = 0; i < engine->count; i++)
            worker_stop(&engine->workers[i]);
        for (unsigned i = 0; i < engine->count; i++)
            device_close(&engine->workers[i].device);
        queue_finish(&engine->queue);
    }
    weights_finish(&engine->weights);
    free(engine);
}

static int engine_make(struct engine **out, const struct model *model,
                       const struct engine_options *options, const struct card *cards, int count,
                       struct error *error) {
    int type = type_choose(options, cards, error);
    if (type < 0)
        return -1;
    struct engine *engine = calloc(1, sizeof(*engine) + (size_t)count * sizeof(*engine->workers));
    if (!engine)
        return error_set(error, EX_SOFTWARE, "out of memory");
    engine->config = model->config;
    engine->count = (unsigned)count;
    engine->max_tokens = options->max_batch_tokens;
    *out = engine;
    if (weights_init(&engine->weights, model, (enum gpu_type)type, error) < 0)
        return -1;
    struct card least = cards[0];
    for (int i = 1; i < count; i++)
        if (cards[i].free_bytes < least.free_bytes)
            least.free_bytes = cards[i].free_bytes;
    sizes_init(&engine->sizes, &model->config, (enum gpu_type)type, engine->weights.places.bytes,
               &least, options->max_batch_tokens);
    info_write(engine, &cards[0]);
    return engine_start(engine, cards, error);
}

/* Signals belong to the daemon's loop: all threads, the runtime's own too, are born with them
 * blocked. */
static int cuda_open(struct engine **out, const struct model *model,
                     const struct engine_options *options, struct error *error) {
    struct card cards[CARDS_MAX];
    sigset_t all, before;
    *out = NULL;
    if (options->max_batch_tokens < model->config.positions)
        return error_set(error, EX_CONFIG,
                         "batches of %u tokens cannot hold a sequence of %u; allow larger ones",
                         options->max_batch_tokens, model->config.positions);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int count = cards_choose(cards, options->devices, error);
    int result = count < 0 ? -1 : engine_make(out, model, options, cards, count, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result < 0) {
        cuda_close(*out);
        *out = NULL;
    }
    return result;
}

static const struct engine_info *cuda_info(const struct engine *engine) {
    return &engine->info;
}

static void cuda_submit(struct engine *engine, struct engine_batch *batch) {
    queue_submit(&engine->queue, batch,
                 engine_batch_fault(batch, &engine->config, engine->max_tokens));
}

static int cuda_completion_fd(const struct engine *engine) {
    return engine->queue.fd;
}

static struct engine_batch *cuda_reap(struct engine *engine) {
    return queue_reap(&engine->queue);
}

static const char *cuda_broken(const struct engine *engine) {
    return engine->queue.broken;
}

__attribute__((visibility("default"))) extern const struct engine_table esm1nv_engine;

const struct engine_table esm1nv_engine = {.abi = ENGINE_ABI,
                                           .name = "cuda",
                                           .probe = cuda_probe,
                                           .open = cuda_open,
                                           .info = cuda_info,
                                           .submit = cuda_submit,
                                           .completion_fd = cuda_completion_fd,
                                           .reap = cuda_reap,
                                           .broken = cuda_broken,
                                           .close = cuda_close};
