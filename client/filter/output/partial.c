/* SPDX-License-Identifier: Apache-2.0
 *
 * A run never writes to the file of another run. It takes the name away from that file and makes a
 * new one. Two advisory locks, on bytes behind any content, belong to each file. BYTE_WRITING is
 * held by the run that writes the file, as long as it lives. BYTE_NAMING is held for the moment in
 * which the name is taken from the file, by a rename or otherwise, so that no run renames or
 * removes what has just become the file of another. Both are locks of the open file and not of the
 * process, since those would be lost as soon as HDF5, which opens the file a second time, closes
 * it. Where a file system has no locks, only that moment is unprotected.
 *
 * The partial files of this run stand in a small table that a signal handler can read.
 */
#include "client/filter/output/partial.h"

#include "client/filter/report.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define BYTE_WRITING (INT64_C(1) << 62)
#define BYTE_NAMING (BYTE_WRITING + 1)
#define LOCK_TRIES 300 /* nobody honest holds BYTE_NAMING for so long */
#define LOCK_PAUSE_MS 10
#define CREATE_TRIES 100
#define PARTIALS_MAX 2 /* the output and the index */

static struct partial *volatile partials[PARTIALS_MAX];

static struct flock byte_lock(int64_t byte, short type) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

/* Returns false if another run does not release it. */
static bool lock_byte(int fd, int64_t byte, short type) {
    struct flock lock = byte_lock(byte, type);
    for (int i = 0; fcntl(fd, F_OFD_SETLK, &lock) < 0; i++) {
        if (errno != EAGAIN && errno != EACCES)
            return true; /* the file system has no locks */
        if (i == LOCK_TRIES)
            return false;
        poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return true;
}

static bool is_written(int fd) {
    struct flock lock = byte_lock(BYTE_WRITING, F_WRLCK);
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* An error of the file system other than that there is no such name is not taken for a no. */
static bool leads_to(const char *name, int fd) {
    struct stat named, opened;
    if (lstat(name, &named) < 0 || fstat(fd, &opened) < 0)
        return errno != ENOENT;
    return named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/* Whether the name leads to this run's file. If so, it does until the file is closed. */
static bool partial_hold(const struct partial *partial) {
    return lock_byte(partial->fd, BYTE_NAMING, F_WRLCK) && leads_to(partial->name, partial->fd);
}

static void partial_unlink(const struct partial *partial) {
    if (partial_hold(partial))
        unlink(partial->name);
}

static void unlink_all(void) {
    for (int i = 0; i < PARTIALS_MAX; i++)
        if (partials[i])
            partial_unlink(partials[i]);
}

/* The signal is raised again and let through, so that it ends the program as it would have without
 * this handler. It does not end the first process of a container, for which the kernel ignores
 * signals without a handler. */
static void end_by_signal(int number) {
    unlink_all();
    signal(number, SIG_DFL);
    raise(number);
    sigset_t raised;
    sigemptyset(&raised);
    sigaddset(&raised, number);
    sigprocmask(SIG_UNBLOCK, &raised, NULL);
    _exit(128 + number);
}

void partial_set_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    signal(SIGPIPE, SIG_DFL); /* even if the parent process left it ignored */
    signal(SIGXFSZ, SIG_IGN); /* a full quota is then a write that fails */
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action;
        sigaction(signals[i], NULL, &action);
        if (action.sa_handler == SIG_IGN)
            continue; /* nohup and the like */
        action = (struct sigaction){.sa_handler = end_by_signal};
        sigaction(signals[i], &action, NULL);
    }
    atexit(unlink_all);
}

static void partial_remember(struct partial *partial) {
    int i = 0;
    while (partials[i])
        i++;
    partials[i] = partial;
}

static void partial_forget(struct partial *partial) {
    for (int i = 0; i < PARTIALS_MAX; i++)
        if (partials[i] == partial)
            partials[i] = NULL;
    free(partial->name);
    partial->name = NULL;
}

/* Opens the file that has the name in order to lock it. Without the permission to write, only a
 * lock that other newcomers may share can be had. */
static int open_other(const char *name, short *type) {
    const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    *type = F_WRLCK;
    int fd = open(name, O_RDWR | flags);
    if (fd >= 0 || errno != EACCES)
        return fd;
    *type = F_RDLCK;
    return open(name, O_RDONLY | flags);
}

/* Takes the name away from the file that has it, which a killed run left or another run still
 * writes. Returns -1 with errno if that is impossible. */
static int free_name(const char *name, const char *said) {
    short type;
    int fd = open_other(name, &type), result = 0;
    bool taken = false;
    if (fd >= 0 && !lock_byte(fd, BYTE_NAMING, type)) {
        errno = EBUSY;
        result = -1;
    } else if (fd < 0 || leads_to(name, fd)) {
        result = unlink(name) < 0 && errno != ENOENT ? -1 : 0;
        taken = result == 0 && fd >= 0 && is_written(fd);
    }
    int reason = errno;
    if (taken)
        report("%s: another run is still writing %s; this one takes over, and that one ends", said,
               name);
    if (fd >= 0)
        close(fd);
    errno = reason;
    return result;
}

static int create_new(const char *name, const char *said, mode_t mode) {
    for (int i = 0; i < CREATE_TRIES; i++) {
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST || free_name(name, said) < 0)
            return fd;
    }
    errno = EEXIST;
    return -1;
}

/* The directory is named if it is at fault, because the user may not have thought of it. */
static int cannot_create_beside(const char *path, const char *name, const char *said) {
    const char *reason = strerror(errno);
    char *copy = allocate(NULL, strlen(path) + 1);
    const char *directory = dirname(strcpy(copy, path));
    if (access(directory, W_OK | X_OK) < 0)
        report("%s: cannot create: cannot write in the directory %s: %s", said, directory,
               strerror(errno));
    else
        report("%s: cannot create %s: %s", said, name, reason);
    free(copy);
    return -EX_CANTCREAT;
}

/* The owner comes first, since a change of owner may change the mode. If the group cannot be kept,
 * its rights are not given to another group. New content gets no set-id bits. */
static void keep_owner_and_mode(int fd, const struct stat *old) {
    mode_t mode = old->st_mode & 0777;
    if (fchown(fd, old->st_uid, old->st_gid) < 0 && fchown(fd, (uid_t)-1, old->st_gid) < 0)
        mode &= 0707 | (mode & 0007) << 3;
    fchmod(fd, mode); /* if this fails, the file stays readable by its owner only */
}

int partial_create(struct partial *partial, const char *path, const char *said,
                   const struct stat *old) {
    char *name = allocate(NULL, strlen(path) + sizeof PARTIAL_SUFFIX);
    strcat(strcpy(name, path), PARTIAL_SUFFIX);
    /* Signals are blocked, so that none comes between the file's creation and the note of its name.
     */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    int fd = create_new(name, said, old ? 0600 : 0666);
    int result = fd < 0 ? cannot_create_beside(path, name, said) : 0;
    if (result == 0) {
        *partial = (struct partial){.name = name, .fd = fd};
        partial_remember(partial);
        lock_byte(fd, BYTE_WRITING, F_WRLCK);
    } else {
        free(name);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (result == 0 && old)
        keep_owner_and_mode(fd, old);
    return result;
}

static int partial_lost(struct partial *partial, const char *said) {
    report("%s: %s was taken over by another run, or removed; this run ends and changes nothing "
           "more",
           said, partial->name);
    partial_forget(partial);
    return -EX_CANTCREAT;
}

int partial_check(struct partial *partial, const char *said) {
    if (!partial->name || leads_to(partial->name, partial->fd))
        return 0;
    return partial_lost(partial, said);
}

int partial_rename(struct partial *partial, const char *path, const char *said) {
    int result = 0;
    if (!partial_hold(partial))
        return partial_lost(partial, said);
    if (rename(partial->name, path) < 0) {
        report("%s: cannot replace it: %s; the output is complete and stays in %s", said,
               strerror(errno), partial->name);
        result = -EX_IOERR;
    }
    partial_forget(partial);
    return result;
}

void partial_finish(struct partial *partial) {
    if (partial->name)
        partial_unlink(partial);
    partial_forget(partial);
    if (partial->fd >= 0)
        close(partial->fd);
    *partial = PARTIAL_NULL;
}
