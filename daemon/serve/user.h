/* SPDX-License-Identifier: Apache-2.0
 *
 * The accounts of each uid. A user is remembered until it has no connection and no debt to the
 * scheduler, so that nobody gains by connecting again.
 */
#ifndef ESM1NV_USER_H
#define ESM1NV_USER_H

#include "daemon/serve/charge.h"
#include "daemon/serve/limits.h"
#include "daemon/serve/sched.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct session;
TAILQ_HEAD(session_list, session);

struct user {
    LIST_ENTRY(user) link;
    struct sched_user sched;
    struct session_list blocked; /* sessions that wait for room in `queued` */
    uid_t uid;
    unsigned references;
    struct account connections; /* sockets open, welcomed or not */
    struct account clients;     /* welcomed */
    struct account pinned;      /* bytes of rings, and of rows that are sent in messages */
    struct account queued;      /* residues admitted and not computed */
    /* Sockets, and descriptors received through them, until the closer has closed them. */
    _Atomic unsigned descriptors;
};

LIST_HEAD(user_list, user);

/* Returns the user of that uid with one more reference, or NULL when memory is out. */
struct user *user_get(struct user_list *users, uid_t uid, const struct limits *limits);

/* Gives a reference back. */
void user_put(struct user *user);

/* Frees all users, to whom no reference may be left. */
void user_free_all(struct user_list *users, struct sched *sched);

#endif
