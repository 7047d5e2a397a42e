/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be asked of a daemon outside a session: its status, and to leave.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUERY_TEXT_MAX 256 /* as esm1nv.h promises */

/* One exchange in flight. Null value: fd -1. */
struct query {
    int fd;
    char path[SOCKET_PATH_MAX];
    struct failure failure;
    struct message answer; /* views of buffer */
    uint8_t buffer[WIRE_MESSAGE_MAX];
};

/* Connects, asks and receives the answer. */
static int query_ask(struct query *query, const char *socket, enum wire_kind question,
                     enum wire_kind answer) {
    struct message_writer writer;

    query->fd = locate_daemon(socket, query->path, &query->failure);
    if (query->fd < 0)
        return query->fd;
    message_begin(&writer, query->buffer, sizeof query->buffer, question);
    message_put_number(&writer, WIRE_PROTOCOL_VERSION, WIRE_PROTOCOL);
    long size = message_end(&writer);
    /* When it does not go out, the daemon may still have said why. */
    channel_send(query->fd, query->buffer, (size_t)size, -1, false);
    return receive_answer(query->fd, query->path, query->buffer, sizeof query->buffer, answer,
                          &query->answer, &query->failure);
}

static struct query *query_create(void) {
    struct query *query = malloc(sizeof *query);
    if (query) {
        query->fd = -1;
        query->failure.code = ESM1NV_OK;
        query->failure.text[0] = '\0';
    }
    return query;
}

/* Tells the failure, if any, and frees. Returns the code. */
static int query_destroy(struct query *query, int code, char text[QUERY_TEXT_MAX]) {
    if (code != ESM1NV_OK)
        snprintf(text, QUERY_TEXT_MAX, "%.*s", QUERY_TEXT_MAX - 1, query->failure.text);
    if (query->fd >= 0)
        close(query->fd);
    free(query);
    return code;
}

/* What a STATUS tells, in the order in which people want to read it. */
static const struct fact {
    enum wire_key key;
    bool is_text;
    const char *name;
} facts[] = {
    {WIRE_VERSION, true, "version"},
    {WIRE_PID, false, "pid"},
    {WIRE_UPTIME, false, "uptime_seconds"},
    {WIRE_MODEL, true, "model"},
    {WIRE_DIGEST, true, "digest"},
    {WIRE_SYNTHETIC, false, "synthetic"},
    {WIRE_PARAMETERS, false, "parameters"},
    {WIRE_HIDDEN, false, "hidden"},
    {WIRE_POSITIONS, false, "positions"},
    {WIRE_BACKEND, true, "backend"},
    {WIRE_PRECISION, true, "precision"},
    {WIRE_INSTRUCTIONS, true, "instructions"},
    {WIRE_DEVICE, true, "device"},
    {WIRE_THREADS, false, "threads"},
    {WIRE_LOOP, true, "loop"},
    {WIRE_NOTE, true, "note"},
    {WIRE_GENERATION, false, "generation"},
    {WIRE_CLIENTS, false, "clients"},
    {WIRE_CLIENTS_BEFORE, false, "clients_before"},
    {WIRE_CLIENTS_TOTAL, false, "clients_total"},
    {WIRE_RECORDS, false, "records"},
    {WIRE_RECORDS_FAILED, false, "records_failed"},
    {WIRE_RESIDUES, false, "residues"},
    {WIRE_BATCHES, false, "batches"},
    {WIRE_QUEUED_RESIDUES, false, "queued_residues"},
    {WIRE_PINNED_BYTES, false, "pinned_bytes"},
};

int esm1nv_status(const char *socket,
                  void (*visit)(void *context, const char *name, const char *text, uint64_t number),
                  void *context, char text[QUERY_TEXT_MAX]) {
    char value[1025];
    struct query *query = query_create();

    if (!query) {
        snprintf(text, QUERY_TEXT_MAX, "out of memory");
        return ESM1NV_ERROR_MEMORY;
    }
    int code = query_ask(query, socket, WIRE_STATUS_QUERY, WIRE_STATUS);
    if (code == ESM1NV_OK)
        visit(context, "socket", query->path, 0);
    for (size_t i = 0; code == ESM1NV_OK && i < sizeof facts / sizeof *facts; i++) {
        const struct fact *fact = &facts[i];
        if (!message_has(&query->answer, fact->key))
            continue;
        message_copy_text(&query->answer, fact->key, value, fact->is_text ? sizeof value : 1);
        visit(context, fact->name, fact->is_text ? value : NULL,
              fact->is_text ? 0 : query->answer.value[fact->key].number);
    }
    return query_destroy(query, code, text);
}

int esm1nv_stop(const char *socket, char text[QUERY_TEXT_MAX]) {
    struct query *query = query_create();

    if (!query) {
        snprintf(text, QUERY_TEXT_MAX, "out of memory");
        return ESM1NV_ERROR_MEMORY;
    }
    int code = query_ask(query, socket, WIRE_STOP, WIRE_STOPPING);
    /* It says nothing more, and closes this connection when it leaves. */
    if (code == ESM1NV_OK)
        channel_receive(query->fd, query->buffer, sizeof query->buffer, false, &(size_t){0});
    return query_destroy(query, code, text);
}
