/* SPDX-License-Identifier: Apache-2.0
 *
 * Output files. What waits to be written is a list of parts for writev(), so that rows go from the
 * shared memory where the daemon put them to the file without a copy. The names of temporary files
 * stand in a small table that a signal handler can read (unlink() is async-signal-safe), so that
 * neither an error nor Ctrl-C leaves one behind.
 */
#include "client/filter/output/target.h"

#include "client/filter/report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
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
#define TEMPORARIES_MAX 4
#define LINKS_MAX 40

static const char *volatile temporaries[TEMPORARIES_MAX];
static bool caught; /* whether catch_signals() was called */

static void remove_temporaries(void) {
    for (int i = 0; i < TEMPORARIES_MAX; i++)
        if (temporaries[i])
            unlink(temporaries[i]);
}

static void remove_on_signal(int signal_number) {
    remove_temporaries();
    signal(signal_number, SIG_DFL);
    raise(signal_number); /* it stays pending until this handler returns */
}

void target_set_signals(void) {
    signal(SIGPIPE, SIG_DFL); /* even if the parent process left it ignored */
    signal(SIGXFSZ, SIG_IGN); /* a full quota is then a write that fails */
}

/* Signals that end the program remove temporary files first. */
static void catch_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action;
        sigaction(signals[i], NULL, &action);
        if (action.sa_handler == SIG_IGN)
            continue; /* nohup and the like */
        action = (struct sigaction){.sa_handler = remove_on_signal};
        sigaction(signals[i], &action, NULL);
    }
    atexit(remove_temporaries);
}

/* Puts `new` where `old` stands; NULL is a free place. */
static void replace_temporary(const char *old, const char *new) {
    int i = 0;
    while (i < TEMPORARIES_MAX && temporaries[i] != old)
        i++;
    if (i < TEMPORARIES_MAX)
        temporaries[i] = new;
}

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

static mode_t default_mode(void) {
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

/* Signals are blocked, so that none comes between a file's creation and the note of its name. */
static int create_temporary(char *name) {
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    if (!caught)
        catch_signals();
    caught = true;
    int fd = mkostemp(name, O_CLOEXEC);
    int reason = errno;
    if (fd >= 0)
        replace_temporary(NULL, name);
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return fd;
}

static int open_temporary(struct target *target, const char *path, mode_t mode) {
    target->path = resolve(path);
    if (!target->path)
        return cannot_create(path);
    char *name = join_beside(target->path, ".esm1nv-XXXXXX");
    target->fd = create_temporary(name);
    if (target->fd < 0) {
        int result = cannot_create(path);
        free(name);
        return result;
    }
    target->temporary = name;
    return fchmod(target->fd, mode) < 0 ? cannot_create(path) : 0;
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

static int open_path(struct target *target, const char *path) {
    struct stat status;
    int inherited = inherited_descriptor(path);
    if (inherited >= 0) {
        /* Output goes on where that file stands; a new file under its name would replace it. */
        target->fd = fcntl(inherited, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        return target->fd < 0 ? cannot_create(path) : 0;
    }
    if (stat(path, &status) < 0)
        return errno == ENOENT ? open_temporary(target, path, default_mode()) : cannot_create(path);
    if (!S_ISREG(status.st_mode)) {
        target->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return target->fd < 0 ? cannot_create(path) : 0;
    }
    /* A rename would replace even a file that is protected against writing. */
    if (access(path, W_OK) < 0)
        return cannot_create(path);
    return open_temporary(target, path, status.st_mode & 07777);
}

int target_open(struct target *target, const char *path) {
    *target = (struct target){.name = path ? path : "stdout", .fd = path ? -1 : STDOUT_FILENO};
    target->parts = allocate(NULL, PARTS_MAX * sizeof *target->parts);
    int result = path ? open_path(target, path) : 0;
    if (result < 0)
        return result;
    struct stat status;
    if (fstat(target->fd, &status) == 0 && S_ISFIFO(status.st_mode))
        fcntl(target->fd, F_SETPIPE_SZ, PIPE_SIZE); /* saves switches between processes; if it
                                                       fails, the usual size works too */
    return 0;
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

int target_commit(struct target *target) {
    int result = target_flush(target);
    if (result < 0)
        return result;
    int fd = target->fd;
    target->fd = -1;
    if (close(fd) < 0) /* stdout too: some file systems report a full disk only here */
        return cannot_write(target);
    if (!target->path)
        return 0;
    if (rename(target->temporary, target->path) < 0)
        return cannot_write(target);
    replace_temporary(target->temporary, NULL);
    free(target->temporary);
    target->temporary = NULL;
    return 0;
}

void target_finish(struct target *target) {
    if (target->fd >= 0 && target->fd != STDOUT_FILENO)
        close(target->fd);
    if (target->temporary) {
        unlink(target->temporary);
        replace_temporary(target->temporary, NULL);
    }
    free(target->temporary);
    free(target->path);
    free(target->buffer);
    free(target->parts);
    *target = TARGET_NULL;
}
