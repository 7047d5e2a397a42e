/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation fails once: those of a daemon from its start over a client that connects, asks
 * by message, streams through a ring and leaves, then those of the library in such a client. The
 * one who runs out of memory must say so, the next client must be served, and nothing may leak:
 * what is allocated and mapped is counted. The daemon is a thread of this program, over the null
 * backend.
 *
 *     test_allocation MODEL.nemo           prints TAP
 */
#include "client/esm1nv.h"
#include "daemon/engine/engine.h"
#include "daemon/base/log.h"
#include "daemon/model/model.h"
#include "daemon/server.h"
#include "tests/check.h"
#include "tests/lib/refuse.h"

#include <signal.h>
#include <string.h>

#define PATIENCE_MS (TEST_PATIENCE * 1000)
#define LENGTH 24u

/* --- A daemon --------------------------------------------------------------------------------- */

static struct options daemon_options = {
    .load = {.backend = "null", .threads = 1},
    .limits = {.clients = 8,
               .clients_per_user = 8,
               .pinned_per_user = UINT64_C(64) << 20,
               .queued_per_user = 1 << 20,
               .ring_size = UINT64_C(64) << 20},
};
static char folder[64], path[80];

struct daemon {
    pthread_t thread;
    pthread_barrier_t started;
    bool watched;
    int result; /* of its start, then of its run */
    struct listener listener;
    struct error error;
};

static void *daemon_main(void *argument) {
    struct daemon *daemon = argument;
    struct generation *generation;
    struct server *server = NULL;

    daemon->result =
        generation_load(&generation, &daemon_options.load, &daemon_options.limits, &daemon->error);
    refuse_watched = daemon->watched;
    if (daemon->result == 0)
        daemon->result =
            server_create(&server, &daemon->listener, generation, &daemon_options, &daemon->error);
    pthread_barrier_wait(&daemon->started);
    if (daemon->result == 0)
        daemon->result = server_run(server, &daemon->error);
    CHECK(server_destroy(server), "threads are stuck");
    return NULL;
}

/* Returns whether it runs; when it does not, it has said why. */
static bool daemon_start(struct daemon *daemon, bool watch) {
    *daemon = (struct daemon){.watched = watch};
    CHECK(listener_open(&daemon->listener, path, NULL, &daemon->error) == 0, "%s",
          daemon->error.text);
    pthread_barrier_init(&daemon->started, NULL, 2);
    pthread_create(&daemon->thread, NULL, daemon_main, daemon);
    pthread_barrier_wait(&daemon->started);
    CHECK(daemon->result == 0 || strstr(daemon->error.text, strerror(ENOMEM)) ||
              strstr(daemon->error.text, "memory"),
          "says: %s", daemon->error.text);
    return daemon->result == 0;
}

static void daemon_end(struct daemon *daemon) {
    char text[256] = "";

    if (daemon->result == 0)
        CHECK(esm1nv_stop(path, text) == 0, "%s", text);
    pthread_join(daemon->thread, NULL);
    pthread_barrier_destroy(&daemon->started);
    listener_close(&daemon->listener);
}

/* --- A client --------------------------------------------------------------------------------- */

/* Takes `count` results and checks them; their tags begin with `first`. */
static int take(esm1nv_session *session, unsigned first, unsigned count) {
    struct esm1nv_result result;

    for (unsigned tag = first; tag < first + count; tag++) {
        int code = esm1nv_next(session, &result, PATIENCE_MS);
        const float *row = result.rows;

        if (code < 0)
            return code;
        CHECK(code == ESM1NV_OK, "result %u: code %d", tag, code);
        if (code != ESM1NV_OK)
            return code;
        CHECK(result.tag == tag && result.row_count == 1 && row[2] == (float)(LENGTH - tag % 8),
              "result %u is another", tag);
        esm1nv_release(session, &result);
    }
    return ESM1NV_OK;
}

static int submit(esm1nv_session *session, unsigned first, unsigned count) {
    static const char residues[] = "MKTAYIAKQRQISFVKSHFSRQLE";
    int code = ESM1NV_OK;

    for (unsigned tag = first; code == ESM1NV_OK && tag < first + count; tag++)
        code = esm1nv_submit(session, tag, residues, LENGTH - tag % 8);
    return code;
}

/* One record by message, then some through the ring. Returns the first error; text says it. */
static int visit(unsigned records, char text[512]) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    int code;

    options.socket = path;
    code = esm1nv_connect(&session, &options);
    if (code == ESM1NV_OK)
        code = submit(session, 0, 1);
    if (code == ESM1NV_OK)
        code = take(session, 0, 1);
    if (code == ESM1NV_OK)
        code = submit(session, 1, records);
    if (code == ESM1NV_OK)
        code = take(session, 1, records);
    snprintf(text, 512, "%s", esm1nv_error_text(session));
    esm1nv_close(session);
    return code;
}

static void ignore_fact(void *context, const char *name, const char *value, uint64_t number) {
    (void)context, (void)name, (void)value, (void)number;
}

/* --- What is run again and again -------------------------------------------------------------- */

static void next_client_is_served(unsigned n) {
    char text[512];
    int code = visit(3, text);

    CHECK(code == ESM1NV_OK, "after allocation %u failed: %s", n, text);
}

/* Loading frees what functions of libc allocate, which is not counted. */
static int miscount(void) {
    int before = atomic_load(&refuse_alive);
    struct generation *generation;
    struct error error;

    if (generation_load(&generation, &daemon_options.load, &daemon_options.limits, &error) < 0)
        CHECK(false, "%s", error.text);
    generation_close(generation);
    return atomic_load(&refuse_alive) - before;
}

/* Returns whether the n-th allocation was made. */
static bool daemon_without_memory(unsigned n, int miscounted) {
    int before = atomic_load(&refuse_alive), code;
    struct daemon daemon;
    char text[512];
    bool made;

    refuse_call(n);
    if (daemon_start(&daemon, true)) {
        code = visit(10, text);
        made = atomic_load(&refuse_calls) >= n;
        CHECK(code == ESM1NV_OK || (made && (code == ESM1NV_ERROR_BUSY)), "allocation %u: %d: %s",
              n, code, text);
        atomic_store(&refuse_at, 0);
        next_client_is_served(n);
    } else {
        made = true;
    }
    daemon_end(&daemon);
    CHECK(atomic_load(&refuse_alive) == before + miscounted, "allocation %u: %d are left", n,
          atomic_load(&refuse_alive) - before - miscounted);
    return made;
}

/* Whether all is freed again, once the daemon has seen that its clients left. */
static void check_idle(unsigned n, int idle) {
    for (unsigned waits = 0; atomic_load(&refuse_alive) != idle && waits < PATIENCE_MS; waits++)
        usleep(1000);
    CHECK(atomic_load(&refuse_alive) == idle, "allocation %u: %d are left", n,
          atomic_load(&refuse_alive) - idle);
}

/* The same for the library: a client that has more outstanding than it first makes room for. */
static bool client_without_memory(unsigned n, int idle) {
    char text[512], facts[256] = "";
    bool made;
    int code;

    refuse_call(n);
    refuse_watched = true;
    code = esm1nv_status(path, ignore_fact, NULL, facts);
    if (code == ESM1NV_OK)
        code = visit(150, text);
    else
        snprintf(text, sizeof text, "%s", facts);
    refuse_watched = false;
    made = atomic_load(&refuse_calls) >= n;
    CHECK(made ? code == ESM1NV_ERROR_MEMORY && strstr(text, "memory") : code == ESM1NV_OK,
          "allocation %u: %d: %s", n, code, text);
    next_client_is_served(n);
    check_idle(n, idle);
    return made;
}

static void test_daemon(const char *loop) {
    char name[80];
    int miscounted = miscount();
    unsigned n = 1;

    snprintf(name, sizeof name, "every allocation of a daemon over %s",
             loop[0] ? loop : "its choice");
    test_case(name);
    setenv("ESM1NV_LOOP", loop, 1);
    while (daemon_without_memory(n, miscounted))
        n++;
    printf("# %u failed\n", n - 1);
    CHECK(n > 20, "only %u", n);
}

static void test_client(void) {
    struct daemon daemon;
    unsigned n = 1;

    test_case("every allocation of a client");
    refuse_call(0);
    if (daemon_start(&daemon, false)) {
        int idle = atomic_load(&refuse_alive) + 1; /* and what the daemon keeps about this user */

        while (client_without_memory(n, idle))
            n++;
    }
    daemon_end(&daemon);
    printf("# %u failed\n", n - 1);
    CHECK(n > 5, "only %u", n);
}

static int prepare(const char *model_file) {
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    log_init(LOG_LEVEL_ERROR);
    snprintf(folder, sizeof folder, "/tmp/esm1nv-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/socket", folder);
    daemon_options.load.model = model_file;
    return 0;
}

static void clean_up(void) {
    char lock[96];

    snprintf(lock, sizeof lock, "%s.lock", path);
    unlink(lock);
    rmdir(folder);
}

int main(int argc, char **argv) {
    if (argc != 2 || prepare(argv[1]) < 0) {
        fprintf(stderr, "usage: test_allocation MODEL.nemo\n");
        return 1;
    }
    refuse_kinds = REFUSE_MEMORY | REFUSE_MAPPINGS;
    refuse_watched_only = true;
    test_daemon("");
    test_daemon("epoll");
    test_client();
    clean_up();
    return test_done();
}
