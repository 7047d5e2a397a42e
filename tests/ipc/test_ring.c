/* SPDX-License-Identifier: Apache-2.0
 *
 * The rings: which memfds are accepted, records of every size in order through both rings against
 * a model of the test, and what hostile indices and lengths lead to.
 */
#include "ipc/ring.h"
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 65536u
#define BYTES (RING_PAGE + 2 * SIZE)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEAL_EXEC 0x20       /* F_SEAL_EXEC of Linux 6.3 */
#define MEMFD_NOEXEC_SEAL 8u /* MFD_NOEXEC_SEAL, which sets it, and which vm.memfd_noexec implies */

static struct ring_map map; /* of the case that runs */
static struct ring_producer producer;
static struct ring_consumer consumer;

/* Makes one, and both sides of one of its rings. */
static void ring_open(bool completions) {
    close(ring_create(&map, SIZE, SIZE));
    (completions ? ring_completion_producer : ring_submission_producer)(&producer, &map);
    (completions ? ring_completion_consumer : ring_submission_consumer)(&consumer, &map);
}

/* What a record says of itself, in either ring. */
struct record {
    uint64_t tag;
    uint32_t length;
    const uint8_t *body;
    uint64_t end;
};

static int take(bool completions, struct record *record) {
    struct ring_completion completion = {0};
    struct ring_submission submission = {0};
    int result = completions
                     ? ring_take_completion(&consumer, &completion, &record->body, &record->end)
                     : ring_take_submission(&consumer, &submission, &record->body, &record->end);
    record->tag = completions ? completion.tag : submission.tag;
    record->length = completions ? completion.bytes : submission.length;
    return result;
}

static void put_header(bool completions, void *place, uint64_t tag, uint32_t length) {
    if (completions)
        *(struct ring_completion *)place = (struct ring_completion){.tag = tag, .bytes = length};
    else
        *(struct ring_submission *)place = (struct ring_submission){.tag = tag, .length = length};
}

/* --- Which files are accepted ----------------------------------------------------------------- */

static int attach(int fd) {
    int ret = ring_attach(&map, fd, SIZE, SIZE);
    CHECK((ret == 0) == (map.header != NULL), "a map after %d", ret);
    ring_detach(&map);
    return ret;
}

static int sealed_memfd(unsigned flags, off_t size, int seals) {
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd >= 0 && (ftruncate(fd, size) < 0 || (seals && fcntl(fd, F_ADD_SEALS, seals) < 0))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void expect_attach(int fd, int expected, const char *what) {
    CHECK(fd >= 0, "cannot make %s", what);
    int ret = attach(fd);
    CHECK(ret == expected, "%s: %d", what, ret);
    close(fd);
}

TEST("a ring that one side made is seen by the other and cannot be changed") {
    struct ring_map made, attached;

    int fd = ring_create(&made, SIZE, 2 * SIZE);
    CHECK(fd >= 0, "%s", strerror(-fd));
    CHECK((fcntl(fd, F_GET_SEALS) & ~SEAL_EXEC) == SEALS, "seals");
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC, "it is inherited");
    CHECK(ftruncate(fd, 4096) < 0 && ftruncate(fd, 1 << 20) < 0, "its size can change");
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0, "its seals can change");
    CHECK(ring_bytes(SIZE, 2 * SIZE) == RING_PAGE + 3 * (size_t)SIZE, "bytes");
    CHECK(ring_attach(&attached, fd, 2 * SIZE, 2 * SIZE) == -EPROTO, "another layout");
    CHECK(ring_attach(&attached, fd, SIZE, 2 * SIZE) == 0, "its own layout");
    close(fd);
    made.submission[SIZE - 1] = 1;
    made.completion[2 * SIZE - 1] = 2;
    atomic_store(&made.header->completion.tail, 77);
    CHECK(attached.submission[SIZE - 1] == 1 && attached.completion[2 * SIZE - 1] == 2, "rings");
    CHECK(atomic_load(&attached.header->completion.tail) == 77, "header");
    CHECK((uintptr_t)attached.completion % RING_COMPLETION_ALIGN == 0, "alignment");
    ring_detach(&attached);
    ring_detach(&attached);
    ring_detach(&made);
}

TEST("sizes that no ring has") {
    static const uint32_t wrong[] = {0,     1,      4096,       32768,      65535,
                                     65537, 196608, 1073741825, 2147483648, 4294967295};

    int fd = ring_create(&map, SIZE, SIZE);
    ring_detach(&map);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(ring_create(&map, wrong[i], SIZE) == -EINVAL && !map.header, "%u", wrong[i]);
        CHECK(ring_create(&map, SIZE, wrong[i]) == -EINVAL && !map.header, "%u", wrong[i]);
        CHECK(ring_attach(&map, fd, wrong[i], SIZE) == -EINVAL && !map.header, "%u", wrong[i]);
        CHECK(ring_attach(&map, fd, SIZE, wrong[i]) == -EINVAL && !map.header, "%u", wrong[i]);
    }
    close(fd);
}

TEST("only a memfd with the right seals and size") {
    expect_attach(sealed_memfd(0, BYTES, SEALS), 0, "a right one");
    for (int seals = 0; seals < 2 * F_SEAL_FUTURE_WRITE; seals++)
        if (seals != SEALS)
            expect_attach(sealed_memfd(0, BYTES, seals), -EPROTO, "a memfd with other seals");
    int fd = sealed_memfd(MEMFD_NOEXEC_SEAL, BYTES, SEALS);
    CHECK(fd < 0 || fcntl(fd, F_GET_SEALS) == (SEALS | SEAL_EXEC), "what the kernel adds");
    if (fd >= 0)
        expect_attach(fd, 0, "a right one that is not executable");
    fd = sealed_memfd(MEMFD_NOEXEC_SEAL, BYTES, SEALS | F_SEAL_WRITE);
    if (fd >= 0)
        expect_attach(fd, -EPROTO, "one that is not executable, with other seals");
    expect_attach(memfd_create("test", MFD_CLOEXEC), -EPROTO, "a memfd that takes no seals");
    expect_attach(sealed_memfd(0, BYTES - 1, SEALS), -EPROTO, "one byte too few");
    expect_attach(sealed_memfd(0, BYTES + 1, SEALS), -EPROTO, "one byte too many");
    expect_attach(sealed_memfd(0, 0, SEALS), -EPROTO, "an empty one");
}

static int temporary_file(char *path) {
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    unlink(path);
    if (ftruncate(fd, BYTES) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

TEST("no other kind of file") {
    char on_disk[] = "/tmp/esm1nv-XXXXXX";
    int ends[2];

    expect_attach(temporary_file(on_disk), -EPROTO, "a file");
    expect_attach(open("/dev/null", O_RDWR | O_CLOEXEC), -EPROTO, "a device");
    expect_attach(open("/", O_RDONLY | O_CLOEXEC), -EPROTO, "a directory");
    CHECK(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    expect_attach(ends[0], -EPROTO, "a pipe");
    close(ends[1]);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    expect_attach(ends[0], -EPROTO, "a socket");
    close(ends[1]);
    CHECK(attach(-1) == -EPROTO, "no file at all");
}

TEST("no file on tmpfs") {
    char on_tmpfs[] = "/dev/shm/esm1nv-XXXXXX";
    int fd = temporary_file(on_tmpfs);
    if (fd < 0)
        test_case_skip("/dev/shm is not writable");
    else
        expect_attach(fd, -EPROTO, "a file on tmpfs");
}

TEST("no memfd of huge pages") {
    int fd = sealed_memfd(MFD_HUGETLB, 2 << 20, SEALS);
    if (fd < 0) {
        test_case_skip("there are none");
        return;
    }
    int ret = ring_attach(&map, fd, SIZE, 1 << 20);
    CHECK(ret == -EPROTO, "%d", ret);
    close(fd);
}

/* --- Records against a model ------------------------------------------------------------------ */

/* Records between reserved and released, oldest first. */
#define MODEL 4096u
struct model {
    struct record records[MODEL];
    uint64_t reserved, published, taken, released; /* counts */
};

static uint8_t pattern(uint64_t tag, uint32_t i) {
    return (uint8_t)(tag * 131 + i * 7);
}

static void reserve_one(bool completions, struct model *model, unsigned *seed) {
    unsigned most = (unsigned)rand_r(seed) % 16 ? 300 : SIZE / 2 - 64;
    struct record *record = &model->records[model->reserved % MODEL];
    void *place;

    if (model->reserved - model->released == MODEL)
        return;
    *record =
        (struct record){.tag = model->reserved, .length = (unsigned)rand_r(seed) % (most + 1)};
    size_t header = completions ? sizeof(struct ring_completion) : sizeof(struct ring_submission);
    int result = ring_reserve(&producer, header, record->length, &place, &record->end);
    CHECK(result == 0 || (result == RING_FULL && model->reserved > model->released), "%d", result);
    if (result != 0)
        return;
    CHECK((uintptr_t)place % producer.align == 0, "alignment");
    put_header(completions, place, record->tag, record->length);
    for (uint32_t i = 0; i < record->length; i++)
        ((uint8_t *)place)[header + i] = pattern(record->tag, i);
    model->reserved++;
}

static void take_one(bool completions, struct model *model) {
    struct record got;
    int result = take(completions, &got);
    if (model->taken == model->published) {
        CHECK(result == RING_EMPTY, "something came from nothing: %d", result);
        return;
    }
    struct record *expected = &model->records[model->taken++ % MODEL];
    CHECK(result == 0, "take: %d", result);
    if (result != 0)
        return;
    CHECK(got.tag == expected->tag && got.length == expected->length, "order or length");
    CHECK(got.end == expected->end, "both sides agree on the end");
    unsigned wrong = 0;
    for (uint32_t i = 0; i < expected->length; i++)
        wrong += got.body[i] != pattern(expected->tag, i);
    CHECK(wrong == 0, "%u bytes of record %d", wrong, (int)expected->tag);
}

static void test_model(bool completions) {
    static struct model model;
    unsigned seed = 3;

    test_case(completions ? "completions in order, whole, at any fill"
                          : "submissions in order, whole, at any fill");
    memset(&model, 0, sizeof model);
    ring_open(completions);
    for (int step = 0; step < 300000 && !test_state.failures; step++) {
        switch ((unsigned)rand_r(&seed) % 4) {
        case 0:
            reserve_one(completions, &model, &seed);
            break;
        case 1: /* some or all of what is reserved */
            if (model.reserved == model.published)
                break;
            model.published +=
                1 + (unsigned)rand_r(&seed) % (unsigned)(model.reserved - model.published);
            ring_publish(&producer, model.records[(model.published - 1) % MODEL].end);
            break;
        case 2:
            take_one(completions, &model);
            break;
        case 3: /* some or all of what is taken */
            if (model.taken == model.released)
                break;
            model.released +=
                1 + (unsigned)rand_r(&seed) % (unsigned)(model.taken - model.released);
            ring_release(&consumer, model.records[(model.released - 1) % MODEL].end);
            break;
        }
    }
    CHECK(model.released > 30000 && consumer.released > 100 * SIZE, "it did go round");
    ring_detach(&map);
}

TEST("a record takes at most half of the ring") {
    void *place;
    uint64_t end;

    ring_open(true);
    CHECK(ring_reserve(&producer, 64, SIZE / 2 - 63, &place, &end) == -EMSGSIZE, "one byte more");
    CHECK(ring_reserve(&producer, 64, SIZE_MAX, &place, &end) == -EMSGSIZE, "SIZE_MAX");
    CHECK(ring_reserve(&producer, 64, SIZE_MAX - 63, &place, &end) == -EMSGSIZE, "wraps to 0");
    CHECK(ring_reserve(&producer, 64, SIZE / 2 - 64, &place, &end) == 0, "half");
    CHECK(ring_reserve(&producer, 64, SIZE / 2 - 64, &place, &end) == 0, "the other half");
    CHECK(end == SIZE, "all of it");
    CHECK(ring_reserve(&producer, 64, 0, &place, &end) == RING_FULL, "full");
    ring_detach(&map);
}

/* Room that came after a failed reservation keeps its side awake until it has tried again. */
TEST("nobody sleeps while there is room or a record") {
    struct record record;
    uint64_t end;
    void *place;

    ring_open(true);
    CHECK(!ring_consumer_sleeps(&consumer), "an empty ring keeps its consumer awake");
    for (int half = 0; half < 2; half++) {
        CHECK(ring_reserve(&producer, 64, SIZE / 2 - 64, &place, &end) == 0, "half");
        put_header(true, place, 0, SIZE / 2 - 64);
        CHECK(ring_publish(&producer, end) == (half == 0), "one bell for one sleeper");
    }
    CHECK(ring_consumer_sleeps(&consumer), "the consumer sleeps over a record");
    CHECK(ring_reserve(&producer, 64, 0, &place, &end) == RING_FULL, "full");
    CHECK(!ring_producer_sleeps(&producer), "a full ring keeps its producer awake");
    CHECK(take(true, &record) == 0, "take");
    CHECK(ring_release(&consumer, record.end), "a bell for the producer");
    CHECK(ring_producer_sleeps(&producer), "the producer sleeps over room");
    CHECK(ring_producer_sleeps(&producer), "the producer forgets the room it was told of");
    ring_detach(&map);
}

/* --- Hostile peers ---------------------------------------------------------------------------- */

TEST("a consumer's impossible index stops the producer") {
    static const uint64_t heads[] = {8, 24, 32 + 16, SIZE, UINT64_MAX - 15, UINT64_C(1) << 63};
    void *place;
    uint64_t end;

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int ret = 0;
        ring_open(false);
        ring_reserve(&producer, 16, 16, &place, &end);
        ring_publish(&producer, end); /* 32 bytes: heads 0, 16 and 32 are possible */
        atomic_store(&map.header->submission.head, heads[i]);
        for (int k = 0; k < 10 && ret == 0; k++)
            ret = ring_reserve(&producer, 16, SIZE / 4, &place, &end);
        CHECK(ret == -EPROTO, "head %llu: %d", (unsigned long long)heads[i], ret);
        ring_detach(&map);
    }
}

static int take_with(uint64_t tail, uint32_t length, bool completions) {
    struct record record;
    ring_open(completions);
    put_header(completions, completions ? map.completion : map.submission, 0, length);
    atomic_store(completions ? &map.header->completion.tail : &map.header->submission.tail, tail);
    int result = take(completions, &record);
    ring_detach(&map);
    return result;
}

TEST("a producer's impossible index or length stops the consumer") {
    static const struct {
        uint64_t tail;
        uint32_t length;
        int expected;
    } cases[] = {
        {0, 0, RING_EMPTY},
        {128, 64, 0},
        {SIZE, SIZE - 64, 0}, /* possible for a consumer: it lies within the ring */
        {SIZE, RING_SKIP, RING_EMPTY},
        {128, 129, -EPROTO},
        {64, RING_SKIP, -EPROTO},
        {64, RING_SKIP - 1, -EPROTO},
        {SIZE, SIZE, -EPROTO},
        {SIZE, 1u << 31, -EPROTO},
        {8, 0, -EPROTO},
        {136, 64, -EPROTO},
        {SIZE + 64, 0, -EPROTO},
        {UINT64_MAX - 63, 0, -EPROTO},
        {UINT64_C(1) << 63, 0, -EPROTO},
    };

    for (int completions = 0; completions < 2; completions++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            int ret = take_with(cases[i].tail, cases[i].length, completions);
            CHECK(ret == cases[i].expected, "%s, tail %llu, length %u: %d",
                  completions ? "completion" : "submission", (unsigned long long)cases[i].tail,
                  cases[i].length, ret);
        }
}

TEST("a record across the end of the ring stops the consumer") {
    struct record record;

    ring_open(true);
    struct ring_completion *first = (struct ring_completion *)(void *)map.completion;
    *first = (struct ring_completion){.bytes = SIZE - 128};
    first[SIZE / sizeof *first - 1] = (struct ring_completion){.bytes = 64};
    atomic_store(&map.header->completion.tail, SIZE - 64);
    CHECK(take(true, &record) == 0, "up to the last unit");
    ring_release(&consumer, record.end);
    atomic_store(&map.header->completion.tail, SIZE + 64);
    CHECK(take(true, &record) == -EPROTO, "across the end");
    ring_detach(&map);
}

/* Behind what was read, but not behind what was given back. */
TEST("a producer's index that goes back stops the consumer") {
    struct record record;

    ring_open(true);
    atomic_store(&map.header->completion.tail, 128);
    for (int i = 0; i < 2; i++)
        CHECK(take(true, &record) == 0, "record %d", i);
    atomic_store(&map.header->completion.tail, 64);
    CHECK(ring_consumer_sleeps(&consumer), "the consumer sleeps over an impossible index");
    CHECK(take(true, &record) == -EPROTO, "gone back");
    ring_detach(&map);
}

int main(void) {
    alarm(TEST_LIFETIME);
    test_model(false);
    test_model(true);
    test_run();
    return test_done();
}
