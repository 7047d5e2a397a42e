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

/* Returns 0 or -errno. Its queues have a place for each descriptor that the process may have now
 * (RLIMIT_NOFILE), and cannot overflow, because no descriptor is queued twice. */
int closer_create(struct closer **closer);

/* Takes fd over; ignores -1. The caller has counted fd in *account, unless account is NULL; it is
 * counted down when fd is closed, and must live until then or until closer_destroy(). */
void closer_add(struct closer *closer, int fd, _Atomic unsigned *account);

/* The same for a client's socket: shuts it down at once, and empties it before it is closed, so
 * that the peer reads what was sent to it last instead of ECONNRESET. Descriptors that are found in
 * it are counted in *account too. Descriptors that clients passed never hold it up. */
void closer_add_socket(struct closer *closer, int fd, _Atomic unsigned *account);

/* Closes what is queued, for no longer than `milliseconds`, because a hostile descriptor may block
 * for ever. Returns false, and frees nothing, when a thread is stuck: the process must then leave
 * without waiting for it. Safe on NULL. */
bool closer_destroy(struct closer *closer, int milliseconds);

#endif
