/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU backend: implements engine.h with one thread, which takes whole batches from the queue
 * and runs them as the first member of the encoder's team.
 */
#include "daemon/base/clock.h"
#include "daemon/cpu/cpu_features.h"
#include "daemon/cpu/encoder.h"
#include "daemon/engine/queued.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DEPTH 2
#define BATCH_TOKENS 2048
#define THREADS_MAX 1024

struct cpu_engine {
    struct engine engine;
    struct encoder *encoder;
    pthread_t thread;
    bool started;
};

/* Called with the lock held, which is released while the batch is computed. */
static void batch_run(struct engine_queue *queue, struct encoder *encoder) {
    struct engine_part whole;
    engine_queue_take(queue, &whole, UINT32_MAX);
    pthread_mutex_unlock(&queue->lock);
    double start = clock_seconds();
    encoder_run(encoder, whole.batch);
    double seconds = clock_seconds() - start;
    pthread_mutex_lock(&queue->lock);
    engine_queue_part_done(queue, &whole, seconds, NULL);
}

static void *engine_main(void *argument) {
    struct cpu_engine *cpu = argument;
    struct engine_queue *queue = &cpu->engine.queue;
    pthread_setname_np(pthread_self(), "cpu-engine-0");
    pthread_mutex_lock(&queue->lock);
    while (!engine_queue_is_over(queue)) {
        if (engine_queue_has_work(queue))
            batch_run(queue, cpu->encoder);
        else
            pthread_cond_wait(&queue->changed, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static int cpu_probe(struct error *error) {
    (void)error; /* there is nothing to probe, because portable C runs everywhere */
    return 0;
}

static void cpu_close(struct engine *engine) {
    if (!engine)
        return;
    struct cpu_engine *cpu = container_of(engine, struct cpu_engine, engine);
    engine_queue_close(&engine->queue);
    if (cpu->started)
        pthread_join(cpu->thread, NULL);
    encoder_destroy(cpu->encoder);
    engine_queue_finish(&engine->queue);
    free(cpu);
}

static int engine_start(struct cpu_engine *cpu, const struct model *model,
                        const struct kernels *kernels, const struct engine_options *options,
                        struct error *error) {
    struct engine *engine = &cpu->engine;
    if (engine_queue_init(&engine->queue, DEPTH, &model->config, options->max_batch_tokens, error) <
            0 ||
        encoder_create(&cpu->encoder, model, kernels, engine->info.threads,
                       options->max_batch_tokens, error) < 0)
        return -1;
    int result = pthread_create(&cpu->thread, NULL, engine_main, cpu);
    if (result)
        return error_set(error, EX_SOFTWARE, "cannot start the engine's thread: %s",
                         strerror(result));
    cpu->started = true;
    engine->info.weight_bytes = encoder_weight_bytes(cpu->encoder);
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
    struct cpu_engine *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return error_set(error, EX_SOFTWARE, "out of memory");
    const struct kernels *kernels = features_kernels(set, bf16 ? PRECISION_BF16 : PRECISION_F32);
    cpu->engine.info =
        (struct engine_info){.backend = "cpu",
                             .precision = bf16 ? "bf16" : "f32",
                             .instructions = kernels->instructions,
                             .threads = options->threads ? options->threads : usable_cores(),
                             .depth = DEPTH,
                             .batch_tokens = BATCH_TOKENS};
    if (engine_start(cpu, model, kernels, options, error) < 0) {
        cpu_close(&cpu->engine);
        return -1;
    }
    *out = &cpu->engine;
    return 0;
}

const struct engine_table cpu_engine_table = {.abi = ENGINE_ABI,
                                              .name = "cpu",
                                              .default_batch_tokens = BATCH_TOKENS,
                                              .last_resort = true,
                                              .probe = cpu_probe,
                                              .open = cpu_open,
                                              .info = queued_info,
                                              .submit = queued_submit,
                                              .completion_fd = queued_completion_fd,
                                              .reap = queued_reap,
                                              .broken = queued_broken,
                                              .close = cpu_close};
