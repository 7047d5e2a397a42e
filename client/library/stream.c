/* SPDX-License-Identifier: Apache-2.0
 *
 * Records through a session. A record submitted while none is outstanding travels in a message
 * and so does its result; the first one that cannot makes the rings, and all after it go through
 * them. The socket then carries only bells. Everything that comes back is checked against the
 * queue of what was submitted before the caller sees it.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SUBMISSION_RING_SIZE UINT32_C(65536)
#define COMPLETION_RING_POOLED (UINT32_C(1) << 20)
#define COMPLETION_RING_ROWS (UINT32_C(1) << 23)
#define AWAITED_FIRST_CAPACITY 8u /* a small call needs no more */
/* Room in a SUBMIT or RESULT message for all but the sequence or the rows. */
#define ONE_SHOT_OVERHEAD 64u

static int session_garbage(esm1nv_session *session) {
    session->dead = true;
    return failure_set(&session->error, ESM1NV_ERROR_PROTOCOL,
                       "the daemon at %s sent what it should not; is it another version?",
                       session->socket);
}

static int session_system(esm1nv_session *session, const char *what, int error) {
    session->dead = true;
    return failure_set(&session->error,
                       error == -ENOMEM ? ESM1NV_ERROR_MEMORY : ESM1NV_ERROR_SYSTEM, "%s: %s", what,
                       strerror(-error));
}

static int session_ended(esm1nv_session *session) {
    session->dead = true;
    session->error = session->farewell;
    return session->error.code;
}

/* --- What is outstanding ---------------------------------------------------------------------- */

uint64_t esm1nv_outstanding(const esm1nv_session *session) {
    return session->awaited.last - session->awaited.first;
}

static struct awaited *awaited_at(const struct awaited_queue *queue, uint64_t index) {
    return fifo_at(&queue->items, index, sizeof(struct awaited));
}

/* Makes room for one more. */
static int awaited_grow(struct awaited_queue *queue) {
    if (queue->last - queue->first < queue->items.count)
        return 0;
    return fifo_grow(&queue->items, queue->first, AWAITED_FIRST_CAPACITY, sizeof(struct awaited));
}

static void awaited_push(struct awaited_queue *queue, uint64_t tag, size_t length) {
    *awaited_at(queue, queue->last++) = (struct awaited){.tag = tag, .length = (uint32_t)length};
}

/* --- Listening -------------------------------------------------------------------------------- */

/* Keeps the daemon's reason for leaving; nothing is heard after it. */
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
    memmove(session->exchange, rows->bytes, rows->length); /* aligned, and over their message */
    session->one_shot = ONE_SHOT_ARRIVED;
    return ESM1NV_OK;
}

static int hear_message(esm1nv_session *session, const uint8_t *bytes, size_t size) {
    struct message message;

    if (size == 1 && bytes[0] == WIRE_BELL && session->map.header)
        return ESM1NV_OK;
    if (message_decode(&message, bytes, size) < 0)
        return session_garbage(session);
    if (message.kind == WIRE_RESULT)
        return hear_result(session, &message);
    if (message.kind != WIRE_REFUSED)
        return session_garbage(session);
    hear_farewell(session, &message);
    return ESM1NV_OK;
}

/* Whether the bell that waits in the socket may be the one a submit without room asked for. It is
 * then left there for the caller's poll, once, for the caller may have given up that submit. A bell
 * that is in the socket before the look at the ring cannot be that one unless there is room. */
static bool leave_bell_for_submit(esm1nv_session *session) {
    uint8_t first;
    if (!session->wants_space ||
        recv(session->fd, &first, sizeof first, MSG_PEEK | MSG_DONTWAIT) != 1 ||
        first != WIRE_BELL || !ring_producer_sleeps(&session->submissions))
        return false;
    session->wants_space = false;
    return true;
}

/* Receives one message and does what it says. Returns ESM1NV_OK, ESM1NV_AGAIN when none came in
 * `timeout` milliseconds (0: now, negative: ever), or an error. */
static int session_hear(esm1nv_session *session, int timeout) {
    uint8_t notice[NOTICE_MAX];
    /* A result that came by message stays where it is until it is released. */
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
    ssize_t size = channel_receive(session->fd, buffer, capacity, timeout >= 0);
    if (size == -EAGAIN)
        return ESM1NV_AGAIN;
    if (size == -ECONNRESET) /* comes once, before what the daemon said last can be read */
        return ESM1NV_OK;
    if (size == -EBADMSG)
        return session_garbage(session);
    if (size < 0)
        return session_system(session, "cannot receive from the daemon", (int)size);
    if (size == 0)
        hear_farewell(session, NULL);
    return size == 0 ? ESM1NV_OK : hear_message(session, buffer, (size_t)size);
}

/* After a send failed: hears what the daemon said before it left. */
static int session_lost(esm1nv_session *session) {
    while (session->farewell.code == ESM1NV_OK) {
        int code = session_hear(session, 0);
        if (code == ESM1NV_AGAIN) /* it shut down half of the connection */
            hear_farewell(session, NULL);
        else if (code != ESM1NV_OK)
            return code;
    }
    return session_ended(session);
}

/* --- Submitting ------------------------------------------------------------------------------- */

/* Where the first byte stands that the model does not know; length when there is none. */
static size_t find_unknown(const esm1nv_session *session, const uint8_t *sequence, size_t length) {
    unsigned any = 0;
    for (size_t i = 0; i < length; i++)
        any |= session->unknown[sequence[i]];
    if (!any)
        return length;
    size_t at = 0;
    while (!session->unknown[sequence[at]])
        at++;
    return at;
}

/* These leave the session usable. */
static int check_sequence(esm1nv_session *session, const uint8_t *sequence, size_t length) {
    const struct esm1nv_info *info = &session->info;

    if (length == 0 || length > info->positions)
        return failure_set(&session->error, ESM1NV_ERROR_LENGTH,
                           "a sequence of %zu residues; the model takes 1 to %u", length,
                           info->positions);
    size_t unknown = find_unknown(session, sequence, length);
    if (unknown < length)
        return failure_set(&session->error, ESM1NV_ERROR_LETTER,
                           "residue %zu, byte 0x%02x, is not a letter of the model", unknown + 1,
                           sequence[unknown]);
    return ESM1NV_OK;
}

static bool goes_one_shot(const esm1nv_session *session) {
    return session->pooling != ESM1NV_POOL_NONE && !session->map.header &&
           session->one_shot == ONE_SHOT_NONE && esm1nv_outstanding(session) == 0 &&
           session->one_shot_max > 0 && session->row_bytes <= WIRE_MESSAGE_MAX - ONE_SHOT_OVERHEAD;
}

/* Large enough for the longest sequence, a row and a refusal; a larger answer is garbage. */
static int exchange_create(esm1nv_session *session) {
    uint32_t most = NOTICE_MAX;

    if (session->exchange)
        return 0;
    if (most < session->row_bytes)
        most = session->row_bytes;
    if (most < session->info.positions)
        most = session->info.positions;
    session->exchange_size = (most + ONE_SHOT_OVERHEAD + 63) / 64 * 64;
    session->exchange = aligned_alloc(64, session->exchange_size);
    return session->exchange ? 0 : -ENOMEM;
}

static int submit_one_shot(esm1nv_session *session, uint64_t tag, const void *sequence,
                           size_t length) {
    struct message_writer writer;

    if (exchange_create(session) < 0)
        return session_system(session, "cannot hold a result", -ENOMEM);
    message_begin(&writer, session->exchange, session->exchange_size, WIRE_SUBMIT);
    message_put_number(&writer, WIRE_TAG, tag);
    message_put_bytes(&writer, WIRE_SEQUENCE, sequence, length);
    long size = message_end(&writer);
    /* Does not wait: the daemon has read all that came before this. */
    if (channel_send(session->fd, session->exchange, (size_t)size, -1, false) < 0)
        return session_lost(session);
    session->one_shot = ONE_SHOT_SENT;
    awaited_push(&session->awaited, tag, length);
    return ESM1NV_OK;
}

/* At least two of the largest records, and no more than the daemon takes. 0: cannot be. */
static uint32_t completion_ring_size(const esm1nv_session *session) {
    bool pooled = session->pooling != ESM1NV_POOL_NONE;
    uint64_t rows = pooled ? 1 : session->info.positions;
    uint64_t body = rows * session->row_bytes + RING_COMPLETION_ALIGN - 1;
    uint64_t record = RING_COMPLETION_ALIGN + body - body % RING_COMPLETION_ALIGN;
    uint64_t size = pooled ? COMPLETION_RING_POOLED : COMPLETION_RING_ROWS;

    while (size < 2 * record)
        size *= 2;
    while (size / 2 >= 2 * record && size > RING_SIZE_MIN &&
           RING_PAGE + SUBMISSION_RING_SIZE + size > session->ring_max)
        size /= 2;
    if (size > RING_SIZE_MAX || RING_PAGE + SUBMISSION_RING_SIZE + size > session->ring_max)
        return 0;
    return (uint32_t)size;
}

static int send_ring(esm1nv_session *session, int memfd) {
    char buffer[NOTICE_MAX];
    struct message_writer writer;
    message_begin(&writer, buffer, sizeof buffer, WIRE_RING);
    message_put_number(&writer, WIRE_SUBMISSION_SIZE, session->map.submission_size);
    message_put_number(&writer, WIRE_COMPLETION_SIZE, session->map.completion_size);
    long size = message_end(&writer);
    return channel_send(session->fd, buffer, (size_t)size, memfd, false);
}

static int session_make_rings(esm1nv_session *session) {
    uint32_t size = completion_ring_size(session);
    if (size == 0) {
        session->dead = true;
        return failure_set(&session->error, ESM1NV_ERROR_REFUSED,
                           "the daemon at %s accepts rings of at most %llu bytes, too few for two "
                           "records of %u positions; start it with a larger --ring-size",
                           session->socket, (unsigned long long)session->ring_max,
                           session->info.positions);
    }
    int memfd = ring_create(&session->map, SUBMISSION_RING_SIZE, size);
    if (memfd < 0)
        return session_system(session, "cannot make a ring", memfd);
    ring_submission_producer(&session->submissions, &session->map);
    ring_completion_consumer(&session->completions, &session->map);
    int ret = send_ring(session, memfd);
    close(memfd);
    return ret < 0 ? session_lost(session) : ESM1NV_OK;
}

/* Reserves room in the submission ring, or asks for the bell that tells of room. */
static int reserve(esm1nv_session *session, size_t length, void **record, uint64_t *end) {
    int ret;
    session->wants_space = false;
    do {
        ret = ring_reserve(&session->submissions, sizeof(struct ring_submission), length, record,
                           end);
        if (ret != -EAGAIN)
            return ret < 0 ? session_garbage(session) : ESM1NV_OK;
    } while (ring_producer_sleeps(&session->submissions));
    session->wants_space = true;
    return ESM1NV_AGAIN;
}

static int submit_to_ring(esm1nv_session *session, uint64_t tag, const void *sequence,
                          size_t length) {
    uint64_t end;
    void *record;

    int code = reserve(session, length, &record, &end);
    if (code != ESM1NV_OK)
        return code;
    struct ring_submission header = {.tag = tag, .length = (uint32_t)length};
    memcpy(record, &header, sizeof header);
    memcpy((uint8_t *)record + sizeof header, sequence, length);
    awaited_push(&session->awaited, tag, length);
    /* A daemon that cannot be rung has gone: esm1nv_next() tells, after what it completed. */
    if (ring_publish(&session->submissions, end))
        channel_ring_bell(session->fd);
    return ESM1NV_OK;
}

int esm1nv_submit(esm1nv_session *session, uint64_t tag, const void *sequence, size_t length) {
    if (session->dead)
        return session->error.code;
    int code = check_sequence(session, sequence, length);
    if (code != ESM1NV_OK)
        return code;
    if (awaited_grow(&session->awaited) < 0)
        return session_system(session, "cannot remember a sequence", -ENOMEM);
    if (goes_one_shot(session))
        return submit_one_shot(session, tag, sequence, length);
    if (!session->map.header)
        code = session_make_rings(session);
    return code == ESM1NV_OK ? submit_to_ring(session, tag, sequence, length) : code;
}

/* --- Taking results --------------------------------------------------------------------------- */

/* Checks a result against the oldest outstanding record before the caller sees it. `end` is 0 for
 * a one-shot's, which is no ring index behind a record. A failed record has no rows, but in the
 * ring it keeps the room that they would have had. */
static int accept_result(esm1nv_session *session, const struct ring_completion *header,
                         const void *rows, uint64_t end, struct esm1nv_result *result) {
    struct awaited *awaited = awaited_at(&session->awaited, session->awaited.first);
    uint32_t most = session->pooling == ESM1NV_POOL_NONE ? awaited->length : 1;
    uint32_t expected = header->status == RECORD_OK ? most : 0;
    uint64_t room = (uint64_t)(end ? most : expected) * session->row_bytes;

    if (header->tag != awaited->tag || header->status > RECORD_ENGINE || header->rows != expected ||
        header->bytes != room)
        return session_garbage(session);
    session->awaited.first++;
    *result = (struct esm1nv_result){
        .tag = header->tag,
        .status = (enum esm1nv_status)header->status,
        .row_count = expected,
        .rows = expected ? rows : NULL,
        .bytes = expected ? header->bytes : 0,
        .internal = end,
    };
    return ESM1NV_OK;
}

/* Takes the next result if it is there: ESM1NV_OK, ESM1NV_AGAIN or an error. */
static int take_result(esm1nv_session *session, struct esm1nv_result *result) {
    struct ring_completion header;
    const uint8_t *rows;
    uint64_t end;

    if (session->one_shot == ONE_SHOT_SENT)
        return ESM1NV_AGAIN;
    if (session->one_shot == ONE_SHOT_ARRIVED) {
        session->one_shot = ONE_SHOT_HELD;
        return accept_result(session, &session->one_shot_header, session->exchange, 0, result);
    }
    int ret = ring_take_completion(&session->completions, &header, &rows, &end);
    if (ret == -EAGAIN)
        return ESM1NV_AGAIN;
    return ret < 0 ? session_garbage(session) : accept_result(session, &header, rows, end, result);
}

/* Asks for a bell when the next result is there. Returns true when it came meanwhile. A one-shot's
 * result is its own bell. */
static bool result_is_there(esm1nv_session *session) {
    return session->one_shot != ONE_SHOT_SENT && ring_consumer_sleeps(&session->completions);
}

static int64_t milliseconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int esm1nv_next(esm1nv_session *session, struct esm1nv_result *result, int timeout) {
    int64_t deadline = timeout > 0 ? milliseconds_now() + timeout : 0;

    if (session->dead)
        return session->error.code;
    if (esm1nv_outstanding(session) == 0)
        return ESM1NV_END;
    for (;;) {
        int code = take_result(session, result);
        if (code != ESM1NV_AGAIN)
            return code;
        if (session->farewell.code != ESM1NV_OK)
            return session_ended(session);
        if (result_is_there(session))
            continue;
        code = session_hear(session, timeout);
        if (code < 0 || (code == ESM1NV_AGAIN && timeout == 0))
            return code;
        if (timeout > 0) {
            int64_t left = deadline - milliseconds_now();
            timeout = left > 0 ? (int)left : 0;
        }
    }
}

void esm1nv_release(esm1nv_session *session, const struct esm1nv_result *result) {
    struct ring_consumer *completions = &session->completions;

    /* A one-shot's result comes before all of the ring. */
    if (session->one_shot == ONE_SHOT_HELD)
        session->one_shot = ONE_SHOT_NONE;
    /* Nothing for what was released already, or was never taken. */
    if (result->internal > completions->released && result->internal <= completions->read &&
        ring_release(completions, result->internal))
        channel_ring_bell(session->fd);
}
