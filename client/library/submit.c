/* SPDX-License-Identifier: Apache-2.0
 *
 * Records on their way to the daemon. A record that is submitted while none is outstanding travels
 * in a message, and so does its result: a one-shot. The first record that cannot travel so makes
 * the rings, and all records from then on go through them; the socket then carries only bells.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUBMISSION_RING_SIZE UINT32_C(65536)
#define COMPLETION_RING_POOLED (UINT32_C(1) << 20)
#define COMPLETION_RING_ROWS (UINT32_C(1) << 23)
#define AWAITED_FIRST_CAPACITY 8u /* enough for a small call */
/* Bytes that suffice in a SUBMIT or RESULT message for all but the sequence or the rows. */
#define ONE_SHOT_OVERHEAD 64u

static void awaited_push(struct awaited_queue *queue, uint64_t tag, size_t length) {
    struct awaited *awaited = fifo_at(&queue->items, queue->last++, sizeof *awaited);
    *awaited = (struct awaited){.tag = tag, .length = (uint32_t)length};
}

/* The index of the first byte that the model does not know, or length if there is none. */
static size_t unknown_residue(const esm1nv_session *session, const uint8_t *sequence,
                              size_t length) {
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

/* A sequence that is refused here leaves the session usable. */
static int check_sequence(esm1nv_session *session, const uint8_t *sequence, size_t length) {
    const struct esm1nv_info *info = &session->info;
    if (length == 0 || length > info->positions)
        return failure_set(&session->error, ESM1NV_ERROR_LENGTH,
                           "a sequence of %zu residues; the model takes 1 to %u", length,
                           info->positions);
    size_t unknown = unknown_residue(session, sequence, length);
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

/* The buffer holds the longest sequence, a row, or a refusal. A larger answer is garbage. */
static int exchange_create(esm1nv_session *session) {
    if (session->exchange)
        return 0;
    uint32_t most = NOTICE_MAX;
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
    if (exchange_create(session) < 0)
        return session_system(session, "cannot hold a result", -ENOMEM);
    struct message_writer writer;
    message_begin(&writer, session->exchange, session->exchange_size, WIRE_SUBMIT);
    message_put_number(&writer, WIRE_TAG, tag);
    message_put_bytes(&writer, WIRE_SEQUENCE, sequence, length);
    long size = message_end(&writer);
    /* This does not wait: the daemon has read all that was sent before. */
    if (channel_send(session->fd, session->exchange, (size_t)size, -1, false) < 0)
        return session_lost(session);
    session->one_shot = ONE_SHOT_SENT;
    awaited_push(&session->awaited, tag, length);
    return ESM1NV_OK;
}

/* A size that holds at least two of the largest records and that the daemon accepts; 0 if there is
 * none. */
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

static int make_rings(esm1nv_session *session) {
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
    int result = send_ring(session, memfd);
    close(memfd);
    return result < 0 ? session_lost(session) : ESM1NV_OK;
}

/* Reserves room in the submission ring, or asks for a bell when there is room. */
static int submission_reserve(esm1nv_session *session, size_t length, void **record,
                              uint64_t *end) {
    session->wants_space = false;
    do {
        int result = ring_reserve(&session->submissions, sizeof(struct ring_submission), length,
                                  record, end);
        if (result != RING_FULL)
            return result < 0 ? session_garbage(session) : ESM1NV_OK;
    } while (ring_producer_sleeps(&session->submissions));
    session->wants_space = true;
    return ESM1NV_AGAIN;
}

static int submit_to_ring(esm1nv_session *session, uint64_t tag, const void *sequence,
                          size_t length) {
    uint64_t end;
    void *record;
    int result = submission_reserve(session, length, &record, &end);
    if (result != ESM1NV_OK)
        return result;
    struct ring_submission header = {.tag = tag, .length = (uint32_t)length};
    memcpy(record, &header, sizeof header);
    memcpy((uint8_t *)record + sizeof header, sequence, length);
    awaited_push(&session->awaited, tag, length);
    /* If the bell cannot be rung the daemon has gone. esm1nv_next() reports that, after the results
     * that the daemon completed. */
    if (ring_publish(&session->submissions, end))
        channel_ring_bell(session->fd);
    return ESM1NV_OK;
}

int esm1nv_submit(esm1nv_session *session, uint64_t tag, const void *sequence, size_t length) {
    if (session->dead)
        return session->error.code;
    int result = check_sequence(session, sequence, length);
    if (result != ESM1NV_OK)
        return result;
    struct awaited_queue *queue = &session->awaited;
    if (queue->last - queue->first == queue->items.count &&
        fifo_grow(&queue->items, queue->first, AWAITED_FIRST_CAPACITY, sizeof(struct awaited)) < 0)
        return session_system(session, "cannot remember a sequence", -ENOMEM);
    if (goes_one_shot(session))
        return submit_one_shot(session, tag, sequence, length);
    if (!session->map.header)
        result = make_rings(session);
    return result == ESM1NV_OK ? submit_to_ring(session, tag, sequence, length) : result;
}
