/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU backend behind engine.h: one thread that takes whole batches from the queue and runs them
 * as the first member of the encoder's team.
 */
#include "daemon/base/clock.h"
#include "daemon/cpu/cpu_features.h"
#include "daemon/cpu/encoder.h"
#include "daemon/engine/queue.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DEPTH 2
#define BATCH_TOKENS 2048
#define THREADS_MAX 1024

struct engine {
    struct engine_info info;
    struct encoder *encoder;
    struct engine_queue queue;
    pthread_t thread;
    bool started;
};

/* Locked, but for the computing itself. */
static void batch_run(struct engine *engine) {
    struct engine_part whole;
    engine_queue_take(&engine->queue, &whole, UINT32_MAX);
    pthread_mutex_unlock(&engine->queue.lock);
    double start = clock_seconds();
    encoder_run(engine->encoder, whole.batch);
    double seconds = clock_seconds() - start;
    pthread_mutex_lock(&engine->queue.lock);
    engine_queue_part_done(&engine->queue, &whole, seconds, NULL);
}

static void *engine_main(void *argument) {
    struct engine *engine = argument;
    struct engine_queue *queue = &engine->queue;
    pthread_setname_np(pthread_self(), "cpu-engine-0");
    pthread_mutex_lock(&queue->lock);
    while (!engine_queue_is_over(queue)) {
        if (engine_queue_has_work(queue))
            batch_run(engine);
        else
            pthread_cond_wait(&queue->changed, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static int cpu_probe(struct error *error) {
    (void)error; /* portable C runs everywhere */
    return 0;
}

static void cpu_close(struct engine *engine) {
    if (!engine)
        return;
    engine_queue_close(&engine->queue);
    if (engine->started)
        pthread_join(engine->thread, NULL);
    encoder_destroy(engine->encoder);
    engine_queue_finish(&engine->queue);
    free(engine);
}

static int engine_start(struct engine *engine, const struct model *model,
                        const struct kernels *kernels, const struct engine_options *options,
                        struct error *error) {
    if (engine_queue_init(&engine->queue, DEPTH, &model->config, options->max_batch_tokens, error) <
            0 ||
        encoder_create(&engine->encoder, model, kernels, engine->info.threads,
                       options->max_batch_tokens, error) < 0)
        return -1;
    int result = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (result)
        return error_set(error, EX_SOFTWARE, "cannot start the engine's thread: %s",
                         strerror(result));
    engine->started = true;
    engine->info.weight_bytes = encoder_weight_bytes(engine->encoder);
    return 0;
}

static int options_check(const struct engine_options *options, struct error *error) {
    if (options->precision == PRECISION_F16)
        return error_set(error, EX_CONFIG,
                         "precision f16 is not for the cpu backend; use f32 or bf16");
    if (options->threads > THREADS_MAX)
        return error_set(error, EX_CONFIG, "%u threads are too many; use at most %u",
                         options->threads, THREADS_MAX);
    return 0;
}

static int cpu_open(struct engine **out, const struct model *model,
                    const struct engine_options *options, struct error *error) {
    enum instruction_set set;
    bool bf16 = options->precision == PRECISION_BF16;
    *out = NULL;
    if (options_check(options, error) < 0 || features_choose(&set, error) < 0)
        return -1;
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return error_set(error, EX_SOFTWARE, "out of memory");
    const struct kernels *kernels = features_kernels(set, bf16 ? PRECISION_BF16 : PRECISION_F32);
    engine->info =
        (struct engine_info){.backend = "cpu",
                             .precision = bf16 ? "bf16" : "f32",
                             .instructions = kernels->instructions,
                             .threads = options->threads ? options->threads : usable_cores(),
                             .depth = DEPTH,
                             .batch_tokens = BATCH_TOKENS};
    if (engine_start(engine, model, kernels, options, error) < 0) {
        cpu_close(engine);
        return -1;
    }
    *out = engine;
    return 0;
}

static const struct engine_info *cpu_info(const struct engine *engine) {
    return &engine->info;
}

static void cpu_submit(struct engine *engine, struct engine_batch *batch) {
    engine_queue_submit(&engine->queue, batch);
}

static int cpu_completion_fd(const struct engine *engine) {
    return engine->queue.fd;
}

static struct engine_batch *cpu_reap(struct engine *engine) {
    return engine_queue_reap(&engine->queue);
}

static const char *cpu_broken(const struct engine *engine) {
    (void)engine;
    return NULL;
}

const struct engine_table cpu_engine_table = {.abi = ENGINE_ABI,
                                              .name = "cpu",
                                              .default_batch_tokens = BATCH_TOKENS,
                                              .last_resort = true,
                                              .probe = cpu_probe,
                                              .open = cpu_open,
                                              .info = cpu_info,
                                              .submit = cpu_submit,
                                              .completion_fd = cpu_completion_fd,
                                              .reap = cpu_reap,
                                              .broken = cpu_broken,
                                              .close = cpu_close};
