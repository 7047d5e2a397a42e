/* SPDX-License-Identifier: Apache-2.0
 *
 * Results. A record's completion or reply is prepared when the record ends; when all records of the
 * finished batches have ended, each session is sent or shown its results at once. A reply for which
 * the socket has no room is sent when it has.
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

/* Writes the completion's header in front of the rows. A failed record keeps its place, because
 * others may have been reserved behind it already. */
static void write_completion(struct session *session, const struct record *record) {
    *record->completion = (struct ring_completion){
        .tag = record->tag,
        .status = record->status,
        .rows = record->status == RECORD_OK ? record->rows : 0,
        .bytes = (uint32_t)record->bytes,
    };
    session->done = record->end;
}

void publishing_end_record(struct record *record) {
    struct session *session = record->session;
    bool dropped = session->state == SESSION_DROPPED;
    charge_give_back(&record->queued);
    count_record(session->service, record);
    if (!session->has_finished)
        TAILQ_INSERT_TAIL(&session->service->finished, session, finished_link);
    session->has_finished = true;
    if (!dropped && !record->completion) {
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
    struct record *record;
    while ((record = STAILQ_FIRST(&session->replies))) {
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

static void publishing_publish_session(struct session *session) {
    publishing_send_replies(session);
    if (session->state != SESSION_RING || session->done == session->completions.published)
        return;
    if (ring_publish(&session->completions, session->done) && channel_ring_bell(session->fd) < 0)
        session_drop(session, "gone");
}

void publishing_publish_all(struct service *service) {
    struct session *session;
    while ((session = TAILQ_FIRST(&service->finished))) {
        TAILQ_REMOVE(&service->finished, session, finished_link);
        session->has_finished = false;
        if (session->state != SESSION_DROPPED)
            publishing_publish_session(session);
        session_unblock(service, session->user);
    }
}
