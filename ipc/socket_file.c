/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes the lock first, then finds out whether somebody answers at the path, then makes the socket.
 */
#include "ipc/socket_file.h"

#include "ipc/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBES 5

static int socket_file_fail(struct socket_file *file, int condition, int error) {
    file->error = error;
    return condition;
}

static int socket_file_lock(struct socket_file *file, const char *path) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.lock", path);
    file->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file->lock < 0)
        return socket_file_fail(file, SOCKET_FILE_NO_LOCK, errno);
    if (flock(file->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? SOCKET_FILE_LOCKED
                                : socket_file_fail(file, SOCKET_FILE_NO_LOCK, errno);
}

/* Whether the other side hangs up at once, as the socket of a killed daemon does. */
static bool is_hung_up(int fd, int patience_ms) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&wait, 1, patience_ms) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

/* Returns 0 if nobody serves the path. */
static int socket_file_probe(struct socket_file *file, const char *path, int patience_ms) {
    bool gone = true;
    for (unsigned attempt = 0; attempt < PROBES && gone; attempt++) {
        int fd = channel_connect(path);
        if (fd < 0)
            return fd == -ECONNREFUSED ? 0 : socket_file_fail(file, SOCKET_FILE_UNKNOWN, -fd);
        gone = is_hung_up(fd, patience_ms);
        close(fd);
    }
    return SOCKET_FILE_SERVED;
}

/* Removes a socket file that nobody serves. */
static int socket_file_clear(struct socket_file *file, const char *path, int patience_ms) {
    struct stat status;
    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : socket_file_fail(file, SOCKET_FILE_FAILED, errno);
    if (!S_ISSOCK(status.st_mode))
        return SOCKET_FILE_FOREIGN;
    int result = socket_file_probe(file, path, patience_ms);
    if (result != 0)
        return result;
    if (unlink(path) < 0)
        return socket_file_fail(file, SOCKET_FILE_STUCK, errno);
    file->replaced = true;
    return 0;
}

int socket_file_open(struct socket_file *file, const char *path, mode_t mode, int patience_ms) {
    *file = SOCKET_FILE_NULL;
    int result = socket_file_lock(file, path);
    if (result == 0)
        result = socket_file_clear(file, path, patience_ms);
    if (result != 0)
        return result;
    file->fd = channel_listen(path, mode);
    return file->fd < 0 ? socket_file_fail(file, SOCKET_FILE_FAILED, -file->fd) : 0;
}
