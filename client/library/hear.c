/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes through a session's socket after WELCOME: the result of a record that travelled in a
 * message (a one-shot), bells, and the reason why the daemon leaves. That reason is kept until the
 * caller has taken all results that the daemon completed before.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Keeps the daemon's reason for leaving; nothing comes after it. */
static void hear_farewell(esm1nv_session *session, const struct message *refusal) {
    if (refusal)
        failure_refused(&session->farewell, refusal);
    else
        failure_set(&session->farewell, ESM1NV_ERROR_LOST, "the daemon at %s went away",
                    session->socket);
}

static int hear_result(esm1nv_session *session, const struct message *message) {
    const struct message_value *rows = &message->value[WIRE_DATA];
    if (session->one_shot != ONE_SHOT_SENT)
        return session_garbage(session);
    session->one_shot_header = (struct ring_completion){
        .tag = message->value[WIRE_TAG].number,
        .status = (uint32_t)message->value[WIRE_RECORD_STATUS].number,
        .rows = (uint32_t)message->value[WIRE_ROWS].number,
        .bytes = (uint32_t)rows->length,
    };
    /* The buffer's start is aligned; rows and message overlap. */
    memmove(session->exchange, rows->bytes, rows->length);
    session->one_shot = ONE_SHOT_ARRIVED;
    return ESM1NV_OK;
}

static int hear_message(esm1nv_session *session, const uint8_t *bytes, size_t size) {
    if (size == 1 && bytes[0] == WIRE_BELL && session->map.header)
        return ESM1NV_OK;
    struct message message;
    if (message_decode(&message, bytes, size) < 0)
        return session_garbage(session);
    if (message.kind == WIRE_RESULT)
        return hear_result(session, &message);
    if (message.kind != WIRE_REFUSED)
        return session_garbage(session);
    hear_farewell(session, &message);
    return ESM1NV_OK;
}

/* Whether the bell that waits in the socket may be the one that a submit without room asked for. If
 * so, it is left there to wake up the caller's poll(), but only once, because the caller may have
 * given up that submit. If there is still no room after the bell was seen, it was another one. */
static bool leave_bell_for_submit(esm1nv_session *session) {
    uint8_t first;
    if (!session->wants_space ||
        recv(session->fd, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT) != 1 ||
        first != WIRE_BELL || !ring_producer_sleeps(&session->submissions))
        return false;
    session->wants_space = false;
    return true;
}

int session_hear(esm1nv_session *session, int timeout) {
    uint8_t notice[NOTICE_MAX];
    /* The exchange buffer is used only for a result that is awaited: one that came before lies
     * there until it is released. */
    bool answer = session->one_shot == ONE_SHOT_SENT;
    uint8_t *buffer = answer ? session->exchange : notice;
    size_t capacity = answer ? session->exchange_size : sizeof notice;

    if (timeout == 0 && leave_bell_for_submit(session))
        return ESM1NV_AGAIN;
    if (timeout > 0) {
        struct pollfd poller = {.fd = session->fd, .events = POLLIN};
        int ready = poll(&poller, 1, timeout);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            return ESM1NV_AGAIN;
    }
    size_t size;
    int result = channel_receive(session->fd, buffer, capacity, timeout >= 0, &size);
    switch (result) {
    case 0:
        return hear_message(session, buffer, size);
    case CHANNEL_EMPTY:
        return ESM1NV_AGAIN;
    case CHANNEL_END:
        hear_farewell(session, NULL);
        return ESM1NV_OK;
    case -ECONNRESET: /* comes once; after it, what the daemon said last can be read */
        return ESM1NV_OK;
    case -EBADMSG:
        return session_garbage(session);
    default:
        return session_system(session, "cannot receive from the daemon", result);
    }
}

int session_lost(esm1nv_session *session) {
    while (session->farewell.code == ESM1NV_OK) {
        int result = session_hear(session, 0);
        if (result == ESM1NV_AGAIN) /* it closed only its receiving side */
            hear_farewell(session, NULL);
        else if (result != ESM1NV_OK)
            return result;
    }
    return session_ended(session);
}
