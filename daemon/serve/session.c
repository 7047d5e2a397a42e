/* SPDX-License-Identifier: Apache-2.0
 *
 * The protocol's state machine, one function per message kind, and the life of a session. Whatever
 * is not expected in a state ends the session; what the client may be told is told first.
 */
#include "daemon/serve/session.h"
#include "daemon/base/log.h"
#include "daemon/serve/reply.h"
#include "daemon/serve/status.h"
#include "ipc/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Connections beyond the limit on clients, so that status, stop and refusals still get through. */
#define SPARE_CONNECTIONS 64u
#define SPARE_CONNECTIONS_PER_USER 16u

/* Descriptors of a user that may wait to be closed: what it passes can make that take for ever. */
#define CLOSING_MAX 1024u

/* Stands in at most one of the lists of sessions that wait; NULL: in none. */
void session_wait_in(struct session *session, struct session_list *list) {
    if (session->waits_in == list)
        return;
    if (session->waits_in)
        TAILQ_REMOVE(session->waits_in, session, wait_link);
    if (list)
        TAILQ_INSERT_TAIL(list, session, wait_link);
    session->waits_in = list;
}

void session_unblock(struct service *service, struct user *user) {
    struct session *session;

    while ((session = TAILQ_FIRST(&user->blocked)))
        session_wait_in(session, &service->ready);
}

/* Gives back what a record is charged for, except its memory. */
void session_release(struct session *session, struct record *record) {
    session->queued_residues -= record->sched.residues;
    session->user->queued_residues -= record->sched.residues;
}

/* Frees a record, and gives back what its own rows were charged. Safe on NULL. */
void session_destroy_record(struct session *session, struct record *record) {
    if (record && record->data && !record->slot)
        session->user->pinned_bytes -= record->bytes;
    record_destroy(record);
}

static void destroy_queued(struct session *session) {
    struct sched_record *queued = sched_remove_client(&session->service->sched, &session->sched);

    while (queued) {
        struct record *record = (struct record *)queued;

        queued = queued->next;
        session_release(session, record);
        session_destroy_record(session, record);
    }
    while (session->replies) {
        struct record *record = session->replies;

        session->replies = record->next_reply;
        session->service->unsent--;
        session_destroy_record(session, record);
    }
    session_destroy_record(session, session->held);
    session->held = NULL;
}

void session_drop(struct session *session, const char *why) {
    struct service *service = session->service;

    if (session->state == SESSION_DROPPED)
        return;
    log_debug("client %d of user %u: %s", (int)session->pid, (unsigned)session->user->uid, why);
    session->state = SESSION_DROPPED;
    loop_remove(session->watch, true);
    session_wait_in(session, NULL);
    destroy_queued(session);
    session_unblock(service, session->user);
    service->connections--;
    session->user->connections--;
    if (session->welcomed) {
        service->clients--;
        session->user->clients--;
    }
    TAILQ_REMOVE(&service->sessions, session, link);
    TAILQ_INSERT_TAIL(&service->dropped, session, link);
}

static void session_free(struct session *session) {
    struct service *service = session->service;

    TAILQ_REMOVE(&service->dropped, session, link);
    if (session->has_finished)
        TAILQ_REMOVE(&service->finished, session, finished_link);
    ring_detach(&session->map);
    session->user->pinned_bytes -= session->pinned;
    service->pinned_bytes -= session->pinned;
    if (session->generation)
        session->generation->sessions--;
    user_put(session->user);
    free(session);
}

void session_free_dropped(struct service *service) {
    struct session *session, *next;

    for (session = TAILQ_FIRST(&service->dropped); session; session = next) {
        next = TAILQ_NEXT(session, link);
        if (session->in_flight == 0)
            session_free(session);
    }
}

void session_refuse(struct session *session, enum wire_refusal code, bool retry, const char *why) {
    reply_refuse(session->fd, code, retry, why);
    session_drop(session, why);
}

void session_fail(struct session *session, int error, const char *why) {
    if (error == -ENOMEM)
        session_refuse(session, WIRE_REFUSED_BUSY, true, "busy: the daemon is out of memory");
    else
        session_drop(session, why);
}

/* Sends an encoded reply; a client that has no room for it breaks the rules. */
static bool session_send(struct session *session, const char *buffer, long size) {
    int error = size < 0 ? (int)size : channel_send(session->fd, buffer, (size_t)size, -1, true);

    if (error != 0)
        session_drop(session, strerror(error == CHANNEL_FULL ? EAGAIN : -error));
    return error == 0;
}

/* Refuses when the limits are reached; returns whether the session may go on. */
static bool within_limits(struct session *session) {
    const struct limits *limits = &session->service->limits;
    char text[160];

    if (session->service->clients >= limits->clients)
        snprintf(text, sizeof text, "busy: %u clients are connected, the most allowed",
                 limits->clients);
    else if (session->user->clients >= limits->clients_per_user)
        snprintf(text, sizeof text, "busy: your user has %u clients connected, the most allowed",
                 limits->clients_per_user);
    else
        return true;
    session_refuse(session, WIRE_REFUSED_BUSY, true, text);
    return false;
}

static bool same_protocol(struct session *session, const struct message *message) {
    unsigned version = (unsigned)message->value[WIRE_PROTOCOL_VERSION].number;
    char text[160];

    if (version == WIRE_PROTOCOL)
        return true;
    snprintf(text, sizeof text,
             "esm1nvd " ESM1NV_VERSION " speaks protocol %u, the client %u: use the same release",
             WIRE_PROTOCOL, version);
    session_refuse(session, WIRE_REFUSED_PROTOCOL, false, text);
    return false;
}

static bool same_model(struct session *session, const struct message *message) {
    const struct model *model = session->service->generation->model;
    const struct message_value *expected = &message->value[WIRE_EXPECT];
    char text[320];

    if (!message_has(message, WIRE_EXPECT) ||
        strncmp(model->digest, expected->bytes, expected->length) == 0)
        return true;
    snprintf(text, sizeof text, "the daemon serves %s with model digest %s, not the one expected",
             model->name, model->digest);
    session_refuse(session, WIRE_REFUSED_MODEL, false, text);
    return false;
}

/* From now on it keeps the generation that is served now. */
static void welcome(struct session *session) {
    struct service *service = session->service;

    session->generation = service->generation;
    session->generation->sessions++;
    session->sched.engine = &session->generation->sched;
    session->state = SESSION_MESSAGES;
    session->welcomed = true;
    service->clients++;
    service->total.clients++;
    session->user->clients++;
}

static void on_hello(struct session *session, const struct message *message) {
    struct service *service = session->service;
    char buffer[WIRE_MESSAGE_MAX], program[65];

    if (!same_protocol(session, message))
        return;
    if (service->draining) {
        session_refuse(session, WIRE_REFUSED_DRAINING, true, "the daemon is about to leave");
        return;
    }
    if (service->generation->broken) {
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: an engine broke, another one is being opened");
        return;
    }
    if (!same_model(session, message) || !within_limits(session))
        return;
    session->pooling = (enum pooling)message->value[WIRE_POOLING].number;
    session->dtype = (enum dtype)message->value[WIRE_DTYPE].number;
    welcome(session);
    session->one_shot_limit = reply_one_shot_limit(session);
    message_copy_text(message, WIRE_PROGRAM, program, sizeof program);
    log_debug("client %d of user %u: welcomed (%s)", (int)session->pid,
              (unsigned)session->user->uid, program);
    channel_take_descriptors(session->fd, true); /* a ring may come from now on */
    session_send(session, buffer, reply_welcome(buffer, session));
}

/* Sets what follows from the session's pooling and dtype. */
void session_prepare(struct session *session, struct record *record) {
    uint32_t hidden = session->generation->model->config.hidden;

    record->session = session;
    record->rows = session->pooling == POOLING_NONE ? record->span.residues : 1;
    record->bytes = (size_t)record->rows * hidden * dtype_size(session->dtype);
}

/* Creates a record with rows of its own, charged to the user. Returns NULL when the session has
 * been ended instead. */
static struct record *take_message(struct session *session, const struct message *message) {
    const struct message_value *sequence = &message->value[WIRE_SEQUENCE];
    struct user *user = session->user;
    struct record *record;
    int error = record_create(&record, session->generation->model, message->value[WIRE_TAG].number,
                              (const uint8_t *)sequence->bytes, sequence->length);

    if (error < 0) {
        session_fail(session, error, "a sequence outside the alphabet");
        return NULL;
    }
    session_prepare(session, record);
    if (!user_charge(&user->pinned_bytes, record->bytes,
                     session->service->limits.pinned_per_user)) {
        record_destroy(record);
        session_refuse(session, WIRE_REFUSED_BUSY, true,
                       "busy: your user holds all the memory it may");
        return NULL;
    }
    if (record_allocate_rows(record) < 0) {
        user->pinned_bytes -= record->bytes;
        record_destroy(record);
        session_fail(session, -ENOMEM, NULL);
        return NULL;
    }
    return record;
}

/* By message at most one_shot_limit records are on their way, which bounds what they can hold: they
 * are counted as queued, but never wait for the user's other clients. */
static void on_submit(struct session *session, const struct message *message) {
    struct record *record;

    if (session->service->draining)
        return;
    if (session->unanswered >= session->one_shot_limit) {
        session_drop(session, "too many unanswered submissions");
        return;
    }
    record = take_message(session, message);
    if (!record)
        return;
    session->unanswered++;
    session->queued_residues += record->sched.residues;
    session->user->queued_residues += record->sched.residues;
    sched_admit(&session->service->sched, &session->sched, &record->sched);
}

static void on_status_query(struct session *session, const struct message *message) {
    char buffer[WIRE_MESSAGE_MAX];

    if (!same_protocol(session, message))
        return;
    session->state = SESSION_ANSWERED;
    session_send(session, buffer, status_reply(buffer, session->service));
}

/* The connection stays open until the daemon has left, which is how the client learns of it. */
static void on_stop(struct session *session, const struct message *message) {
    char buffer[WIRE_MESSAGE_MAX];
    uid_t uid = session->user->uid;

    if (!same_protocol(session, message))
        return;
    if (uid != 0 && uid != geteuid()) {
        session_refuse(session, WIRE_REFUSED_DENIED, false,
                       "only the daemon's own user and root may stop it");
        return;
    }
    session->state = SESSION_ANSWERED;
    session->service->stop = true;
    session_send(session, buffer, reply_stopping(buffer));
}

static void dispatch(struct session *session, const struct message *message, int *fds,
                     unsigned fd_count) {
    bool connected = session->state == SESSION_CONNECTED;
    bool welcomed = session->state == SESSION_MESSAGES;

    if (message->kind == WIRE_HELLO && connected && fd_count == 0)
        on_hello(session, message);
    else if (message->kind == WIRE_STATUS_QUERY && connected && fd_count == 0)
        on_status_query(session, message);
    else if (message->kind == WIRE_STOP && connected && fd_count == 0)
        on_stop(session, message);
    else if (message->kind == WIRE_SUBMIT && welcomed && fd_count == 0)
        on_submit(session, message);
    else if (message->kind == WIRE_RING && welcomed && fd_count == 1)
        session_attach_ring(session, message, &fds[0]);
    else
        session_drop(session, "a message out of order");
}

static void on_message(void *context, const struct loop_message *received) {
    struct session *session = context;
    struct message message;

    if (!received) {
        session_drop(session, "gone");
    } else if (received->truncated) {
        session_drop(session, "a truncated message");
    } else if (received->size == 1 && received->data[0] == WIRE_BELL &&
               session->state == SESSION_RING && received->fd_count == 0) {
        session_on_doorbell(session);
    } else if (message_decode(&message, received->data, received->size) < 0) {
        session_drop(session, "a malformed message");
    } else {
        dispatch(session, &message, received->fds, received->fd_count);
    }
}

static void on_writable(void *context) {
    session_send_replies(context);
}

static struct session *session_create(struct service *service, int fd, struct user *user,
                                      pid_t pid) {
    static const struct loop_callbacks callbacks = {.message = on_message, .writable = on_writable};
    struct session *session = calloc(1, sizeof *session);

    if (!session)
        return NULL;
    session->service = service;
    session->user = user;
    session->fd = fd;
    session->pid = pid;
    session->replies_last = &session->replies;
    sched_client_init(&session->sched, &user->sched);
    session->watch = loop_add(service->loop, fd, &callbacks, session);
    if (!session->watch) {
        free(session);
        return NULL;
    }
    loop_charge(session->watch, &user->descriptors);
    return session;
}

static bool too_many_connections(const struct service *service, const struct user *user) {
    return service->connections >= service->limits.clients + SPARE_CONNECTIONS ||
           user->connections >= service->limits.clients_per_user + SPARE_CONNECTIONS_PER_USER ||
           user->descriptors > user->connections + CLOSING_MAX;
}

void session_accept(struct service *service, int fd) {
    struct session *session = NULL;
    struct user *user = NULL;
    pid_t pid;
    uid_t uid;

    if (channel_peer(fd, &pid, &uid) == 0)
        user = user_get(&service->users, uid);
    if (user && !too_many_connections(service, user))
        session = session_create(service, fd, user, pid);
    if (!session) {
        if (user)
            user_put(user);
        reply_refuse(fd, WIRE_REFUSED_BUSY, true, "busy: too many connections");
        closer_add_socket(service->closer, fd, NULL);
        return;
    }
    service->connections++;
    user->connections++;
    TAILQ_INSERT_TAIL(&service->sessions, session, link);
    log_debug("client %d of user %u: connected", (int)pid, (unsigned)uid);
}
