/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds a daemon's socket, connects to it, and receives the answer to a first message. A socket
 * that is named (by an argument or $ESM1NV_SOCKET) is the only one tried; otherwise the user's own
 * is tried before the machine's.
 */
#include "client/library/session.h"

#include "ipc/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM_SOCKET "/run/esm1nv/socket"

static int connect_path(const char *path, char chosen[SOCKET_PATH_MAX], struct failure *failure) {
    int fd = channel_connect(path);
    if (fd < 0)
        return failure_set(failure, ESM1NV_ERROR_CONNECT,
                           "no daemon answers at %s: %s; start esm1nvd, or name its socket", path,
                           strerror(-fd));
    memcpy(chosen, path, strlen(path) + 1); /* it fits, because connect() took it */
    return fd;
}

int locate_daemon(const char *named, char path[SOCKET_PATH_MAX], struct failure *failure) {
    if (!named)
        named = getenv("ESM1NV_SOCKET");
    if (named && *named)
        return connect_path(named, path, failure);
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char own[SOCKET_PATH_MAX];
    if (!runtime || !*runtime ||
        (size_t)snprintf(own, sizeof own, "%s/esm1nv/socket", runtime) >= sizeof own)
        return connect_path(SYSTEM_SOCKET, path, failure);
    int fd = connect_path(own, path, failure);
    if (fd < 0)
        fd = connect_path(SYSTEM_SOCKET, path, failure);
    if (fd >= 0)
        return fd;
    return failure_set(
        failure, ESM1NV_ERROR_CONNECT,
        "no daemon answers at %s or " SYSTEM_SOCKET "; start esm1nvd, or name its socket", own);
}

int receive_answer(int fd, const char *path, void *buffer, size_t capacity, enum wire_kind expected,
                   struct message *message, struct failure *failure) {
    size_t size;
    int result;
    /* If the peer closed without reading all, ECONNRESET comes once; then its answer can be read.
     */
    do
        result = channel_receive(fd, buffer, capacity, false, &size);
    while (result == -ECONNRESET);
    if (result == CHANNEL_END)
        return failure_set(failure, ESM1NV_ERROR_LOST,
                           "the daemon at %s closed the connection without an answer", path);
    if (result < 0 && result != -EBADMSG)
        return failure_set(failure, ESM1NV_ERROR_SYSTEM, "cannot receive from %s: %s", path,
                           strerror(-result));
    if (result == 0 && message_decode(message, buffer, size) == 0) {
        if (message->kind == expected)
            return ESM1NV_OK;
        if (message->kind == WIRE_REFUSED)
            return failure_refused(failure, message);
    }
    return failure_set(failure, ESM1NV_ERROR_PROTOCOL,
                       "what listens at %s does not answer as an esm1nvd", path);
}
