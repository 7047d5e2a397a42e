/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop: waits for descriptors and calls back, in one thread. It runs on io_uring
 * (multishot accept and receive into shared buffers) or, where that is refused, on epoll; callers
 * see no difference. Callbacks may add and remove watches, their own included.
 */
#ifndef ESM1NV_LOOP_H
#define ESM1NV_LOOP_H

#include "daemon/loop/closer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct loop_watch;

/* One received message, valid during the callback. */
struct loop_message {
    const uint8_t *data;
    size_t size;
    int *fds; /* a callee that keeps one sets it to -1; the loop has the others closed */
    unsigned fd_count;
    bool truncated; /* larger than WIRE_MESSAGE_MAX, or descriptors were lost */
};

/* A watch sets exactly one of the first three callbacks; see loop_add(). */
struct loop_callbacks {
    void (*accepted)(void *context, int fd); /* a new connection, or -errno */
    /* NULL: the peer is gone, and no message follows. */
    void (*message)(void *context, const struct loop_message *message);
    void (*readable)(void *context); /* called again while the descriptor stays readable */
    void (*writable)(void *context); /* once per loop_want_writable() */
};

/* `force` is "io_uring", "epoll", or NULL for io_uring if it works. Returns 0 or -errno, also when
 * a forced io_uring does not work. Removed sockets go to the closer, which must live longer. */
int loop_create(struct loop **loop, const char *force, struct closer *closer);

/* "io_uring", or "epoll (why)". */
const char *loop_name(const struct loop *loop);

/* Starts to watch; which callback is set decides how: accepted (a listening, non-blocking socket),
 * message (a connected seqpacket socket) or readable (anything that can be polled). Returns NULL
 * when memory is out. */
struct loop_watch *loop_add(struct loop *loop, int fd, const struct loop_callbacks *callbacks,
                            void *context);

/* Counts the watch's descriptor, and those received through it, in *account until they are closed.
 * The account must live as long as the closer. */
void loop_charge(struct loop_watch *watch, _Atomic unsigned *account);

/* Asks for one call of writable() as soon as a send may succeed. */
void loop_want_writable(struct loop_watch *watch);

/* Stops accepting connections, or starts it again. */
void loop_pause(struct loop_watch *watch, bool paused);

/* Ends a watch, which gets no callback any more. With close_socket, the descriptor is shut down now
 * and handed to the closer once the kernel does not use it any more; else it stays the caller's.
 * Ignores NULL. */
void loop_remove(struct loop_watch *watch, bool close_socket);

/* Calls back for all events that have come; with `wait`, sleeps until there is one. Returns 0 or
 * -errno. */
int loop_turn(struct loop *loop, bool wait);

/* Ends the remaining watches; their sockets stay open. Safe on NULL. */
void loop_destroy(struct loop *loop);

#endif
