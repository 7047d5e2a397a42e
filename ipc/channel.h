/* SPDX-License-Identifier: Apache-2.0
 *
 * The SOCK_SEQPACKET socket between client and daemon: connect, send, receive, and pass one
 * descriptor. All descriptors are close-on-exec. Functions return 0 or a descriptor, -errno, or,
 * where they say so, a positive condition.
 */
#ifndef ESM1NV_CHANNEL_H
#define ESM1NV_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The kernel passes at most 253 descriptors in a message (SCM_MAX_FD). With room for all of them,
 * it never discards one inside recvmsg(), where closing a hostile descriptor could block. */
#define CHANNEL_FDS_MAX 253

enum channel_condition {
    CHANNEL_FULL = 1,  /* the peer's queue has no room now */
    CHANNEL_EMPTY = 2, /* no message is there now */
    CHANNEL_END = 3,   /* the peer has closed, and all that it sent was received */
};

/* Returns a connected, blocking socket. -ENAMETOOLONG for a path that does not fit sockaddr_un. */
int channel_connect(const char *path);

/* Returns a bound, listening, non-blocking socket of the given mode; the path must not exist. */
int channel_listen(const char *path, mode_t mode);

/* Sends one message, with descriptor `passed`, which stays the caller's, unless it is -1. Never
 * raises SIGPIPE. Returns 0, CHANNEL_FULL (with nonblocking only), or -errno. */
int channel_send(int fd, const void *data, size_t size, int passed, bool nonblocking);

/* Sends the peer a bell without blocking. If its queue is full, something there wakes it up anyway,
 * so that counts as success. Returns 0, or -errno if the peer is gone. */
int channel_ring_bell(int fd);

/* Receives one message without descriptors, as a client does. Returns 0 with its size in *size,
 * CHANNEL_EMPTY (with nonblocking only), CHANNEL_END, -EBADMSG for a truncated message or one that
 * carries descriptors, else -errno. */
int channel_receive(int fd, void *buffer, size_t capacity, bool nonblocking, size_t *size);

/* Copies the descriptors that came with a received message, which the caller then owns. Returns how
 * many. */
unsigned channel_descriptors(struct msghdr *header, int fds[CHANNEL_FDS_MAX]);

/* Sets whether descriptors may be passed to this socket, or to the sockets that it accepts. If not,
 * the sender gets EPERM from the kernel. Kernels before 6.16 let descriptors pass in any case. */
void channel_take_descriptors(int fd, bool take);

/* Gets the credentials that the peer had when it connected (SO_PEERCRED). Returns 0 or -errno. */
int channel_peer(int fd, pid_t *pid, uid_t *uid);

#endif
