/* SPDX-License-Identifier: Apache-2.0
 *
 * No wake-up is ever lost: a client and a daemon in two threads push a long stream through small
 * rings, both going to sleep whenever they have nothing to do. A sleep without end is a failure.
 */
#include "tests/check.h"
#include "tests/client/peer.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLEEP_LIMIT (TEST_PATIENCE * 1000) /* milliseconds */
#define ROW_BYTES 64u                      /* peer_model_small.hidden floats */
#define POSITIONS 300u

/* How the client waits. */
enum manner {
    POLLS,       /* submits and takes until both say AGAIN, then polls */
    BLOCKS,      /* waits in esm1nv_next() without end */
    BLOCKS_LONG, /* the same with a timeout */
};

struct stream {
    struct peer peer;
    enum manner manner;
    uint64_t records;
    bool pooled;
    unsigned daemon_sleeps;
    unsigned client_sleeps;
    bool daemon_failed;
    char letters[POSITIONS];
};

static uint32_t record_length(uint64_t tag) {
    uint32_t mixed = (uint32_t)tag * 2654435761u >> 16;
    return mixed % 64 ? mixed % 40 + 1 : mixed / 64 % POSITIONS + 1;
}

/* Lets the other side run, sometimes, for a moment that differs. */
static void dawdle(unsigned *seed) {
    unsigned chance = (unsigned)rand_r(seed) % 4096;
    if (chance == 0)
        usleep(200);
    else if (chance < 64)
        sched_yield();
}

/* Waits until the socket is readable; false when that takes too long. */
static bool sleep_on(int fd) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    return poll(&poller, 1, SLEEP_LIMIT) == 1;
}

/* --- The daemon's thread ---------------------------------------------------------------------- */

/* Takes what is submitted into a queue, answers from it as far as there is room, and sleeps when
 * neither goes on. */
#define QUEUE 256u
struct queue {
    uint64_t tags[QUEUE];
    uint32_t lengths[QUEUE];
    uint64_t first, last;
};

static bool daemon_take(struct stream *stream, struct queue *queue) {
    char sequence[WIRE_POSITIONS_MAX];
    uint32_t slot = queue->last % QUEUE;
    if (queue->last - queue->first == QUEUE ||
        !peer_take(&stream->peer, &queue->tags[slot], sequence, &queue->lengths[slot]))
        return false;
    if (queue->lengths[slot] != record_length(queue->tags[slot]) ||
        memcmp(sequence, stream->letters, queue->lengths[slot]) != 0)
        stream->daemon_failed = true;
    queue->last++;
    return true;
}

static bool daemon_answer(struct stream *stream, struct queue *queue) {
    uint32_t slot = queue->first % QUEUE;
    if (queue->first == queue->last ||
        !peer_complete(&stream->peer, queue->tags[slot], RECORD_OK,
                       stream->pooled ? 1 : queue->lengths[slot], ROW_BYTES))
        return false;
    queue->first++;
    return true;
}

/* Drains the bells, asks for new ones, and sleeps if still nothing can be done. */
static void daemon_sleep(struct stream *stream, const struct queue *queue) {
    struct peer *peer = &stream->peer;
    bool awake = false;

    while (peer_receive(peer) == PEER_BELL)
        ;
    if (queue->last - queue->first < QUEUE)
        awake |= ring_consumer_sleeps(&peer->submissions);
    if (queue->first != queue->last)
        awake |= ring_producer_sleeps(&peer->completions);
    if (awake)
        return;
    stream->daemon_sleeps++;
    stream->daemon_failed |= !sleep_on(peer->fd);
}

/* Before there are rings: answers one message; `next` is the tag it has. Returns the one after. */
static uint64_t daemon_answer_message(struct stream *stream, uint64_t next) {
    _Alignas(4) char row[ROW_BYTES];
    if (!sleep_on(stream->peer.fd))
        stream->daemon_failed = true;
    int kind = peer_receive(&stream->peer);
    if (kind != WIRE_SUBMIT) {
        stream->daemon_failed |= kind != WIRE_RING;
        return next;
    }
    peer_fill(row, next, 1, ROW_BYTES);
    peer_send_result(&stream->peer, next, RECORD_OK, 1, row, sizeof row);
    return next + 1;
}

static void *daemon_main(void *argument) {
    struct stream *stream = argument;
    struct queue queue = {.first = 0};
    unsigned seed = 1;

    while (!stream->daemon_failed && !stream->peer.map.header)
        queue.first = queue.last = daemon_answer_message(stream, queue.first);
    while (queue.first < stream->records && !stream->daemon_failed) {
        bool worked = false;
        for (unsigned burst = (unsigned)rand_r(&seed) % 64; burst && daemon_take(stream, &queue);
             burst--)
            worked = true;
        dawdle(&seed);
        for (unsigned burst = (unsigned)rand_r(&seed) % 64; burst && daemon_answer(stream, &queue);
             burst--)
            worked = true;
        dawdle(&seed);
        if (!worked)
            daemon_sleep(stream, &queue);
    }
    return NULL;
}

/* --- The client's thread ---------------------------------------------------------------------- */

/* Submits until there is no room, or, mostly, fewer, so that the daemon runs dry; false on an
 * error. */
static bool client_submit(struct stream *stream, esm1nv_session *session, uint64_t *submitted,
                          unsigned *seed) {
    unsigned chance = (unsigned)rand_r(seed) % 128;
    uint64_t most = chance == 0 ? UINT64_MAX : chance < 32 ? chance + 1 : 1;
    while (*submitted < stream->records && esm1nv_outstanding(session) < most) {
        int code = esm1nv_submit(session, *submitted, stream->letters, record_length(*submitted));
        if (code == ESM1NV_AGAIN)
            return true;
        CHECK(code == 0, "submit %llu: %s", (unsigned long long)*submitted,
              esm1nv_error_text(session));
        if (code != 0)
            return false;
        ++*submitted;
    }
    return true;
}

/* Takes results until there are none; false on an error. Holds a few before they go back. */
static bool client_take(struct stream *stream, esm1nv_session *session, uint64_t *taken,
                        unsigned *seed) {
    struct esm1nv_result result = {0};
    int timeout = stream->manner == BLOCKS ? -1 : stream->manner == POLLS ? 0 : SLEEP_LIMIT;
    int code;

    while ((code = esm1nv_next(session, &result, timeout)) == 0) {
        uint32_t rows = stream->pooled ? 1 : record_length(*taken);
        CHECK(result.tag == *taken && result.row_count == rows &&
                  peer_pattern_holds(&result, ROW_BYTES),
              "record %llu", (unsigned long long)*taken);
        ++*taken;
        if ((unsigned)rand_r(seed) % 4)
            esm1nv_release(session, &result);
        timeout = 0;
        dawdle(seed);
    }
    esm1nv_release(session, &result);
    CHECK(code == ESM1NV_END || (code == ESM1NV_AGAIN && timeout == 0), "after %llu records: %d %s",
          (unsigned long long)*taken, code, esm1nv_error_text(session));
    return code >= 0 && !test_state.failures;
}

static void client_main(struct stream *stream, esm1nv_session *session) {
    uint64_t submitted = 0, taken = 0;
    unsigned seed = 2;

    while (taken < stream->records && !test_state.failures) {
        uint64_t before = submitted + taken;
        if (!client_submit(stream, session, &submitted, &seed) ||
            !client_take(stream, session, &taken, &seed))
            return;
        dawdle(&seed);
        if (submitted + taken != before || stream->manner != POLLS)
            continue;
        stream->client_sleeps++;
        CHECK(sleep_on(esm1nv_fd(session)), "no wake-up after %llu submitted, %llu taken",
              (unsigned long long)submitted, (unsigned long long)taken);
    }
}

static void test_stream(enum manner manner, bool pooled, uint64_t records) {
    static struct stream stream;
    pthread_t thread;

    stream = (struct stream){.manner = manner, .pooled = pooled, .records = records};
    memset(stream.letters, 'L', sizeof stream.letters);
    esm1nv_session *session = peer_session(
        &stream.peer, &peer_model_small, pooled ? ESM1NV_POOL_MEAN : ESM1NV_POOL_NONE, ESM1NV_F32);
    if (pthread_create(&thread, NULL, daemon_main, &stream) != 0) {
        CHECK(false, "no thread");
    } else {
        client_main(&stream, session);
        pthread_join(thread, NULL);
    }
    CHECK(!stream.daemon_failed, "the daemon slept too long or got something else");
    CHECK(stream.daemon_sleeps > 100, "the daemon slept %u times only", stream.daemon_sleeps);
    CHECK(manner != POLLS || stream.client_sleeps > 100, "the client slept %u times only",
          stream.client_sleeps);
    peer_end(&stream.peer, session);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        enum manner manner;
        bool pooled;
    } cases[] = {
        {"residue rows, a client that polls", POLLS, false},
        {"residue rows, a client that blocks", BLOCKS, false},
        {"residue rows, a client that blocks with a timeout", BLOCKS_LONG, false},
        {"pooled rows, a client that polls", POLLS, true},
        {"pooled rows, a client that blocks", BLOCKS, true},
        {"pooled rows, a client that blocks with a timeout", BLOCKS_LONG, true},
    };
    uint64_t records = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;

    alarm(TEST_LIFETIME);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_case(cases[i].name);
        test_stream(cases[i].manner, cases[i].pooled, records);
    }
    return test_done();
}
