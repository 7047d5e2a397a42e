/* SPDX-License-Identifier: Apache-2.0
 *
 * A daemon that dies at every point of a session, refuses in the middle, or sends garbage by
 * message and in shared memory. Each must end in the right error, and never in a crash or a hang.
 */
#include "ipc/channel.h"
#include "tests/check.h"
#include "tests/client/peer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROW_BYTES 128u /* peer_model_usual.hidden floats */

static const int timeouts[] = {0, 1000, -1};

/* What the next result is, and that an error stays and has a text. */
static int next_code(esm1nv_session *session, int timeout) {
    struct esm1nv_result result;
    int code = esm1nv_next(session, &result, timeout);
    if (code < 0) {
        CHECK(*esm1nv_error_text(session), "an error without text");
        CHECK(esm1nv_next(session, &result, 0) == code, "the error stays");
        CHECK(esm1nv_submit(session, 0, "A", 1) == code, "the error stays");
    }
    return code;
}

enum death {
    BEFORE_SUBMIT,  /* the daemon dies while nothing is outstanding */
    UNREAD_SUBMIT,  /* with the SUBMIT unread: the client's receive reports a reset first */
    AFTER_SUBMIT,   /* with the SUBMIT read */
    BEFORE_RING,    /* between the SUBMIT and the RING */
    UNREAD_RING,    /* with the RING unread */
    AFTER_RING,     /* with the ring attached */
    WITH_COMPLETED, /* with results in the ring that the client has not seen */
    DEATHS
};

/* Plays a session up to that death and returns how many results the daemon completed. */
static unsigned die(esm1nv_session *session, struct peer *peer, enum death death, bool refuse) {
    unsigned completed = 0;

    if (death >= UNREAD_SUBMIT)
        CHECK(esm1nv_submit(session, 1, "MKV", 3) == 0, "submit");
    if (death >= AFTER_SUBMIT)
        CHECK(peer_receive(peer) == WIRE_SUBMIT, "the SUBMIT");
    if (death >= UNREAD_RING)
        CHECK(esm1nv_submit(session, 2, "MKV", 3) == 0, "submit");
    if (death >= AFTER_RING)
        CHECK(peer_receive(peer) == WIRE_RING, "the RING");
    if (death == WITH_COMPLETED) {
        _Alignas(4) char row[ROW_BYTES];
        peer_fill(row, 1, 1, ROW_BYTES);
        peer_send_result(peer, 1, RECORD_OK, 1, row, sizeof row);
        CHECK(esm1nv_submit(session, 3, "MKV", 3) == 0, "submit");
        CHECK(peer_complete(peer, 2, RECORD_OK, 1, ROW_BYTES), "room");
        completed = 2;
    }
    if (refuse)
        peer_send_refused(peer, WIRE_REFUSED_DRAINING, "it leaves", true);
    peer_close(peer);
    return completed;
}

static void test_death(enum death death, bool refuse, int timeout) {
    struct peer peer;
    struct esm1nv_result result;
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F32);
    unsigned completed = die(session, &peer, death, refuse);
    int code = 0;
    if (death == BEFORE_SUBMIT || death == BEFORE_RING)
        code = esm1nv_submit(session, 9, "MKV", 3);
    for (unsigned i = 0; i < completed; i++) {
        CHECK(esm1nv_next(session, &result, timeout) == 0, "%s", esm1nv_error_text(session));
        CHECK(result.tag == i + 1 && peer_pattern_holds(&result, ROW_BYTES), "result %u", i);
        esm1nv_release(session, &result);
    }
    if (code == 0)
        code = next_code(session, timeout);
    CHECK(code == (refuse ? ESM1NV_ERROR_BUSY : ESM1NV_ERROR_LOST), "death %d: %d %s", (int)death,
          code, esm1nv_error_text(session));
    if (refuse)
        CHECK(strstr(esm1nv_error_text(session), "it leaves"), "%s", esm1nv_error_text(session));
    esm1nv_close(session);
}

static void test_deaths(bool refuse) {
    test_case(refuse ? "a daemon that refuses at every point"
                     : "a daemon that dies at every point");
    for (int death = 0; death < DEATHS; death++)
        for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++)
            test_death((enum death)death, refuse, timeouts[i]);
}

/* --- Garbage in messages ---------------------------------------------------------------------- */

/* A session of pooled rows with one record in a message under way. */
static esm1nv_session *message_session(struct peer *peer) {
    esm1nv_session *session = peer_session(peer, &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F32);
    CHECK(esm1nv_submit(session, 1, "MKV", 3) == 0, "submit");
    return session;
}

TEST("answers that do not fit what was asked") {
    static const struct {
        uint64_t tag;
        enum record_status status;
        uint32_t rows;
        uint32_t bytes;
    } cases[] = {
        {2, RECORD_OK, 1, ROW_BYTES},
        {1, RECORD_OK, 0, ROW_BYTES},
        {1, RECORD_OK, 0, 0},
        {1, RECORD_OK, 1, ROW_BYTES - 1},
        {1, RECORD_OK, 1, ROW_BYTES + 1},
        {1, RECORD_OK, 1, 0},
        {1, RECORD_OK, 1, 60000},
        {1, RECORD_ENGINE, 1, ROW_BYTES},
        {1, RECORD_ENGINE, 0, ROW_BYTES},
        {1, (enum record_status)5, 0, 0},
        {1, RECORD_OK, 2, 2 * ROW_BYTES},
    };
    static char data[60000];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer peer;
        esm1nv_session *session = message_session(&peer);
        peer_send_result(&peer, cases[i].tag, cases[i].status, cases[i].rows, data, cases[i].bytes);
        CHECK(next_code(session, -1) == ESM1NV_ERROR_PROTOCOL, "case %zu", i);
        peer_end(&peer, session);
    }
}

/* A RESULT by message for a record that went through the ring, right in all else. */
TEST("an answer by message to a record in the ring") {
    struct peer peer;
    struct esm1nv_result result;
    _Alignas(4) char row[ROW_BYTES] = {0};

    esm1nv_session *session = message_session(&peer);
    CHECK(esm1nv_submit(session, 2, "MKV", 3) == 0, "submit");
    peer_send_result(&peer, 1, RECORD_OK, 1, row, sizeof row);
    CHECK(esm1nv_next(session, &result, 0) == 0, "%s", esm1nv_error_text(session));
    esm1nv_release(session, &result);
    peer_send_result(&peer, 2, RECORD_OK, 1, row, sizeof row);
    CHECK(next_code(session, 0) == ESM1NV_ERROR_PROTOCOL, "the RESULT");
    peer_end(&peer, session);
}

TEST("messages out of place") {
    static const char too_large[WIRE_MESSAGE_MAX + 1];
    static const struct {
        const char *bytes;
        size_t size;
        int passed; /* a descriptor, or -1 */
    } cases[] = {
        {"\xc1", 1, -1}, /* a bell, and there is no ring yet */
        {"\xc1\xc1", 2, -1},
        {"\x80", 1, -1},
        {"\x81\x00\x0a", 3, -1}, /* STOPPING */
        {"\x81\x00\x0a", 3, STDOUT_FILENO},
        {too_large, sizeof too_large, -1},
    };
    struct peer peer;

    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        esm1nv_session *session = message_session(&peer);
        if (i == sizeof cases / sizeof *cases)
            peer_send_welcome(&peer, &peer_model_usual);
        else
            CHECK(channel_send(peer.fd, cases[i].bytes, cases[i].size, cases[i].passed, true) == 0,
                  "message %zu", i);
        CHECK(next_code(session, 0) == ESM1NV_ERROR_PROTOCOL, "message %zu", i);
        peer_end(&peer, session);
    }
}

/* --- Garbage in shared memory ----------------------------------------------------------------- */

/* A session of residue rows with one record of 3 residues in the daemon's hands. */
static esm1nv_session *ring_session(struct peer *peer) {
    esm1nv_session *session = peer_session(peer, &peer_model_usual, ESM1NV_POOL_NONE, ESM1NV_F32);
    if (!session)
        return NULL;
    CHECK(esm1nv_submit(session, 1, "MKV", 3) == 0, "submit");
    CHECK(peer_receive(peer) == WIRE_RING, "ring");
    return session;
}

TEST("completions that do not fit what was asked") {
    static const struct {
        struct ring_completion header;
        uint64_t tail;
    } cases[] = {
        {{.tag = 2, .rows = 3, .bytes = 384}, 448},                    /* another tag */
        {{.tag = 1, .status = 5, .rows = 0, .bytes = 0}, 64},          /* no such status */
        {{.tag = 1, .status = UINT32_MAX, .rows = 0, .bytes = 0}, 64}, /* no such status */
        {{.tag = 1, .rows = 2, .bytes = 256}, 320},                    /* a row is missing */
        {{.tag = 1, .rows = 3, .bytes = 256}, 320},                    /* bytes are missing */
        {{.tag = 1, .rows = 4, .bytes = 512}, 576},                    /* too many */
        {{.tag = 1, .rows = 0, .bytes = 0}, 64},                       /* none, but success */
        {{.tag = 1, .status = 1, .rows = 3, .bytes = 384}, 448},       /* rows of a failure */
        {{.tag = 1, .status = 1, .rows = 0, .bytes = 0}, 64},     /* a failure that keeps no room */
        {{.tag = 1, .rows = 3, .bytes = 384}, 384},               /* cut short */
        {{.tag = 1, .rows = 3, .bytes = 384}, 450},               /* not aligned */
        {{.tag = 1, .rows = 3, .bytes = 384}, 64 + (8 << 20)},    /* more than the ring */
        {{.tag = 1, .rows = 3, .bytes = 384}, UINT64_MAX - 63},   /* far beyond */
        {{.tag = 1, .rows = 3, .bytes = RING_SKIP}, 64},          /* a skip cut short */
        {{.tag = 1, .rows = 3, .bytes = RING_SKIP - 1}, 8 << 20}, /* longer than the ring */
        {{.tag = 1, .rows = 3, .bytes = (8 << 20) - 64}, 8 << 20}, /* the whole ring */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer peer;
        esm1nv_session *session = ring_session(&peer);
        memcpy(peer.map.completion, &cases[i].header, sizeof cases[i].header);
        atomic_store(&peer.map.header->completion.tail, cases[i].tail);
        CHECK(next_code(session, -1) == ESM1NV_ERROR_PROTOCOL, "case %zu", i);
        peer_end(&peer, session);
    }
}

TEST("indices that go back or too far") {
    struct peer peer;
    struct esm1nv_result result;

    esm1nv_session *session = ring_session(&peer);
    CHECK(peer_complete(&peer, 1, RECORD_OK, 3, ROW_BYTES), "room");
    CHECK(esm1nv_submit(session, 2, "MKV", 3) == 0, "submit");
    CHECK(esm1nv_next(session, &result, 0) == 0, "%s", esm1nv_error_text(session));
    atomic_store(&peer.map.header->completion.tail, 64);
    CHECK(next_code(session, -1) == ESM1NV_ERROR_PROTOCOL, "the tail went back");
    peer_end(&peer, session);

    static const uint64_t heads[] = {8, 65536, 65536 + 16, UINT64_MAX - 15};
    char sequence[512];
    memset(sequence, 'A', sizeof sequence);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int code = 0;
        session = ring_session(&peer);
        atomic_store(&peer.map.header->submission.head, heads[i]);
        for (int k = 0; k < 200 && code == 0; k++)
            code = esm1nv_submit(session, 2, sequence, sizeof sequence);
        CHECK(code == ESM1NV_ERROR_PROTOCOL, "head %llu: %d", (unsigned long long)heads[i], code);
        peer_end(&peer, session);
    }
}

/* Overwrites a random word, mostly with a value near to plausible ones. */
static void scribble(struct peer *peer, unsigned *seed) {
    static const uint32_t likely[] = {0, 1, 2, 3, 64, 128, 384, 448, RING_SKIP, UINT32_C(1) << 23};
    uint32_t *target = (unsigned)rand_r(seed) % 2 ? (uint32_t *)(void *)peer->map.header
                                                  : (uint32_t *)(void *)peer->map.completion;
    target[(unsigned)rand_r(seed) % 128] =
        likely[(unsigned)rand_r(seed) % (sizeof likely / sizeof *likely)];
}

TEST("random words in shared memory and random messages") {
    for (unsigned round = 0; round < 1000; round++) {
        struct peer peer;
        struct esm1nv_result result;
        unsigned seed = round;
        int code = 0;
        esm1nv_session *session = ring_session(&peer);
        for (int step = 0; step < 30 && code >= 0; step++) {
            if (step % 3 == 0)
                peer_complete(&peer, 1, RECORD_OK, 3, ROW_BYTES);
            if (step > 3)
                scribble(&peer, &seed);
            if (step > 3 && (unsigned)rand_r(&seed) % 8 == 0)
                peer_send(&peer, peer.map.completion, 1 + (unsigned)rand_r(&seed) % 60);
            code = esm1nv_next(session, &result, 0);
            if (code == 0) {
                CHECK(result.bytes == result.row_count * ROW_BYTES && result.row_count <= 3,
                      "size");
                esm1nv_release(session, &result);
            }
            if (code >= 0)
                code = esm1nv_submit(session, 1, "MKV", 3);
        }
        peer_end(&peer, session);
    }
}

int main(void) {
    alarm(TEST_LIFETIME);
    test_deaths(false);
    test_deaths(true);
    test_run();
    return test_done();
}
