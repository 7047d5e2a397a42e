/* SPDX-License-Identifier: Apache-2.0
 *
 * What each uid holds of the daemon: connections, sessions, pinned bytes, queued residues. Charged
 * when taken, released by whoever charged. A user is remembered until it has no connection and has
 * paid its debts to the scheduler, so that nobody gains by connecting anew.
 */
#ifndef ESM1NV_USER_H
#define ESM1NV_USER_H

#include "daemon/serve/sched.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct session;
TAILQ_HEAD(session_list, session);

struct user {
    LIST_ENTRY(user) link;
    struct sched_user sched;
    struct session_list blocked; /* sessions that wait for queued residues to become fewer */
    uid_t uid;
    unsigned references;
    unsigned connections; /* sockets open, welcomed or not */
    unsigned clients;     /* welcomed */
    /* Sockets and what came through them, until closed; the closer counts down. */
    _Atomic unsigned descriptors;
    uint64_t pinned_bytes;
    uint64_t queued_residues;
};

LIST_HEAD(user_list, user);

/* The user of that uid with one more reference, or NULL when memory is out. */
struct user *user_get(struct user_list *users, uid_t uid);

/* Gives a reference back. */
void user_put(struct user *user);

/* Frees them all; none may be referred to. */
void user_free_all(struct user_list *users, struct sched *sched);

/* Charges `amount` to *held unless that would exceed the limit. */
bool user_charge(uint64_t *held, uint64_t amount, uint64_t limit);

#endif
