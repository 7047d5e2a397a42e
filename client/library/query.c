/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be asked of a daemon outside a session: to tell its status, and to leave.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUERY_TEXT_MAX 256 /* as esm1nv.h promises */

/* One question and its answer. Null value: fd -1. */
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
    query->fd = locate_daemon(socket, query->path, &query->failure);
    if (query->fd < 0)
        return query->fd;
    struct message_writer writer;
    message_begin(&writer, query->buffer, sizeof query->buffer, question);
    message_put_number(&writer, WIRE_PROTOCOL_VERSION, WIRE_PROTOCOL);
    long size = message_end(&writer);
    /* If the question cannot be sent, the daemon may still have said why. */
    channel_send(query->fd, query->buffer, (size_t)size, -1, false);
    return receive_answer(query->fd, query->path, query->buffer, sizeof query->buffer, answer,
                          &query->answer, &query->failure);
}

static struct query *query_create(char text[QUERY_TEXT_MAX]) {
    struct query *query = malloc(sizeof *query); /* its buffer need not be cleared */
    if (!query) {
        snprintf(text, QUERY_TEXT_MAX, "out of memory");
        return NULL;
    }
    query->fd = -1;
    return query;
}

/* Copies the failure's text, if any, and frees. Returns `result`. */
static int query_destroy(struct query *query, int result, char text[QUERY_TEXT_MAX]) {
    if (result != ESM1NV_OK)
        snprintf(text, QUERY_TEXT_MAX, "%.*s", QUERY_TEXT_MAX - 1, query->failure.text);
    if (query->fd >= 0)
        close(query->fd);
    free(query);
    return result;
}

/* What a STATUS tells, in the order in which people want to read it. */
static const struct figure {
    enum wire_key key;
    enum value_type type;
    const char *name;
} figures[] = {
#define FIGURE(key, number, type, least, most, name, ...) {key, type, name},
    WIRE_STATUS_ROWS(FIGURE)};

int esm1nv_status(const char *socket,
                  void (*visit)(void *context, const char *name, const char *text, uint64_t number),
                  void *context, char text[QUERY_TEXT_MAX]) {
    struct query *query = query_create(text);
    if (!query)
        return ESM1NV_ERROR_MEMORY;
    int result = query_ask(query, socket, WIRE_STATUS_QUERY, WIRE_STATUS);
    if (result == ESM1NV_OK)
        visit(context, "socket", query->path, 0);
    for (size_t i = 0; result == ESM1NV_OK && i < sizeof figures / sizeof *figures; i++) {
        const struct figure *figure = &figures[i];
        char value[WIRE_TEXT_MAX + 1];
        if (!message_has(&query->answer, figure->key))
            continue;
        if (figure->type == VALUE_TEXT)
            message_copy_text(&query->answer, figure->key, value, sizeof value);
        visit(context, figure->name, figure->type == VALUE_TEXT ? value : NULL,
              figure->type == VALUE_TEXT ? 0 : query->answer.value[figure->key].number);
    }
    return query_destroy(query, result, text);
}

int esm1nv_stop(const char *socket, char text[QUERY_TEXT_MAX]) {
    struct query *query = query_create(text);
    if (!query)
        return ESM1NV_ERROR_MEMORY;
    int result = query_ask(query, socket, WIRE_STOP, WIRE_STOPPING);
    /* The daemon says nothing more, and closes this connection when it has left. */
    if (result == ESM1NV_OK)
        channel_receive(query->fd, query->buffer, sizeof query->buffer, false, &(size_t){0});
    return query_destroy(query, result, text);
}
