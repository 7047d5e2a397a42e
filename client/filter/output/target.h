/* SPDX-License-Identifier: Apache-2.0
 *
 * Where output goes: a buffered file descriptor. A regular file is written under a temporary name
 * beside it and takes its own name only when all is well; anything else is written in place.
 * Temporary files go when the program ends early, by exit() or by a signal.
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
    char *path;      /* the final name, links resolved; NULL: written in place */
    char *temporary; /* the name for now */
    char *buffer;    /* NULL until something is put there */
    size_t size;     /* waiting in the buffer */

    /* What waits, in order: pieces of the buffer, and bytes that stand elsewhere. */
    struct iovec *parts;
    int part_count;
    size_t parted;   /* bytes of the buffer that are in parts */
    size_t referred; /* bytes that stand elsewhere */
};
#define TARGET_NULL ((struct target){.fd = -1})

/* Functions return 0, or a negative exit status after reporting. path NULL means stdout. */
int target_open(struct target *target, const char *path);
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
/* Flushes, closes, and gives the file its name. */
int target_commit(struct target *target);
/* Safe on TARGET_NULL and after target_commit(). Removes the temporary file. */
void target_finish(struct target *target);

/* At the start: a closed pipe ends the program, a full quota does not. */
void target_set_signals(void);

#endif
