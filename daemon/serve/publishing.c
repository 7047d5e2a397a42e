/* SPDX-License-Identifier: Apache-2.0
 *
 * Results: written where the client reads them as records end, and made visible for all sessions
 * at once afterwards. A reply that a full socket holds up is sent when there is room.
 */
#include "daemon/serve/publishing.h"
#include "ipc/channel.h"
#include "ipc/message.h"

#include <errno.h>
#include <string.h>

#define RESULT_FRAME 64 /* more than the keys and heads of a RESULT take */

unsigned publishing_one_shot_limit(const struct session *session) {
    size_t row = session->generation->model->config.hidden * dtype_size(session->dtype);
    bool fits = row <= WIRE_MESSAGE_MAX - RESULT_FRAME;

    return session->pooling == POOLING_NONE || !fits ? 0 : WIRE_ONE_SHOT_MAX;
}

static void count_record(struct service *service, const struct record *record) {
    if (record->status == RECORD_OK) {
        service->total.records++;
        service->total.residues += record->sched.residues;
    } else {
        service->total.records_failed++;
    }
}

/* Writes the completion's header; the rows are there. A failed record keeps its place, for others
 * may lie behind it already. */
static void write_completion(struct session *session, const struct record *record) {
    *record->slot = (struct ring_completion){
        .tag = record->tag,
        .status = record->status,
        .rows = record->status == RECORD_OK ? record->rows : 0,
        .bytes = (uint32_t)record->bytes,
    };
    session->done = record->end;
}

void publishing_finish(struct record *record) {
    struct session *session = record->session;
    bool dropped = session->state == SESSION_DROPPED;

    charge_give_back(&record->queued);
    count_record(session->service, record);
    if (!session->has_finished)
        TAILQ_INSERT_TAIL(&session->service->finished, session, finished_link);
    session->has_finished = true;
    if (!dropped && !record->slot) {
        STAILQ_INSERT_TAIL(&session->replies, record, reply_link);
        return;
    }
    if (!dropped)
        write_completion(session, record);
    record_destroy(record);
}

static long encode_result(char *buffer, const struct record *record) {
    bool ok = record->status == RECORD_OK;
    struct message_writer writer;

    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_RESULT);
    message_put_number(&writer, WIRE_TAG, record->tag);
    message_put_number(&writer, WIRE_RECORD_STATUS, record->status);
    message_put_number(&writer, WIRE_ROWS, ok ? record->rows : 0);
    message_put_bytes(&writer, WIRE_DATA, record->data, ok ? record->bytes : 0);
    return message_end(&writer);
}

void publishing_send_replies(struct session *session) {
    char buffer[WIRE_MESSAGE_MAX];

    while (!STAILQ_EMPTY(&session->replies)) {
        struct record *record = STAILQ_FIRST(&session->replies);
        int result = session_send(session, buffer, encode_result(buffer, record));

        if (result == CHANNEL_FULL) {
            loop_want_writable(session->watch);
            return;
        }
        if (result < 0) {
            session_drop(session, strerror(-result));
            return;
        }
        STAILQ_REMOVE_HEAD(&session->replies, reply_link);
        record_destroy(record);
    }
}

static void publish_session(struct session *session) {
    publishing_send_replies(session);
    if (session->state != SESSION_RING || session->done == session->completions.published)
        return;
    if (ring_publish(&session->completions, session->done) && channel_ring_bell(session->fd) < 0)
        session_drop(session, "gone");
}

void publishing_publish(struct service *service) {
    struct session *session;

    while ((session = TAILQ_FIRST(&service->finished))) {
        TAILQ_REMOVE(&service->finished, session, finished_link);
        session->has_finished = false;
        if (session->state != SESSION_DROPPED)
            publish_session(session);
        session_unblock(service, session->user);
    }
}
