/* SPDX-License-Identifier: Apache-2.0
 *
 * Closes descriptors on threads of its own. close() of what a client passed, or of a socket in
 * which a client left descriptors unread, may block for as long as the client likes (a lingering
 * TCP socket, a FUSE file); the loop thread must never do either.
 */
#ifndef ESM1NV_CLOSER_H
#define ESM1NV_CLOSER_H

#include <stdbool.h>

struct closer;

/* Returns 0 or -errno. No descriptor is ever queued twice, so the queue, with a place for each
 * that the process may have (RLIMIT_NOFILE, to be raised before), cannot overflow. */
int closer_create(struct closer **closer);

/* Owns fd from now on. Ignores -1. *account, unless account is NULL, counts fd already and goes
 * down by one when it is closed; it must live until then, or until closer_destroy(). */
void closer_add(struct closer *closer, int fd, _Atomic unsigned *account);

/* The same for a client's socket: shuts it down at once, and empties it before it is closed, so
 * that the peer reads what was sent to it last instead of ECONNRESET. What it finds there is
 * counted too. Never held up by what others passed. */
void closer_add_socket(struct closer *closer, int fd, _Atomic unsigned *account);

/* Descriptors not closed yet. */
unsigned closer_pending(struct closer *closer);

/* Waits a moment for what is queued, no longer than `milliseconds`: a hostile descriptor may block
 * for ever. Returns false, and frees nothing, when a thread is stuck: the process must then leave
 * without waiting for it. Safe on NULL. */
bool closer_destroy(struct closer *closer, int milliseconds);

#endif
