/* SPDX-License-Identifier: Apache-2.0
 *
 * At most one load is under way. What comes of it is served from the next HELLO on; a load that
 * fails changes nothing, unless the engine that serves is broken: then the model is opened on the
 * CPU, and when that cannot be, the daemon leaves.
 */
#include "daemon/serve/reload.h"
#include "daemon/serve/background.h"
#include "daemon/serve/batch.h"
#include "daemon/base/log.h"
#include "daemon/base/notify.h"
#include "daemon/serve/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct reload {
    struct service *service;
    const struct options *options;
    struct background *background;
    struct loop_watch *watch; /* of the background */
    struct generation_list generations;
    unsigned count; /* generations so far */
    bool loading;
    bool on_cpu;        /* the last load was to take over from an engine that broke */
    bool again;         /* asked for while loading */
    char broke[256];    /* what became of that engine */
    bool failed;        /* nothing can be served any more */
    struct error error; /* and why */
};

static void on_engine(void *context);

static struct generation *current(const struct reload *reload) {
    return reload->service->generation;
}

/* What is too long for a message is cut. */
__attribute__((format(printf, 2, 3))) static void note(struct service *service, const char *format,
                                                       ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(service->note, sizeof service->note, format, arguments);
    va_end(arguments);
}

void reload_announce(const struct reload *reload) {
    const char *more = reload->service->note;
    char text[256];

    generation_describe(current(reload), text, sizeof text);
    notify_status("Serving %s%s%s", text, more[0] ? "; " : "", more);
    notify_ready();
}

/* Sessions are welcomed with it from now on. Returns 0 or -ENOMEM. */
static int serve(struct reload *reload, struct generation *generation) {
    struct loop_callbacks callbacks = {.readable = on_engine};
    struct service *service = reload->service;

    if (batches_create(&generation->batches, generation) < 0)
        return -ENOMEM;
    generation->watch =
        loop_add(service->loop, generation->table->completion_fd(generation->engine), &callbacks,
                 generation);
    if (!generation->watch)
        return -ENOMEM;
    generation->reload = reload;
    generation->number = ++reload->count;
    TAILQ_INSERT_TAIL(&reload->generations, generation, link);
    service->generation = generation;
    note(service, "%s", generation->note);
    return 0;
}

static void retire(struct reload *reload, struct generation *generation) {
    TAILQ_REMOVE(&reload->generations, generation, link);
    loop_remove(generation->watch, false);
    background_close(reload->background, generation);
}

void reload_tend(struct reload *reload) {
    struct generation *generation, *next;

    for (generation = TAILQ_FIRST(&reload->generations); generation; generation = next) {
        next = TAILQ_NEXT(generation, link);
        if (generation == current(reload) || generation->sessions > 0)
            continue;
        log_info("generation %u, %s, has no clients any more and is closed", generation->number,
                 generation->model->name);
        retire(reload, generation);
    }
}

/* --- Loading ---------------------------------------------------------------------------------- */

static void give_up(struct reload *reload, const char *why) {
    error_set(&reload->error, EX_SOFTWARE, "%s, and nothing can take over: %s", reload->broke, why);
    reload->failed = true;
}

static void keep(struct reload *reload, const char *why) {
    const char *before = current(reload)->note;

    log_error("the model is not reloaded, and what was served still is: %s", why);
    note(reload->service, "%s%sthe last reload failed: %s", before, before[0] ? "; " : "", why);
}

static void start(struct reload *reload, bool on_cpu);

/* After a load that failed (`why`) or not (NULL): what people are told, and what is to follow. */
static void settle(struct reload *reload, const char *why) {
    bool broken = current(reload)->broken, again = reload->again;

    if (broken && reload->on_cpu) {
        give_up(reload, why);
        return;
    }
    if (why)
        keep(reload, why);
    reload_announce(reload);
    if (broken) {
        start(reload, true);
    } else if (again) {
        reload->again = false;
        start(reload, false);
    }
}

static void start(struct reload *reload, bool on_cpu) {
    const char *how = on_cpu ? "on the CPU" : "again";
    int error;

    log_info("loading %s %s", reload->options->model, how);
    notify_reloading();
    notify_status("Loading %s %s", reload->options->model, how);
    reload->on_cpu = on_cpu;
    error = background_load(reload->background, on_cpu);
    reload->loading = error == 0;
    if (error < 0)
        settle(reload, strerror(-error));
}

void reload_request(struct reload *reload) {
    if (reload->service->draining)
        return;
    if (reload->loading)
        reload->again = true;
    else
        start(reload, false);
}

/* What was loaded is served, or why not is said. Returns 0 or -1. */
static int loaded(struct reload *reload, struct generation *generation, struct error *error) {
    char text[256];

    if (reload->on_cpu)
        snprintf(generation->note, sizeof generation->note, "%s", reload->broke);
    generation_warn(generation);
    if (serve(reload, generation) < 0) {
        background_close(reload->background, generation);
        return error_set(error, EX_SOFTWARE, "out of memory");
    }
    generation_describe(generation, text, sizeof text);
    log_info("generation %u: new clients get %s, model digest %s", generation->number, text,
             generation->model->digest);
    return 0;
}

static void on_loaded(void *context) {
    struct reload *reload = context;
    struct generation *generation;
    struct error error = {0};
    int result = background_take(reload->background, &generation, &error);

    if (result > 0)
        return;
    reload->loading = false;
    if (reload->service->draining) {
        if (generation)
            background_close(reload->background, generation);
        return;
    }
    if (result == 0)
        result = loaded(reload, generation, &error);
    settle(reload, result < 0 ? error.text : NULL);
}

/* --- Engines that break ----------------------------------------------------------------------- */

/* Before anything is published: what the engine failed on is computed anew in a session with
 * another one. */
static void end_sessions(struct reload *reload, const struct generation *generation) {
    struct session *session, *next;

    for (session = TAILQ_FIRST(&reload->service->sessions); session; session = next) {
        next = TAILQ_NEXT(session, link);
        if (session->generation == generation)
            session_drop(session, "its engine broke");
    }
}

static void engine_broke(struct reload *reload, struct generation *generation, const char *why) {
    const char *backend = generation->info->backend;

    generation->broken = true;
    log_error("the %s engine broke: %s", backend, why);
    end_sessions(reload, generation);
    batches_abandon(reload->service, generation);
    if (generation != current(reload) || reload->service->draining)
        return;
    snprintf(reload->broke, sizeof reload->broke, "the %s engine broke: %s", backend, why);
    note(reload->service, "%s", reload->broke);
    if (strcmp(backend, "cpu") == 0)
        give_up(reload, "it was the last resort");
    else if (!reload->loading)
        start(reload, true);
}

static void on_engine(void *context) {
    struct generation *generation = context;
    struct reload *reload = generation->reload;
    const char *why;

    batches_reap(reload->service, generation);
    why = generation->table->broken(generation->engine);
    if (why && !generation->broken)
        engine_broke(reload, generation, why);
    session_publish_finished(reload->service);
}

void reload_reap(struct reload *reload) {
    struct generation *generation;

    TAILQ_FOREACH(generation, &reload->generations, link)
    on_engine(generation);
}

/* --- Life ------------------------------------------------------------------------------------- */

const struct error *reload_failure(const struct reload *reload) {
    return reload->failed ? &reload->error : NULL;
}

int reload_create(struct reload **result, struct service *service, struct generation *first,
                  const struct options *options, struct error *error) {
    struct loop_callbacks callbacks = {.readable = on_loaded};
    struct reload *reload = calloc(1, sizeof *reload);
    int failure = reload ? 0 : -ENOMEM;

    *result = reload;
    if (reload) {
        *reload = (struct reload){.service = service, .options = options};
        TAILQ_INIT(&reload->generations);
        failure = background_create(&reload->background, options);
    }
    if (failure == 0) {
        reload->watch =
            loop_add(service->loop, background_fd(reload->background), &callbacks, reload);
        failure = reload->watch ? serve(reload, first) : -ENOMEM;
    }
    if (failure == 0)
        return 0;
    generation_close(first);
    return error_set(error, EX_SOFTWARE, "cannot serve: %s", strerror(-failure));
}

bool reload_destroy(struct reload *reload) {
    struct generation *generation;
    bool ended;

    if (!reload)
        return true;
    loop_remove(reload->watch, false);
    while ((generation = TAILQ_FIRST(&reload->generations)))
        retire(reload, generation);
    ended = background_destroy(reload->background, 1000);
    free(reload);
    return ended;
}
