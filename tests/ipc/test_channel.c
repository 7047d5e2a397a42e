/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket wrappers: modes and names of sockets, whole messages only, descriptors, full queues,
 * dead peers, interrupted calls.
 */
#include "ipc/channel.h"
#include "ipc/wire.h"
#include "tests/check.h"

#include <dirent.h>
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

static bool open_pair(int ends[2]) {
    bool opened = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0;
    CHECK(opened, "socketpair: %s", strerror(errno));
    return opened;
}

static void close_pair(int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static size_t received; /* bytes of the last message */

static int receive(int fd, void *buffer, size_t capacity, bool nonblocking) {
    return channel_receive(fd, buffer, capacity, nonblocking, &received);
}

static int count_descriptors(void) {
    DIR *listing = opendir("/proc/self/fd");
    int count = 0;
    while (listing && readdir(listing))
        count++;
    if (listing)
        closedir(listing);
    return count;
}

static void test_listen(void) {
    static const mode_t modes[] = {0600, 0660, 0666};
    struct stat status;

    test_case("a listening socket has its mode whatever the umask");
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

static void test_connect(void) {
    char name[200];
    pid_t pid;
    uid_t uid;

    test_case("connecting, and names that do not work");
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
    static char large[WIRE_MESSAGE_MAX], buffer[WIRE_MESSAGE_MAX];
    int ends[2];

    test_case("whole messages or none");
    if (!open_pair(ends))
        return;
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 31);
    CHECK(receive(ends[1], buffer, sizeof buffer, true) == CHANNEL_EMPTY, "nothing there");
    CHECK(channel_send(ends[0], large, sizeof large, -1, false) == 0, "the largest");
    CHECK(channel_send(ends[0], "abc", 3, -1, false) == 0, "a small one");
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == 0 && received == sizeof large,
          "its size");
    CHECK(memcmp(buffer, large, sizeof large) == 0, "its bytes");
    CHECK(receive(ends[1], buffer, 3, false) == 0 && received == 3 && !memcmp(buffer, "abc", 3),
          "abc");
    channel_send(ends[0], "abcd", 4, -1, false);
    CHECK(receive(ends[1], buffer, 3, false) == -EBADMSG, "cut short");
    CHECK(receive(ends[1], buffer, 3, true) == CHANNEL_EMPTY, "and gone");
    channel_ring_bell(ends[0]);
    CHECK(receive(ends[1], buffer, 3, false) == 0 && received == 1 &&
              (uint8_t)buffer[0] == WIRE_BELL,
          "a bell");
    close_pair(ends);
}

static void test_descriptors(void) {
    char buffer[8];
    int ends[2], fds[CHANNEL_FDS_MAX] = {-1};
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

    test_case("a passed descriptor arrives once, and only where one is awaited");
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!open_pair(ends))
        return;
    CHECK(channel_send(ends[0], "abc", 3, file, false) == 0, "send");
    CHECK(recvmsg(ends[1], &header, MSG_CMSG_CLOEXEC) == 3, "receive");
    CHECK(channel_descriptors(&header, fds) == 1, "no descriptor came");
    fstat(file, &sent_status);
    CHECK(fstat(fds[0], &received_status) == 0 && sent_status.st_rdev == received_status.st_rdev,
          "another file came");
    close(fds[0]);
    int before = count_descriptors();
    CHECK(channel_send(ends[0], "abc", 3, file, false) == 0, "send");
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == -EBADMSG, "unasked for");
    CHECK(count_descriptors() == before, "it leaked");
    close(file);
    close_pair(ends);
}

static void test_full(void) {
    char message[1000] = {0};
    int ends[2], result = 0, count = 0;

    test_case("a full queue is a condition for messages and success for bells");
    if (!open_pair(ends))
        return;
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
    close_pair(ends);
}

static void test_gone(void) {
    char buffer[8];
    int ends[2];

    test_case("a peer that is gone: end of file, errors, no signal");
    if (!open_pair(ends))
        return;
    channel_send(ends[0], "abc", 3, -1, false);
    close(ends[0]);
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == 0 && received == 3, "its last words");
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == CHANNEL_END, "end of file");
    CHECK(channel_send(ends[1], "abc", 3, -1, false) == -EPIPE, "send");
    CHECK(channel_ring_bell(ends[1]) == -EPIPE, "bell");
    close(ends[1]);
    if (!open_pair(ends))
        return;
    channel_send(ends[1], "unread", 6, -1, false);
    channel_send(ends[0], "abc", 3, -1, false);
    close(ends[0]);
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == -ECONNRESET, "a reset first");
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == 0 && received == 3,
          "then its last words");
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == CHANNEL_END, "then end of file");
    close(ends[1]);
}

static int interrupted_end;
static volatile sig_atomic_t interruptions;

/* Interrupts a waiting receive twice, then lets it end. */
static void on_alarm(int number) {
    (void)number;
    if (++interruptions == 3)
        (void)!write(interrupted_end, "x", 1);
}

static void test_interrupted(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {{0, 20000}, {0, 20000}};
    char buffer[8];
    int ends[2];

    test_case("a signal does not end a wait");
    if (!open_pair(ends))
        return;
    interrupted_end = ends[0];
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    CHECK(receive(ends[1], buffer, sizeof buffer, false) == 0 && received == 1, "interrupted");
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    CHECK(interruptions >= 3, "it was not even tried");
    signal(SIGALRM, SIG_DFL);
    close_pair(ends);
}

int main(void) {
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    snprintf(path, sizeof path, "%s/socket", directory);
    alarm(TEST_LIFETIME);
    test_listen();
    test_connect();
    test_messages();
    test_descriptors();
    test_full();
    test_gone();
    test_interrupted();
    CHECK(rmdir(directory) == 0, "files are left in %s", directory);
    return test_done();
}
