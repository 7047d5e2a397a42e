/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening: takes over the sockets that the service manager passed, or makes the directory of its
 * own path and binds a socket there. Each failure gets a message that says what to do about it.
 */
#include "daemon/serve/listener.h"
#include "daemon/base/log.h"
#include "daemon/serve/refusal.h"
#include "ipc/channel.h"
#include "ipc/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define REFUSALS_MAX 1024

/* See patience_ms of socket_file_open(). */
#define PROBE_MS 1000

static int take_passed(struct listener *listener, int count, struct error *error) {
    if (count > LISTENER_MAX)
        return error_set(error, EX_CONFIG, "LISTEN_FDS: %d sockets; at most %d are taken", count,
                         LISTENER_MAX);
    for (int i = 0; i < count; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
            return error_set(error, EX_CONFIG,
                             "LISTEN_FDS: descriptor %d is not a listening AF_UNIX SOCK_SEQPACKET "
                             "socket; use ListenSequentialPacket=",
                             fd);
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
            return error_set(error, EX_SOFTWARE, "LISTEN_FDS: descriptor %d: %s", fd,
                             strerror(errno));
        listener->fds[listener->count++] = fd;
    }
    snprintf(listener->path, sizeof listener->path, "passed socket");
    return 0;
}

static int set_path(struct listener *listener, const char *path, struct error *error) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length;
    if (path)
        length = snprintf(listener->path, sizeof listener->path, "%s", path);
    else if (geteuid() != 0 && runtime && runtime[0])
        length = snprintf(listener->path, sizeof listener->path, "%s/esm1nv/socket", runtime);
    else
        length = snprintf(listener->path, sizeof listener->path, "/run/esm1nv/socket");
    if (length <= 0 || (size_t)length >= sizeof listener->path)
        return error_set(error, EX_USAGE,
                         "socket %s: a path of 1 to 107 bytes is needed; choose one with --socket",
                         path ? path : runtime);
    return 0;
}

/* Makes the directory of the socket, but not its parents. An existing one stays as it is. */
static int make_directory(const char *path, struct error *error) {
    char directory[sizeof((struct listener *)0)->path];
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (!slash || slash == directory)
        return 0;
    *slash = '\0';
    mode_t mode =
        strncmp(path, "/run/", 5) == 0 && strncmp(path, "/run/user/", 10) != 0 ? 0755 : 0700;
    if (mkdir(directory, mode) == 0)
        return chmod(directory, mode) == 0
                   ? 0
                   : error_set(error, EX_CANTCREAT, "directory %s: %s", directory, strerror(errno));
    if (errno == EEXIST)
        return 0;
    return error_set(error, EX_CANTCREAT,
                     "socket %s: its directory cannot be made: %s; make it, or choose another "
                     "--socket",
                     path, strerror(errno));
}

static int give_group(const char *path, const char *name, struct error *error) {
    struct group *group = getgrnam(name);
    if (!group)
        return error_set(error, EX_USAGE, "--group: there is no group '%s'", name);
    if (chown(path, (uid_t)-1, group->gr_gid) < 0)
        return error_set(error, EX_CANTCREAT, "socket %s: giving it to group '%s': %s", path, name,
                         strerror(errno));
    return 0;
}

static int bind_failed(const struct socket_file *file, int condition, const char *path,
                       struct error *error) {
    const char *reason = strerror(file->error);
    switch (condition) {
    case SOCKET_FILE_NO_LOCK:
        return error_set(error, EX_CANTCREAT, "lock file %s.lock: %s; choose another --socket",
                         path, reason);
    case SOCKET_FILE_LOCKED:
        return error_set(error, EX_CANTCREAT,
                         "socket %s belongs to another esm1nvd that is running (lock %s.lock); "
                         "stop that one or choose another --socket",
                         path, path);
    case SOCKET_FILE_FOREIGN:
        return error_set(error, EX_CANTCREAT,
                         "socket %s: something that is not a socket is there; remove it or choose "
                         "another --socket",
                         path);
    case SOCKET_FILE_SERVED:
    case SOCKET_FILE_UNKNOWN:
        return error_set(error, EX_CANTCREAT,
                         "socket %s: another program serves it%s%s; stop that one or choose "
                         "another --socket",
                         path, file->error ? ": " : "", file->error ? reason : "");
    default:
        return error_set(error, EX_CANTCREAT, "socket %s: %s%s", path,
                         condition == SOCKET_FILE_STUCK ? "stale, but: " : "", reason);
    }
}

static int bind_own(struct listener *listener, const char *group, struct error *error) {
    const char *path = listener->path;
    if (make_directory(path, error) < 0)
        return -1;
    struct socket_file file;
    int result = socket_file_open(&file, path, 0660, PROBE_MS);
    listener->lock = file.lock;
    if (result != 0)
        return bind_failed(&file, result, path, error);
    if (file.replaced)
        log_info("socket %s: stale, replaced", path);
    listener->fds[listener->count++] = file.fd;
    struct stat status;
    if (lstat(path, &status) < 0)
        return error_set(error, EX_CANTCREAT, "socket %s: %s", path, strerror(errno));
    listener->own = true;
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    return group ? give_group(path, group, error) : 0;
}

int listener_open(struct listener *listener, const char *path, const char *group,
                  struct error *error) {
    int passed = sd_listen_fds(1), result;
    *listener = (struct listener){.lock = -1};
    if (passed < 0)
        return error_set(error, EX_CONFIG, "LISTEN_FDS: %s", strerror(-passed));
    if (passed > 0)
        result = take_passed(listener, passed, error);
    else if ((result = set_path(listener, path, error)) == 0)
        result = bind_own(listener, group, error);
    if (result < 0)
        listener_close(listener);
    for (unsigned i = 0; i < listener->count; i++)
        channel_take_descriptors(listener->fds[i], false); /* a session takes them once welcomed */
    return result;
}

/* Empties the socket before it is closed, so that the peer reads the refusal and not ECONNRESET. */
static void hang_up(int fd) {
    char byte;
    shutdown(fd, SHUT_RDWR);
    while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
        continue;
    close(fd);
}

void listener_refuse_all(struct listener *listener, enum wire_refusal code, const char *text) {
    for (unsigned i = 0; i < listener->count; i++) {
        for (unsigned refused = 0; refused < REFUSALS_MAX; refused++) {
            int fd = accept4(listener->fds[i], NULL, NULL, SOCK_CLOEXEC);
            if (fd < 0)
                break;
            refusal_send(fd, code, false, text);
            hang_up(fd);
        }
    }
}

void listener_close(struct listener *listener) {
    struct stat status;
    if (listener->own && lstat(listener->path, &status) == 0 && status.st_dev == listener->device &&
        status.st_ino == listener->inode)
        unlink(listener->path);
    listener->own = false;
    for (unsigned i = 0; i < listener->count; i++)
        close(listener->fds[i]);
    listener->count = 0;
    if (listener->lock >= 0)
        close(listener->lock);
    listener->lock = -1;
}
