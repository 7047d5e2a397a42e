/* SPDX-License-Identifier: Apache-2.0
 *
 * Output files: where they are written. What waits to be written is a list of parts for writev(),
 * so that rows go from the shared memory where the daemon put them to the file without a copy.
 */
#include "client/filter/output/target.h"

#include "client/filter/report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define PIPE_SIZE (1 << 20)
#define DIRECT_SIZE 32768u   /* from here on a write bypasses the buffer */
#define REFERRED_MAX 262144u /* bytes elsewhere that wait to be written together */
#define PARTS_MAX 256
#define LINKS_MAX 40

static int cannot_create(const char *name) {
    report("%s: cannot create: %s", name, strerror(errno));
    return -EX_CANTCREAT;
}

static int cannot_write(const struct target *target) {
    report("%s: cannot write: %s", target->name, strerror(errno));
    return -EX_IOERR;
}

/* Returns a new string: `name` in the directory of `path`. */
static char *join_beside(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    size_t directory = slash ? (size_t)(slash - path) + 1 : 0;
    char *text = allocate(NULL, directory + strlen(name) + 1);
    memcpy(text, path, directory);
    strcpy(text + directory, name);
    return text;
}

/* Follows links, also one that points to nothing yet. Returns a new string, or NULL with errno set.
 */
static char *resolve(const char *path) {
    char *current = join_beside("", path);
    for (int i = 0; i < LINKS_MAX; i++) {
        char link[PATH_MAX];
        ssize_t size = readlink(current, link, sizeof link - 1);
        if (size < 0)
            return current;
        link[size] = 0;
        char *next = join_beside(link[0] == '/' ? "" : current, link);
        free(current);
        current = next;
    }
    free(current);
    errno = ELOOP;
    return NULL;
}

/* The open descriptor that a path like /dev/stdout stands for, or -1. */
static int inherited_descriptor(const char *path) {
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    if (strcmp(path, "/dev/stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(path, "/dev/stderr") == 0)
        return STDERR_FILENO;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        size_t size = strlen(folders[i]);
        char *end;
        if (strncmp(path, folders[i], size) != 0 || path[size] < '0' || path[size] > '9')
            continue;
        long number = strtol(path + size, &end, 10);
        return *end || number > INT_MAX ? -1 : (int)number;
    }
    return -1;
}

/* The kernel's number of the mount that a path is in; -1 where it does not tell. */
static int mount_number(const char *path) {
    char name[64], text[512];
    int number = -1, fd = open(path, O_PATH | O_CLOEXEC);
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    int information = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t size = read(information, text, sizeof text - 1);
    text[size > 0 ? size : 0] = 0;
    const char *found = strstr(text, "mnt_id:");
    if (found)
        number = (int)strtol(found + strlen("mnt_id:"), NULL, 10);
    close(information);
    close(fd);
    return number;
}

/* A file that is mounted by itself, as containers do, is in another mount than its directory. No
 * other can take its place. */
static bool is_mount_point(const char *path) {
    char *directory = join_beside(path, ".");
    bool result = mount_number(path) != mount_number(directory);
    free(directory);
    return result;
}

static int copy_descriptor(struct target *target, int fd) {
    target->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return target->fd < 0 ? cannot_create(target->name) : 0;
}

static int open_in_place(struct target *target) {
    target->fd = open(target->name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return target->fd < 0 ? cannot_create(target->name) : 0;
}

/* old NULL: there is no file yet. */
static int open_partial(struct target *target, const struct stat *old) {
    int result = partial_create(&target->partial, target->path, target->name, old);
    return result < 0 ? result : copy_descriptor(target, target->partial.fd);
}

static int open_regular(struct target *target) {
    struct stat status;
    if (stat(target->path, &status) < 0)
        return open_partial(target, NULL);
    /* The rename would get around a file that is protected. */
    if (access(target->path, W_OK) < 0)
        return cannot_create(target->name);
    return is_mount_point(target->path) ? open_in_place(target) : open_partial(target, &status);
}

int target_find(struct target *target, const char *path) {
    *target = TARGET_NULL;
    target->name = path ? path : "stdout";
    if (!path)
        target->fd = STDOUT_FILENO;
    int inherited = path ? inherited_descriptor(path) : -1;
    if (inherited >= 0) /* it goes on where it is: a new file under its name would replace it */
        return copy_descriptor(target, inherited);
    struct stat status;
    bool there = path && stat(path, &status) == 0;
    if (!path || (there && !S_ISREG(status.st_mode)))
        return 0;
    if (there || errno == ENOENT)
        target->path = resolve(path);
    return target->path ? 0 : cannot_create(path);
}

int target_open(struct target *target) {
    int result = 0;
    if (target->fd < 0)
        result = target->path ? open_regular(target) : open_in_place(target);
    if (result < 0)
        return result;
    target->parts = allocate(NULL, PARTS_MAX * sizeof *target->parts);
    struct stat status;
    if (fstat(target->fd, &status) == 0 && S_ISFIFO(status.st_mode))
        fcntl(target->fd, F_SETPIPE_SZ, PIPE_SIZE); /* saves switches between processes; if it
                                                       fails, the usual size works too */
    return 0;
}

void target_begin(struct target *target) {
    bool in_place = target->path && !target->partial.name;
    if (in_place && ftruncate(target->fd, 0) < 0)
        target->result = cannot_write(target);
}

void target_reopen_path(const struct target *target, char path[PATH_MAX]) {
    snprintf(path, PATH_MAX, "/proc/self/fd/%d", target->fd);
    if (access(path, F_OK) < 0)
        snprintf(path, PATH_MAX, "%s", target->partial.name ? target->partial.name : target->path);
}

/* Another process may have set O_NONBLOCK on a pipe or terminal that it shares; that is no error.
 */
static int wait_writable(const struct target *target) {
    struct pollfd ready = {.fd = target->fd, .events = POLLOUT};
    return poll(&ready, 1, -1) < 0 && errno != EINTR ? cannot_write(target) : 0;
}

/* Writes all parts whole. */
static int write_all(const struct target *target, struct iovec *part, int count) {
    while (count > 0) {
        ssize_t written = writev(target->fd, part, count);
        if (written < 0 && errno == EAGAIN) {
            if (wait_writable(target) < 0)
                return -EX_IOERR;
            continue;
        }
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return cannot_write(target);
        size_t size = (size_t)written;
        for (; count > 0 && size >= part->iov_len; part++, count--)
            size -= part->iov_len;
        if (count > 0) {
            part->iov_base = (char *)part->iov_base + size;
            part->iov_len -= size;
        }
    }
    return 0;
}

/* What was put into the buffer since the last part becomes a part. */
static void part_buffer(struct target *target) {
    if (target->size > target->parted)
        target->parts[target->part_count++] =
            (struct iovec){target->buffer + target->parted, target->size - target->parted};
    target->parted = target->size;
}

int target_flush(struct target *target) {
    part_buffer(target);
    if (target->result == 0)
        target->result = write_all(target, target->parts, target->part_count);
    if (target->result == 0)
        target->result = partial_check(&target->partial, target->name);
    target->part_count = 0;
    target->size = target->parted = target->referred = 0;
    return target->result;
}

void target_refer(struct target *target, const void *bytes, size_t size) {
    part_buffer(target);
    target->parts[target->part_count++] = (struct iovec){(void *)bytes, size};
    target->referred += size;
    /* The next call may add two parts, and a flush one more. */
    if (target->referred >= REFERRED_MAX || target->part_count + 3 > PARTS_MAX)
        target_flush(target);
}

void target_write(struct target *target, const void *bytes, size_t size) {
    if (size >= DIRECT_SIZE) {
        target_refer(target, bytes, size);
        target_flush(target);
        return;
    }
    memcpy(target_room(target, size), bytes, size);
    target_used(target, size);
}

char *target_room(struct target *target, size_t size) {
    if (!target->buffer)
        target->buffer = allocate(NULL, TARGET_BUFFER);
    if (TARGET_BUFFER - target->size < size)
        target_flush(target);
    return target->buffer + target->size;
}

void target_patch(struct target *target, const void *bytes, size_t size, int64_t offset) {
    if (target_flush(target) == 0 && pwrite(target->fd, bytes, size, offset) != (ssize_t)size)
        target->result = cannot_write(target);
}

int target_close(struct target *target) {
    int result = target_flush(target);
    if (result < 0)
        return result;
    int fd = target->fd;
    target->fd = -1;
    return close(fd) < 0 ? cannot_write(target) : 0;
}

int target_rename(struct target *target) {
    return target->partial.name ? partial_rename(&target->partial, target->path, target->name) : 0;
}

void target_finish(struct target *target) {
    if (target->fd >= 0 && target->fd != STDOUT_FILENO)
        close(target->fd);
    partial_finish(&target->partial);
    free(target->path);
    free(target->buffer);
    free(target->parts);
    *target = TARGET_NULL;
}
