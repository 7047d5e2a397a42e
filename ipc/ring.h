/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared-memory rings of one session, in one memfd made and sealed by the client:
 *
 *   [header, one page][submission ring][completion ring]
 *
 * Submissions flow client -> daemon, completions daemon -> client. Each ring has one producer and
 * one consumer. Indices are free-running 64-bit byte counts; a record starts with its header, is
 * aligned (16 bytes for submissions, 64 for completions) and never wraps: a skip record fills the
 * end of the ring. Each side keeps its own indices in private memory and only publishes them; what
 * the other side publishes is read once, checked, then used, so garbage in the shared pages yields
 * -EPROTO here and does no other harm.
 *
 * Memory order: a producer fills a record, then stores `tail` with release; a consumer loads it
 * with acquire. `head` returns space the same way. Sleeping: the sleeper raises its flag, issues a
 * seq_cst fence, looks again, then sleeps on the socket; the other side publishes, issues a
 * seq_cst fence, and takes the flag down; whoever takes down a raised flag rings the bell.
 */
#ifndef ESM1NV_RING_H
#define ESM1NV_RING_H

#include "ipc/wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_PAGE 4096u
#define RING_SUBMISSION_ALIGN 16u
#define RING_COMPLETION_ALIGN 64u
#define RING_SIZE_MIN 65536u
#define RING_SIZE_MAX (UINT32_C(1) << 30)

/* One line per writer, so that the sides do not share cache lines. */
struct ring_indices {
    _Alignas(64) _Atomic uint64_t tail; /* written by the producer */
    _Alignas(64) _Atomic uint64_t head; /* written by the consumer */
};

/* A raised flag means that a side sleeps and wants a bell. */
struct ring_flags {
    _Alignas(64) _Atomic uint32_t wants_data;  /* the consumer of this ring sleeps */
    _Alignas(64) _Atomic uint32_t wants_space; /* the producer of this ring sleeps */
};

/* The first page of the memfd. */
struct ring_header {
    struct ring_indices submission;
    struct ring_indices completion;
    struct ring_flags submission_flags;
    struct ring_flags completion_flags;
};

#define RING_SKIP UINT32_MAX

/* Starts every submission; `length` residue bytes follow. A skip record has length RING_SKIP. */
struct ring_submission {
    uint64_t tag;
    uint32_t length;
    uint32_t reserved; /* 0 */
};

/* Starts every completion; `bytes` bytes of room for rows follow, at this record + 64. A record
 * that failed keeps the room that its rows would have had, and has rows 0. A skip record has bytes
 * RING_SKIP. */
struct ring_completion {
    _Alignas(64) uint64_t tag;
    uint32_t status; /* enum record_status */
    uint32_t rows;
    uint32_t bytes; /* rows x hidden x size of dtype, of the rows it has or would have had */
    uint32_t reserved[11];
};

/* A mapped memfd. Null value: {0}. */
struct ring_map {
    struct ring_header *header;
    uint8_t *submission;
    uint8_t *completion;
    uint32_t submission_size; /* powers of two */
    uint32_t completion_size;
};

/* Makes and seals a memfd of that layout and maps it. Returns the descriptor, owned by the caller,
 * or -errno. Both sizes are powers of two from RING_SIZE_MIN to RING_SIZE_MAX, else -EINVAL. */
int ring_create(struct ring_map *map, uint32_t submission_size, uint32_t completion_size);

/* Maps a received memfd, not consumed, after checking in this order: seals are exactly
 * SHRINK|GROW|SEAL, with or without EXEC, it lies on tmpfs with normal pages, its size is the
 * layout's. Returns 0, -EINVAL for sizes out of range, -EPROTO for a failed check, else -errno. */
int ring_attach(struct ring_map *map, int fd, uint32_t submission_size, uint32_t completion_size);

/* Safe on a null map. */
void ring_detach(struct ring_map *map);

/* Bytes of the memfd of that layout. */
size_t ring_bytes(uint32_t submission_size, uint32_t completion_size);

/* The producing side of one ring. Records are reserved in order and published in order; between
 * the two only the producer knows of them. */
struct ring_producer {
    uint8_t *data;
    struct ring_indices *indices;
    struct ring_flags *flags;
    uint64_t size;
    uint64_t reserved;  /* private: end of what is reserved */
    uint64_t published; /* private: what was last stored to tail */
    uint64_t head;      /* private: last checked value of the consumer's head */
    uint64_t refused;   /* private: head when a reservation last found no room */
    uint32_t align;
};

/* The consuming side of one ring. */
struct ring_consumer {
    const uint8_t *data;
    struct ring_indices *indices;
    struct ring_flags *flags;
    uint64_t size;
    uint64_t read;     /* private: next record to look at */
    uint64_t released; /* private: what was last stored to head */
    uint64_t tail;     /* private: last checked value of the producer's tail */
    uint32_t align;
};

void ring_submission_producer(struct ring_producer *producer, const struct ring_map *map);
void ring_completion_producer(struct ring_producer *producer, const struct ring_map *map);
void ring_submission_consumer(struct ring_consumer *consumer, const struct ring_map *map);
void ring_completion_consumer(struct ring_consumer *consumer, const struct ring_map *map);

/* Conditions that are no errors; the caller can wait until they end. */
enum ring_condition {
    RING_FULL = 1,  /* no room for a record now */
    RING_EMPTY = 2, /* no record to take now */
};

/* Reserves a record of header + body bytes. Returns 0 and in *record where its header goes (the
 * body follows at + sizeof header); RING_FULL; -EMSGSIZE when it can never fit (a record takes at
 * most half of the ring); -EPROTO when the consumer's index is impossible. *end is the index to
 * publish once the record and all before it are written. */
int ring_reserve(struct ring_producer *producer, size_t header, size_t body, void **record,
                 uint64_t *end);

/* Makes all records up to `end` visible to the consumer. Returns true when a bell is due. */
bool ring_publish(struct ring_producer *producer, uint64_t end);

/* Takes the next unread record; skip records are passed over. Returns 0, RING_EMPTY, or -EPROTO
 * when the indices or the length are impossible. *header is a copy; *body points at the `length` or
 * `bytes` that follow it in shared memory, which the peer may still be changing: copy them, then
 * check the copy. *end is the index to release once the record is done with. */
int ring_take_submission(struct ring_consumer *consumer, struct ring_submission *header,
                         const uint8_t **body, uint64_t *end);
int ring_take_completion(struct ring_consumer *consumer, struct ring_completion *header,
                         const uint8_t **body, uint64_t *end);

/* Gives back all space up to `end`. Returns true when a bell is due. */
bool ring_release(struct ring_consumer *consumer, uint64_t end);

/* Declares that this side is about to sleep. Returns true when it must not, for there is already
 * something to take (consumer) or more room than when a reservation last failed (producer). */
bool ring_consumer_sleeps(struct ring_consumer *consumer);
bool ring_producer_sleeps(struct ring_producer *producer);

#endif
