/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a session: it begins with a charge for its connection, and ends when it is dropped;
 * what batches in flight still use is freed later.
 */
#include "daemon/serve/session.h"
#include "daemon/base/container_of.h"
#include "daemon/base/log.h"
#include "daemon/serve/refusal.h"
#include "ipc/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* How many descriptors of a user may wait to be closed, which may take for ever: they can be of a
 * kind whose close() blocks. */
#define CLOSING_MAX 1024u

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

static void session_destroy_records(struct session *session) {
    struct sched_record *queued = sched_remove_client(&session->service->sched, &session->sched);
    while (queued) {
        struct sched_record *next = queued->next;
        record_destroy(container_of(queued, struct record, sched));
        queued = next;
    }
    struct record *record;
    while ((record = STAILQ_FIRST(&session->replies))) {
        STAILQ_REMOVE_HEAD(&session->replies, reply_link);
        record_destroy(record);
    }
    record_destroy(session->held);
    session->held = NULL;
}

void session_drop(struct session *session, const char *why) {
    if (session->state == SESSION_DROPPED)
        return;
    struct service *service = session->service;
    log_debug("client %d of user %u: %s", (int)session->pid, (unsigned)session->user->uid, why);
    session->state = SESSION_DROPPED;
    loop_remove(session->watch, true);
    session_wait_in(session, NULL);
    session_destroy_records(session);
    session_unblock(service, session->user);
    charge_give_back(&session->connection);
    charge_give_back(&session->client);
    TAILQ_REMOVE(&service->sessions, session, link);
    TAILQ_INSERT_TAIL(&service->dropped, session, link);
}

void session_drop_all(struct service *service, const struct generation *generation,
                      const char *why) {
    struct session *next;
    for (struct session *session = TAILQ_FIRST(&service->sessions); session; session = next) {
        next = TAILQ_NEXT(session, link);
        if (!generation || session->generation == generation)
            session_drop(session, why);
    }
}

void session_refuse(struct session *session, enum wire_refusal code, bool retry, const char *format,
                    ...) {
    char why[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    refusal_send(session->fd, code, retry, why);
    session_drop(session, why);
}

void session_fail(struct session *session, int result, const char *why) {
    if (result == -ENOMEM)
        session_refuse(session, WIRE_REFUSED_BUSY, true, "busy: the daemon is out of memory");
    else
        session_drop(session, why);
}

int session_send(struct session *session, const char *message, long size) {
    return size < 0 ? (int)size : channel_send(session->fd, message, (size_t)size, -1, true);
}

static void session_free(struct session *session) {
    assert(session->queued.held == 0 && session->unanswered.held == 0);
    assert(session->connection.amount == 0 && session->client.amount == 0);
    assert(!session->held && STAILQ_EMPTY(&session->replies) && !session->waits_in);
    TAILQ_REMOVE(&session->service->dropped, session, link);
    if (session->has_finished)
        TAILQ_REMOVE(&session->service->finished, session, finished_link);
    ring_detach(&session->map);
    charge_give_back(&session->pinned);
    if (session->generation)
        session->generation->sessions--;
    user_put(session->user);
    free(session);
}

void session_free_dropped(struct service *service) {
    struct session *next;
    for (struct session *session = TAILQ_FIRST(&service->dropped); session; session = next) {
        next = TAILQ_NEXT(session, link);
        if (session->in_flight == 0)
            session_free(session);
    }
}

/* Charges the connection, if there is room for it. */
static bool session_charge_connection(struct session *session) {
    struct user *user = session->user;
    return user->descriptors <= user->connections.held + CLOSING_MAX &&
           charge_take(&session->connection, 1, &session->service->connections, &user->connections);
}

static struct session *session_begin(struct service *service, int fd, struct user *user,
                                     const struct loop_callbacks *callbacks) {
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    *session = (struct session){
        .service = service, .user = user, .fd = fd, .queued.limit = ACCOUNT_UNLIMITED};
    STAILQ_INIT(&session->replies);
    sched_client_init(&session->sched, &user->sched);
    if (session_charge_connection(session))
        session->watch = loop_add(service->loop, fd, callbacks, session);
    if (!session->watch) {
        charge_give_back(&session->connection);
        free(session);
        return NULL;
    }
    loop_charge(session->watch, &user->descriptors);
    TAILQ_INSERT_TAIL(&service->sessions, session, link);
    return session;
}

void session_accept(struct service *service, int fd, const struct loop_callbacks *callbacks) {
    pid_t pid;
    uid_t uid;
    bool known = channel_peer(fd, &pid, &uid) == 0;
    struct user *user = known ? user_get(&service->users, uid, &service->limits) : NULL;
    struct session *session = user ? session_begin(service, fd, user, callbacks) : NULL;
    if (!session) {
        if (user)
            user_put(user);
        refusal_send(fd, WIRE_REFUSED_BUSY, true, "busy: too many connections");
        closer_add_socket(service->closer, fd, NULL);
        return;
    }
    session->pid = pid;
    log_debug("client %d of user %u: connected", (int)pid, (unsigned)uid);
}
