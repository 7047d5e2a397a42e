/* SPDX-License-Identifier: Apache-2.0
 *
 * Where output goes: a buffered file descriptor. A regular file is written under a temporary name
 * beside it and takes its own name only when it is complete; anything else is written in place.
 * Temporary files are removed when the program ends early, by exit() or by a signal.
 *
 * A write that fails is reported, and its negative exit status stays in target->result; after that
 * nothing more is written. So a writer can put a whole record together and look at the result once.
 */
#ifndef ESM1NV_FILTER_TARGET_H
#define ESM1NV_FILTER_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define TARGET_BUFFER 262144u

struct target {
    const char *name; /* for messages */
    int fd;
    int result;      /* 0, or the negative exit status of the first write that failed */
    char *path;      /* the final name, with links resolved; NULL: the file is written in place */
    char *temporary; /* the name until target_commit() */
    char *buffer;    /* NULL until something is put there */
    size_t size;     /* bytes that wait in the buffer */

    /* What waits to be written, in order: pieces of the buffer, and bytes that stand elsewhere. */
    struct iovec *parts;
    int part_count;
    size_t parted;   /* bytes of the buffer that are in parts */
    size_t referred; /* bytes that stand elsewhere */
};
#define TARGET_NULL ((struct target){.fd = -1})

/* path NULL means stdout. Returns 0, or a negative exit status after reporting. */
int target_open(struct target *target, const char *path);
/* Copies bytes into the buffer, or writes them straight to the file if they are many. */
void target_write(struct target *target, const void *bytes, size_t size);
/* The same without a copy: the caller leaves the bytes as they are until target->referred is 0. */
void target_refer(struct target *target, const void *bytes, size_t size);
/* Returns room for size bytes, at most TARGET_BUFFER; target_used() tells how many were put. */
char *target_room(struct target *target, size_t size);
static inline void target_used(struct target *target, size_t size) {
    target->size += size;
}
/* Writes what waits. Returns target->result. */
int target_flush(struct target *target);
/* Flushes, then writes at an offset; the file must be able to seek. */
void target_patch(struct target *target, const void *bytes, size_t size, int64_t offset);
/* Flushes, closes, and gives the file its name. Returns 0, or a negative exit status. */
int target_commit(struct target *target);
/* Safe on TARGET_NULL and after target_commit(). Removes the temporary file. */
void target_finish(struct target *target);

/* Called once at the start: a closed pipe then ends the program, and a full quota does not. */
void target_set_signals(void);

#endif
