/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared memory of the block that runs, with red zones between arrays. Static arrays are known from
 * their first use on; each gets its place for the kernel's life. Red zones are poisoned under ASan
 * and compared at a block's end otherwise.
 */
#include "core.h"

#include <string.h>
#include <sys/mman.h>

#ifdef EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(p, bytes) ((void)(p), (void)(bytes))
#define __asan_unpoison_memory_region(p, bytes) ((void)(p), (void)(bytes))
#endif

#define ARENA_BYTES ((size_t)512 << 10)
#define MOST_ARRAYS 64u
#define RED_BYTES ((size_t)128) /* also every array's alignment */
#define RED_VALUE 0xA5

struct array {
    const void *site; /* NULL: the dynamic part */
    size_t first, bytes;
    const char *file;
    int line;
};

static unsigned char *arena;
static struct array arrays[MOST_ARRAYS];
static unsigned array_count;
static size_t used;  /* of the arena, red zones included */
static size_t taken; /* of the kernel's share */
static size_t most_taken;

/* This is not memset, which TSan would see as an access of the thread that runs. */
static void fill(size_t first, size_t bytes, unsigned char value) {
    size_t i = first, end = first + bytes;
    for (; i % 8 == 0 && i + 8 <= end; i += 8) {
        *(uint64_t *)(void *)(arena + i) = UINT64_C(0x0101010101010101) * value;
        __asm__ volatile("" ::: "memory");
    }
    for (; i < end; i++) {
        arena[i] = value;
        __asm__ volatile("" ::: "memory");
    }
}

static size_t round_up(size_t bytes) {
    return (bytes + RED_BYTES - 1) / RED_BYTES * RED_BYTES;
}

/* Makes an array ready for use: it is filled with NaN, and a red zone begins behind its last
 * byte. */
static void array_open(const struct array *array) {
    __asan_unpoison_memory_region(arena + array->first, array->bytes);
    fill(array->first, array->bytes, 0xFF);
#ifndef EMULATION_ASAN
    fill(array->first + array->bytes, round_up(array->bytes) - array->bytes + RED_BYTES, RED_VALUE);
#endif
}

static struct array *array_add(const void *site, size_t bytes, const char *file, int line) {
    struct array *array = &arrays[array_count];
    if (array_count == MOST_ARRAYS || used + round_up(bytes) + RED_BYTES > ARENA_BYTES)
        emulation_die("too much shared memory for the emulation");
    *array = (struct array){site, used, bytes, file, line};
    array_count++;
    used += round_up(bytes) + RED_BYTES;
    taken += bytes;
    array_open(array);
    return array;
}

void shared_prepare(size_t dynamic_bytes, size_t most_bytes) {
    if (!arena) {
        arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (arena == MAP_FAILED)
            emulation_die("no memory for shared memory");
    }
    __asan_poison_memory_region(arena, ARENA_BYTES);
    array_count = 0;
    used = RED_BYTES;
    taken = 0;
    most_taken = most_bytes;
#ifndef EMULATION_ASAN
    fill(0, RED_BYTES, RED_VALUE);
#endif
    array_add(NULL, dynamic_bytes, "its dynamic part", 0);
}

void shared_begin(void) {
#ifdef EMULATION_TSAN
    /* Memory that is mapped anew makes TSan forget the accesses of the block before, which had
     * other shared memory. */
    if (mmap(arena, round_up(used), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0) == MAP_FAILED)
        emulation_die("no memory for shared memory");
    fill(0, RED_BYTES, RED_VALUE);
#endif
    for (unsigned i = 0; i < array_count; i++)
        array_open(&arrays[i]);
}

void shared_end(const char *kernel) {
#ifndef EMULATION_ASAN
    for (unsigned i = 0; i < array_count; i++) {
        const struct array *array = &arrays[i];
        size_t end = array->first + round_up(array->bytes) + RED_BYTES;
        for (size_t j = array->first + array->bytes; j < end; j++)
            if (arena[j] != RED_VALUE)
                emulation_die("kernel %s wrote %zu bytes past the end of shared memory of %s:%d",
                              kernel, j - array->first - array->bytes, array->file, array->line);
    }
#endif
    (void)kernel;
}

void *emulation_shared_array(const void *site, size_t bytes, const char *file, int line) {
    for (unsigned i = 1; i < array_count; i++)
        if (arrays[i].site == site)
            return arena + arrays[i].first;
    struct array *array = array_add(site, bytes, file, line);
    if (taken - arrays[0].bytes > (size_t)48 << 10 || taken > most_taken)
        emulation_die("%s:%d: too much shared memory: %zu bytes static, %zu dynamic, %zu allowed",
                      file, line, taken - arrays[0].bytes, arrays[0].bytes, most_taken);
    return arena + array->first;
}

void *emulation_shared_dynamic(void) {
    return arena + arrays[0].first;
}

void emulation_shared_check(const void *p, size_t bytes, size_t alignment, const char *what,
                            const char *file, int line) {
    for (unsigned i = 0; i < array_count; i++) {
        const unsigned char *first = arena + arrays[i].first, *q = p;
        if (q >= first && bytes <= arrays[i].bytes && q <= first + arrays[i].bytes - bytes) {
            if ((uintptr_t)p % alignment)
                emulation_die("%s:%d: %s at byte %zu of an array: not aligned to %zu", file, line,
                              what, (size_t)(q - first), alignment);
            return;
        }
    }
    emulation_die("%s:%d: %s of %zu bytes at %p, which is not within shared memory", file, line,
                  what, bytes, p);
}
