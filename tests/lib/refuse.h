/* SPDX-License-Identifier: Apache-2.0
 *
 * A system that refuses one call: memory, a mapping, a thread or an eventfd; and what of memory and
 * mappings is left. A test that includes this is linked with refuse_link_args (meson.build) and
 * sees the calls of our code, not those inside of libraries.
 */
#ifndef ESM1NV_REFUSE_H
#define ESM1NV_REFUSE_H

#include "tests/lib/descriptors.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* Which calls are counted, and may be refused; those of all threads, or of watched ones. */
enum refuse_kind { REFUSE_MEMORY = 1, REFUSE_MAPPINGS = 2, REFUSE_THREADS = 4, REFUSE_EVENTS = 8 };
static unsigned refuse_kinds;
static bool refuse_watched_only;
static _Thread_local bool refuse_watched;

static atomic_uint refuse_calls, refuse_at; /* calls made, and the one that fails; 0: none */
static atomic_int refuse_alive;             /* made and not yet freed, by all */

/* The count begins anew. */
static inline void refuse_call(unsigned number) {
    atomic_store(&refuse_calls, 0);
    atomic_store(&refuse_at, number);
}

static inline bool refuse_now(enum refuse_kind kind, int error) {
    if (!(refuse_kinds & kind) || (refuse_watched_only && !refuse_watched) ||
        atomic_fetch_add(&refuse_calls, 1) + 1 != atomic_load(&refuse_at))
        return false;
    errno = error;
    return true;
}

static inline void *refuse_count(void *made) {
    atomic_fetch_add(&refuse_alive, made != NULL);
    return made;
}

/* The linker's names: NAME for what takes the call, and for who would. With 64-bit file offsets
 * mmap() is mmap64(). */
#define REFUSE_WRAP(result, name, ...)                                                             \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

REFUSE_WRAP(void *, malloc, size_t size) {
    return refuse_now(REFUSE_MEMORY, ENOMEM) ? NULL : refuse_count(__real_malloc(size));
}

REFUSE_WRAP(void *, calloc, size_t count, size_t size) {
    return refuse_now(REFUSE_MEMORY, ENOMEM) ? NULL : refuse_count(__real_calloc(count, size));
}

REFUSE_WRAP(void *, realloc, void *memory, size_t size) {
    if (refuse_now(REFUSE_MEMORY, ENOMEM))
        return NULL;
    return memory ? __real_realloc(memory, size) : refuse_count(__real_realloc(NULL, size));
}

REFUSE_WRAP(void *, aligned_alloc, size_t alignment, size_t size) {
    return refuse_now(REFUSE_MEMORY, ENOMEM) ? NULL
                                             : refuse_count(__real_aligned_alloc(alignment, size));
}

REFUSE_WRAP(char *, strdup, const char *text) {
    return refuse_now(REFUSE_MEMORY, ENOMEM) ? NULL : refuse_count(__real_strdup(text));
}

REFUSE_WRAP(void, free, void *memory) {
    atomic_fetch_sub(&refuse_alive, memory != NULL);
    __real_free(memory);
}

REFUSE_WRAP(void *, mmap64, void *address, size_t size, int protection, int flags, int fd,
            off_t offset) {
    if (refuse_now(REFUSE_MAPPINGS, ENOMEM))
        return MAP_FAILED;
    void *made = __real_mmap64(address, size, protection, flags, fd, offset);
    return made == MAP_FAILED ? made : refuse_count(made);
}

REFUSE_WRAP(int, munmap, void *address, size_t size) {
    atomic_fetch_sub(&refuse_alive, 1);
    return __real_munmap(address, size);
}

REFUSE_WRAP(int, eventfd, unsigned value, int flags) {
    return refuse_now(REFUSE_EVENTS, EMFILE) ? -1 : __real_eventfd(value, flags);
}

REFUSE_WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes,
            void *(*run)(void *), void *argument) {
    return refuse_now(REFUSE_THREADS, EAGAIN)
               ? EAGAIN
               : __real_pthread_create(thread, attributes, run, argument);
}

/* A thread that was joined may still be listed for a moment. */
static inline bool refuse_threads_are(unsigned wanted) {
    for (unsigned i = 0; i < TEST_PATIENCE * 1000; i++, usleep(1000))
        if (proc_entries("task") == wanted)
            return true;
    return false;
}

#endif
