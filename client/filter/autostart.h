/* SPDX-License-Identifier: Apache-2.0
 *
 * The private daemon: one per user and model file. The filter that finds none starts it, and leaves
 * it to itself afterwards. Its socket, lock and log lie in a directory that only the user can
 * write.
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
    char socket[PRIVATE_PATH_MAX]; /* empty: not located yet; the lock is at SOCKET.lock */
    char log[PATH_MAX];
    pid_t child; /* the process that was started here; 0: none */
    bool served; /* it has welcomed this filter, so if it ends now, a bad model is not the reason */
};

/* Works out where the private daemon of a model listens, whether or not there is one. Refuses a
 * directory that is not the user's. Returns 0, or a negative exit status after reporting. */
int private_locate(struct private_daemon *daemon, const char *model);
/* Makes the directory and checks it. Returns 0, or a negative exit status after reporting. */
int private_make_directory(const struct private_daemon *daemon);

/* Starts the daemon, unless one listens already. Returns 0 when something listens, AUTOSTART_LATER
 * when another filter is about to start it, or a negative exit status after reporting. */
#define AUTOSTART_LATER 1
int autostart(struct private_daemon *daemon, unsigned idle_exit);
/* Called when a connection failed. If the daemon that was started here has ended without serving
 * anybody, reports the reason and returns a negative exit status; else returns 0. */
int autostart_check(struct private_daemon *daemon);

#endif
