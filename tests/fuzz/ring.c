/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: one side of the rings, the other side hostile. The input is a program that writes
 * what it likes into the shared pages and makes the honest side take, release, reserve and publish
 * in between. Nothing handed out may lie outside of its ring, overlap what is not given back, or be
 * reported as more than was published. The pages lie between two that cannot be touched.
 */
#include "ipc/ring.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define RING_SIZE RING_SIZE_MIN
#define SHARED_SIZE (RING_PAGE + 2 * (size_t)RING_SIZE)

enum operation {
    SET_TAIL,     /* of the consumed ring; 8 bytes */
    SET_HEAD,     /* of the produced ring; 8 bytes */
    ADVANCE_TAIL, /* by 2 bytes in units of the alignment */
    ADVANCE_HEAD, /* so */
    PUT_HEADER,   /* length (4 bytes) of a record, where the hostile tail points */
    POKE,         /* place (3 bytes), count (1 byte), that many bytes */
    TAKE,
    RELEASE,
    RESERVE, /* length (2 bytes) */
    PUBLISH,
    SLEEP,
    OPERATIONS
};

struct side {
    bool is_daemon; /* takes submissions, produces completions; a client the other way round */
    struct ring_consumer consumer;
    struct ring_producer producer;
    uint64_t taken;    /* end of the last record */
    uint64_t reserved; /* so */
};

static uint8_t *shared; /* the rings' pages */

static void map_shared(void) {
    uint8_t *pages = mmap(NULL, SHARED_SIZE + 2 * (size_t)RING_PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(pages != MAP_FAILED &&
                mprotect(pages + RING_PAGE, SHARED_SIZE, PROT_READ | PROT_WRITE) == 0,
            "errno %d", errno);
    shared = pages + RING_PAGE;
}

static void side_init(struct side *side, bool is_daemon) {
    const struct ring_map map = {
        .header = (struct ring_header *)(void *)shared,
        .submission = shared + RING_PAGE,
        .completion = shared + RING_PAGE + RING_SIZE,
        .submission_size = RING_SIZE,
        .completion_size = RING_SIZE,
    };
    *side = (struct side){.is_daemon = is_daemon};
    if (is_daemon) {
        ring_submission_consumer(&side->consumer, &map);
        ring_completion_producer(&side->producer, &map);
    } else {
        ring_completion_consumer(&side->consumer, &map);
        ring_submission_producer(&side->producer, &map);
    }
}

static void poke(struct tape *tape) {
    size_t place = (size_t)tape_number(tape, 3) % SHARED_SIZE;
    size_t count = (size_t)tape_number(tape, 1);
    for (size_t i = 0; i < count && tape->left > 0; i++)
        shared[(place + i) % SHARED_SIZE] = (uint8_t)tape_number(tape, 1);
}

static void put_header(const struct side *side, uint32_t length) {
    uint64_t tail = side->consumer.indices->tail & ~(uint64_t)(side->consumer.align - 1);
    uint8_t *at = (uint8_t *)side->consumer.data + (tail & (RING_SIZE - 1));
    if (side->is_daemon)
        *(struct ring_submission *)(void *)at = (struct ring_submission){.length = length};
    else
        *(struct ring_completion *)(void *)at = (struct ring_completion){.bytes = length};
}

/* Returns what the honest side got, and checks what it points at; so for the others. */
static int take(struct side *side) {
    struct ring_consumer *consumer = &side->consumer;
    const uint64_t before = consumer->read;
    const uint8_t *body = NULL;
    uint64_t end = 0, length = 0;
    int result;
    if (side->is_daemon) {
        struct ring_submission header = {0};
        result = ring_take_submission(consumer, &header, &body, &end);
        length = header.length;
    } else {
        struct ring_completion header = {0};
        result = ring_take_completion(consumer, &header, &body, &end);
        length = header.bytes;
    }
    REQUIRE(consumer->tail - consumer->released <= RING_SIZE &&
                consumer->read - consumer->released <= consumer->tail - consumer->released,
            "the consumer stands outside of the ring");
    REQUIRE(result <= 0 || result == RING_EMPTY, "taking gave %d", result);
    if (result != 0)
        return result;
    REQUIRE(body >= consumer->data && length <= (size_t)(consumer->data + RING_SIZE - body),
            "%zd + %llu", body - consumer->data, (unsigned long long)length);
    REQUIRE(end == consumer->read && end - before >= length, "%llu bytes in %llu",
            (unsigned long long)length, (unsigned long long)(end - before));
    static volatile uint8_t sum;
    for (uint64_t i = 0; i < length; i++)
        sum = sum ^ body[i];
    side->taken = end;
    return 0;
}

static int reserve(struct side *side, size_t length) {
    struct ring_producer *producer = &side->producer;
    const size_t header =
        side->is_daemon ? sizeof(struct ring_completion) : sizeof(struct ring_submission);
    const uint64_t before = producer->reserved;
    void *record = NULL;
    uint64_t end = 0;
    int result = ring_reserve(producer, header, length, &record, &end);
    REQUIRE(producer->head <= producer->published, "the consumer's head is beyond all records");
    if (result != 0) {
        REQUIRE(producer->reserved == before, "a refusal took room");
        REQUIRE((result == -EMSGSIZE) == (header + length > RING_SIZE / 2), "%zu bytes", length);
        return result == -EPROTO ? result : 0;
    }
    uint8_t *at = record;
    REQUIRE(at >= producer->data && header + length <= (size_t)(producer->data + RING_SIZE - at),
            "%zd + %zu", at - producer->data, length);
    REQUIRE(end - producer->head <= RING_SIZE, "over what is not given back");
    memset(at, 0x55, header + length);
    side->reserved = end;
    return 0;
}

static void release(struct side *side) {
    if (side->taken == side->consumer.released)
        return;
    ring_release(&side->consumer, side->taken);
    REQUIRE(side->consumer.released == side->consumer.indices->head, "the head was not stored");
}

static void sleep_both(struct side *side) {
    const uint64_t head = side->producer.head;
    bool data = ring_consumer_sleeps(&side->consumer);
    bool space = ring_producer_sleeps(&side->producer);
    REQUIRE(data || side->consumer.indices->tail == side->consumer.read, "sleeps over data");
    REQUIRE(space || side->producer.indices->head == head, "sleeps over space");
}

static int step(struct side *side, struct tape *tape) {
    struct ring_indices *in = side->consumer.indices, *out = side->producer.indices;
    switch (tape_number(tape, 1) % OPERATIONS) {
    case SET_TAIL:
        in->tail = tape_number(tape, 8);
        break;
    case SET_HEAD:
        out->head = tape_number(tape, 8);
        break;
    case ADVANCE_TAIL:
        in->tail += tape_number(tape, 2) * side->consumer.align;
        break;
    case ADVANCE_HEAD:
        out->head += tape_number(tape, 2) * side->producer.align;
        break;
    case PUT_HEADER:
        put_header(side, (uint32_t)tape_number(tape, 4));
        break;
    case POKE:
        poke(tape);
        break;
    case TAKE:
        return take(side) == -EPROTO ? -EPROTO : 0;
    case RELEASE:
        release(side);
        break;
    case RESERVE:
        return reserve(side, (size_t)tape_number(tape, 2));
    case PUBLISH:
        ring_publish(&side->producer, side->reserved);
        REQUIRE(out->tail == side->reserved, "the tail was not stored");
        break;
    case SLEEP:
        sleep_both(side);
        break;
    }
    return 0;
}

/* A peer that breaks the rules is dropped, so the first -EPROTO ends it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tape tape = {data, size};
    struct side side;
    if (!shared)
        map_shared();
    memset(shared, 0, SHARED_SIZE);
    side_init(&side, tape_number(&tape, 1) & 1);
    while (tape.left > 0)
        if (step(&side, &tape) < 0)
            break;
    return 0;
}
