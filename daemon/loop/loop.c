/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of the loop that is the same for both backends: the choice between them, the life of
 * watches, and received descriptors. A removed watch is freed after the turn in which its last
 * operation in the kernel ended, and only then is its socket closed.
 */
#include "daemon/loop/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TAILQ_HEAD(watch_list, loop_watch);

struct loop {
    const struct loop_backend *backend;
    void *state;
    struct closer *closer;
    struct watch_list watches, removed;
    char name[96];
};

static int loop_choose(struct loop *loop, const char *force) {
    int result = -EINVAL;
    if (!force || strcmp(force, "io_uring") == 0) {
        result = loop_uring.create(&loop->state);
        loop->backend = &loop_uring;
        snprintf(loop->name, sizeof loop->name, "io_uring");
    }
    if (result == 0 || (force && strcmp(force, "epoll") != 0))
        return result;
    loop->backend = &loop_epoll;
    if (force)
        snprintf(loop->name, sizeof loop->name, "epoll (asked for)");
    else
        snprintf(loop->name, sizeof loop->name, "epoll (io_uring: %s)", strerror(-result));
    return loop_epoll.create(&loop->state);
}

int loop_create(struct loop **out, const char *force, struct closer *closer) {
    *out = NULL;
    struct loop *loop = calloc(1, sizeof *loop);
    int result = loop ? loop_choose(loop, force) : -ENOMEM;
    if (result < 0) {
        free(loop);
        return result;
    }
    loop->closer = closer;
    TAILQ_INIT(&loop->watches);
    TAILQ_INIT(&loop->removed);
    *out = loop;
    return 0;
}

const char *loop_name(const struct loop *loop) {
    return loop->name;
}

struct loop_watch *loop_add(struct loop *loop, int fd, const struct loop_callbacks *callbacks,
                            void *context) {
    struct loop_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    *watch =
        (struct loop_watch){.loop = loop, .callbacks = *callbacks, .context = context, .fd = fd};
    if (loop->backend->add(loop->state, watch) < 0) {
        free(watch);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&loop->watches, watch, link);
    return watch;
}

static void count_descriptor(_Atomic unsigned *account) {
    if (account)
        ++*account;
}

void loop_charge(struct loop_watch *watch, _Atomic unsigned *account) {
    watch->account = account;
    count_descriptor(account);
}

void loop_want_writable(struct loop_watch *watch) {
    if (watch->wants_writable)
        return;
    watch->wants_writable = true;
    watch->loop->backend->want_writable(watch->loop->state, watch);
}

void loop_pause(struct loop_watch *watch, bool paused) {
    if (watch->paused == paused)
        return;
    watch->paused = paused;
    watch->loop->backend->pause(watch->loop->state, watch);
}

void loop_remove(struct loop_watch *watch, bool close_socket) {
    if (!watch)
        return;
    watch->removed = true;
    watch->close_socket = close_socket;
    if (close_socket)
        shutdown(watch->fd, SHUT_RDWR);
    watch->loop->backend->remove(watch->loop->state, watch);
    TAILQ_REMOVE(&watch->loop->watches, watch, link);
    TAILQ_INSERT_TAIL(&watch->loop->removed, watch, link);
}

static void free_removed(struct loop *loop) {
    struct loop_watch *next;
    for (struct loop_watch *watch = TAILQ_FIRST(&loop->removed); watch; watch = next) {
        next = TAILQ_NEXT(watch, link);
        if (watch->operations > 0)
            continue;
        TAILQ_REMOVE(&loop->removed, watch, link);
        if (watch->close_socket)
            closer_add_socket(loop->closer, watch->fd, watch->account);
        free(watch);
    }
}

int loop_turn(struct loop *loop, bool wait) {
    int result = loop->backend->turn(loop->state, wait);
    free_removed(loop);
    return result;
}

static void free_all(struct watch_list *list) {
    struct loop_watch *watch;
    while ((watch = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, watch, link);
        free(watch);
    }
}

void loop_destroy(struct loop *loop) {
    if (!loop)
        return;
    loop->backend->destroy(loop->state);
    free_all(&loop->watches);
    free_all(&loop->removed);
    free(loop);
}

void loop_accepted(struct loop_watch *watch, int fd) {
    if (!watch->removed)
        watch->callbacks.accepted(watch->context, fd);
    else if (fd >= 0)
        closer_add_socket(watch->loop->closer, fd, NULL);
}

void loop_received(struct loop_watch *watch, const uint8_t *data, size_t size, int flags,
                   void *control, size_t control_size) {
    int fds[CHANNEL_FDS_MAX];
    struct loop *loop = watch->loop;
    _Atomic unsigned *account = watch->account;
    struct msghdr header = {.msg_control = control, .msg_controllen = control_size};
    struct loop_message message = {
        .data = data,
        .size = size,
        .fds = fds,
        .fd_count = channel_descriptors(&header, fds),
        .truncated = (flags & (MSG_TRUNC | MSG_CTRUNC)) != 0,
    };
    if (!watch->removed)
        watch->callbacks.message(watch->context, &message);
    for (unsigned i = 0; i < message.fd_count; i++) {
        if (fds[i] < 0)
            continue;
        count_descriptor(account);
        closer_add(loop->closer, fds[i], account);
    }
}

void loop_gone(struct loop_watch *watch) {
    if (!watch->removed)
        watch->callbacks.message(watch->context, NULL);
}

void loop_readable(struct loop_watch *watch) {
    if (!watch->removed)
        watch->callbacks.readable(watch->context);
}

void loop_writable(struct loop_watch *watch) {
    if (watch->removed)
        return;
    watch->wants_writable = false;
    watch->callbacks.writable(watch->context);
}
