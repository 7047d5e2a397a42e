/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into a daemon for tests (--wrap=mmap64,--wrap=munmap; with 64-bit file offsets mmap() is
 * mmap64): every shared mapping gets a page before and behind it that nobody may touch, so that one
 * byte outside a ring ends the daemon.
 */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

#define GUARD 4096u
#define GUARDED_MAX 4096u

void *__real_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t size);
void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t size);

static void *guarded[GUARDED_MAX]; /* by the loop thread alone */

static unsigned find(const void *address) {
    unsigned i = 0;

    while (i < GUARDED_MAX && guarded[i] != address)
        i++;
    return i;
}

void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    unsigned place = find(NULL);
    char *room, *inside;

    if (fd < 0 || !(flags & MAP_SHARED) || place == GUARDED_MAX)
        return __real_mmap64(address, size, protection, flags, fd, offset);
    room = __real_mmap64(NULL, size + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    inside = __real_mmap64(room + GUARD, size, protection, flags | MAP_FIXED, fd, offset);
    if (inside == MAP_FAILED)
        __real_munmap(room, size + 2 * GUARD);
    else
        guarded[place] = inside;
    return inside;
}

int __wrap_munmap(void *address, size_t size) {
    unsigned place = find(address);

    if (!address || place == GUARDED_MAX)
        return __real_munmap(address, size);
    guarded[place] = NULL;
    return __real_munmap((char *)address - GUARD, size + 2 * GUARD);
}
