/* SPDX-License-Identifier: Apache-2.0
 *
 * The users are kept in a list, because a machine has few of them at a time.
 */
#include "daemon/serve/user.h"

#include <assert.h>
#include <stdlib.h>

static void user_free(struct user *user) {
    assert(user->references == 0 && user->connections.held == 0 && user->clients.held == 0);
    assert(user->pinned.held == 0 && user->queued.held == 0);
    assert(TAILQ_EMPTY(&user->blocked) && user->sched.flow.waiting == 0);
    LIST_REMOVE(user, link);
    free(user);
}

static struct user *user_create(struct user_list *users, uid_t uid, const struct limits *limits) {
    struct user *user = calloc(1, sizeof *user);
    if (!user)
        return NULL;
    user->uid = uid;
    user->connections.limit = limits->clients_per_user + LIMITS_SPARE_CONNECTIONS_PER_USER;
    user->clients.limit = limits->clients_per_user;
    user->pinned.limit = limits->pinned_per_user;
    user->queued.limit = limits->queued_per_user;
    sched_user_init(&user->sched);
    TAILQ_INIT(&user->blocked);
    LIST_INSERT_HEAD(users, user, link);
    return user;
}

struct user *user_get(struct user_list *users, uid_t uid, const struct limits *limits) {
    struct user *found = NULL, *next;
    for (struct user *user = LIST_FIRST(users); user; user = next) {
        next = LIST_NEXT(user, link);
        if (user->uid == uid)
            found = user;
        else if (user->references == 0 && user->descriptors == 0 && !user->sched.flow.rotates)
            user_free(user);
    }
    if (!found)
        found = user_create(users, uid, limits);
    if (found)
        found->references++;
    return found;
}

void user_put(struct user *user) {
    assert(user->references > 0);
    user->references--;
}

void user_free_all(struct user_list *users, struct sched *sched) {
    struct user *user;
    while ((user = LIST_FIRST(users))) {
        sched_remove_user(sched, &user->sched);
        user_free(user);
    }
}
