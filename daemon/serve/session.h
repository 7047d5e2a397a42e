/* SPDX-License-Identifier: Apache-2.0
 *
 * One client: its socket, its state, its rings, and what it is charged for. protocol.c handles its
 * messages, admission.c takes its records, and publishing.c sends their results.
 *
 * A session is dropped at once when its peer is gone or breaks the rules. It is freed at the end of
 * the first turn of the loop in which no batch refers to its memory any more.
 */
#ifndef ESM1NV_SESSION_H
#define ESM1NV_SESSION_H

#include "daemon/serve/generation.h"
#include "daemon/serve/record.h"
#include "daemon/serve/service.h"
#include "ipc/ring.h"

enum session_state {
    SESSION_CONNECTED, /* no message has come yet */
    SESSION_MESSAGES,  /* welcomed */
    SESSION_RING,      /* its ring is mapped */
    SESSION_ANSWERED,  /* asked for status or stop, and may only leave */
    SESSION_DROPPED,
};

struct session {
    TAILQ_ENTRY(session) link; /* in service->sessions or ->dropped */
    TAILQ_ENTRY(session) wait_link;
    TAILQ_ENTRY(session) finished_link;
    struct session_list *waits_in; /* of wait_link: service->ready, user->blocked, or NULL */
    bool has_finished;             /* is in service->finished */

    struct service *service;
    struct generation *generation; /* that it was welcomed with; NULL before */
    struct user *user;
    struct loop_watch *watch;
    int fd;
    pid_t pid;
    enum session_state state;
    struct charge connection; /* 1, of the service and the user */
    struct charge client;     /* 1, of the same, once it is welcomed */

    enum pooling pooling;
    enum dtype dtype;
    struct sched_client sched;
    struct account queued;      /* residues admitted and not computed */
    struct account unanswered;  /* submissions by message whose RESULT was not sent yet */
    unsigned in_flight;         /* its records in batches */
    struct record_list replies; /* computed, to be sent by message */

    struct ring_map map;
    struct charge pinned; /* bytes of the ring, of the service and the user */
    struct ring_consumer submissions;
    struct ring_producer completions;
    struct record *held; /* taken from the ring, and not admitted for want of room */
    uint64_t taken;      /* end of what was taken from the submission ring */
    uint64_t done;       /* end of what may be published in the completion ring */
};

/* Begins a session on a new connection, which it takes over; the session is the context of the
 * callbacks. Refuses the connection, with a reason, when there are too many. */
void session_accept(struct service *service, int fd, const struct loop_callbacks *callbacks);

/* Sends an encoded message; `size` may be the encoder's error. Returns 0, CHANNEL_FULL when the
 * client's socket has no room for it, or -errno. */
int session_send(struct session *session, const char *message, long size);

/* Ends a session without telling the client; `why` is for the log. Idempotent. */
void session_drop(struct session *session, const char *why);

/* The same for all sessions of a generation, or for all sessions if it is NULL. */
void session_drop_all(struct service *service, const struct generation *generation,
                      const char *why);

/* Tells the client why with REFUSED, then drops the session. */
__attribute__((format(printf, 4, 5))) void session_refuse(struct session *session,
                                                          enum wire_refusal code, bool retry,
                                                          const char *format, ...);

/* Ends a session after a negative result: refuses it for -ENOMEM, which is not the peer's fault,
 * and drops it for anything else, which is. */
void session_fail(struct session *session, int result, const char *why);

/* Moves the session into service->ready or user->blocked, or out of both if `list` is NULL. */
void session_wait_in(struct session *session, struct session_list *list);

/* Moves the user's blocked sessions into service->ready, since its queued residues are fewer. */
void session_unblock(struct service *service, struct user *user);

/* Frees dropped sessions that nothing refers to. */
void session_free_dropped(struct service *service);

#endif
