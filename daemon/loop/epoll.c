/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop over epoll, level-triggered. In each turn every ready watch gets one accept, one message
 * or one call, so that no client that floods the daemon holds up the others.
 */
#include "daemon/loop/backend.h"
#include "ipc/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 64

struct epoll_state {
    int fd;
    uint8_t data[WIRE_MESSAGE_MAX];
    _Alignas(struct cmsghdr) uint8_t control[LOOP_CONTROL_MAX];
};

static int epoll_create_state(void **out) {
    struct epoll_state *state = malloc(sizeof *state);
    if (!state)
        return -ENOMEM;
    state->fd = epoll_create1(EPOLL_CLOEXEC);
    if (state->fd < 0) {
        int result = -errno;
        free(state);
        return result;
    }
    *out = state;
    return 0;
}

static void epoll_destroy(void *argument) {
    struct epoll_state *state = argument;
    close(state->fd);
    free(state);
}

static int control(struct epoll_state *state, int operation, struct loop_watch *watch) {
    struct epoll_event event = {.data.ptr = watch};
    if (!watch->paused)
        event.events |= EPOLLIN;
    if (watch->wants_writable)
        event.events |= EPOLLOUT;
    return epoll_ctl(state->fd, operation, watch->fd, &event) < 0 ? -errno : 0;
}

static int epoll_add(void *state, struct loop_watch *watch) {
    return control(state, EPOLL_CTL_ADD, watch);
}

static void epoll_change(void *state, struct loop_watch *watch) {
    control(state, EPOLL_CTL_MOD, watch);
}

static void epoll_remove(void *state, struct loop_watch *watch) {
    control(state, EPOLL_CTL_DEL, watch);
}

static void receive(struct epoll_state *state, struct loop_watch *watch) {
    struct iovec part = {.iov_base = state->data, .iov_len = sizeof state->data};
    struct msghdr header = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = state->control,
        .msg_controllen = sizeof state->control,
    };
    ssize_t size = recvmsg(watch->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size > 0 || (size == 0 && header.msg_controllen > 0))
        loop_received(watch, state->data, (size_t)size, header.msg_flags, header.msg_control,
                      header.msg_controllen);
    else if (size == 0 || (errno != EAGAIN && errno != EINTR))
        loop_gone(watch);
}

static void accept_one(struct loop_watch *watch) {
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        loop_accepted(watch, fd);
    else if (errno != EAGAIN && errno != EINTR)
        loop_accepted(watch, -errno);
}

static void dispatch(struct epoll_state *state, struct loop_watch *watch, uint32_t events) {
    if (watch->removed)
        return;
    if (watch->wants_writable && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        loop_writable(watch);
        if (watch->removed)
            return;
        epoll_change(state, watch);
    }
    if (watch->paused || !(events & ~(uint32_t)EPOLLOUT))
        return;
    if (watch->callbacks.accepted)
        accept_one(watch);
    else if (watch->callbacks.message)
        receive(state, watch);
    else
        loop_readable(watch);
}

static int epoll_turn(void *argument, bool wait) {
    struct epoll_state *state = argument;
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(state->fd, events, EVENTS_MAX, wait ? -1 : 0);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++)
        dispatch(state, events[i].data.ptr, events[i].events);
    return 0;
}

const struct loop_backend loop_epoll = {
    .name = "epoll",
    .create = epoll_create_state,
    .destroy = epoll_destroy,
    .add = epoll_add,
    .want_writable = epoll_change,
    .pause = epoll_change,
    .remove = epoll_remove,
    .turn = epoll_turn,
};
