/* SPDX-License-Identifier: Apache-2.0
 *
 * Admission. A record from a ring that cannot go on is held, and the session takes nothing more
 * until the client frees space (a bell) or the user's other records are done; it never polls. A
 * leaving daemon admits nothing.
 */
#include "daemon/serve/admission.h"
#include "ipc/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that a sequence gets beside those of its residues: <s> and </s>. */
#define SPECIALS_MAX 2

/* Records a session takes before others get their turn. */
#define PUMP_QUANTUM 64

/* Why no record was admitted. */
enum pump {
    PUMP_AGAIN = 1, /* it is worth looking again at once */
    PUMP_WAITS,     /* something will wake the session */
};

/* Makes a record of what a session submitted: copies the residues, which the client may be
 * changing, and checks and tokenises the copy. Returns 0, -EPROTO when they are none of the model's
 * or too many or none, -ENOMEM. */
static int make_record(struct record **result, struct session *session, uint64_t tag,
                       const uint8_t *residues, size_t length) {
    const struct model *model = session->generation->model;

    *result = NULL;
    if (length == 0 || length > model->config.positions)
        return -EPROTO;

    uint8_t copy[WIRE_POSITIONS_MAX];
    memcpy(copy, residues, length);

    struct record *record = malloc(sizeof *record + (length + SPECIALS_MAX) * sizeof *record->ids);
    if (!record)
        return -ENOMEM;
    *record = (struct record){.session = session, .tag = tag};
    if (model_tokenize(model, copy, length, record->ids, &record->span) < 0) {
        record_destroy(record);
        return -EPROTO;
    }
    record->sched.tokens = record->span.tokens;
    record->sched.residues = record->span.residues;
    record->rows = session->pooling == POOLING_NONE ? record->span.residues : 1;
    record->bytes = (size_t)record->rows * model->config.hidden * dtype_size(session->dtype);
    *result = record;
    return 0;
}

/* From here on it is the scheduler's: every record passes. */
static void admit(struct record *record) {
    struct session *session = record->session;

    assert(!session->service->draining && record->queued.amount == record->sched.residues);
    sched_admit(&session->service->sched, &session->sched, &record->sched);
}

/* By message at most WIRE_ONE_SHOT_MAX records are on their way, which bounds what they can hold:
 * they are counted as queued, but never wait for the user's other clients. */
void admission_take_message(struct session *session, uint64_t tag, const uint8_t *residues,
                            size_t length) {
    if (session->service->draining)
        return;

    struct record *record;
    int result = make_record(&record, session, tag, residues, length);
    if (result < 0) {
        session_fail(session, result, "a sequence outside the alphabet");
    } else if (!charge_take(&record->unanswered, 1, &session->unanswered, NULL)) {
        session_drop(session, "too many unanswered submissions");
    } else if (!charge_take(&record->memory, record->bytes, &session->user->pinned, NULL)) {
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: your user holds all the memory it may");
    } else if (!(record->data = aligned_alloc(64, (record->bytes + 63) / 64 * 64))) {
        session_fail(session, -ENOMEM, NULL);
    } else {
        charge_impose(&record->queued, record->sched.residues, &session->queued,
                      &session->user->queued);
        admit(record);
        return;
    }
    record_destroy(record);
}

/* Takes the next submission as session->held, unless there is one. Returns 0, a pump condition, or
 * why the session must end. */
static int take_submission(struct session *session) {
    struct ring_submission header;
    const uint8_t *body;

    if (session->held)
        return 0;
    int result = ring_take_submission(&session->submissions, &header, &body, &session->taken);
    if (result == RING_EMPTY)
        return ring_consumer_sleeps(&session->submissions) ? PUMP_AGAIN : PUMP_WAITS;
    if (result < 0)
        return result;
    if (header.reserved != 0)
        return -EPROTO;
    return make_record(&session->held, session, header.tag, body, header.length);
}

/* Finds the place of the held record's rows in the completion ring, unless it has one. Returns 0, a
 * pump condition, or why the session must end. */
static int reserve_place(struct session *session) {
    struct record *record = session->held;
    void *place;

    if (record->slot)
        return 0;
    int result = ring_reserve(&session->completions, sizeof *record->slot, record->bytes, &place,
                              &record->end);
    if (result == RING_FULL)
        return ring_producer_sleeps(&session->completions) ? PUMP_AGAIN : PUMP_WAITS;
    if (result < 0)
        return result;
    record->slot = place;
    record->data = record->slot + 1;
    return 0;
}

/* Charges the held record's residues when the user's share of the queue has room. Each of its
 * clients may fill an equal part, so that the first ones leave room for the next, and always one
 * record. Returns 0 or PUMP_WAITS. */
static int charge_residues(struct session *session) {
    struct user *user = session->user;
    struct record *record = session->held;
    uint64_t residues = record->sched.residues;
    uint64_t share = user->queued.limit / user->clients.held;
    bool fits = session->queued.held == 0 || session->queued.held + residues <= share;

    if (fits && charge_take(&record->queued, residues, &session->queued, &user->queued))
        return 0;
    session_wait_in(session, &user->blocked);
    return PUMP_WAITS;
}

/* Takes and queues at most one record. Returns 0, a pump condition, or why the session must end. */
static int pump_one(struct session *session) {
    int result = take_submission(session);

    if (result == 0)
        result = reserve_place(session);
    if (result == 0)
        result = charge_residues(session);
    if (result == 0) {
        admit(session->held);
        session->held = NULL;
    }
    return result;
}

/* A client that keeps changing its indices gets no more than its quantum of looks. */
void admission_pump(struct session *session) {
    int result = 0;

    session_wait_in(session, NULL);
    if (session->service->draining)
        return;
    for (unsigned count = 0; count < PUMP_QUANTUM && result >= 0 && result != PUMP_WAITS; count++)
        result = pump_one(session);
    if (result < 0) {
        session_fail(session, result, "garbage in its ring");
        return;
    }
    if (result != PUMP_WAITS)
        session_wait_in(session, &session->service->ready);
    if (session->taken != session->submissions.released &&
        ring_release(&session->submissions, session->taken) && channel_ring_bell(session->fd) < 0)
        session_drop(session, "gone");
}

void admission_pump_ready(struct service *service) {
    struct session *last = TAILQ_LAST(&service->ready, session_list), *session;

    while ((session = TAILQ_FIRST(&service->ready))) {
        admission_pump(session);
        if (session == last)
            break; /* those behind it came in meanwhile */
    }
}
