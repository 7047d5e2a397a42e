/* SPDX-License-Identifier: Apache-2.0
 *
 * Hostile descriptors: everything that is not a sealed memfd of the right size, what looks like
 * one, and what blocks whoever closes it.
 */
#include "hostile.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/random.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* A TCP socket with the least buffer that the kernel grants, so that little fills it. */
static int small_socket(int option) {
    int size = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
    return fd;
}

uint16_t unread_port_open(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = small_socket(SO_RCVBUF);

    if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 65535) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        close(fd);
        return 0;
    }
    return ntohs(address.sin_port); /* the socket stays open as long as this process lives */
}

int lingering_socket(uint16_t port, int seconds) {
    static const char bytes[65536];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger linger = {.l_onoff = 1, .l_linger = seconds};
    int fd = port ? small_socket(SO_SNDBUF) : -1;

    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        continue;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    return fd;
}

int nested_socket(uint16_t port, int seconds) {
    int pair[2], fd = lingering_socket(port, seconds);

    if (fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fd;
    if (descriptors_send(pair[0], "", 1, &fd, 1, MSG_DONTWAIT) < 0)
        perror("# nested_socket");
    close(fd);
    close(pair[0]);
    return pair[1];
}

int memfd(size_t size, int seals, unsigned flags) {
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

    if (fd < 0)
        return -1;
    if (ftruncate(fd, (off_t)size) < 0 || (seals && fcntl(fd, F_ADD_SEALS, seals) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int read_only_memfd(size_t size) {
    char path[64];
    int again, fd = memfd(size, RING_SEALS, 0);

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = open(path, O_RDONLY | O_CLOEXEC);
    close(fd);
    return again;
}

static int disk_file(size_t size) {
    int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 && ftruncate(fd, (off_t)size) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* One end; the other is gone. */
static int half(int made, const int pair[2]) {
    if (made < 0)
        return -1;
    close(pair[1]);
    return pair[0];
}

int hostile_descriptor(uint64_t *random, size_t ring_size, uint16_t port, int own) {
    static const int wrong_seals[] = {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW,
                                      RING_SEALS | F_SEAL_WRITE};
    int pair[2];

    switch (random_below(random, 20)) {
    case 0:
        return half(pipe(pair), pair);
    case 1:
        return half(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), pair);
    case 2:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 3:
        return eventfd(0, EFD_CLOEXEC);
    case 4:
        return epoll_create1(EPOLL_CLOEXEC);
    case 5:
        return inotify_init1(IN_CLOEXEC);
    case 6:
        return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    case 7:
        return open("/", O_PATH | O_CLOEXEC);
    case 8:
        return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    case 9:
        return dup(own); /* a cycle, once it lies in its own queue */
    case 10:
    case 11:
    case 12:
    case 13:
        return memfd(ring_size, wrong_seals[random_below(random, 4)], 0);
    case 14:
        return memfd(random_below(random, 2 * ring_size), RING_SEALS, 0);
    case 15:
        return memfd((ring_size + (2 << 20) - 1) >> 21 << 21, RING_SEALS, MFD_HUGETLB);
    case 16:
        return read_only_memfd(ring_size);
    case 17:
        return disk_file(ring_size);
    case 18:
        return nested_socket(port, 1 + (int)random_below(random, 3));
    default:
        return lingering_socket(port, 1 + (int)random_below(random, 30));
    }
}
