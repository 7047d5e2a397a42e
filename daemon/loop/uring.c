/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop over io_uring: multishot accept and recvmsg, the latter into a ring of provided buffers
 * that all sockets share, and for everything else single-shot polls, renewed after each call. When
 * it is created it tries receiving and cancelling once, so that epoll is used from the start where
 * the kernel lacks them. Completions carry the watch's address with the operation in its low bits.
 */
#include "daemon/loop/backend.h"
#include "ipc/wire.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SUBMISSIONS 256
#define COMPLETIONS 4096
#define BUFFERS 64 /* a power of two */
#define BUFFER_GROUP 0
#define BUFFER_SIZE                                                                                \
    ((sizeof(struct io_uring_recvmsg_out) + LOOP_CONTROL_MAX + WIRE_MESSAGE_MAX + 63) / 64 * 64)

enum operation { OPERATION_READ = 0, OPERATION_WRITABLE = 1, OPERATION_CANCEL = 2 };
#define OPERATION_MASK 3u

struct uring_state {
    struct io_uring ring;
    struct io_uring_buf_ring *provided;
    uint8_t *buffers;
    struct msghdr shape; /* says how much room recvmsg has for control data */
};

static uint8_t *buffer_at(struct uring_state *state, unsigned id) {
    return state->buffers + id * BUFFER_SIZE;
}

/* Leaves exactly WIRE_MESSAGE_MAX bytes for the payload, so that a larger message is reported as
 * truncated. */
static unsigned buffer_length(const struct uring_state *state) {
    return (unsigned)(sizeof(struct io_uring_recvmsg_out) + state->shape.msg_controllen +
                      WIRE_MESSAGE_MAX);
}

static void buffer_give(struct uring_state *state, unsigned id) {
    io_uring_buf_ring_add(state->provided, buffer_at(state, id), buffer_length(state),
                          (unsigned short)id, io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(state->provided, 1);
}

static struct io_uring_sqe *next_entry(struct uring_state *state) {
    struct io_uring_sqe *entry;
    while (!(entry = io_uring_get_sqe(&state->ring)))
        io_uring_submit(&state->ring);
    return entry;
}

static void mark(struct io_uring_sqe *entry, struct loop_watch *watch, enum operation operation) {
    io_uring_sqe_set_data64(entry, (uint64_t)(uintptr_t)watch | operation);
    watch->operations++;
}

static void start_reading(struct uring_state *state, struct loop_watch *watch) {
    if (watch->reading || watch->paused || watch->removed || watch->ended)
        return;
    struct io_uring_sqe *entry = next_entry(state);
    if (watch->callbacks.accepted) {
        io_uring_prep_multishot_accept(entry, watch->fd, NULL, NULL, SOCK_CLOEXEC);
    } else if (watch->callbacks.message) {
        io_uring_prep_recvmsg_multishot(entry, watch->fd, &state->shape, MSG_CMSG_CLOEXEC);
        entry->flags |= IOSQE_BUFFER_SELECT;
        entry->buf_group = BUFFER_GROUP;
    } else {
        io_uring_prep_poll_add(entry, watch->fd, POLLIN);
    }
    mark(entry, watch, OPERATION_READ);
    watch->reading = true;
}

static void cancel(struct uring_state *state, struct loop_watch *watch, enum operation operation) {
    struct io_uring_sqe *entry = next_entry(state);
    io_uring_prep_cancel64(entry, (uint64_t)(uintptr_t)watch | operation, 0);
    mark(entry, watch, OPERATION_CANCEL);
}

static int uring_add(void *state, struct loop_watch *watch) {
    start_reading(state, watch);
    return 0;
}

static void uring_want_writable(void *state, struct loop_watch *watch) {
    struct io_uring_sqe *entry = next_entry(state);
    io_uring_prep_poll_add(entry, watch->fd, POLLOUT);
    mark(entry, watch, OPERATION_WRITABLE);
}

static void uring_pause(void *state, struct loop_watch *watch) {
    if (!watch->paused)
        start_reading(state, watch); /* else it starts when the cancelled one has ended */
    else if (watch->reading)
        cancel(state, watch, OPERATION_READ);
}

static void uring_remove(void *state, struct loop_watch *watch) {
    if (watch->reading)
        cancel(state, watch, OPERATION_READ);
    if (watch->wants_writable)
        cancel(state, watch, OPERATION_WRITABLE);
}

/* A provided buffer holds one message, or nothing when the peer is gone. */
static void uring_unpack(struct uring_state *state, struct loop_watch *watch, unsigned id,
                         int size) {
    struct io_uring_recvmsg_out *out =
        io_uring_recvmsg_validate(buffer_at(state, id), size, &state->shape);
    unsigned length = out ? io_uring_recvmsg_payload_length(out, size, &state->shape) : 0;
    if (!out || (length == 0 && out->controllen == 0)) {
        watch->ended = true;
        loop_gone(watch);
        return;
    }
    loop_received(watch, io_uring_recvmsg_payload(out, &state->shape), length, (int)out->flags,
                  io_uring_recvmsg_name(out), out->controllen);
}

static void received(struct uring_state *state, struct loop_watch *watch, int result,
                     unsigned flags) {
    if (flags & IORING_CQE_F_BUFFER) {
        unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
        uring_unpack(state, watch, id, result);
        buffer_give(state, id);
    } else if (result != -ENOBUFS && result != -EINTR && result != -ECANCELED) {
        watch->ended = true;
        loop_gone(watch);
    }
}

static void complete(struct uring_state *state, struct loop_watch *watch, enum operation operation,
                     int result, unsigned flags) {
    bool last = !(flags & IORING_CQE_F_MORE);
    if (operation == OPERATION_WRITABLE && result != -ECANCELED)
        loop_writable(watch);
    if (operation == OPERATION_READ) {
        if (last)
            watch->reading = false;
        if (watch->callbacks.message)
            received(state, watch, result, flags);
        else if (watch->callbacks.accepted && result != -ECANCELED && result != -EINTR)
            loop_accepted(watch, result);
        else if (watch->callbacks.readable && result > 0)
            loop_readable(watch);
        start_reading(state, watch);
    }
    if (last)
        watch->operations--;
}

static int uring_turn(void *argument, bool wait) {
    struct uring_state *state = argument;
    int result = wait ? io_uring_submit_and_wait(&state->ring, 1)
                      : io_uring_submit_and_get_events(&state->ring);
    if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN)
        return result;
    struct io_uring_cqe *entry;
    for (unsigned ready = io_uring_cq_ready(&state->ring);
         ready > 0 && io_uring_peek_cqe(&state->ring, &entry) == 0; ready--) {
        uint64_t data = io_uring_cqe_get_data64(entry);
        unsigned flags = entry->flags;
        result = entry->res;
        io_uring_cqe_seen(&state->ring, entry);
        complete(state, (struct loop_watch *)(uintptr_t)(data & ~(uint64_t)OPERATION_MASK),
                 data & OPERATION_MASK, result, flags);
    }
    return 0;
}

static void uring_destroy(void *argument) {
    struct uring_state *state = argument;
    io_uring_queue_exit(&state->ring);
    if (state->provided)
        munmap(state->provided, BUFFERS * sizeof(struct io_uring_buf));
    if (state->buffers)
        munmap(state->buffers, BUFFERS * BUFFER_SIZE);
    free(state);
}

static void *map_pages(size_t size) {
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

static int provide_buffers(struct uring_state *state) {
    state->shape.msg_controllen = LOOP_CONTROL_MAX;
    state->buffers = map_pages(BUFFERS * BUFFER_SIZE);
    state->provided = map_pages(BUFFERS * sizeof(struct io_uring_buf));
    if (!state->buffers || !state->provided)
        return -ENOMEM;
    io_uring_buf_ring_init(state->provided);
    for (unsigned id = 0; id < BUFFERS; id++)
        buffer_give(state, id);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)state->provided,
                                            .ring_entries = BUFFERS,
                                            .bgid = BUFFER_GROUP};
    return io_uring_register_buf_ring(&state->ring, &registration, 0);
}

/* Kernels before 6.1 lack the last two flags, and do without. */
static int create_ring(struct io_uring *ring) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        .cq_entries = COMPLETIONS,
    };
    int result = io_uring_queue_init_params(SUBMISSIONS, ring, &parameters);
    if (result != -EINVAL)
        return result;
    parameters = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = COMPLETIONS};
    return io_uring_queue_init_params(SUBMISSIONS, ring, &parameters);
}

static void note_message(void *context, const struct loop_message *message) {
    *(size_t *)context = message ? message->size : 0;
}

/* Tries what serving needs: receives one byte, then cancels the receive. */
static int try_receive(struct uring_state *state) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    size_t size = 0;
    struct loop_watch watch = {.callbacks.message = note_message, .context = &size, .fd = pair[0]};
    start_reading(state, &watch);
    int result = send(pair[1], "", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
    while (result == 0 && size == 0 && watch.reading)
        result = uring_turn(state, true);
    if (result == 0 && (size != 1 || !watch.reading))
        result = -EOPNOTSUPP;
    watch.removed = true;
    uring_remove(state, &watch);
    while (watch.operations > 0 && uring_turn(state, true) == 0)
        continue;
    close(pair[0]);
    close(pair[1]);
    return result;
}

static int uring_create(void **out) {
    struct uring_state *state = calloc(1, sizeof *state);
    int result = state ? create_ring(&state->ring) : -ENOMEM;
    if (result < 0) {
        free(state);
        return result;
    }
    result = provide_buffers(state);
    if (result == 0)
        result = try_receive(state);
    if (result < 0)
        uring_destroy(state);
    else
        *out = state;
    return result;
}

const struct loop_backend loop_uring = {
    .name = "io_uring",
    .create = uring_create,
    .destroy = uring_destroy,
    .add = uring_add,
    .want_writable = uring_want_writable,
    .pause = uring_pause,
    .remove = uring_remove,
    .turn = uring_turn,
};
