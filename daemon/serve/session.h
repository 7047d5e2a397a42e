/* SPDX-License-Identifier: Apache-2.0
 *
 * One client: its socket, its state, its rings, and what it holds. What it says is understood in
 * protocol.c, what it submits is taken in admission.c, what it gets is sent in publishing.c.
 *
 * A session is dropped at once when its peer is gone or breaks the rules, and freed at the end of
 * the turn in which no batch refers to its memory any more.
 */
#ifndef ESM1NV_SESSION_H
#define ESM1NV_SESSION_H

#include "daemon/serve/generation.h"
#include "daemon/serve/record.h"
#include "daemon/serve/service.h"
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
    struct charge connection; /* one, of the service and the user */
    struct charge client;     /* one, of the same, once it is welcomed */

    enum pooling pooling;
    enum dtype dtype;
    struct sched_client sched;
    struct account queued;      /* residues taken and not finished */
    struct account unanswered;  /* submissions by message whose RESULT was not sent yet */
    unsigned in_flight;         /* its records in batches */
    struct record_list replies; /* finished, to be sent by message */

    struct ring_map map;
    struct charge pinned; /* bytes of the ring, of the service and the user */
    struct ring_consumer submissions;
    struct ring_producer completions;
    struct record *held; /* taken, but there is no room for it yet */
    uint64_t taken;      /* end of what was taken from the submission ring */
    uint64_t done;       /* end of what may be published in the completion ring */
};

/* Takes over a new connection, whose messages go to these callbacks with the session as context.
 * Refuses it, with a reason, when there are too many. */
void session_accept(struct service *service, int fd, const struct loop_callbacks *callbacks);

/* Sends an encoded message; `size` may be the encoder's error. Returns 0, CHANNEL_FULL
 * when the client has no room for it, or -errno. */
int session_send(struct session *session, const char *message, long size);

/* Ends a session without a word; `why` is for the log. Idempotent. */
void session_drop(struct session *session, const char *why);

/* The same for all sessions of a generation, or with NULL for all there are. */
void session_drop_all(struct service *service, const struct generation *generation,
                      const char *why);

/* The same as session_drop(), after telling the client. */
__attribute__((format(printf, 4, 5))) void session_refuse(struct session *session,
                                                          enum wire_refusal code, bool retry,
                                                          const char *format, ...);

/* Ends a session for an error of its peer, which is not told why, or for -ENOMEM, which is no fault
 * of the peer's. */
void session_fail(struct session *session, int error, const char *why);

/* Has it stand in one of the lists of sessions that wait, and in no other; NULL: in none. */
void session_wait_in(struct session *session, struct session_list *list);

/* The user's sessions that wait for its queued residues to become fewer stand ready again. */
void session_unblock(struct service *service, struct user *user);

/* Frees dropped sessions that nothing refers to. */
void session_free_dropped(struct service *service);

#endif
