/* SPDX-License-Identifier: Apache-2.0
 *
 * The private daemon: one per user and model file, started by the filter that finds none, left to
 * itself afterwards. Its socket, lock and log lie in a directory that only the user can write.
 */
#ifndef ESM1NV_FILTER_AUTOSTART_H
#define ESM1NV_FILTER_AUTOSTART_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#define PRIVATE_PATH_MAX (sizeof((struct sockaddr_un *)0)->sun_path)

struct private_daemon {
    char model[PATH_MAX];          /* as the daemon gets it: absolute, or synthetic[:SEED] */
    char directory[PATH_MAX];      /* of the files below */
    char socket[PRIVATE_PATH_MAX]; /* empty: not located; its lock is at socket.lock */
    char log[PATH_MAX];
    pid_t child; /* the one started here; 0: none */
    bool served; /* it has welcomed somebody: whatever ends it now, it is no bad model */
};

/* Says where the private daemon of a model listens, if there is one. Refuses a directory that is
 * not the user's. Returns 0, or a negative exit status after reporting. */
int private_locate(struct private_daemon *daemon, const char *model);
/* Makes the directory and checks it. */
int private_make_directory(const struct private_daemon *daemon);

/* Starts it, unless it listens meanwhile: returns 0 when something listens, AUTOSTART_LATER when
 * another filter is about to start it, or a negative exit status after reporting. */
#define AUTOSTART_LATER 1
int autostart(struct private_daemon *daemon, unsigned idle_exit);
/* After a connection failed: when the daemon that was started here has ended without serving
 * anybody, reports its reason and returns a negative exit status. Else 0. */
int autostart_check(struct private_daemon *daemon);

#endif
