/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening sockets: those passed by systemd (LISTEN_FDS), else one of our own at a path, which
 * a lock file beside it guards.
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
    bool own;       /* bound by us: path, lock, device and inode are set */
    char path[108]; /* what clients connect to, or a name for messages when it was passed */
    int lock;
    dev_t device;
    ino_t inode;
};

/* `path` is where to listen, or NULL for the default; `group` is the name of a group that may
 * connect too, or NULL. Both matter only for a socket of our own. Returns 0 or -1. */
int listener_open(struct listener *listener, const char *path, const char *group,
                  struct error *error);

/* Answers all clients in the queue with REFUSED and hangs up, for a daemon that cannot serve. */
void listener_refuse_all(struct listener *listener, enum wire_refusal code, const char *text);

/* Closes the sockets, and removes the socket file if it is still ours. Idempotent. */
void listener_close(struct listener *listener);

#endif
