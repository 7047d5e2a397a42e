/* SPDX-License-Identifier: Apache-2.0
 *
 * Results on their way to the caller. Each is checked against the oldest record that was submitted
 * and not answered yet, before the caller sees it.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <time.h>

uint64_t esm1nv_outstanding(const esm1nv_session *session) {
    return session->awaited.last - session->awaited.first;
}

/* `end` is the ring index behind the record, or 0 for a result that came in a message. A failed
 * record has no rows, but in the ring it keeps the room that they would have had. */
static int accept_result(esm1nv_session *session, const struct ring_completion *header,
                         const void *rows, uint64_t end, struct esm1nv_result *taken) {
    struct awaited_queue *queue = &session->awaited;
    const struct awaited *awaited = fifo_at(&queue->items, queue->first, sizeof *awaited);
    uint32_t most = session->pooling == ESM1NV_POOL_NONE ? awaited->length : 1;
    uint32_t expected = header->status == RECORD_OK ? most : 0;
    uint64_t room = (uint64_t)(end ? most : expected) * session->row_bytes;
    if (header->tag != awaited->tag || header->status > RECORD_ENGINE || header->rows != expected ||
        header->bytes != room)
        return session_garbage(session);
    queue->first++;
    *taken = (struct esm1nv_result){
        .tag = header->tag,
        .status = (enum esm1nv_status)header->status,
        .row_count = expected,
        .rows = expected ? rows : NULL,
        .bytes = expected ? header->bytes : 0,
        .internal = end,
    };
    return ESM1NV_OK;
}

/* Takes the next result if it is there. Returns ESM1NV_OK, ESM1NV_AGAIN or an error. */
static int take_result(esm1nv_session *session, struct esm1nv_result *taken) {
    if (session->one_shot == ONE_SHOT_SENT)
        return ESM1NV_AGAIN;
    if (session->one_shot == ONE_SHOT_ARRIVED) {
        session->one_shot = ONE_SHOT_HELD;
        return accept_result(session, &session->one_shot_header, session->exchange, 0, taken);
    }
    struct ring_completion header;
    const uint8_t *rows;
    uint64_t end;
    int result = ring_take_completion(&session->completions, &header, &rows, &end);
    if (result == RING_EMPTY)
        return ESM1NV_AGAIN;
    return result < 0 ? session_garbage(session)
                      : accept_result(session, &header, rows, end, taken);
}

/* Asks for a bell when the next result is there. Returns true when it has come meanwhile. A
 * one-shot needs no bell, since its result is a message. */
static bool result_is_there(esm1nv_session *session) {
    return session->one_shot != ONE_SHOT_SENT && ring_consumer_sleeps(&session->completions);
}

static int64_t milliseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int esm1nv_next(esm1nv_session *session, struct esm1nv_result *taken, int timeout) {
    if (session->dead)
        return session->error.code;
    if (esm1nv_outstanding(session) == 0)
        return ESM1NV_END;
    int64_t deadline = timeout > 0 ? milliseconds_now() + timeout : 0;
    for (;;) {
        int result = take_result(session, taken);
        if (result != ESM1NV_AGAIN)
            return result;
        if (session->farewell.code != ESM1NV_OK)
            return session_ended(session);
        if (result_is_there(session))
            continue;
        result = session_hear(session, timeout);
        if (result < 0 || (result == ESM1NV_AGAIN && timeout == 0))
            return result;
        if (timeout > 0) {
            int64_t left = deadline - milliseconds_now();
            timeout = left > 0 ? (int)left : 0;
        }
    }
}

void esm1nv_release(esm1nv_session *session, const struct esm1nv_result *result) {
    struct ring_consumer *completions = &session->completions;
    /* A one-shot's result comes before all results in the ring. */
    if (session->one_shot == ONE_SHOT_HELD)
        session->one_shot = ONE_SHOT_NONE;
    /* A result that was released before, or never taken, is passed over. */
    if (result->internal > completions->released && result->internal <= completions->read &&
        ring_release(completions, result->internal))
        channel_ring_bell(session->fd);
}
