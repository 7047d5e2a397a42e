/* SPDX-License-Identifier: Apache-2.0
 *
 * Where output goes: a buffered file descriptor. A regular file is written as FILE.partial beside
 * it and takes its own name only when all is well (partial.h). Anything else is written in place,
 * as is a file that is a mount point.
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
    char *path;             /* of a regular file, links resolved; NULL: it is no such file */
    struct partial partial; /* without a name: written in place */
    char *buffer;           /* NULL until something is put there */
    size_t size;            /* waiting in the buffer */

    /* What waits, in order: pieces of the buffer, and bytes that stand elsewhere. */
    struct iovec *parts;
    int part_count;
    size_t parted;   /* bytes of the buffer that are in parts */
    size_t referred; /* bytes that stand elsewhere */
};
#define TARGET_NULL ((struct target){.fd = -1, .partial = {.fd = -1}})

/* Functions return 0, or a negative exit status after reporting. path NULL means stdout; it
 * stays the caller's. target_find() creates nothing yet. */
int target_find(struct target *target, const char *path);
int target_open(struct target *target);
/* Once it is certain that there will be output: a regular file that is written in place loses what
 * it held. */
int target_begin(struct target *target);
/* A name under which others can open the very file that is written; target->path is not NULL. */
void target_reopen_path(const struct target *target, char path[PATH_MAX]);
/* Bytes into the buffer, or, when many, straight to the file. */
int target_write(struct target *target, const void *bytes, size_t size);
/* The same without a copy: the bytes stay as they are while target->referred is not 0. */
int target_refer(struct target *target, const void *bytes, size_t size);
/* Room for size bytes (at most TARGET_BUFFER) at *room; target_used() tells how many were put. */
int target_room(struct target *target, size_t size, char **room);
static inline void target_used(struct target *target, size_t size) {
    target->size += size;
}
int target_flush(struct target *target);
/* Writes at an offset of a file that can seek. */
int target_patch(struct target *target, const void *bytes, size_t size, int64_t offset);
/* Flushes and closes: some file systems tell of a full disk only then, on stdout too. */
int target_close(struct target *target);
/* Gives a closed file its name. */
int target_rename(struct target *target);
/* Safe on TARGET_NULL. Removes a file that did not get its name. */
void target_finish(struct target *target);

#endif
