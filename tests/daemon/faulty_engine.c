/* SPDX-License-Identifier: Apache-2.0
 *
 * An engine that fails as it is told, in place of the null backend of esm1nvd-faulty: the first
 * residue of a sequence says how. W: its whole batch fails. X: its rows are not finite. B: the
 * engine breaks, and every batch from this one on fails. Z: its batch takes 0.3 s. U: its batch
 * never comes back. O: the engine breaks after 0.3 s, and the batch comes back after 0.6 s.
 * Everything else is done by the null engine, whose rows are known. With $ESM1NV_NO_CPU set, the
 * CPU backend cannot be opened. With $ESM1NV_SECOND_OPEN set, only the first engine can: others
 * fail after so many seconds.
 */
#include "daemon/engine/chooser.h"

#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 2
#define SLOW_NANOSECONDS INT64_C(300000000)
#define NEVER INT64_MAX

/* As the published tokenizer has them. */
enum { TOKEN_W = 24, TOKEN_X = 25, TOKEN_B = 26, TOKEN_Z = 27, TOKEN_U = 28, TOKEN_O = 29 };

int __real_engine_open(const struct engine_table **table, struct engine **engine,
                       const char *backend, const struct model *model,
                       const struct engine_options *options, char note[256], struct error *error);
int __wrap_engine_open(const struct engine_table **table, struct engine **engine,
                       const char *backend, const struct model *model,
                       const struct engine_options *options, char note[256], struct error *error);

struct engine {
    struct engine *null;
    struct engine_info info;
    int timer;
    bool broken;
    int64_t breaks; /* nanoseconds; 0: not of itself */
    struct engine_batch *done[DEPTH];
    int64_t ready[DEPTH]; /* nanoseconds */
    unsigned count;
};

static int64_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* The first batch that ever comes back: they do so in order. */
static unsigned first(const struct engine *engine) {
    unsigned number = 0;

    while (number < engine->count && engine->ready[number] == NEVER)
        number++;
    return number;
}

/* The completion descriptor is a timer that rings when the first batch is ready or the engine
 * breaks. */
static void set_timer(struct engine *engine) {
    int64_t next = first(engine) < engine->count ? engine->ready[first(engine)] : NEVER;
    struct itimerspec setting = {0};

    if (engine->breaks && engine->breaks < next)
        next = engine->breaks;
    if (next != NEVER)
        setting.it_value =
            (struct timespec){.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000};
    timerfd_settime(engine->timer, TFD_TIMER_ABSTIME, &setting, NULL);
}

static int faulty_probe(struct error *error) {
    (void)error;
    return 0;
}

static void faulty_close(struct engine *engine) {
    if (!engine)
        return;
    null_engine_table.close(engine->null);
    close(engine->timer);
    free(engine);
}

static int faulty_open(struct engine **result, const struct model *model,
                       const struct engine_options *options, struct error *error) {
    struct engine *engine = calloc(1, sizeof *engine);
    struct engine_options own = *options;

    *result = NULL;
    if (!engine)
        return error_set(error, EX_SOFTWARE, "out of memory");
    engine->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (own.max_batch_tokens == 0)
        own.max_batch_tokens = model->config.positions;
    if (null_engine_table.open(&engine->null, model, &own, error) < 0) {
        faulty_close(engine);
        return -1;
    }
    engine->info = *null_engine_table.info(engine->null);
    engine->info.backend = "faulty";
    *result = engine;
    return 0;
}

static const struct engine_info *faulty_info(const struct engine *engine) {
    return &engine->info;
}

static void faulty_submit(struct engine *engine, struct engine_batch *batch) {
    int64_t ready = now();
    bool fails = false;

    null_engine_table.submit(engine->null, batch);
    null_engine_table.reap(engine->null);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct engine_item *item = &batch->items[i];
        unsigned told = batch->ids[item->first_token + item->first_residue];

        if (told == TOKEN_X)
            item->status = RECORD_NONFINITE;
        if (told == TOKEN_O)
            engine->breaks = now() + SLOW_NANOSECONDS;
        if (told == TOKEN_Z || told == TOKEN_O)
            ready += (told == TOKEN_Z ? 1 : 2) * SLOW_NANOSECONDS;
        if (told == TOKEN_U)
            ready = NEVER;
        fails = fails || told == TOKEN_W;
        engine->broken = engine->broken || told == TOKEN_B;
    }
    if (fails || engine->broken)
        engine_items_fail(batch, 0, batch->count, engine->broken ? "it is broken" : "told to fail");
    engine->ready[engine->count] = ready;
    engine->done[engine->count++] = batch;
    set_timer(engine);
}

static int faulty_completion_fd(const struct engine *engine) {
    return engine->timer;
}

static struct engine_batch *take(struct engine *engine, unsigned number) {
    struct engine_batch *batch = engine->done[number];

    engine->count--;
    for (unsigned i = number; i < engine->count; i++) {
        engine->done[i] = engine->done[i + 1];
        engine->ready[i] = engine->ready[i + 1];
    }
    return batch;
}

static struct engine_batch *faulty_reap(struct engine *engine) {
    struct engine_batch *batch = NULL;
    unsigned number = first(engine);

    if (engine->breaks && engine->breaks <= now()) {
        engine->broken = true;
        engine->breaks = 0;
    }
    if (number < engine->count && engine->ready[number] <= now())
        batch = take(engine, number);
    set_timer(engine);
    return batch;
}

static const char *faulty_broken(const struct engine *engine) {
    return engine->broken ? "told to break" : NULL;
}

static const struct engine_table faulty_engine_table = {
    .abi = ENGINE_ABI,
    .name = "faulty",
    .probe = faulty_probe,
    .open = faulty_open,
    .info = faulty_info,
    .submit = faulty_submit,
    .completion_fd = faulty_completion_fd,
    .reap = faulty_reap,
    .broken = faulty_broken,
    .close = faulty_close,
};

int __wrap_engine_open(const struct engine_table **table, struct engine **engine,
                       const char *backend, const struct model *model,
                       const struct engine_options *options, char note[256], struct error *error) {
    static unsigned opened; /* by one thread at a time */
    const char *second = getenv("ESM1NV_SECOND_OPEN");

    if (strcmp(backend, "cpu") == 0 && getenv("ESM1NV_NO_CPU"))
        return error_set(error, EX_CONFIG, "there is no CPU");
    if (strcmp(backend, "null") != 0)
        return __real_engine_open(table, engine, backend, model, options, note, error);
    if (opened++ > 0 && second) {
        sleep((unsigned)atoi(second));
        return error_set(error, EX_CONFIG, "there is no second one");
    }
    *table = &faulty_engine_table;
    note[0] = '\0';
    return faulty_open(engine, model, options, error);
}
