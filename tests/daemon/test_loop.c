/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop and the closer, the same cases over io_uring and over epoll: connections, messages whole
 * and truncated, descriptors that come with them, pauses, floods, removal from within callbacks.
 */
#include "daemon/loop/closer.h"
#include "daemon/loop/loop.h"
#include "ipc/wire.h"
#include "tests/check.h"
#include "tests/lib/descriptors.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TURNS_MAX 2000 /* more are a loop that never rests */
#define WAITS_MAX (TEST_PATIENCE * 1000)

static struct closer *closer;
static struct loop *loop;
static _Atomic unsigned unclosed; /* sockets of clients, and what came through them */

/* What one socket saw. */
struct seen {
    struct loop_watch *watch;
    unsigned messages, descriptors, truncated, gone, writable, readable;
    size_t last_size;
    uint8_t last_byte;
    bool drop_in_callback;
    int fd;
};

static void on_message(void *context, const struct loop_message *message) {
    struct seen *seen = context;

    if (!message) {
        seen->gone++;
    } else {
        seen->messages++;
        seen->descriptors += message->fd_count;
        seen->truncated += message->truncated;
        seen->last_size = message->size;
        seen->last_byte = message->size ? message->data[message->size - 1] : 0;
    }
    if (seen->drop_in_callback) {
        loop_remove(seen->watch, true);
        seen->watch = NULL;
    }
}

static void on_writable(void *context) {
    ((struct seen *)context)->writable++;
}

static void on_readable(void *context) {
    struct seen *seen = context;

    seen->readable++;
}

static void on_accepted(void *context, int fd) {
    struct seen *seen = context;

    if (fd >= 0) {
        seen->messages++;
        unclosed++;
        closer_add_socket(closer, fd, &unclosed);
    }
}

/* Turns until `*value` reaches `wanted`; sleeps a little between. */
static bool turn_until(const unsigned *value, unsigned wanted) {
    for (unsigned i = 0; i < WAITS_MAX && *value < wanted; i++) {
        if (loop_turn(loop, false) < 0)
            return false;
        if (*value < wanted)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return *value >= wanted;
}

static void turn_some(void) {
    for (unsigned i = 0; i < 10; i++)
        loop_turn(loop, false);
}

/* Turns in which a loop that may sleep spends 20 ms: a few, or all when something keeps it awake.
 */
static unsigned turns_at_rest(void) {
    static const struct loop_callbacks callbacks = {.readable = on_readable};
    struct itimerspec soon = {.it_value.tv_nsec = 20000000};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct seen seen = {0};
    unsigned turns = 0;

    seen.watch = loop_add(loop, timer, &callbacks, &seen);
    timerfd_settime(timer, 0, &soon, NULL);
    for (; turns < TURNS_MAX && seen.readable == 0; turns++)
        loop_turn(loop, true);
    loop_remove(seen.watch, false);
    turn_some();
    close(timer);
    return turns;
}

/* Waits until everything is closed but the sockets of `watched` clients. */
static void wait_closed(unsigned watched) {
    for (unsigned i = 0; i < WAITS_MAX && unclosed > watched; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    CHECK(unclosed == watched, "%u counted, %u watched", unclosed, watched);
}

/* Descriptors open when nothing is under way. */
static unsigned settled_descriptors(unsigned watched) {
    turn_some();
    wait_closed(watched);
    return proc_entries("fd");
}

static int watched_pair(struct seen *seen) {
    static const struct loop_callbacks callbacks = {.message = on_message, .writable = on_writable};
    int pair[2];

    *seen = (struct seen){0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    seen->fd = pair[0];
    seen->watch = loop_add(loop, pair[0], &callbacks, seen);
    loop_charge(seen->watch, &unclosed);
    return pair[1];
}

static void test_messages(void) {
    static uint8_t big[WIRE_MESSAGE_MAX + 1];
    struct seen seen;
    int peer = watched_pair(&seen);

    memset(big, 7, sizeof big);
    CHECK(send(peer, "abc", 3, 0) == 3, "send");
    CHECK(turn_until(&seen.messages, 1), "no message");
    CHECK(seen.last_size == 3 && seen.last_byte == 'c', "size %zu", seen.last_size);
    CHECK(send(peer, big, WIRE_MESSAGE_MAX, 0) == WIRE_MESSAGE_MAX, "send the largest");
    CHECK(turn_until(&seen.messages, 2), "no largest message");
    CHECK(seen.last_size == WIRE_MESSAGE_MAX && seen.last_byte == 7 && !seen.truncated,
          "size %zu, truncated %u", seen.last_size, seen.truncated);
    CHECK(send(peer, big, sizeof big, 0) == (ssize_t)sizeof big, "send too large");
    CHECK(turn_until(&seen.messages, 3) && seen.truncated == 1, "not reported as truncated");
    for (unsigned i = 0; i < 200; i++)
        CHECK(send(peer, &(uint8_t){(uint8_t)i}, 1, 0) == 1, "send %u", i);
    CHECK(turn_until(&seen.messages, 203), "%u of 203 messages", seen.messages);
    close(peer);
    CHECK(turn_until(&seen.gone, 1), "the end was not reported");
    turn_some();
    CHECK(seen.gone == 1 || seen.watch, "gone %u times", seen.gone);
    loop_remove(seen.watch, true);
}

static ssize_t send_descriptors(int socket, unsigned count, size_t size) {
    int fds[DESCRIPTORS_MAX];

    for (unsigned i = 0; i < count; i++)
        fds[i] = STDERR_FILENO;
    return descriptors_send(socket, "x", size, fds, count, 0);
}

static void test_descriptors(void) {
    struct seen seen;
    int peer = watched_pair(&seen);
    unsigned before = settled_descriptors(1);

    CHECK(send_descriptors(peer, 1, 1) == 1, "send 1");
    CHECK(send_descriptors(peer, 253, 1) == 1, "send 253");
    CHECK(turn_until(&seen.messages, 2) && seen.descriptors == 254, "%u descriptors",
          seen.descriptors);
    CHECK(seen.truncated == 0, "truncated");
    CHECK(send_descriptors(peer, 2, 0) == 0, "send an empty message with two");
    turn_until(&seen.messages, 3);
    CHECK(settled_descriptors(1) == before, "%u open, %u before", proc_entries("fd"), before);
    loop_remove(seen.watch, true);
    close(peer);
}

/* Messages that arrive after the watch is removed must not leak what they carry. */
static void test_removal(void) {
    unsigned before = settled_descriptors(0);

    for (unsigned round = 0; round < 50; round++) {
        struct seen seen;
        int peer = watched_pair(&seen);

        seen.drop_in_callback = round % 2;
        turn_some();
        for (unsigned i = 0; i < 5; i++)
            send_descriptors(peer, 3, 1);
        if (round % 2)
            CHECK(turn_until(&seen.messages, 1) && seen.messages == 1, "%u messages after removal",
                  seen.messages - 1);
        else
            loop_remove(seen.watch, true);
        turn_some();
        CHECK(seen.messages <= 1, "called back after removal");
        close(peer);
    }
    CHECK(settled_descriptors(0) == before, "%u open, %u before", proc_entries("fd"), before);
}

/* What was sent before the socket is closed arrives, although the peer's messages lie unread. */
static void test_last_words(void) {
    struct seen seen;
    int peer = watched_pair(&seen);
    char answer[8];

    seen.drop_in_callback = true;
    turn_some();
    for (unsigned i = 0; i < 5; i++)
        CHECK(send(peer, "q", 1, MSG_NOSIGNAL) == 1, "send");
    CHECK(send(seen.fd, "last", 4, 0) == 4, "answer");
    turn_until(&seen.messages, 1);
    turn_some();
    wait_closed(0);
    CHECK(recv(peer, answer, sizeof answer, 0) == 4, "the last word was lost: %s", strerror(errno));
    CHECK(recv(peer, answer, sizeof answer, 0) == 0, "no end of file");
    close(peer);
}

static void test_writable(void) {
    struct seen seen;
    int peer = watched_pair(&seen);
    static char block[4096];
    unsigned sent = 0;

    while (send(seen.fd, block, sizeof block, MSG_DONTWAIT) > 0)
        sent++;
    loop_want_writable(seen.watch);
    turn_some();
    CHECK(seen.writable == 0, "said to be writable while full");
    for (unsigned i = 0; i < sent; i++)
        CHECK(recv(peer, block, sizeof block, MSG_DONTWAIT) > 0, "receive");
    CHECK(turn_until(&seen.writable, 1), "never writable");
    turn_some();
    CHECK(seen.writable == 1, "%u calls", seen.writable);
    CHECK(turns_at_rest() < 20, "it spins where it was told once");
    loop_want_writable(seen.watch);
    loop_remove(seen.watch, true);
    turn_some();
    close(peer);
}

static void test_readable(void) {
    static const struct loop_callbacks callbacks = {.readable = on_readable};
    struct seen seen = {0};
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t value = 1;

    seen.watch = loop_add(loop, event, &callbacks, &seen);
    turn_some();
    CHECK(seen.readable == 0, "readable without an event");
    CHECK(write(event, &value, sizeof value) == sizeof value, "write");
    CHECK(turn_until(&seen.readable, 3), "not called again while it stays readable");
    CHECK(read(event, &value, sizeof value) == sizeof value, "read");
    turn_some();
    seen.readable = 0;
    turn_some();
    CHECK(seen.readable == 0, "called although it was read");
    loop_remove(seen.watch, false);
    turn_some();
    close(event);
}

static int listening_socket(struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t length = sizeof *address;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)) < 0 || listen(fd, 64) < 0)
        abort(); /* binding to no name gives an abstract one */
    getsockname(fd, (struct sockaddr *)address, &length);
    return fd;
}

static int connect_to(const struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(sizeof(sa_family_t) + 6); /* NUL and five digits */

    if (connect(fd, (const struct sockaddr *)address, length) < 0)
        CHECK(false, "connect: %s", strerror(errno));
    return fd;
}

static void test_accept(void) {
    static const struct loop_callbacks callbacks = {.accepted = on_accepted};
    struct sockaddr_un address;
    struct seen seen = {0};
    int listening = listening_socket(&address), clients[30];

    seen.watch = loop_add(loop, listening, &callbacks, &seen);
    for (unsigned i = 0; i < 10; i++)
        clients[i] = connect_to(&address);
    CHECK(turn_until(&seen.messages, 10), "%u of 10 accepted", seen.messages);
    loop_pause(seen.watch, true);
    turn_some();
    for (unsigned i = 10; i < 20; i++)
        clients[i] = connect_to(&address);
    turn_some();
    CHECK(seen.messages == 10, "%u accepted during a pause", seen.messages - 10);
    CHECK(turns_at_rest() < 20, "it spins during a pause");
    loop_pause(seen.watch, false);
    CHECK(turn_until(&seen.messages, 20), "%u of 20 accepted", seen.messages);
    loop_pause(seen.watch, true);
    loop_pause(seen.watch, false);
    for (unsigned i = 20; i < 30; i++)
        clients[i] = connect_to(&address);
    CHECK(turn_until(&seen.messages, 30), "%u of 30 accepted", seen.messages);
    loop_remove(seen.watch, false);
    turn_some();
    close(listening);
    for (unsigned i = 0; i < 30; i++)
        close(clients[i]);
}

/* One peer floods; what another one sends comes through all the same. */
static void test_flood(void) {
    struct seen flooded, quiet;
    int flooder = watched_pair(&flooded), peer = watched_pair(&quiet);

    for (unsigned i = 0; i < 100; i++) {
        while (send(flooder, "x", 1, MSG_DONTWAIT) == 1)
            continue;
        if (i == 50)
            CHECK(send(peer, "y", 1, 0) == 1, "send");
        loop_turn(loop, false);
    }
    CHECK(quiet.messages == 1, "a quiet peer was starved");
    CHECK(flooded.messages >= 50, "only %u messages of the flood", flooded.messages);
    loop_remove(flooded.watch, true);
    loop_remove(quiet.watch, true);
    turn_some();
    close(flooder);
    close(peer);
}

static void run_all(const char *backend) {
    unsigned before = proc_entries("fd");
    char name[100];
    int error;

    unclosed = 0;
    closer_create(&closer);
    error = loop_create(&loop, backend, closer);
    if (error < 0) {
        snprintf(name, sizeof name, "everything over %s", backend);
        test_skip(name, strerror(-error));
        closer_destroy(closer, WAITS_MAX);
        return;
    }
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"messages", test_messages}, {"descriptors", test_descriptors},
        {"removal", test_removal},   {"last words", test_last_words},
        {"writable", test_writable}, {"readable", test_readable},
        {"accept", test_accept},     {"flood", test_flood},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(name, sizeof name, "%s: %s", backend, cases[i].name);
        test_case(name);
        cases[i].run();
        test_case_end();
    }
    snprintf(name, sizeof name, "%s: nothing stays open", backend);
    test_case(name);
    turn_some();
    loop_destroy(loop);
    closer_destroy(closer, WAITS_MAX);
    CHECK(proc_entries("fd") == before, "%u open, %u before", proc_entries("fd"), before);
    test_case_end();
}

int main(void) {
    run_all("io_uring");
    run_all("epoll");
    return test_done();
}
