/* SPDX-License-Identifier: Apache-2.0
 *
 * The data side of a session: attaching its ring, taking submissions as far as there is room for
 * their results, and publishing results in order. A record that cannot go on is held, and the
 * session takes nothing more until the client frees space (a bell) or the user's other records
 * are done; it never polls.
 */
#include "daemon/base/log.h"
#include "daemon/serve/reply.h"
#include "daemon/serve/session.h"
#include "ipc/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Records a session takes before others get their turn. */
#define PUMP_QUANTUM 64
/* Beside ring_condition: the user's share of the queue has no room for the next record. */
#define PUMP_BLOCKED 3

/* The largest record must fit half of the ring, and so two of them the whole. */
static bool ring_holds_largest(const struct session *session, uint32_t completion_size) {
    const struct model_config *config = &session->generation->model->config;
    size_t rows = session->pooling == POOLING_NONE ? config->positions : 1;

    return sizeof(struct ring_completion) + rows * config->hidden * dtype_size(session->dtype) <=
           completion_size / 2;
}

/* Charges the ring to the user, or refuses. */
static bool ring_admit(struct session *session, uint32_t submission_size,
                       uint32_t completion_size) {
    const struct limits *limits = &session->service->limits;
    uint64_t bytes = ring_bytes(submission_size, completion_size);
    char text[200];

    if (bytes > limits->ring_size) {
        snprintf(text, sizeof text,
                 "a ring of %" PRIu64 " bytes; the largest allowed here has %" PRIu64, bytes,
                 limits->ring_size);
        session_refuse(session, WIRE_REFUSED_LIMIT, false, text);
        return false;
    }
    if (!ring_holds_largest(session, completion_size)) {
        session_refuse(session, WIRE_REFUSED_LIMIT, false,
                       "a ring that does not hold two of the model's largest records");
        return false;
    }
    if (!user_charge(&session->user->pinned_bytes, bytes, limits->pinned_per_user)) {
        snprintf(text, sizeof text,
                 "busy: the rings of your user would pin more than the %" PRIu64 " bytes allowed",
                 limits->pinned_per_user);
        session_refuse(session, WIRE_REFUSED_BUSY, true, text);
        return false;
    }
    session->pinned = bytes; /* released when the session is freed */
    session->service->pinned_bytes += bytes;
    return true;
}

/* Takes the next submission as session->held. Returns 0, RING_EMPTY, or why the session must end. */
static int take_one(struct session *session) {
    struct ring_submission header;
    const uint8_t *body;
    int error = ring_take_submission(&session->submissions, &header, &body, &session->taken);

    if (error != 0)
        return error;
    if (header.reserved != 0)
        return -EPROTO;
    error =
        record_create(&session->held, session->generation->model, header.tag, body, header.length);
    if (error == 0)
        session_prepare(session, session->held);
    return error;
}

/* Finds the place of the held record's rows in the completion ring. Returns 0, RING_FULL, or why the
 * session must end. */
static int reserve_place(struct session *session) {
    struct record *record = session->held;
    void *place;
    int error = ring_reserve(&session->completions, sizeof *record->slot, record->bytes, &place,
                             &record->end);

    if (error != 0)
        return error;
    record->slot = place;
    record->data = record->slot + 1;
    return 0;
}

/* Whether the user's share of the queue has room. Each of its clients may fill an equal part, so
 * that the first ones leave room for the next, and always one record. */
static bool charge_residues(struct session *session) {
    struct user *user = session->user;
    uint32_t residues = session->held->sched.residues;
    uint64_t limit = session->service->limits.queued_per_user;
    uint64_t share = limit / user->clients;

    if (session->queued_residues > 0 && session->queued_residues + residues > share)
        return false;
    if (!user_charge(&user->queued_residues, residues, limit))
        return false;
    session->queued_residues += residues;
    return true;
}

static void admit(struct session *session) {
    struct record *record = session->held;

    session->held = NULL;
    sched_admit(&session->service->sched, &session->sched, &record->sched);
}

/* Takes and queues at most one record. Returns 0 when it is worth looking again (a client that
 * keeps changing its indices gets no more than its quantum of looks); RING_EMPTY, RING_FULL or
 * PUMP_BLOCKED when the session must wait for something that will wake it; else why it must end. */
static int pump_one(struct session *session) {
    int error = 0;

    if (!session->held) {
        error = take_one(session);
        if (error == RING_EMPTY && ring_consumer_sleeps(&session->submissions))
            return 0;
    }
    if (error == 0 && !session->held->slot) {
        error = reserve_place(session);
        if (error == RING_FULL && ring_producer_sleeps(&session->completions))
            return 0;
    }
    if (error != 0)
        return error;
    if (!charge_residues(session)) {
        session_wait_in(session, &session->user->blocked);
        return PUMP_BLOCKED;
    }
    admit(session);
    return 0;
}

/* Takes up to a quantum; where there may be more, the session stands ready then. */
static void pump(struct session *session) {
    int error = 0;

    session_wait_in(session, NULL);
    if (session->service->draining)
        return;
    for (unsigned count = 0; count < PUMP_QUANTUM && error == 0; count++)
        error = pump_one(session);
    if (error < 0) {
        session_fail(session, error, "garbage in its ring");
        return;
    }
    if (error == 0)
        session_wait_in(session, &session->service->ready);
    if (session->taken != session->submissions.released &&
        ring_release(&session->submissions, session->taken) && channel_ring_bell(session->fd) < 0)
        session_drop(session, "gone");
}

void session_on_doorbell(struct session *session) {
    pump(session);
}

void session_attach_ring(struct session *session, const struct message *message, int *fd) {
    uint32_t submission_size = (uint32_t)message->value[WIRE_SUBMISSION_SIZE].number;
    uint32_t completion_size = (uint32_t)message->value[WIRE_COMPLETION_SIZE].number;
    int error;

    if (!ring_admit(session, submission_size, completion_size))
        return;
    error = ring_attach(&session->map, *fd, submission_size, completion_size);
    if (error < 0) {
        session_fail(session, error, "a ring that is not a sealed memfd of the size it says");
        return;
    }
    close(*fd); /* a memfd's close cannot block, so it need not wait behind those that do */
    *fd = -1;
    ring_submission_consumer(&session->submissions, &session->map);
    ring_completion_producer(&session->completions, &session->map);
    session->state = SESSION_RING;
    channel_take_descriptors(session->fd, false);
    pump(session);
}

void session_pump_ready(struct service *service) {
    struct session *last = TAILQ_LAST(&service->ready, session_list), *session;

    while ((session = TAILQ_FIRST(&service->ready))) {
        pump(session);
        if (session == last)
            break; /* those behind it came in meanwhile */
    }
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
static void complete(struct session *session, const struct record *record) {
    *record->slot = (struct ring_completion){
        .tag = record->tag,
        .status = record->status,
        .rows = record->status == RECORD_OK ? record->rows : 0,
        .bytes = (uint32_t)record->bytes,
    };
    session->done = record->end;
}

void session_finish(struct record *record) {
    struct session *session = record->session;
    struct service *service = session->service;

    session->in_flight--;
    session_release(session, record);
    count_record(service, record);
    if (!session->has_finished)
        TAILQ_INSERT_TAIL(&service->finished, session, finished_link);
    session->has_finished = true;
    if (session->state == SESSION_DROPPED || record->slot) {
        if (session->state != SESSION_DROPPED)
            complete(session, record);
        session_destroy_record(session, record);
        return;
    }
    record->next_reply = NULL;
    *session->replies_last = record;
    session->replies_last = &record->next_reply;
    service->unsent++;
}

void session_send_replies(struct session *session) {
    char buffer[WIRE_MESSAGE_MAX];

    while (session->replies) {
        struct record *record = session->replies;
        long size = reply_result(buffer, record);
        int error =
            size < 0 ? (int)size : channel_send(session->fd, buffer, (size_t)size, -1, true);

        if (error == CHANNEL_FULL) {
            loop_want_writable(session->watch);
            return;
        }
        if (error < 0) {
            session_drop(session, strerror(-error));
            return;
        }
        session->replies = record->next_reply;
        if (!session->replies)
            session->replies_last = &session->replies;
        session->unanswered--;
        session->service->unsent--;
        session_destroy_record(session, record);
    }
}

static void session_publish(struct session *session) {
    session_send_replies(session);
    if (session->state != SESSION_RING || session->done == session->completions.published)
        return;
    if (ring_publish(&session->completions, session->done) && channel_ring_bell(session->fd) < 0)
        session_drop(session, "gone");
}

void session_publish_finished(struct service *service) {
    struct session *session;

    while ((session = TAILQ_FIRST(&service->finished))) {
        TAILQ_REMOVE(&service->finished, session, finished_link);
        session->has_finished = false;
        if (session->state != SESSION_DROPPED)
            session_publish(session);
        session_unblock(service, session->user);
    }
}
