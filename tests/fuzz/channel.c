/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: receiving. The input is a row of messages that a peer sends through a socket, each
 * with any number of descriptors. They are received as a client does (channel_receive) or as the
 * daemon does (its loop); what comes is held against what was sent, the bytes go to the decoder,
 * and no descriptor may stay behind.
 *
 *     message: flags (1 byte), length (2 bytes), bytes
 *     flags: bits 0 to 1 descriptors passed; bit 2: the receiver has too little room;
 *            bit 3: it is a doorbell, without length and bytes; bit 4: the next one comes first;
 *            bit 5, of the first message: the daemon receives, which never has too little room
 */
#include "daemon/loop/loop.h"
#include "ipc/channel.h"
#include "ipc/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PASSED = 3, TOO_SMALL = 4, BELL = 8, QUEUED = 16, DAEMON = 32 };
#define QUEUE_MAX 4

struct sent {
    const uint8_t *data;
    size_t size;
    unsigned flags;
};

/* The messages under way, and who receives them. */
struct receiver {
    int fd;
    struct loop_watch *watch; /* NULL: a client */
    struct sent queue[QUEUE_MAX];
    unsigned queued, received;
    bool gone; /* the daemon was told so */
};

static const uint8_t bell = WIRE_BELL;
static struct closer *closer;
static struct loop *loop;

/* Sends with several descriptors, which channel_send() does not offer. */
static void send_raw(int fd, const struct sent *sent) {
    const int fds[PASSED] = {fd, fd, fd};
    ssize_t size = descriptors_send(fd, sent->data, sent->size, fds, sent->flags & PASSED, 0);
    REQUIRE(size == (ssize_t)sent->size, "errno %d", errno);
}

static void send_one(int fd, const struct sent *sent) {
    int result = 0;
    if (sent->flags & BELL)
        result = channel_ring_bell(fd);
    else if ((sent->flags & PASSED) > 1)
        send_raw(fd, sent);
    else
        result = channel_send(fd, sent->data, sent->size, sent->flags & PASSED ? fd : -1, false);
    REQUIRE(result == 0, "sending %zu bytes returned %d", sent->size, result);
}

static unsigned passed(const struct sent *sent) {
    return sent->flags & BELL ? 0 : sent->flags & PASSED;
}

static void decode(const uint8_t *bytes, size_t size) {
    struct message message;
    int result = message_decode(&message, bytes, size);
    REQUIRE(result == 0 || result == -EBADMSG, "decoding returned %d", result);
    REQUIRE(result < 0 || bytes[0] != WIRE_BELL, "a doorbell is a message");
}

static bool is_whole(const struct sent *sent, size_t capacity) {
    return sent->size <= capacity && passed(sent) == 0;
}

/* The message is received into the end of the room, so that a sanitizer sees every byte too
 * much. */
static void receive_one(int fd, const struct sent *sent) {
    static uint8_t room[WIRE_MESSAGE_MAX];
    size_t capacity = sent->flags & TOO_SMALL && sent->size ? sent->size - 1 : sent->size;
    uint8_t *buffer = room + sizeof room - capacity;
    size_t size = 0;
    int result = channel_receive(fd, buffer, capacity, true, &size);
    if (is_whole(sent, capacity)) {
        REQUIRE(result == (sent->size > 0 ? 0 : CHANNEL_END), "%zu bytes gave %d", sent->size,
                result);
        REQUIRE(size == sent->size && memcmp(buffer, sent->data, sent->size) == 0,
                "%zu bytes became %zu", sent->size, size);
        decode(buffer, sent->size);
    } else {
        REQUIRE(result == -EBADMSG, "a damaged message gave %d", result);
    }
}

/* An empty message without descriptors looks like the end of file to the loop. */
static void on_message(void *context, const struct loop_message *message) {
    struct receiver *receiver = context;
    if (receiver->received == receiver->queued) {
        REQUIRE(!message, "something came from nowhere");
        receiver->gone = true;
        return;
    }
    const struct sent *sent = &receiver->queue[receiver->received++];
    if (!message) {
        REQUIRE(sent->size == 0 && passed(sent) == 0, "no message of %zu bytes", sent->size);
        return;
    }
    REQUIRE(!message->truncated && message->size == sent->size &&
                memcmp(message->data, sent->data, sent->size) == 0,
            "%zu bytes became %zu", sent->size, message->size);
    REQUIRE(message->fd_count == passed(sent), "%u descriptors", message->fd_count);
    for (unsigned i = 0; i < message->fd_count; i++) {
        REQUIRE(fcntl(message->fds[i], F_GETFD) == FD_CLOEXEC, "a descriptor that stays open");
        close(message->fds[i]);
        message->fds[i] = -1;
    }
    decode(message->data, message->size);
}

static void receive_queue(struct receiver *receiver) {
    receiver->received = 0;
    for (unsigned i = 0; i < receiver->queued; i++) {
        if (receiver->watch)
            REQUIRE(loop_turn(loop, false) == 0, "the loop failed");
        else
            receive_one(receiver->fd, &receiver->queue[i]);
    }
    REQUIRE(!receiver->watch || receiver->received == receiver->queued, "%u of %u came",
            receiver->received, receiver->queued);
    receiver->queued = receiver->received = 0;
}

static struct sent next_message(struct tape *tape) {
    struct sent sent = {.flags = (unsigned)tape_number(tape, 1)};
    if (sent.flags & BELL) {
        sent.data = &bell;
        sent.size = 1;
        return sent;
    }
    sent.size = (size_t)tape_number(tape, 2);
    if (sent.size > tape->left)
        sent.size = tape->left;
    sent.data = tape->at;
    tape->at += sent.size;
    tape->left -= sent.size;
    return sent;
}

/* Returns the number that the next descriptor will get. */
static int lowest_free(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0, "errno %d", errno);
    close(fd);
    return fd;
}

static bool begin_daemon(struct receiver *receiver) {
    static const struct loop_callbacks callbacks = {.message = on_message};
    receiver->watch = loop_add(loop, receiver->fd, &callbacks, receiver);
    return receiver->watch;
}

static void send_and_receive(struct tape *tape, int fd, struct receiver *receiver) {
    while (tape->left > 0) {
        struct sent *sent = &receiver->queue[receiver->queued++];
        *sent = next_message(tape);
        send_one(fd, sent);
        if (!(sent->flags & QUEUED) || receiver->queued == QUEUE_MAX || tape->left == 0)
            receive_queue(receiver);
    }
}

static void end(struct receiver *receiver) {
    char byte;
    if (receiver->watch) {
        REQUIRE(loop_turn(loop, false) == 0 && receiver->gone, "no end of file");
        loop_remove(receiver->watch, false);
        loop_turn(loop, false);
    } else {
        REQUIRE(channel_receive(receiver->fd, &byte, 1, true, &(size_t){0}) == CHANNEL_END,
                "no end of file");
    }
    REQUIRE(channel_ring_bell(receiver->fd) == -EPIPE, "a bell where nobody is");
}

/* When replay.c lets an allocation fail, there may be no loop to test. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape tape = {data, size};
    struct receiver receiver = {0};
    int pair[2];

    if ((!closer && closer_create(&closer) < 0) ||
        (!loop && loop_create(&loop, "epoll", closer) < 0))
        return 0;
    int before = lowest_free();
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "errno %d", errno);
    receiver.fd = pair[1];
    if (size == 0 || !(data[0] & DAEMON) || begin_daemon(&receiver)) {
        send_and_receive(&tape, pair[0], &receiver);
        close(pair[0]);
        end(&receiver);
    } else {
        close(pair[0]);
    }
    close(pair[1]);
    REQUIRE(lowest_free() == before, "a descriptor stayed open");
    return 0;
}
