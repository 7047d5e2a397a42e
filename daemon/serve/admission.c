/* SPDX-License-Identifier: Apache-2.0
 *
 * Admission. A record from a ring for which there is no room is held by its session, which takes
 * nothing more until the client frees space (and rings a bell) or other records of the user are
 * done; nothing is polled. A leaving daemon admits nothing.
 */
#include "daemon/serve/admission.h"
#include "ipc/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Records a session takes before others get their turn. */
#define RING_QUANTUM 64

/* Why no record was admitted. */
enum admission_condition {
    ADMISSION_AGAIN = 1, /* there may be one now: look again */
    ADMISSION_WAITS,     /* something will wake the session */
};

/* The one place where records enter the scheduler. */
static void record_admit(struct record *record) {
    struct session *session = record->session;
    assert(!session->service->draining && record->queued.amount == record->sched.residues);
    sched_admit(&session->service->sched, &session->sched, &record->sched);
}

/* A session has at most WIRE_ONE_SHOT_MAX submissions by message under way, so what they can hold
 * is small: they are charged as queued, but never wait for the user's share of the queue. */
void admission_take_message(struct session *session, uint64_t tag, const uint8_t *residues,
                            size_t length) {
    if (session->service->draining)
        return;
    struct record *record;
    int result = record_create(&record, session, tag, residues, length);
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
        record_admit(record);
        return;
    }
    record_destroy(record);
}

/* Takes the next submission as session->held, unless there is one already. Returns 0, a condition,
 * or why the session must end. */
static int held_take(struct session *session) {
    if (session->held)
        return 0;
    struct ring_submission header;
    const uint8_t *body;
    int result = ring_take_submission(&session->submissions, &header, &body, &session->taken);
    if (result == RING_EMPTY)
        return ring_consumer_sleeps(&session->submissions) ? ADMISSION_AGAIN : ADMISSION_WAITS;
    if (result < 0)
        return result;
    if (header.reserved != 0)
        return -EPROTO;
    return record_create(&session->held, session, header.tag, body, header.length);
}

/* Reserves the held record's place in the completion ring, unless it has one. Returns 0, a
 * condition, or why the session must end. */
static int held_reserve(struct session *session) {
    struct record *record = session->held;
    if (record->completion)
        return 0;
    void *place;
    int result = ring_reserve(&session->completions, sizeof *record->completion, record->bytes,
                              &place, &record->end);
    if (result == RING_FULL)
        return ring_producer_sleeps(&session->completions) ? ADMISSION_AGAIN : ADMISSION_WAITS;
    if (result < 0)
        return result;
    record->completion = place;
    record->data = record->completion + 1;
    return 0;
}

/* Charges the held record's residues if the user's share of the queue has room. Each of the user's
 * clients may fill an equal part, so that the first ones leave room for the others, and may always
 * have one record. Returns 0 or ADMISSION_WAITS. */
static int held_charge(struct session *session) {
    struct user *user = session->user;
    struct record *record = session->held;
    uint64_t residues = record->sched.residues;
    uint64_t share = user->queued.limit / user->clients.held;
    bool fits = session->queued.held == 0 || session->queued.held + residues <= share;
    if (fits && charge_take(&record->queued, residues, &session->queued, &user->queued))
        return 0;
    session_wait_in(session, &user->blocked);
    return ADMISSION_WAITS;
}

/* Admits at most one record. Returns 0, a condition, or why the session must end. */
static int ring_admit_next(struct session *session) {
    int result = held_take(session);
    if (result == 0)
        result = held_reserve(session);
    if (result == 0)
        result = held_charge(session);
    if (result == 0) {
        record_admit(session->held);
        session->held = NULL;
    }
    return result;
}

/* Conditions count too, so a client that keeps changing its indices gets no more than a quantum of
 * looks. */
void admission_take_ring(struct session *session) {
    session_wait_in(session, NULL);
    if (session->service->draining)
        return;
    int result = 0;
    for (unsigned i = 0; i < RING_QUANTUM && result >= 0 && result != ADMISSION_WAITS; i++)
        result = ring_admit_next(session);
    if (result < 0) {
        session_fail(session, result, "garbage in its ring");
        return;
    }
    if (result != ADMISSION_WAITS)
        session_wait_in(session, &session->service->ready);
    if (session->taken != session->submissions.released &&
        ring_release(&session->submissions, session->taken) && channel_ring_bell(session->fd) < 0)
        session_drop(session, "gone");
}

void admission_take_ready(struct service *service) {
    struct session *last = TAILQ_LAST(&service->ready, session_list), *session;
    while ((session = TAILQ_FIRST(&service->ready))) {
        admission_take_ring(session);
        if (session == last)
            break; /* those behind it came in meanwhile */
    }
}
