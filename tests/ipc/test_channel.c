/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket wrappers: modes and names of sockets, whole messages only, descriptors, full queues,
 * dead peers, interrupted calls.
 */
#include "ipc/channel.h"
#include "ipc/wire.h"
#include "tests/check.h"
#include "tests/lib/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static char directory[] = "/tmp/esm1nv-XXXXXX";
static char path[64];

static int ends[2]; /* of a pair of connected sockets */
static char buffer[WIRE_MESSAGE_MAX];
static size_t received; /* bytes of the last message */

/* Runs a case with a pair, of which it may close both ends. */
static void with_pair(const char *name, void (*run)(void)) {
    test_case(name);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "%s", strerror(errno));
    run();
    close(ends[0]);
    close(ends[1]);
}

/* What comes out of the second end, of up to so many bytes. */
static int receive(size_t capacity, bool nonblocking) {
    return channel_receive(ends[1], buffer, capacity, nonblocking, &received);
}

static bool receives(const void *data, size_t size) {
    return receive(size, false) == 0 && received == size && memcmp(buffer, data, size) == 0;
}

TEST("a listening socket has its mode whatever the umask") {
    static const mode_t modes[] = {0600, 0660, 0666};
    struct stat status;

    for (int i = 0; i < 6; i++) {
        mode_t mode = modes[i / 2], before = umask(i % 2 ? 0 : 077);
        int listener = channel_listen(path, mode);
        umask(before);
        CHECK(listener >= 0, "%s: %s", path, strerror(-listener));
        CHECK(stat(path, &status) == 0 && S_ISSOCK(status.st_mode), "%s is no socket", path);
        CHECK((status.st_mode & 07777) == mode, "mode %o, not %o", status.st_mode & 07777, mode);
        CHECK(fcntl(listener, F_GETFL) & O_NONBLOCK, "it blocks");
        CHECK(fcntl(listener, F_GETFD) & FD_CLOEXEC, "it is inherited");
        CHECK(channel_listen(path, mode) == -EADDRINUSE, "a second one at the same path");
        close(listener);
        unlink(path);
    }
}

TEST("connecting, and names that do not work") {
    char name[200];
    pid_t pid;
    uid_t uid;

    CHECK(channel_connect(path) == -ENOENT, "nothing there");
    CHECK(channel_connect("") == -EINVAL && channel_listen("", 0600) == -EINVAL, "empty name");
    memset(name, 'x', sizeof name);
    name[108] = '\0';
    CHECK(channel_connect(name) == -ENAMETOOLONG, "108 bytes");
    CHECK(channel_listen(name, 0600) == -ENAMETOOLONG, "108 bytes");
    name[107] = '\0';
    CHECK(channel_connect(name) == -ENOENT, "107 bytes are a name");
    int listener = channel_listen(path, 0600);
    int client = channel_connect(path);
    CHECK(client >= 0, "%s", strerror(-client));
    CHECK(!(fcntl(client, F_GETFL) & O_NONBLOCK), "a client blocks");
    CHECK(fcntl(client, F_GETFD) & FD_CLOEXEC, "it is inherited");
    int served = accept(listener, NULL, NULL);
    CHECK(channel_peer(served, &pid, &uid) == 0 && pid == getpid() && uid == getuid(), "peer");
    CHECK(channel_peer(-1, &pid, &uid) == -EBADF, "no socket");
    close(served);
    close(client);
    close(listener);
    CHECK(channel_connect(path) == -ECONNREFUSED, "a stale socket");
    unlink(path);
}

static void test_messages(void) {
    static char large[WIRE_MESSAGE_MAX];

    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 31);
    CHECK(receive(sizeof buffer, true) == CHANNEL_EMPTY, "nothing there");
    CHECK(channel_send(ends[0], large, sizeof large, -1, false) == 0, "the largest");
    CHECK(channel_send(ends[0], "abc", 3, -1, false) == 0, "a small one");
    CHECK(receives(large, sizeof large), "%zu bytes", received);
    CHECK(receives("abc", 3), "%zu bytes", received);
    channel_send(ends[0], "abcd", 4, -1, false);
    CHECK(receive(3, false) == -EBADMSG, "cut short");
    CHECK(receive(3, true) == CHANNEL_EMPTY, "and gone");
    channel_ring_bell(ends[0]);
    CHECK(receive(3, false) == 0 && received == 1 && (uint8_t)buffer[0] == WIRE_BELL, "a bell");
}

static void test_descriptors(void) {
    int fds[CHANNEL_FDS_MAX] = {-1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = buffer, .iov_len = sizeof buffer};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct stat sent_status, received_status;

    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(channel_send(ends[0], "abc", 3, file, false) == 0, "send");
    CHECK(recvmsg(ends[1], &header, MSG_CMSG_CLOEXEC) == 3, "receive");
    CHECK(channel_descriptors(&header, fds) == 1, "no descriptor came");
    fstat(file, &sent_status);
    CHECK(fstat(fds[0], &received_status) == 0 && sent_status.st_rdev == received_status.st_rdev,
          "another file came");
    close(fds[0]);
    unsigned before = proc_entries("fd");
    CHECK(channel_send(ends[0], "abc", 3, file, false) == 0, "send");
    CHECK(receive(sizeof buffer, false) == -EBADMSG, "unasked for");
    CHECK(proc_entries("fd") == before, "it leaked");
    close(file);
}

static void test_full(void) {
    char message[1000] = {0};
    int result = 0, count = 0;

    while (count < 100000 && result == 0) {
        result = channel_send(ends[0], message, sizeof message, -1, true);
        count++;
    }
    CHECK(result == CHANNEL_FULL && count > 10, "%d after %d", result, count);
    result = 0;
    for (int i = 0; i < 100000 && result == 0; i++)
        result = channel_send(ends[0], message, 1, -1, true);
    CHECK(result == CHANNEL_FULL, "single bytes never fill it");
    CHECK(channel_ring_bell(ends[0]) == 0, "the bell");
}

/* Sends the first end's last words. */
static void leave(void) {
    channel_send(ends[0], "abc", 3, -1, false);
    close(ends[0]);
    ends[0] = -1;
}

static void test_gone(void) {
    leave();
    CHECK(receives("abc", 3), "its last words");
    CHECK(receive(3, false) == CHANNEL_END, "end of file");
    CHECK(channel_send(ends[1], "abc", 3, -1, false) == -EPIPE, "send");
    CHECK(channel_ring_bell(ends[1]) == -EPIPE, "bell");
}

static void test_gone_unread(void) {
    channel_send(ends[1], "unread", 6, -1, false);
    leave();
    CHECK(receive(3, false) == -ECONNRESET, "a reset first");
    CHECK(receives("abc", 3), "then its last words");
    CHECK(receive(3, false) == CHANNEL_END, "then end of file");
}

static volatile sig_atomic_t interruptions;

/* Interrupts a waiting receive twice, then lets it end. */
static void on_alarm(int number) {
    (void)number;
    if (++interruptions == 3)
        (void)!write(ends[0], "x", 1);
}

static void test_interrupted(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {{0, 20000}, {0, 20000}};

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    CHECK(receives("x", 1), "interrupted");
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    CHECK(interruptions >= 3, "it was not even tried");
    signal(SIGALRM, SIG_DFL);
}

int main(void) {
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    snprintf(path, sizeof path, "%s/socket", directory);
    alarm(TEST_LIFETIME);
    test_run();
    with_pair("whole messages or none", test_messages);
    with_pair("a passed descriptor arrives once, and only where one is awaited", test_descriptors);
    with_pair("a full queue is a condition for messages and success for bells", test_full);
    with_pair("a peer that is gone: end of file, errors, no signal", test_gone);
    with_pair("the same with words of its own unread: a reset first", test_gone_unread);
    with_pair("a signal does not end a wait", test_interrupted);
    CHECK(rmdir(directory) == 0, "files are left in %s", directory);
    return test_done();
}
