/* SPDX-License-Identifier: Apache-2.0
 *
 * One client: its socket, its state, its rings, and what it holds. session.c speaks the protocol,
 * stream.c takes submissions from the ring and publishes results.
 *
 * A session is dropped at once when its peer is gone or breaks the rules, and freed at the end of
 * the turn in which no batch refers to its memory any more.
 */
#ifndef ESM1NV_SESSION_H
#define ESM1NV_SESSION_H

#include "daemon/serve/generation.h"
#include "daemon/serve/record.h"
#include "daemon/serve/service.h"
#include "ipc/message.h"
#include "ipc/ring.h"

enum session_state {
    SESSION_CONNECTED, /* nothing was said yet */
    SESSION_MESSAGES,  /* welcomed */
    SESSION_RING,      /* its ring is mapped */
    SESSION_ANSWERED,  /* asked for status or stop: may only leave */
    SESSION_DROPPED,
};

struct session {
    TAILQ_ENTRY(session) link; /* in service->sessions or ->dropped */
    TAILQ_ENTRY(session) wait_link;
    TAILQ_ENTRY(session) finished_link;
    struct session_list *waits_in; /* service->ready, user->blocked, or NULL */
    bool has_finished;             /* stands in service->finished */

    struct service *service;
    struct generation *generation; /* it was welcomed with; NULL before */
    struct user *user;
    struct loop_watch *watch;
    int fd;
    pid_t pid;
    enum session_state state;
    bool welcomed;

    enum pooling pooling;
    enum dtype dtype;
    struct sched_client sched;
    uint64_t queued_residues; /* taken and not finished */
    unsigned in_flight;       /* its records in batches */

    unsigned one_shot_limit;
    unsigned unanswered;                    /* SUBMITs whose RESULT was not sent yet */
    struct record *replies, **replies_last; /* finished, to be sent */

    struct ring_map map;
    struct ring_consumer submissions;
    struct ring_producer completions;
    struct record *held; /* taken, but there is no room for it yet */
    uint64_t taken;      /* end of what was taken from the submission ring */
    uint64_t done;       /* end of what may be published in the completion ring */
    uint64_t pinned;     /* bytes of the ring, charged to the user */
};

/* Takes over a new connection. Refuses it, with a reason, when there are too many. */
void session_accept(struct service *service, int fd);

/* Ends a session without a word; `why` is for the log. Idempotent. */
void session_drop(struct session *session, const char *why);

/* The same, after telling the client. */
void session_refuse(struct session *session, enum wire_refusal code, bool retry, const char *why);

/* Ends a session for an error of its peer, which is not told why, or for -ENOMEM, which is no fault
 * of the peer's. */
void session_fail(struct session *session, int error, const char *why);

/* Says what became of a record, which is not the caller's any more. Nothing is sent yet. */
void session_finish(struct record *record);

/* Takes what the client has submitted through its ring. */
void session_on_doorbell(struct session *session);

/* Publishes the results of all sessions that have some. */
void session_publish_finished(struct service *service);

/* Lets every session that stands ready take up to a quantum of its submissions. */
void session_pump_ready(struct service *service);

/* Frees dropped sessions that nothing refers to. */
void session_free_dropped(struct service *service);

/* Between session.c and stream.c. */
void session_destroy_record(struct session *session, struct record *record);
void session_wait_in(struct session *session, struct session_list *list);
void session_unblock(struct service *service, struct user *user);
void session_prepare(struct session *session, struct record *record);
void session_release(struct session *session, struct record *record);
/* Sets *fd to -1 when it has closed it. */
void session_attach_ring(struct session *session, const struct message *message, int *fd);
void session_send_replies(struct session *session);

#endif
