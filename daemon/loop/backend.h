/* SPDX-License-Identifier: Apache-2.0
 *
 * What loop.c shares with its two backends, uring.c and epoll.c.
 */
#ifndef ESM1NV_LOOP_BACKEND_H
#define ESM1NV_LOOP_BACKEND_H

#include "daemon/loop/loop.h"
#include "ipc/channel.h"

#include <sys/queue.h>
#include <sys/socket.h>

/* Room for every descriptor that a message can carry, and for credentials. */
#define LOOP_CONTROL_MAX (CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int)) + 64)

struct loop_watch {
    TAILQ_ENTRY(loop_watch) link;
    struct loop *loop;
    struct loop_callbacks callbacks;
    void *context;
    int fd;
    unsigned operations; /* that are under way in the kernel, and refer to this watch */
    bool reading,
        ended; /* io_uring: the receive, accept or poll is under way; has ended for good */
    bool paused, wants_writable;
    bool removed, close_socket;
    _Atomic unsigned *account; /* see loop_charge(); NULL: nobody's */
};

struct loop_backend {
    const char *name;
    int (*create)(void **state);
    void (*destroy)(void *state);
    int (*add)(void *state, struct loop_watch *watch);
    void (*want_writable)(void *state, struct loop_watch *watch);
    /* watch->paused has changed. */
    void (*pause)(void *state, struct loop_watch *watch);
    /* Ends the kernel's operations for the watch, which may be freed when none is left. */
    void (*remove)(void *state, struct loop_watch *watch);
    int (*turn)(void *state, bool wait);
};

extern const struct loop_backend loop_uring;
extern const struct loop_backend loop_epoll;

/* With these the backends report events. For a watch that was removed they only have the received
 * descriptors closed. */
void loop_accepted(struct loop_watch *watch, int fd);
void loop_received(struct loop_watch *watch, const uint8_t *data, size_t size, int flags,
                   void *control, size_t control_size);
void loop_gone(struct loop_watch *watch);
void loop_readable(struct loop_watch *watch);
void loop_writable(struct loop_watch *watch);

#endif
