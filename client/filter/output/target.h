/* SPDX-License-Identifier: Apache-2.0
 *
 * Where output goes: a buffered file descriptor. A regular file is written as FILE.partial beside
 * it and takes its own name only when it is complete (partial.h). Anything else is written in
 * place, as is a file that is a mount point.
 *
 * A write that fails is reported, and its negative exit status stays in target->result; after that
 * nothing more is written. So a writer can put a whole record together and look at the result once.
 */
#ifndef ESM1NV_FILTER_TARGET_H
#define ESM1NV_FILTER_TARGET_H

#include "client/filter/output/partial.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define TARGET_BUFFER 262144u

struct target {
    const char *name; /* for messages */
    int fd;
    int result;             /* 0, or the negative exit status of the first write that failed */
    char *path;             /* of a regular file, with links resolved; NULL: it is no such file */
    struct partial partial; /* without a name: written in place */
    char *buffer;           /* NULL until something is put there */
    size_t size;            /* bytes that wait in the buffer */

    /* What waits to be written, in order: pieces of the buffer, and bytes that stand elsewhere. */
    struct iovec *parts;
    int part_count;
    size_t parted;   /* bytes of the buffer that are in parts */
    size_t referred; /* bytes that stand elsewhere */
};
#define TARGET_NULL ((struct target){.fd = -1, .partial = {.fd = -1}})

/* Finds out what path is, and creates nothing yet. path NULL means stdout; it stays the caller's.
 * Both functions return 0, or a negative exit status after reporting. */
int target_find(struct target *target, const char *path);
int target_open(struct target *target);
/* Called once it is certain that there will be output: a regular file that is written in place then
 * loses what it held. */
void target_begin(struct target *target);
/* A name under which others can open the very file that is written; target->path is not NULL. */
void target_reopen_path(const struct target *target, char path[PATH_MAX]);
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
/* Flushes and closes: some file systems report a full disk only then, on stdout too. Returns 0, or
 * a negative exit status, as does target_rename(). */
int target_close(struct target *target);
/* Gives a closed file its name. */
int target_rename(struct target *target);
/* Safe on TARGET_NULL. Removes a file that did not get its name. */
void target_finish(struct target *target);

#endif
