/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a daemon is looked for, and what can be asked of one outside a session: daemons of this
 * test, each a thread behind a socket in a temporary directory, answer by name.
 */
#include "ipc/channel.h"
#include "tests/check.h"
#include "tests/client/peer.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/esm1nv-XXXXXX";

/* A daemon that serves one connection. */
struct server {
    char path[100];
    const char *name; /* of its model */
    int listener;
    pthread_t thread;
};

/* What a STATUS tells, by the rows of ipc/keys.h. */
static const struct {
    enum wire_key key;
    enum value_type type;
    uint64_t most;
} figures[] = {
#define FIGURE(key, number, type, least, most, ...) {key, type, most},
    WIRE_STATUS_ROWS(FIGURE)};

/* Numbers are the largest that their key may have, texts are short but for those that are known. */
static void send_status(struct peer *peer, const char *name) {
    struct message_writer writer;
    message_begin(&writer, peer->buffer, sizeof peer->buffer, WIRE_STATUS);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        enum wire_key key = figures[i].key;
        if (figures[i].type == VALUE_NUMBER)
            message_put_number(&writer, key, figures[i].most);
        else
            message_put_text(&writer, key,
                             key == WIRE_DIGEST    ? peer_model_usual.digest
                             : key == WIRE_MODEL   ? name
                             : key == WIRE_VERSION ? "9.8.7"
                                                   : "text");
    }
    peer_send_message(peer, &writer);
}

static void *server_main(void *argument) {
    struct server *server = argument;
    struct peer_model model = peer_model_usual;
    static _Thread_local struct peer peer;
    struct pollfd poller = {.fd = server->listener, .events = POLLIN};

    model.name = server->name;
    poll(&poller, 1, TEST_PATIENCE * 1000);
    peer.fd = accept(server->listener, NULL, NULL);
    poller.fd = peer.fd;
    if (peer.fd < 0 || poll(&poller, 1, TEST_PATIENCE * 1000) != 1)
        return NULL;
    if (strcmp(server->name, "hasty") == 0) { /* closes with the HELLO unread */
        peer_send_refused(&peer, WIRE_REFUSED_BUSY, "too many clients", true);
        peer_close(&peer);
        return NULL;
    }
    switch (peer_receive(&peer)) {
    case WIRE_HELLO:
        peer_send_welcome(&peer, &model);
        break;
    case WIRE_STATUS_QUERY:
        send_status(&peer, server->name);
        break;
    case WIRE_STOP:
        if (strcmp(server->name, "guarded") == 0) {
            peer_send_refused(&peer, WIRE_REFUSED_DENIED, "not yours", false);
            break;
        }
        peer_send(&peer, "\x81\x00\x0a", 3); /* STOPPING */
        usleep(50000);
        unlink(server->path); /* what a caller sees when it has really left */
        break;
    }
    peer_close(&peer);
    return NULL;
}

/* Starts a daemon whose socket is `subdirectory`/esm1nv/socket in the test's directory. */
static bool server_start(struct server *server, const char *subdirectory, const char *name) {
    static const char *const ends[] = {"", "/esm1nv", "/esm1nv/socket"};
    server->name = name;
    for (int i = 0; i < 3; i++) {
        snprintf(server->path, sizeof server->path, "%s/%s%s", directory, subdirectory, ends[i]);
        if (i < 2)
            mkdir(server->path, 0700);
    }
    unlink(server->path);
    server->listener = channel_listen(server->path, 0600);
    CHECK(server->listener >= 0, "cannot listen at %s", server->path);
    return server->listener >= 0 && pthread_create(&server->thread, NULL, server_main, server) == 0;
}

static void server_end(struct server *server) {
    pthread_join(server->thread, NULL);
    close(server->listener);
    unlink(server->path);
}

/* Connects: the daemon of a model with this name answers, or what fails is told in these words. */
static void expect(const char *socket, int result, const char *name, const char *words) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    options.socket = socket;
    int got = esm1nv_connect(&session, &options);
    const char *text = esm1nv_error_text(session);
    CHECK(got == result, "%s: %d %s", name, got, text);
    if (got == 0)
        CHECK(strcmp(esm1nv_info(session)->model, name) == 0, "%s answered instead of %s",
              esm1nv_info(session)->model, name);
    else
        CHECK(strstr(text, name) && strstr(text, words), "%s", text);
    esm1nv_close(session);
}

static void expect_model(const char *socket, const char *name) {
    expect(socket, 0, name, "");
}

static void expect_nobody(const char *socket, const char *in_text) {
    expect(socket, ESM1NV_ERROR_CONNECT, in_text, "start esm1nvd");
}

TEST("the argument, then $ESM1NV_SOCKET, then the user's own socket") {
    static struct server servers[3];
    char runtime[100];

    snprintf(runtime, sizeof runtime, "%s/own", directory);
    if (!server_start(&servers[0], "argument", "argument") ||
        !server_start(&servers[1], "environment", "environment") ||
        !server_start(&servers[2], "own", "own"))
        return;
    setenv("XDG_RUNTIME_DIR", runtime, 1);
    setenv("ESM1NV_SOCKET", servers[1].path, 1);
    expect_model(servers[0].path, "argument");
    expect_model(NULL, "environment");
    setenv("ESM1NV_SOCKET", "", 1);
    expect_model(NULL, "own");
    for (int i = 0; i < 3; i++)
        server_end(&servers[i]);
}

TEST("nobody there: a named socket is the only one tried") {
    char missing[100], stale[100], too_long[200];

    snprintf(missing, sizeof missing, "%s/missing", directory);
    snprintf(stale, sizeof stale, "%s/stale", directory);
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    close(channel_listen(stale, 0600));
    expect_nobody(missing, missing);
    expect_nobody(stale, stale);
    expect_nobody(too_long, "name too long");
    setenv("ESM1NV_SOCKET", missing, 1);
    expect_nobody(NULL, missing);
    unlink(stale);
    unsetenv("ESM1NV_SOCKET");
}

/* With neither name nor own daemon the machine's is tried; there may be a real one. */
TEST("the machine's socket comes last") {
    const char *runtimes[] = {"/nonexistent", "", NULL};

    if (access("/run/esm1nv/socket", F_OK) == 0) {
        test_case_skip("this machine has one");
        return;
    }
    for (int i = 0; i < 3; i++) {
        if (runtimes[i])
            setenv("XDG_RUNTIME_DIR", runtimes[i], 1);
        else
            unsetenv("XDG_RUNTIME_DIR");
        expect_nobody(NULL, "/run/esm1nv/socket");
    }
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    expect_nobody(NULL, "/nonexistent/esm1nv/socket");
}

TEST("a refusal is heard though the daemon closed without reading") {
    static struct server server;

    if (!server_start(&server, "own", "hasty"))
        return;
    expect(server.path, ESM1NV_ERROR_BUSY, "too many", "");
    server_end(&server);
}

/* Begins with nobody there to answer, then lets the peer accept and hear the HELLO. */
static esm1nv_session *begin(const char *path, int listener, const char *expected,
                             struct peer *peer) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    options.socket = path;
    options.expect_digest = expected;
    CHECK(esm1nv_connect_begin(&session, &options) == 0, "%s", esm1nv_error_text(session));
    struct pollfd poller = {.fd = esm1nv_fd(session), .events = POLLIN};
    CHECK(poll(&poller, 1, 0) == 0, "no answer was sent yet");
    peer->fd = accept(listener, NULL, NULL);
    CHECK(peer_receive(peer) == WIRE_HELLO, "asked before the second step");
    return session;
}

TEST("connecting in two steps: the first does not wait") {
    static struct peer peer;
    char path[100], expected[] = "0011";

    snprintf(path, sizeof path, "%s/two-steps", directory);
    int listener = channel_listen(path, 0600);
    esm1nv_session *session = begin(path, listener, expected, &peer);
    strcpy(expected, "ffff"); /* the session has its own */
    peer_send_welcome(&peer, &peer_model_usual);
    struct pollfd poller = {.fd = esm1nv_fd(session), .events = POLLIN};
    CHECK(poll(&poller, 1, TEST_PATIENCE * 1000) == 1, "the answer can be polled for");
    CHECK(esm1nv_connect_complete(session) == 0, "%s", esm1nv_error_text(session));
    CHECK(strcmp(esm1nv_info(session)->model, "fixture") == 0, "%s", esm1nv_info(session)->model);
    peer_end(&peer, session);

    session = begin(path, listener, expected, &peer);
    peer_send_welcome(&peer, &peer_model_usual);
    CHECK(esm1nv_connect_complete(session) == ESM1NV_ERROR_MODEL, "another model");
    CHECK(esm1nv_connect_complete(session) == ESM1NV_ERROR_MODEL, "the session stays failed");
    peer_end(&peer, session);

    session = begin(path, listener, NULL, &peer);
    peer_close(&peer);
    CHECK(esm1nv_connect_complete(session) == ESM1NV_ERROR_LOST, "%s", esm1nv_error_text(session));
    esm1nv_close(session);
    close(listener);
    unlink(path);
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    options.socket = path;
    CHECK(esm1nv_connect_begin(&session, &options) == ESM1NV_ERROR_CONNECT, "nobody listens");
    CHECK(esm1nv_connect_complete(session) == ESM1NV_ERROR_CONNECT, "the session stays failed");
    esm1nv_close(session);
}

struct seen {
    char names[1024];
    uint64_t pid, pinned;
    char version[32], model[32];
};

static void see(void *context, const char *name, const char *text, uint64_t number) {
    struct seen *seen = context;
    size_t used = strlen(seen->names);
    snprintf(seen->names + used, sizeof seen->names - used, "%s ", name);
    if (strcmp(name, "pid") == 0)
        seen->pid = text ? 0 : number;
    if (strcmp(name, "pinned_bytes") == 0)
        seen->pinned = text ? 0 : number;
    if (strcmp(name, "version") == 0)
        snprintf(seen->version, sizeof seen->version, "%s", text);
    if (strcmp(name, "model") == 0)
        snprintf(seen->model, sizeof seen->model, "%s", text);
}

TEST("the status visits every fact") {
    static struct server server;
    struct seen seen = {0};
    char text[256] = "";

    if (!server_start(&server, "status", "asked"))
        return;
    int code = esm1nv_status(server.path, see, &seen, text);
    CHECK(code == 0, "%d %s", code, text);
#define NAME(key, number, type, least, most, name, ...) name " "
    CHECK(strcmp(seen.names, "socket " WIRE_STATUS_ROWS(NAME)) == 0, "%s", seen.names);
    CHECK(seen.pid == UINT32_MAX && seen.pinned == UINT64_MAX, "numbers");
    CHECK(strcmp(seen.version, "9.8.7") == 0 && strcmp(seen.model, "asked") == 0, "texts");
    server_end(&server);
    code = esm1nv_status(server.path, see, &seen, text);
    CHECK(code == ESM1NV_ERROR_CONNECT && strstr(text, server.path), "%d %s", code, text);
}

TEST("stop returns when the daemon has left, or says why not") {
    static struct server server;
    char text[256] = "";

    if (!server_start(&server, "stop", "leaving"))
        return;
    int code = esm1nv_stop(server.path, text);
    CHECK(code == 0, "%d %s", code, text);
    CHECK(access(server.path, F_OK) < 0, "it has not left");
    server_end(&server);
    if (!server_start(&server, "stop", "guarded"))
        return;
    code = esm1nv_stop(server.path, text);
    CHECK(code == ESM1NV_ERROR_DENIED && strstr(text, "not yours"), "%d %s", code, text);
    server_end(&server);
    code = esm1nv_stop(server.path, text);
    CHECK(code == ESM1NV_ERROR_CONNECT && *text, "%d %s", code, text);
}

static void remove_directories(void) {
    static const char *names[] = {"argument", "environment", "own", "status", "stop"};
    char path[100];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s/esm1nv", directory, names[i]);
        rmdir(path);
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        rmdir(path);
    }
    CHECK(rmdir(directory) == 0, "files are left in %s", directory);
}

int main(void) {
    alarm(TEST_LIFETIME);
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    test_run();
    remove_directories();
    return test_done();
}
