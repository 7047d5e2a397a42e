/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening socket at a path. Whoever holds the lock on PATH.lock owns the path: with the lock
 * held, a socket file that nobody answers is stale and is replaced; one that is answered belongs to
 * somebody else and stays. The lock file is never removed, since another process may wait for it.
 */
#ifndef ESM1NV_SOCKET_FILE_H
#define ESM1NV_SOCKET_FILE_H

#include <stdbool.h>
#include <sys/types.h>

struct socket_file {
    int lock;      /* held until it is closed */
    int fd;        /* listening, non-blocking */
    bool replaced; /* a stale socket file was there */
    int error;     /* the errno of a condition that has one, else 0 */
};
#define SOCKET_FILE_NULL ((struct socket_file){.lock = -1, .fd = -1})

/* What else socket_file_open() can find. Those with * set `error`. */
enum {
    SOCKET_FILE_NO_LOCK = 1, /* * the lock file cannot be opened */
    SOCKET_FILE_LOCKED,      /* another process holds the lock */
    SOCKET_FILE_FOREIGN,     /* something that is not a socket is there */
    SOCKET_FILE_SERVED,      /* another program accepts there */
    SOCKET_FILE_UNKNOWN,     /* * something is there that cannot be connected to */
    SOCKET_FILE_STUCK,       /* * it is stale and cannot be removed */
    SOCKET_FILE_FAILED,      /* * the path cannot be looked at, bound or listened to */
};

/* Takes the lock and listens, with file mode `mode`. `patience_ms` is how long whoever accepts at
 * the path is watched: when a daemon is killed, the kernel may keep its socket for a moment, and
 * hangs up on those who connect then. Returns 0, or a condition above, after which the lock may
 * still be held; the caller closes both descriptors in any case. */
int socket_file_open(struct socket_file *file, const char *path, mode_t mode, int patience_ms);

#endif
