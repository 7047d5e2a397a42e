/* SPDX-License-Identifier: Apache-2.0
 *
 * Every attempt to connect makes new sessions. Between attempts the filter sleeps, 10 ms at first
 * and up to a second, until the time of --wait is over. That time begins anew only when a record
 * was answered, so that a daemon which crashes on a record, or comes and goes, cannot hold the
 * filter up for ever.
 */
#include "client/filter/connection.h"

#include "client/filter/report.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define PAUSE_FIRST 10 /* milliseconds */
#define PAUSE_MOST 1000

static void close_sessions(struct connection *connection) {
    if (connection->windows != connection->session)
        esm1nv_close(connection->windows);
    esm1nv_close(connection->session);
    connection->session = connection->windows = NULL;
}

void connection_finish(struct connection *connection) {
    close_sessions(connection);
    free(connection->daemon);
    connection->daemon = NULL;
}

/* Keeps the failed session's message but no session, so that a filter that waits for a daemon does
 * not use up one of its connections. */
static void connection_fail(struct connection *connection, const esm1nv_session *failed) {
    snprintf(connection->error, sizeof connection->error, "%s", esm1nv_error_text(failed));
    close_sessions(connection);
}

/* --- One attempt ------------------------------------------------------------------------------ */

/* Windows of records that are to be pooled are fetched as residue rows, for which the filter needs
 * a second session. */
static int greet_for_windows(struct connection *connection, struct esm1nv_options wanted) {
    if (connection->options->too_long != LONG_WINDOW || wanted.pooling == ESM1NV_POOL_NONE ||
        wanted.pooling == ESM1NV_POOL_BOS) {
        connection->windows = connection->session;
        return 0;
    }
    wanted.socket = esm1nv_info(connection->session)->socket;
    wanted.expect_digest = esm1nv_info(connection->session)->digest;
    wanted.pooling = ESM1NV_POOL_NONE;
    wanted.dtype = ESM1NV_F32;
    return esm1nv_connect(&connection->windows, &wanted);
}

/* What a session is to be like. socket NULL stands for the usual places. */
static struct esm1nv_options wishes(const struct connection *connection, const char *socket) {
    struct esm1nv_options wanted = ESM1NV_OPTIONS_INIT;
    wanted.socket = socket;
    wanted.pooling = connection->options->pooling;
    wanted.dtype = connection->options->dtype;
    wanted.expect_digest = connection->digest[0] ? connection->digest : connection->options->expect;
    wanted.program = "esm1nv " ESM1NV_VERSION;
    return wanted;
}

static int greet_daemon(struct connection *connection, const char *socket) {
    struct esm1nv_options wanted = wishes(connection, socket);
    if (!connection->session)
        connection->begun = esm1nv_connect_begin(&connection->session, &wanted);
    int result = connection->begun;
    if (result == 0)
        result = esm1nv_connect_complete(connection->session);
    if (result < 0) {
        connection_fail(connection, connection->session);
        return result;
    }
    result = greet_for_windows(connection, wanted);
    if (result < 0)
        connection_fail(connection, connection->windows);
    /* The first session was welcomed a moment ago, so the daemon has left or has loaded another
     * model in between. */
    bool left = result == ESM1NV_ERROR_CONNECT || result == ESM1NV_ERROR_REFUSED ||
                result == ESM1NV_ERROR_MODEL;
    return left ? ESM1NV_ERROR_LOST : result;
}

/* Connects to the private daemon, which is started if there is none. Sets *fatal to a negative exit
 * status if that failed for good. */
static int greet_private(struct connection *connection, int *fatal) {
    struct private_daemon *daemon = connection->daemon;
    const struct options *options = connection->options;
    if (!daemon->socket[0])
        *fatal = private_locate(daemon, options->model);
    if (*fatal < 0)
        return ESM1NV_ERROR_CONNECT;
    int result = greet_daemon(connection, daemon->socket);
    if (result != ESM1NV_ERROR_CONNECT && result != ESM1NV_ERROR_LOST)
        return result;
    *fatal = autostart_check(daemon);
    if (*fatal < 0 || result == ESM1NV_ERROR_LOST || options->no_autostart)
        return result;
    int started = autostart(daemon, options->idle_exit);
    if (started == AUTOSTART_LATER)
        return ESM1NV_ERROR_BUSY;
    *fatal = started;
    if (started < 0)
        return result;
    result = greet_daemon(connection, daemon->socket);
    /* If it is gone already, the next attempt finds out why. */
    return result == ESM1NV_ERROR_CONNECT ? ESM1NV_ERROR_LOST : result;
}

static int connection_attempt(struct connection *connection, int *fatal) {
    int result = ESM1NV_ERROR_CONNECT;
    *fatal = 0;
    if (connection->shared)
        result = greet_daemon(connection, connection->socket[0] ? connection->socket
                                                                : connection->options->socket);
    if (result == ESM1NV_ERROR_CONNECT && connection->private)
        result = greet_private(connection, fatal);
    return result;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

/* Returns false if the time to wait is over. */
static bool sleep_before_retry(struct connection *connection) {
    unsigned wait = connection->options->wait;
    int64_t left = (int64_t)wait * 1000 - connection->waited;
    if (left <= 0)
        return false;
    int pause = left < connection->pause ? (int)left : connection->pause;
    poll(NULL, 0, pause);
    connection->waited += pause;
    if (connection->pause < PAUSE_MOST && (connection->pause *= 2) >= PAUSE_MOST) {
        connection->pause = PAUSE_MOST;
        report("%s; waiting up to %u second%s", connection->error, wait, wait == 1 ? "" : "s");
    }
    return true;
}

/* Called when a record was answered, or none was submitted yet: the time to wait begins anew. */
static void reset_patience(struct connection *connection) {
    connection->waited = 0;
    connection->pause = PAUSE_FIRST;
}

static bool worth_waiting(const struct connection *connection, int reason) {
    return reason == ESM1NV_ERROR_BUSY || reason == ESM1NV_ERROR_LOST ||
           (reason == ESM1NV_ERROR_CONNECT && connection->answered);
}

/* --- The end ---------------------------------------------------------------------------------- */

/* Writes "3 records are done". */
static void count_done(const struct connection *connection, char text[48]) {
    snprintf(text, 48, "%" PRIu64 " record%s done", connection->done,
             connection->done == 1 ? " is" : "s are");
}

static int connection_give_up(const struct connection *connection, int reason) {
    const struct options *options = connection->options;
    bool started = connection->digest[0];
    bool own = connection->daemon && connection->daemon->socket[0];
    char done[48];
    count_done(connection, done);
    if (worth_waiting(connection, reason)) {
        report("%s; waited %u second%s in vain; %s: run again, or --wait longer", connection->error,
               options->wait, options->wait == 1 ? "" : "s", done);
        return -EX_TEMPFAIL;
    }
    if (started && (reason == ESM1NV_ERROR_MODEL || reason == ESM1NV_ERROR_REFUSED)) {
        report("the daemon went away and came back as another one: %s; %s: run again for all of "
               "them",
               connection->error, done);
        return -EX_TEMPFAIL;
    }
    if (own && reason == ESM1NV_ERROR_MODEL) {
        report("%s (its log: %s)", connection->error, connection->daemon->log);
        return -EX_CONFIG;
    }
    if (own && reason == ESM1NV_ERROR_CONNECT) {
        report("%s; --no-autostart forbids to start one", connection->error);
        return -EX_UNAVAILABLE;
    }
    if (!options->socket && reason == ESM1NV_ERROR_CONNECT) {
        report("%s; or say what esm1nv should start one with: --model FILE.nemo or $ESM1NV_MODEL "
               "(--model synthetic tries the software)",
               connection->error);
        return -EX_UNAVAILABLE;
    }
    return -report_daemon_error(reason, connection->error);
}

/* --- Being served ----------------------------------------------------------------------------- */

/* `kept` holds zeros, so the copy ends with a NUL. */
static void keep_text(char *kept, size_t capacity, const char *text) {
    memcpy(kept, text, strnlen(text, capacity - 1));
}

/* The first daemon must serve to the end: a shared one cannot take over from a private one, nor the
 * other way round. */
static void connection_remember(struct connection *connection, const struct esm1nv_info *info) {
    keep_text(connection->socket, sizeof connection->socket, info->socket);
    keep_text(connection->digest, sizeof connection->digest, info->digest);
    keep_text(connection->backend, sizeof connection->backend, info->backend);
    keep_text(connection->precision, sizeof connection->precision, info->precision);
    connection->private =
        connection->private && strcmp(info->socket, connection->daemon->socket) == 0;
    connection->shared = !connection->private;
}

static int connection_welcome(struct connection *connection) {
    const struct esm1nv_info *both[] = {esm1nv_info(connection->session),
                                        esm1nv_info(connection->windows)};
    if (connection->daemon)
        connection->daemon->served = true;
    if (!connection->digest[0])
        connection_remember(connection, both[0]);
    for (size_t i = 0; i < 2; i++) {
        const struct esm1nv_info *info = both[i];
        if (strcmp(info->backend, connection->backend) == 0 &&
            strcmp(info->precision, connection->precision) == 0)
            continue;
        char done[48];
        count_done(connection, done);
        report("the daemon at %s went away and came back with %s %s instead of %s %s, which gives "
               "other values; %s: run again for all of them",
               info->socket, info->backend, info->precision, connection->backend,
               connection->precision, done);
        return -EX_TEMPFAIL;
    }
    return 0;
}

static int connection_establish(struct connection *connection) {
    for (;;) {
        int fatal;
        int result = connection_attempt(connection, &fatal);
        if (fatal < 0)
            return fatal;
        if (result >= 0)
            return connection_welcome(connection);
        if (!worth_waiting(connection, result))
            return connection_give_up(connection, result);
        connection->answered = true;
        if (!sleep_before_retry(connection))
            return connection_give_up(connection, result);
    }
}

/* $ESM1NV_MODEL says what a private daemon loads, but a shared daemon that answers first may serve
 * another model. A model is called by the name of its file, or synthetic:SEED. */
static void tell_of_other_model(const struct connection *connection) {
    const struct options *options = connection->options;
    const struct esm1nv_info *info = esm1nv_info(connection->session);
    if (!options->model || options->model_named || connection->private)
        return;
    const char *slash = strrchr(options->model, '/');
    const char *name = slash ? slash + 1 : options->model;
    if (strncmp(info->model, name, strlen(name)) != 0)
        report("the daemon at %s serves %s, not $ESM1NV_MODEL (%s), which --model would insist on",
               info->socket, info->model, options->model);
}

void connection_begin(struct connection *connection, const struct options *options) {
    *connection = (struct connection){.options = options};
    connection->shared = !options->model_named;
    connection->private = options->model != NULL;
    if (connection->private) {
        connection->daemon = allocate(NULL, sizeof *connection->daemon);
        *connection->daemon = (struct private_daemon){.child = 0};
    }
    reset_patience(connection);
    struct esm1nv_options wanted = wishes(connection, options->socket);
    if (connection->shared)
        connection->begun = esm1nv_connect_begin(&connection->session, &wanted);
}

int connection_open(struct connection *connection) {
    int result = connection_establish(connection);
    connection->answered = true;
    if (result == 0)
        tell_of_other_model(connection);
    if (result == 0 && esm1nv_info(connection->session)->synthetic)
        report_text("synthetic weights: these embeddings carry no biology");
    return result;
}

int connection_restore(struct connection *connection, const esm1nv_session *failed, int reason,
                       uint64_t done) {
    bool progress = done != connection->done;
    connection->done = done;
    connection_fail(connection, failed);
    if (!worth_waiting(connection, reason))
        return -report_daemon_error(reason, connection->error);
    if (progress)
        reset_patience(connection);
    if ((!progress || reason == ESM1NV_ERROR_BUSY) && !sleep_before_retry(connection))
        return connection_give_up(connection, reason);
    return connection_establish(connection);
}
