/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared-memory rings, as ring.h describes them. The rule of this file: nothing that the peer
 * can write is used before it is copied to private memory and checked there.
 */
#include "ipc/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

#ifndef F_SEAL_EXEC /* these two came with Linux 6.3 */
#define F_SEAL_EXEC 0x20
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

_Static_assert(sizeof(struct ring_header) <= RING_PAGE, "the header fits its page");
_Static_assert(sizeof(struct ring_submission) == RING_SUBMISSION_ALIGN, "wire layout");
_Static_assert(sizeof(struct ring_completion) == RING_COMPLETION_ALIGN, "wire layout");

static bool size_valid(uint32_t size) {
    return size >= RING_SIZE_MIN && size <= RING_SIZE_MAX && (size & (size - 1)) == 0;
}

size_t ring_bytes(uint32_t submission_size, uint32_t completion_size) {
    return (size_t)RING_PAGE + submission_size + completion_size;
}

static int map_rings(struct ring_map *map, int fd, uint32_t submission_size,
                     uint32_t completion_size) {
    uint8_t *base = mmap(NULL, ring_bytes(submission_size, completion_size), PROT_READ | PROT_WRITE,
                         MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    *map = (struct ring_map){
        .header = (struct ring_header *)base,
        .submission = base + RING_PAGE,
        .completion = base + RING_PAGE + submission_size,
        .submission_size = submission_size,
        .completion_size = completion_size,
    };
    return 0;
}

int ring_create(struct ring_map *map, uint32_t submission_size, uint32_t completion_size) {
    *map = (struct ring_map){0};
    if (!size_valid(submission_size) || !size_valid(completion_size))
        return -EINVAL;
    /* Where vm.memfd_noexec is 2, only a memfd that says that it is not executable is allowed; a
     * kernel before 6.3 does not know the flag. */
    int fd = memfd_create("esm1nv-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("esm1nv-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int result;
    if (ftruncate(fd, (off_t)ring_bytes(submission_size, completion_size)) < 0 ||
        fcntl(fd, F_ADD_SEALS, RING_SEALS) < 0)
        result = -errno;
    else
        result = map_rings(map, fd, submission_size, completion_size);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

int ring_attach(struct ring_map *map, int fd, uint32_t submission_size, uint32_t completion_size) {
    *map = (struct ring_map){0};
    if (!size_valid(submission_size) || !size_valid(completion_size))
        return -EINVAL;
    /* Only memfds have seals; everything else, a FUSE file included, is refused before any other
     * call could reach whoever serves it. F_SEAL_EXEC takes nothing from a ring, and kernels add
     * it on their own (vm.memfd_noexec). */
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & ~F_SEAL_EXEC) != RING_SEALS)
        return -EPROTO;
    struct statfs filesystem;
    struct stat status;
    /* In spite of its seals, a hugetlb memfd can raise SIGBUS where a hole was punched into it. */
    if (fstatfs(fd, &filesystem) < 0 || filesystem.f_type != TMPFS_MAGIC)
        return -EPROTO;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        status.st_size != (off_t)ring_bytes(submission_size, completion_size))
        return -EPROTO;
    return map_rings(map, fd, submission_size, completion_size);
}

void ring_detach(struct ring_map *map) {
    if (map->header)
        munmap(map->header, ring_bytes(map->submission_size, map->completion_size));
    *map = (struct ring_map){0};
}

static struct ring_producer producer_of(uint8_t *data, uint32_t size, struct ring_indices *indices,
                                        struct ring_flags *flags, uint32_t align) {
    return (struct ring_producer){
        .data = data, .indices = indices, .flags = flags, .size = size, .align = align};
}

static struct ring_consumer consumer_of(const uint8_t *data, uint32_t size,
                                        struct ring_indices *indices, struct ring_flags *flags,
                                        uint32_t align) {
    return (struct ring_consumer){
        .data = data, .indices = indices, .flags = flags, .size = size, .align = align};
}

void ring_submission_producer(struct ring_producer *producer, const struct ring_map *map) {
    *producer = producer_of(map->submission, map->submission_size, &map->header->submission,
                            &map->header->submission_flags, RING_SUBMISSION_ALIGN);
}

void ring_completion_producer(struct ring_producer *producer, const struct ring_map *map) {
    *producer = producer_of(map->completion, map->completion_size, &map->header->completion,
                            &map->header->completion_flags, RING_COMPLETION_ALIGN);
}

void ring_submission_consumer(struct ring_consumer *consumer, const struct ring_map *map) {
    *consumer = consumer_of(map->submission, map->submission_size, &map->header->submission,
                            &map->header->submission_flags, RING_SUBMISSION_ALIGN);
}

void ring_completion_consumer(struct ring_consumer *consumer, const struct ring_map *map) {
    *consumer = consumer_of(map->completion, map->completion_size, &map->header->completion,
                            &map->header->completion_flags, RING_COMPLETION_ALIGN);
}

/* Reads the consumer's head again. It may only move forward, in whole alignment units, and not
 * past what was published. */
static int producer_refresh(struct ring_producer *producer) {
    uint64_t head = atomic_load_explicit(&producer->indices->head, memory_order_acquire);
    if (head - producer->head > producer->published - producer->head || head % producer->align)
        return -EPROTO;
    producer->head = head;
    return 0;
}

/* Writes a skip record over `room` bytes at the end of the ring. Both record types keep their
 * length word at a fixed place, and a record is never smaller than its header. */
static void write_skip(struct ring_producer *producer, uint8_t *at) {
    if (producer->align == RING_SUBMISSION_ALIGN)
        memcpy(at, &(struct ring_submission){.length = RING_SKIP}, sizeof(struct ring_submission));
    else
        memcpy(at, &(struct ring_completion){.bytes = RING_SKIP}, sizeof(struct ring_completion));
}

int ring_reserve(struct ring_producer *producer, size_t header, size_t body, void **record,
                 uint64_t *end) {
    if (body > producer->size / 2 || header + body > producer->size / 2)
        return -EMSGSIZE;
    uint64_t need = (header + body + producer->align - 1) & ~(uint64_t)(producer->align - 1);
    uint64_t offset = producer->reserved & (producer->size - 1);
    uint64_t skip = offset + need > producer->size ? producer->size - offset : 0;
    if (producer->reserved + skip + need - producer->head > producer->size) {
        int result = producer_refresh(producer);
        if (result < 0)
            return result;
        if (producer->reserved + skip + need - producer->head > producer->size) {
            producer->refused = producer->head;
            return RING_FULL;
        }
    }
    if (skip > 0) {
        write_skip(producer, producer->data + offset);
        offset = 0;
    }
    producer->reserved += skip + need;
    *record = producer->data + offset;
    *end = producer->reserved;
    return 0;
}

/* Whether the other side has declared that it sleeps; at most one caller gets true for each
 * declaration. The fence orders the index just stored before the load of the flag, and pairs with
 * the one in the sleeper. */
static bool take_flag(_Atomic uint32_t *flag) {
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(flag, memory_order_relaxed) &&
           atomic_exchange_explicit(flag, 0, memory_order_relaxed);
}

static void raise_flag(_Atomic uint32_t *flag) {
    atomic_store_explicit(flag, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

bool ring_publish(struct ring_producer *producer, uint64_t end) {
    producer->published = end;
    atomic_store_explicit(&producer->indices->tail, end, memory_order_release);
    return take_flag(&producer->flags->wants_data);
}

static int consumer_refresh(struct ring_consumer *consumer) {
    uint64_t tail = atomic_load_explicit(&consumer->indices->tail, memory_order_acquire);
    if (tail - consumer->released > consumer->size || tail % consumer->align ||
        tail - consumer->released < consumer->tail - consumer->released)
        return -EPROTO;
    consumer->tail = tail;
    return 0;
}

/* Points at the next record, of which at least a header's worth is there: offsets and indices are
 * multiples of the alignment, which is the header's size. */
static int consumer_peek(struct ring_consumer *consumer, const uint8_t **record) {
    if (consumer->read == consumer->tail) {
        int result = consumer_refresh(consumer);
        if (result < 0)
            return result;
        if (consumer->read == consumer->tail)
            return RING_EMPTY;
    }
    *record = consumer->data + (consumer->read & (consumer->size - 1));
    return 0;
}

/* Steps over a record with `length` bytes behind its header, whose size is the alignment, or to the
 * start of the ring for a skip. */
static int consumer_advance(struct ring_consumer *consumer, uint32_t length) {
    uint64_t to_wrap = consumer->size - (consumer->read & (consumer->size - 1));
    uint64_t there = consumer->tail - consumer->read;
    uint64_t step = to_wrap;
    if (length != RING_SKIP) {
        uint64_t align = consumer->align;
        step = (align + length + align - 1) & ~(align - 1);
        if (step > to_wrap)
            return -EPROTO;
    }
    if (step > there)
        return -EPROTO;
    consumer->read += step;
    return 0;
}

/* The copy that is checked must be the copy that is used: without volatile a compiler may read
 * shared memory twice. */
static void copy_once(void *to, const uint8_t *from, size_t size) {
    const volatile uint64_t *source = (const volatile uint64_t *)(const void *)from;
    for (size_t i = 0; i < size / sizeof *source; i++) {
        uint64_t word = source[i];
        memcpy((uint8_t *)to + i * sizeof word, &word, sizeof word);
    }
}

/* Copies the next record's header, whose size is the alignment; *length is the field of the copy
 * that tells how many bytes follow it. */
static int consumer_take(struct ring_consumer *consumer, void *header, const uint32_t *length,
                         const uint8_t **body, uint64_t *end) {
    const uint8_t *record;
    do {
        int result = consumer_peek(consumer, &record);
        if (result != 0)
            return result;
        copy_once(header, record, consumer->align);
        result = consumer_advance(consumer, *length);
        if (result < 0)
            return result;
    } while (*length == RING_SKIP);
    *body = record + consumer->align;
    *end = consumer->read;
    return 0;
}

int ring_take_submission(struct ring_consumer *consumer, struct ring_submission *header,
                         const uint8_t **body, uint64_t *end) {
    return consumer_take(consumer, header, &header->length, body, end);
}

int ring_take_completion(struct ring_consumer *consumer, struct ring_completion *header,
                         const uint8_t **body, uint64_t *end) {
    return consumer_take(consumer, header, &header->bytes, body, end);
}

bool ring_release(struct ring_consumer *consumer, uint64_t end) {
    consumer->released = end;
    atomic_store_explicit(&consumer->indices->head, end, memory_order_release);
    return take_flag(&consumer->flags->wants_space);
}

/* Both keep the index that they read. If the peer moves it back, the next look fails; otherwise the
 * caller would loop for ever. */
bool ring_consumer_sleeps(struct ring_consumer *consumer) {
    raise_flag(&consumer->flags->wants_data);
    return consumer_refresh(consumer) < 0 || consumer->tail != consumer->read;
}

bool ring_producer_sleeps(struct ring_producer *producer) {
    raise_flag(&producer->flags->wants_space);
    return producer_refresh(producer) < 0 || producer->head != producer->refused;
}
