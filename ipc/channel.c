/* SPDX-License-Identifier: Apache-2.0
 *
 * The SOCK_SEQPACKET socket between client and daemon: thin wrappers over the system calls that
 * set close-on-exec, never raise SIGPIPE, retry EINTR and return -errno.
 */
#include "ipc/channel.h"
#include "ipc/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS /* newer than the headers of Debian 12 */
#define SO_PASSRIGHTS 83
#endif

/* Makes a socket, and the address of the path. Returns the descriptor or -errno. */
static int channel_socket(struct sockaddr_un *address, const char *path, int flags) {
    size_t length = strlen(path);
    if (length == 0)
        return -EINVAL;
    if (length >= sizeof address->sun_path)
        return -ENAMETOOLONG;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
    return fd < 0 ? -errno : fd;
}

/* Closes fd and returns the error, which the caller took from errno before close() changes it. */
static int close_with(int fd, int error) {
    close(fd);
    return error;
}

int channel_connect(const char *path) {
    struct sockaddr_un address;
    int fd = channel_socket(&address, path, 0);
    if (fd < 0)
        return fd;
    int result;
    do
        result = connect(fd, (struct sockaddr *)&address, sizeof address);
    while (result < 0 && errno == EINTR);
    return result < 0 ? close_with(fd, -errno) : fd;
}

int channel_listen(const char *path, mode_t mode) {
    struct sockaddr_un address;
    int fd = channel_socket(&address, path, SOCK_NONBLOCK);
    if (fd < 0)
        return fd;
    /* A socket file takes the descriptor's mode, less the umask, so nobody can connect before the
     * final mode is set. */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return close_with(fd, -errno);
    if (chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0) {
        int result = -errno;
        unlink(path);
        return close_with(fd, result);
    }
    return fd;
}

int channel_send(int fd, const void *data, size_t size, int passed, bool nonblocking) {
    struct iovec part = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    if (passed >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof passed);
        memcpy(CMSG_DATA(rights), &passed, sizeof passed);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &header, MSG_NOSIGNAL | (nonblocking ? MSG_DONTWAIT : 0));
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return nonblocking && errno == EAGAIN ? CHANNEL_FULL : -errno;
    return 0;
}

int channel_ring_bell(int fd) {
    const unsigned char bell = WIRE_BELL;
    int result = channel_send(fd, &bell, sizeof bell, -1, true);
    return result == CHANNEL_FULL ? 0 : result;
}

int channel_receive(int fd, void *buffer, size_t capacity, bool nonblocking, size_t *size) {
    struct iovec part = {.iov_base = buffer, .iov_len = capacity};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    /* Without room for control data the kernel closes what is passed and sets MSG_CTRUNC. */
    ssize_t received;
    do
        received = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | (nonblocking ? MSG_DONTWAIT : 0));
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return nonblocking && errno == EAGAIN ? CHANNEL_EMPTY : -errno;
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return -EBADMSG;
    *size = (size_t)received;
    return received == 0 ? CHANNEL_END : 0;
}

unsigned channel_descriptors(struct msghdr *header, int fds[CHANNEL_FDS_MAX]) {
    unsigned count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t bytes = part->cmsg_len - CMSG_LEN(0);
        if (bytes / sizeof *fds > CHANNEL_FDS_MAX - count)
            break; /* the kernel never does this */
        memcpy(fds + count, CMSG_DATA(part), bytes);
        count += (unsigned)(bytes / sizeof *fds);
    }
    return count;
}

void channel_take_descriptors(int fd, bool take) {
    const int on = take;
    setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof on);
}

int channel_peer(int fd, pid_t *pid, uid_t *uid) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
        return -errno;
    *pid = credentials.pid;
    *uid = credentials.uid;
    return 0;
}
