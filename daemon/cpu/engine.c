/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU backend behind engine.h: a thread that runs queued batches in order as the first member
 * of the encoder's team, and an eventfd that says when one is done. The lock guards the queue only;
 * nobody computes with it held.
 */
#include "daemon/engine/engine.h"
#include "daemon/cpu/encoder.h"
#include "daemon/cpu/cpu_features.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#define DEPTH 2
#define BATCH_TOKENS 2048
#define THREADS_MAX 1024

struct engine {
    struct engine_info info;
    struct encoder *encoder;
    int fd;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing;
    struct engine_batch *ring[DEPTH]; /* by number modulo DEPTH */
    uint64_t submitted, finished, reaped;
};

static void *engine_main(void *argument) {
    struct engine *engine = argument;
    pthread_setname_np(pthread_self(), "cpu-engine-0");
    pthread_mutex_lock(&engine->lock);
    for (;;) {
        while (engine->finished == engine->submitted && !engine->closing)
            pthread_cond_wait(&engine->wake, &engine->lock);
        if (engine->finished == engine->submitted)
            break;
        struct engine_batch *batch = engine->ring[engine->finished % DEPTH];
        pthread_mutex_unlock(&engine->lock);
        encoder_run(engine->encoder, batch);
        pthread_mutex_lock(&engine->lock);
        engine->finished++;
        eventfd_write(engine->fd, 1);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

static int cpu_probe(struct error *error) {
    (void)error; /* portable C runs everywhere */
    return 0;
}

static void cpu_close(struct engine *engine) {
    if (!engine)
        return;
    if (engine->started) {
        pthread_mutex_lock(&engine->lock);
        engine->closing = true;
        pthread_cond_signal(&engine->wake);
        pthread_mutex_unlock(&engine->lock);
        pthread_join(engine->thread, NULL);
    }
    encoder_destroy(engine->encoder);
    if (engine->fd >= 0)
        close(engine->fd);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

static int engine_start(struct engine *engine, const struct model *model,
                        const struct kernels *kernels, const struct engine_options *options,
                        struct error *error) {
    engine->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->fd < 0)
        return error_set(error, EX_SOFTWARE, "cannot create an eventfd: %s", strerror(errno));
    if (encoder_create(&engine->encoder, model, kernels, engine->info.threads,
                       options->max_batch_tokens, error) < 0)
        return -1;
    int failure = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (failure)
        return error_set(error, EX_SOFTWARE, "cannot start the engine's thread: %s",
                         strerror(failure));
    engine->started = true;
    return 0;
}

/* Signals belong to the daemon's loop: the engine's threads are born with all of them blocked. */
static int engine_start_quietly(struct engine *engine, const struct model *model,
                                const struct kernels *kernels, const struct engine_options *options,
                                struct error *error) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = engine_start(engine, model, kernels, options, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

static int options_check(const struct model *model, const struct engine_options *options,
                         struct error *error) {
    if (options->precision == PRECISION_F16)
        return error_set(error, EX_CONFIG,
                         "precision f16 is not for the cpu backend; use f32 or bf16");
    if (options->threads > THREADS_MAX)
        return error_set(error, EX_CONFIG, "%u threads are too many; use at most %u",
                         options->threads, THREADS_MAX);
    if (options->max_batch_tokens < model->config.positions)
        return error_set(error, EX_CONFIG,
                         "batches of %u tokens cannot hold a sequence of %u; allow larger ones",
                         options->max_batch_tokens, model->config.positions);
    return 0;
}

static int cpu_open(struct engine **out, const struct model *model,
                    const struct engine_options *options, struct error *error) {
    enum instruction_set set;
    bool bf16 = options->precision == PRECISION_BF16;
    *out = NULL;
    if (options_check(model, options, error) < 0 || features_choose(&set, error) < 0)
        return -1;
    struct engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return error_set(error, EX_SOFTWARE, "out of memory");
    engine->fd = -1;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->wake, NULL);
    const struct kernels *kernels = features_kernels(set, bf16 ? PRECISION_BF16 : PRECISION_F32);
    engine->info =
        (struct engine_info){.backend = "cpu",
                             .precision = bf16 ? "bf16" : "f32",
                             .instructions = kernels->instructions,
                             .threads = options->threads ? options->threads : engine_usable_cores(),
                             .depth = DEPTH,
                             .batch_tokens = BATCH_TOKENS};
    if (engine_start_quietly(engine, model, kernels, options, error) < 0) {
        cpu_close(engine);
        return -1;
    }
    engine->info.weight_bytes = encoder_weight_bytes(engine->encoder);
    *out = engine;
    return 0;
}

static const struct engine_info *cpu_info(const struct engine *engine) {
    return &engine->info;
}

static void cpu_submit(struct engine *engine, struct engine_batch *batch) {
    pthread_mutex_lock(&engine->lock);
    engine->ring[engine->submitted++ % DEPTH] = batch;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
}

static int cpu_completion_fd(const struct engine *engine) {
    return engine->fd;
}

static struct engine_batch *cpu_reap(struct engine *engine) {
    struct engine_batch *batch = NULL;
    eventfd_t ignored;
    pthread_mutex_lock(&engine->lock);
    if (engine->reaped < engine->finished)
        batch = engine->ring[engine->reaped++ % DEPTH];
    if (engine->reaped == engine->finished)
        eventfd_read(engine->fd, &ignored); /* nothing is left to be told */
    pthread_mutex_unlock(&engine->lock);
    return batch;
}

static const char *cpu_broken(const struct engine *engine) {
    (void)engine;
    return NULL;
}

const struct engine_table cpu_engine_table = {.abi = ENGINE_ABI,
                                              .name = "cpu",
                                              .last_resort = true,
                                              .probe = cpu_probe,
                                              .open = cpu_open,
                                              .info = cpu_info,
                                              .submit = cpu_submit,
                                              .completion_fd = cpu_completion_fd,
                                              .reap = cpu_reap,
                                              .broken = cpu_broken,
                                              .close = cpu_close};
