/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening sockets: those handed over by systemd (LISTEN_FDS), else one of our own at a path,
 * guarded by a lock file beside it.
 */
#ifndef ESM1NV_LISTENER_H
#define ESM1NV_LISTENER_H

#include "daemon/base/error.h"
#include "ipc/wire.h"

#include <stdbool.h>
#include <sys/types.h>

#define LISTENER_MAX 8

struct listener {
    int fds[LISTENER_MAX];
    unsigned count;
    bool own;       /* bound by us: path, lock and identity are set */
    char path[108]; /* for people too: what clients connect to */
    int lock;
    dev_t device;
    ino_t inode;
};

/* `path` NULL: the default place. `group` NULL or the name of the group that may connect; both
 * only for a socket of our own. Returns 0 or -1. */
int listener_open(struct listener *listener, const char *path, const char *group,
                  struct error *error);

/* Answers whoever is queued with REFUSED and hangs up, for a daemon that cannot serve. */
void listener_refuse_all(struct listener *listener, enum wire_refusal code, const char *text);

/* Closes, and removes the socket file if it still is ours. Idempotent. */
void listener_close(struct listener *listener);

#endif
