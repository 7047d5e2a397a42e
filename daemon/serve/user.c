/* SPDX-License-Identifier: Apache-2.0
 *
 * The accounts of users, a short list: a machine has few users at a time.
 */
#include "daemon/serve/user.h"

#include <stdlib.h>

static void user_free(struct user *user) {
    LIST_REMOVE(user, link);
    free(user);
}

static struct user *user_create(struct user_list *users, uid_t uid) {
    struct user *user = calloc(1, sizeof *user);

    if (!user)
        return NULL;
    user->uid = uid;
    sched_user_init(&user->sched);
    TAILQ_INIT(&user->blocked);
    LIST_INSERT_HEAD(users, user, link);
    return user;
}

struct user *user_get(struct user_list *users, uid_t uid) {
    struct user *found = NULL, *next;

    for (struct user *user = LIST_FIRST(users); user; user = next) {
        next = LIST_NEXT(user, link);
        if (user->uid == uid)
            found = user;
        else if (user->references == 0 && user->descriptors == 0 && !user->sched.flow.rotates)
            user_free(user);
    }
    if (!found)
        found = user_create(users, uid);
    if (found)
        found->references++;
    return found;
}

void user_put(struct user *user) {
    user->references--;
}

void user_free_all(struct user_list *users, struct sched *sched) {
    struct user *user;

    while ((user = LIST_FIRST(users))) {
        sched_remove_user(sched, &user->sched);
        user_free(user);
    }
}

bool user_charge(uint64_t *held, uint64_t amount, uint64_t limit) {
    if (amount > limit || *held > limit - amount)
        return false;
    *held += amount;
    return true;
}
