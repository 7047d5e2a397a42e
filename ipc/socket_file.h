/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening socket at a path. Whoever holds the lock on PATH.lock owns the path. The holder
 * replaces a socket file at which nobody answers; one at which somebody answers stays. The lock
 * file is never removed, since another process may wait for it.
 */
#ifndef ESM1NV_SOCKET_FILE_H
#define ESM1NV_SOCKET_FILE_H

#include <stdbool.h>
#include <sys/types.h>

struct socket_file {
    int lock;      /* held until it is closed */
    int fd;        /* listening, non-blocking */
    bool replaced; /* a socket file at which nobody answered was there */
    int error;     /* errno, for a condition that has one, else 0 */
};
#define SOCKET_FILE_NULL ((struct socket_file){.lock = -1, .fd = -1})

/* Why socket_file_open() does not listen. Conditions with * set `error`. */
enum {
    SOCKET_FILE_NO_LOCK = 1, /* * the lock file cannot be opened */
    SOCKET_FILE_LOCKED,      /* another process holds the lock */
    SOCKET_FILE_FOREIGN,     /* something that is not a socket is there */
    SOCKET_FILE_SERVED,      /* another program accepts there */
    SOCKET_FILE_UNKNOWN,     /* * a socket is there, and connecting failed for another reason */
    SOCKET_FILE_STUCK,       /* * nobody answers there, and the file cannot be removed */
    SOCKET_FILE_FAILED,      /* * the path cannot be looked at, bound or listened to */
};

/* Takes the lock and listens, with file mode `mode`. `patience_ms` says how long a connection to
 * the path is watched before it counts as answered: after a daemon was killed, the kernel may keep
 * its socket for a moment, and hangs up on those who connect then. Returns 0 or a condition above.
 * The caller closes both descriptors in any case, if they are not -1. */
int socket_file_open(struct socket_file *file, const char *path, mode_t mode, int patience_ms);

#endif
