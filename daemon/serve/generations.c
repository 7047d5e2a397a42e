/* SPDX-License-Identifier: Apache-2.0
 *
 * At most one load is under way. What comes of it is served from the next HELLO on; a load that
 * fails changes nothing, unless the engine that serves is broken: then the model is opened on the
 * CPU, and when that cannot be, the daemon leaves.
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
    unsigned count;     /* generations so far */
    bool wanted;        /* somebody asked for another */
    bool engine_broke;  /* of the generation that serves */
    bool loading;       /* a load is under way */
    bool on_cpu;        /* and is to take over from that engine */
    bool failed;        /* nothing can be served any more */
    struct error error; /* and why */
};

static struct generation *generations_current(const struct generations *generations) {
    return generations->service->generation;
}

/* What is too long for a message is cut. */
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

/* Sessions are welcomed with it from now on. Returns 0 or -ENOMEM; the generation stays the
 * caller's then. */
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

/* --- Engines that break ----------------------------------------------------------------------- */

static void describe_breakage(const struct generation *broken, char *text, size_t capacity) {
    snprintf(text, capacity, "the %s engine broke: %s", broken->info->backend, broken->broken);
}

static void generations_fail(struct generations *generations, const char *why) {
    char broke[256];

    describe_breakage(generations_current(generations), broke, sizeof broke);
    error_set(&generations->error, EX_SOFTWARE, "%s, and nothing can take over: %s", broke, why);
    generations->failed = true;
}

/* The engine that serves broke: says so once. */
static void generations_notice_breakage(struct generations *generations) {
    struct generation *broken = generations_current(generations);
    struct service *service = generations->service;

    generations->engine_broke = true;
    describe_breakage(broken, service->note, sizeof service->note);
    if (broken->table->last_resort)
        generations_fail(generations, "it was the last resort");
}

/* What takes over from an engine that broke: the CPU, in a precision that it has. */
static struct generation_request on_the_cpu(const struct generation_request *request) {
    struct generation_request takeover = *request;

    takeover.backend = "cpu";
    if (takeover.precision == PRECISION_F16)
        takeover.precision = PRECISION_AUTO;
    return takeover;
}

/* --- Loading ---------------------------------------------------------------------------------- */

/* After a load that failed (`why`) or not (NULL): what people are told. */
static void load_settle(struct generations *generations, const char *why) {
    const char *note = generations_current(generations)->note;

    if (why && generations->on_cpu) {
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
    bool on_cpu = generations->engine_broke;
    const char *how = on_cpu ? "on the CPU" : "again";
    struct generation_request request =
        on_cpu ? on_the_cpu(generations->request) : *generations->request;

    if (!on_cpu)
        generations->wanted = false;
    log_info("loading %s %s", request.model, how);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)(clock_seconds() * 1e6));
    sd_notifyf(0, "STATUS=Loading %s %s", request.model, how);
    generations->on_cpu = on_cpu;
    int result = background_load(generations->background, &request, &generations->service->limits);
    generations->loading = result == 0;
    if (result < 0)
        load_settle(generations, strerror(-result));
}

/* What was loaded is served, or why not is said. Returns 0 or -1. */
static int load_serve(struct generations *generations, struct generation *generation,
                      struct error *error) {
    char text[256];

    if (generations->on_cpu)
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
    if (generations->service->draining || generations->failed)
        return;
    if (generations_current(generations)->broken && !generations->engine_broke)
        generations_notice_breakage(generations);
    if (!generations->loading && !generations->failed &&
        (generations->engine_broke || generations->wanted))
        load_begin(generations);
}

/* --- Life ------------------------------------------------------------------------------------- */

const struct error *generations_failure(const struct generations *generations) {
    return generations->failed ? &generations->error : NULL;
}

/* Everything but the first generation. Returns 0 or -errno. */
static int generations_init(struct generations *generations) {
    const struct loop_callbacks callbacks = {.readable = load_on_end};
    int result = background_create(&generations->background);

    if (result < 0)
        return result;
    generations->watch = loop_add(generations->service->loop,
                                  background_fd(generations->background), &callbacks, generations);
    return generations->watch ? 0 : -ENOMEM;
}

int generations_create(struct generations **result, struct service *service,
                       struct generation *first, const struct generation_request *request,
                       struct error *error) {
    struct generations *generations = calloc(1, sizeof *generations);
    int failure = generations ? 0 : -ENOMEM;

    *result = generations;
    if (generations) {
        *generations = (struct generations){.service = service, .request = request};
        TAILQ_INIT(&generations->list);
        failure = generations_init(generations);
    }
    if (failure == 0)
        failure = generation_serve(generations, first);
    if (failure == 0)
        return 0;
    generation_close(first);
    return error_set(error, EX_SOFTWARE, "cannot serve: %s", strerror(-failure));
}

bool generations_destroy(struct generations *generations) {
    struct generation *generation;

    if (!generations)
        return true;
    loop_remove(generations->watch, false);
    while ((generation = TAILQ_FIRST(&generations->list)))
        generation_retire(generations, generation);
    bool ended = background_destroy(generations->background, 1000);
    free(generations);
    return ended;
}
