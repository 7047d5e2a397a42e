/* SPDX-License-Identifier: Apache-2.0
 *
 * At most one load is under way. Its generation is served from the next HELLO on; a load that fails
 * changes nothing. When the engine that serves breaks, the model is loaded on the engine of last
 * resort, and if that fails too, the daemon leaves.
 */
#include "daemon/serve/generations.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/serve/background.h"
#include "daemon/serve/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>

struct generations {
    struct service *service;
    const struct generation_request *request;
    struct background *background;
    struct loop_watch *watch; /* of the background */
    struct generation_list list;
    unsigned count;       /* of generations so far */
    bool wanted;          /* a reload was asked for */
    bool engine_broke;    /* that of the current generation, and it was noticed */
    bool loading;         /* a load is under way */
    bool takes_over;      /* the load is to take over from the engine that broke */
    struct error failure; /* why nothing can be served any more; status 0: there is none */
};

static struct generation *generations_current(const struct generations *generations) {
    return generations->service->generation;
}

/* Cuts a note that is too long for a message. */
__attribute__((format(printf, 2, 3))) static void service_note(struct service *service,
                                                               const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(service->note, sizeof service->note, format, arguments);
    va_end(arguments);
}

void generations_announce(const struct generations *generations) {
    const char *more = generations->service->note;
    char text[256];
    generation_describe(generations_current(generations), text, sizeof text);
    sd_notifyf(0, "STATUS=Serving %s%s%s", text, more[0] ? "; " : "", more);
    sd_notify(0, "READY=1");
}

/* Has sessions welcomed with this generation from now on. Returns 0, or -ENOMEM when the generation
 * stays the caller's. */
static int generation_serve(struct generations *generations, struct generation *generation) {
    const struct loop_callbacks callbacks = {.readable = batches_on_completion};
    struct service *service = generations->service;
    generation->watch =
        loop_add(service->loop, generation->table->completion_fd(generation->engine), &callbacks,
                 generation);
    if (!generation->watch)
        return -ENOMEM;
    generation->service = service;
    generation->number = ++generations->count;
    TAILQ_INSERT_TAIL(&generations->list, generation, link);
    service->generation = generation;
    generations->engine_broke = false;
    service_note(service, "%s", generation->note);
    return 0;
}

static void generation_retire(struct generations *generations, struct generation *generation) {
    TAILQ_REMOVE(&generations->list, generation, link);
    loop_remove(generation->watch, false);
    background_close(generations->background, generation);
}

static void generations_retire_unused(struct generations *generations) {
    struct generation *next;
    for (struct generation *generation = TAILQ_FIRST(&generations->list); generation;
         generation = next) {
        next = TAILQ_NEXT(generation, link);
        if (generation == generations_current(generations) || generation->sessions > 0)
            continue;
        log_info("generation %u, %s, has no clients any more and is closed", generation->number,
                 generation->model->name);
        generation_retire(generations, generation);
    }
}

const struct error *generations_failure(const struct generations *generations) {
    return generations->failure.status != 0 ? &generations->failure : NULL;
}

/* --- Engines that break ----------------------------------------------------------------------- */

static void describe_breakage(const struct generation *broken, char *text, size_t capacity) {
    snprintf(text, capacity, "the %s engine broke: %s", broken->info->backend, broken->broken);
}

static void generations_fail(struct generations *generations, const char *why) {
    char broke[256];
    describe_breakage(generations_current(generations), broke, sizeof broke);
    error_set(&generations->failure, EX_SOFTWARE, "%s, and nothing can take over: %s", broke, why);
}

/* Notices, once, that the current engine broke. */
static void generations_notice_breakage(struct generations *generations) {
    struct generation *broken = generations_current(generations);
    struct service *service = generations->service;
    generations->engine_broke = true;
    describe_breakage(broken, service->note, sizeof service->note);
    if (broken->table->last_resort)
        generations_fail(generations, "it was the last resort");
}

/* The last resort takes over from an engine that broke, in a precision that it has. */
static struct generation_request takeover_request(const struct generation_request *request) {
    struct generation_request takeover = *request;
    takeover.backend = engine_last_resort();
    if (takeover.precision == PRECISION_F16)
        takeover.precision = PRECISION_AUTO;
    return takeover;
}

/* --- Loading ---------------------------------------------------------------------------------- */

/* Logs and announces how a load ended: `why` it failed, or NULL when it did not. */
static void load_settle(struct generations *generations, const char *why) {
    const char *note = generations_current(generations)->note;
    if (why && generations->takes_over) {
        generations_fail(generations, why);
        return;
    }
    if (why) {
        log_error("the model is not reloaded, and what was served still is: %s", why);
        service_note(generations->service, "%s%sthe last reload failed: %s", note,
                     note[0] ? "; " : "", why);
    }
    generations_announce(generations);
}

static void load_begin(struct generations *generations) {
    bool takes_over = generations->engine_broke;
    const char *how = takes_over ? "on the CPU" : "again";
    struct generation_request request =
        takes_over ? takeover_request(generations->request) : *generations->request;
    if (!takes_over)
        generations->wanted = false;
    log_info("loading %s %s", request.model, how);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)(clock_seconds() * 1e6));
    sd_notifyf(0, "STATUS=Loading %s %s", request.model, how);
    generations->takes_over = takes_over;
    int result = background_load(generations->background, &request, &generations->service->limits);
    generations->loading = result == 0;
    if (result < 0)
        load_settle(generations, strerror(-result));
}

/* Serves the generation that was loaded. Returns 0, or -1 when it had to be closed instead. */
static int load_serve(struct generations *generations, struct generation *generation,
                      struct error *error) {
    char text[256];
    if (generations->takes_over)
        describe_breakage(generations_current(generations), generation->note,
                          sizeof generation->note);
    generation_warn(generation);
    if (generation_serve(generations, generation) < 0) {
        background_close(generations->background, generation);
        return error_set(error, EX_SOFTWARE, "out of memory");
    }
    generation_describe(generation, text, sizeof text);
    log_info("generation %u: new clients get %s, model digest %s", generation->number, text,
             generation->model->digest);
    return 0;
}

static void load_on_end(void *context) {
    struct generations *generations = context;
    struct generation *generation;
    struct error error = {0};
    int result = background_take(generations->background, &generation, &error);
    if (result > 0)
        return;
    generations->loading = false;
    if (generations->service->draining) {
        if (generation)
            background_close(generations->background, generation);
        return;
    }
    if (result == 0)
        result = load_serve(generations, generation, &error);
    load_settle(generations, result < 0 ? error.text : NULL);
}

void generations_reload(struct generations *generations) {
    generations->wanted = true;
}

void generations_tend(struct generations *generations) {
    generations_retire_unused(generations);
    if (generations->service->draining || generations_failure(generations))
        return;
    if (generations_current(generations)->broken && !generations->engine_broke)
        generations_notice_breakage(generations);
    if (!generations->loading && !generations_failure(generations) &&
        (generations->engine_broke || generations->wanted))
        load_begin(generations);
}

/* --- Life ------------------------------------------------------------------------------------- */

/* Returns 0 or -errno; the first generation stays the caller's then. */
static int generations_init(struct generations *generations, struct generation *first) {
    const struct loop_callbacks callbacks = {.readable = load_on_end};
    TAILQ_INIT(&generations->list);
    int result = background_create(&generations->background);
    if (result < 0)
        return result;
    generations->watch = loop_add(generations->service->loop,
                                  background_fd(generations->background), &callbacks, generations);
    return generations->watch ? generation_serve(generations, first) : -ENOMEM;
}

int generations_create(struct generations **out, struct service *service, struct generation *first,
                       const struct generation_request *request, struct error *error) {
    struct generations *generations = calloc(1, sizeof *generations);
    int result = -ENOMEM;
    if (generations) {
        *generations = (struct generations){.service = service, .request = request};
        result = generations_init(generations, first);
    }
    *out = generations;
    if (result == 0)
        return 0;
    generation_close(first);
    return error_set(error, EX_SOFTWARE, "cannot serve: %s", strerror(-result));
}

bool generations_destroy(struct generations *generations) {
    if (!generations)
        return true;
    loop_remove(generations->watch, false);
    struct generation *generation;
    while ((generation = TAILQ_FIRST(&generations->list)))
        generation_retire(generations, generation);
    bool ended = background_destroy(generations->background, 1000);
    free(generations);
    return ended;
}
