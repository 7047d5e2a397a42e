/* SPDX-License-Identifier: Apache-2.0
 *
 * Records through a session, with the daemon's side taken by the test step by step: one-shots,
 * the switch to rings, order, full and wrapping rings, held views, bells.
 */
#include "tests/check.h"
#include "tests/client/peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROW_BYTES 128u /* peer_model_usual.hidden floats */
#define USUAL &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F32
#define SMALL &peer_model_small, ESM1NV_POOL_NONE, ESM1NV_F32

static char letters[WIRE_POSITIONS_MAX];
static struct peer peer;
static esm1nv_session *session; /* of the case that runs */

static bool readable(void) {
    struct pollfd poller = {.fd = esm1nv_fd(session), .events = POLLIN};
    return poll(&poller, 1, 0) == 1;
}

static bool submit(uint64_t tag, size_t length) {
    return esm1nv_submit(session, tag, letters, length) == 0;
}

static void expect_result(uint64_t tag, uint32_t rows, uint32_t row_bytes,
                          struct esm1nv_result *result) {
    int code = esm1nv_next(session, result, 0);
    CHECK(code == 0, "record %llu: %d %s", (unsigned long long)tag, code,
          esm1nv_error_text(session));
    if (code != 0)
        return;
    CHECK(result->tag == tag, "tag %llu, not %llu", (unsigned long long)result->tag,
          (unsigned long long)tag);
    CHECK(result->row_count == rows, "%u rows, not %u", result->row_count, rows);
    CHECK(rows ? peer_pattern_holds(result, row_bytes) : !result->rows, "rows of record %llu",
          (unsigned long long)tag);
}

/* The next submission has this tag and length. */
static void expect_submission(uint64_t tag, uint32_t length) {
    char sequence[WIRE_POSITIONS_MAX];
    uint64_t taken = ~tag;
    uint32_t residues = 0;
    CHECK(peer_take(&peer, &taken, sequence, &residues) && taken == tag && residues == length &&
              memcmp(sequence, letters, length) == 0,
          "record %d: %d of %u residues came", (int)tag, (int)taken, residues);
}

/* Takes a result and gives it back at once. */
static void expect_and_release(uint64_t tag, uint32_t rows, uint32_t row_bytes) {
    struct esm1nv_result result = {0};
    expect_result(tag, rows, row_bytes, &result);
    esm1nv_release(session, &result);
}

static void send_row(uint64_t tag) {
    _Alignas(4) char row[ROW_BYTES];
    peer_fill(row, tag, 1, ROW_BYTES);
    peer_send_result(&peer, tag, RECORD_OK, 1, row, sizeof row);
}

static void test_one_shot(void) {
    struct esm1nv_result result;

    for (uint64_t tag = UINT64_MAX - 5; tag != 5; tag++) {
        size_t length = (tag & 255) % 512 + 1;
        CHECK(submit(tag, length), "%s", esm1nv_error_text(session));
        CHECK(esm1nv_outstanding(session) == 1, "one outstanding");
        CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "no answer yet");
        CHECK(esm1nv_next(session, &result, 1) == ESM1NV_AGAIN, "no answer yet");
        CHECK(peer_receive(&peer) == WIRE_SUBMIT, "a message");
        CHECK(peer.message.value[WIRE_TAG].number == tag, "tag");
        CHECK(peer.message.value[WIRE_SEQUENCE].length == length, "length");
        CHECK(memcmp(peer.message.value[WIRE_SEQUENCE].bytes, letters, length) == 0, "sequence");
        CHECK(!readable(), "nothing to read yet");
        if (tag % 3) {
            send_row(tag);
            CHECK(readable(), "the answer can be polled for");
            expect_and_release(tag, 1, ROW_BYTES);
        } else {
            peer_send_result(&peer, tag, RECORD_NONFINITE, 0, NULL, 0);
            CHECK(esm1nv_next(session, &result, -1) == 0, "%s", esm1nv_error_text(session));
            CHECK(result.status == ESM1NV_RECORD_NONFINITE && !result.rows && !result.row_count,
                  "a failed record has no rows");
            esm1nv_release(session, &result);
        }
        CHECK(esm1nv_next(session, &result, -1) == ESM1NV_END, "all answered");
    }
}

static void test_switch(void) {
    struct esm1nv_result first, second;

    CHECK(submit(7, 10) && submit(8, 11) && submit(9, 12), "submit");
    CHECK(esm1nv_outstanding(session) == 3, "three outstanding");
    CHECK(peer_receive(&peer) == WIRE_SUBMIT, "the first in a message");
    CHECK(peer_receive(&peer) == WIRE_RING, "then the ring");
    CHECK(peer.map.submission_size == 65536 && peer.map.completion_size == 1 << 20, "sizes");
    CHECK(peer_receive(&peer) == PEER_NOTHING, "no bell for one who does not sleep");
    for (uint64_t i = 8; i <= 9; i++) {
        expect_submission(i, (uint32_t)i + 3);
        CHECK(peer_complete(&peer, i, RECORD_OK, 1, ROW_BYTES), "room");
    }
    CHECK(esm1nv_next(session, &first, 0) == ESM1NV_AGAIN, "the message's answer comes first");
    CHECK(!readable(), "and nothing wakes the caller before it");
    send_row(7);
    expect_result(7, 1, ROW_BYTES, &first);
    expect_and_release(8, 1, ROW_BYTES);
    CHECK(submit(10, 5), "all later ones through the ring");
    expect_result(9, 1, ROW_BYTES, &second);
    esm1nv_release(session, &first); /* again: does nothing */
    CHECK(peer_pattern_holds(&second, ROW_BYTES), "the second is still held");
    expect_submission(10, 5);
    CHECK(peer_receive(&peer) == PEER_NOTHING, "neither message nor bell");
}

static void test_held_one_shot(void) {
    struct esm1nv_result held, none;

    CHECK(submit(1, 9), "submit");
    send_row(1);
    expect_result(1, 1, ROW_BYTES, &held);
    CHECK(submit(2, 9), "submit");
    CHECK(peer_receive(&peer) == WIRE_SUBMIT && peer_receive(&peer) == WIRE_RING, "ring");
    peer_send(&peer, &(uint8_t){WIRE_BELL}, 1);
    CHECK(esm1nv_next(session, &none, 0) == ESM1NV_AGAIN, "a bell for nothing");
    CHECK(peer_complete(&peer, 2, RECORD_OK, 1, ROW_BYTES), "room");
    expect_and_release(2, 1, ROW_BYTES);
    CHECK(peer_pattern_holds(&held, ROW_BYTES), "the view still holds");
}

static void test_refused_one_shot(void) {
    struct esm1nv_result none;
    char text[1001] = "";

    memset(text, 'x', sizeof text - 1);
    CHECK(submit(1, 9), "submit");
    peer_send_refused(&peer, WIRE_REFUSED_DRAINING, text, true);
    CHECK(esm1nv_next(session, &none, -1) == ESM1NV_ERROR_BUSY, "%s", esm1nv_error_text(session));
}

/* What a session of this kind sends first, and the completion ring it makes; 0: none is allowed. */
static void test_ring_sizes(void) {
    static const struct {
        uint64_t hidden, positions, ring_max, one_shot_max;
        enum esm1nv_pooling pooling;
        uint32_t size;
    } cases[] = {
        {768, 512, 64 << 20, WIRE_ONE_SHOT_MAX, ESM1NV_POOL_NONE, 8 << 20},
        /* Records of 12 MiB and a header, twice. */
        {768, 4096, 64 << 20, WIRE_ONE_SHOT_MAX, ESM1NV_POOL_NONE, 32 << 20},
        {768, 4096, 4096 + 65536 + (32 << 20), WIRE_ONE_SHOT_MAX, ESM1NV_POOL_NONE, 32 << 20},
        {768, 4096, 4096 + 65536 + (32 << 20) - 1, WIRE_ONE_SHOT_MAX, ESM1NV_POOL_NONE, 0},
        {32, 512, 64 << 20, 0, ESM1NV_POOL_MEAN, 1 << 20},
        {32, 512, 300000, 0, ESM1NV_POOL_MEAN, 1 << 17},
        {32, 512, 4096 + 65536 * 2, 0, ESM1NV_POOL_MEAN, 1 << 16},
        {32, 512, 0, 0, ESM1NV_POOL_MEAN, 0},
        /* A row of 256 KiB fits no message. */
        {65535, 512, 64 << 20, WIRE_ONE_SHOT_MAX, ESM1NV_POOL_BOS, 1 << 20},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer_model model = peer_model_usual;
        model.hidden = cases[i].hidden;
        model.positions = cases[i].positions;
        model.ring_max = cases[i].ring_max;
        model.one_shot_max = cases[i].one_shot_max;
        session = peer_session(&peer, &model, cases[i].pooling, ESM1NV_F32);
        int result = esm1nv_submit(session, 1, letters, 3);
        const char *text = esm1nv_error_text(session);
        if (cases[i].size > 0)
            CHECK(result == 0 && peer_receive(&peer) == WIRE_RING &&
                      peer.map.completion_size == cases[i].size,
                  "case %zu: %u bytes: %s", i, peer.map.completion_size, text);
        else
            CHECK(result == ESM1NV_ERROR_REFUSED && strstr(text, "--ring-size"), "%s", text);
        peer_end(&peer, session);
    }
}

/* Sends one record all the way round; some fail. */
static void round_trip(uint64_t tag, uint32_t rows) {
    bool fails = tag % 5 == 3;

    CHECK(submit(tag, rows), "%s", esm1nv_error_text(session));
    if (!peer.map.header)
        CHECK(peer_receive(&peer) == WIRE_RING, "the ring");
    expect_submission(tag, rows);
    CHECK(peer_complete(&peer, tag, fails ? RECORD_ENGINE : RECORD_OK, rows, 64), "room");
    expect_and_release(tag, fails ? 0 : rows, 64);
}

/* How many rows the next record should have to get `units` of 64 bytes further in the end. */
static uint32_t rows_toward(uint32_t units) {
    if (units > 400)
        return 300;
    if (units > 24)
        return 19;
    return units > 1 && units % 2 ? 2 : 1;
}

static void test_wrap(void) {
    uint64_t tag = 0;

    round_trip(tag++, 1);
    /* No record is so small that one could begin at 64. */
    for (uint32_t offset = 128; offset <= 65536 && !test_state.failures; offset += 64) {
        uint32_t here;
        while ((here = peer.completions.reserved & 65535) != (offset & 65535)) {
            uint32_t units = ((offset - here) & 65535) / 64;
            uint32_t before_end = (65536 - here) / 64;
            round_trip(tag++, rows_toward(units < before_end ? units : before_end));
        }
        round_trip(tag++, 500);
    }
    CHECK(peer.completions.reserved > 1024 * 65536u / 2, "it did go round");
}

static void test_held_views(void) {
    struct esm1nv_result held[40];
    unsigned count = 0, sent = 0;

    for (unsigned i = 0; i < 40; i++)
        CHECK(submit(i, 100), "submit");
    CHECK(peer_receive(&peer) == WIRE_RING, "ring");
    while (sent < 40 && peer_complete(&peer, sent, RECORD_OK, 100, 64))
        sent++;
    CHECK(sent == 65536 / 6464, "%u fit", sent);
    CHECK(!ring_producer_sleeps(&peer.completions), "no room");
    for (; count < sent; count++)
        expect_result(count, 100, 64, &held[count]);
    for (unsigned i = 0; i < count; i++)
        CHECK(peer_pattern_holds(&held[i], 64), "view %u", i);
    CHECK(peer_receive(&peer) == PEER_NOTHING, "nothing given back");
    CHECK(!peer_complete(&peer, sent, RECORD_OK, 100, 64), "still no room");
    esm1nv_release(session, &held[count - 2]);
    CHECK(peer_receive(&peer) == PEER_BELL, "the daemon is told of room");
    CHECK(peer_receive(&peer) == PEER_NOTHING, "once");
    esm1nv_release(session, &held[0]); /* long given back: does nothing */
    for (unsigned i = 0; i + 1 < count; i++)
        CHECK(peer_complete(&peer, sent + i, RECORD_OK, 100, 64), "room for %u", i);
    CHECK(!peer_complete(&peer, 99, RECORD_OK, 100, 64), "but not for the held one");
    CHECK(peer_pattern_holds(&held[count - 1], 64), "the last view");
    expect_and_release(sent, 100, 64);
    CHECK(peer_complete(&peer, 99, RECORD_OK, 100, 64), "a release counts for all before it");
}

static void test_full_ring(void) {
    struct esm1nv_result result;
    unsigned count = 0;

    while (count < 1000 && submit(count, 400))
        count++;
    CHECK(count == 65536 / 416, "%u fit", count);
    CHECK(esm1nv_submit(session, 0, letters, 400) == ESM1NV_AGAIN, "no room");
    CHECK(esm1nv_outstanding(session) == count, "nothing was queued");
    CHECK(submit(count++, 1), "a smaller one still fits");
    while (submit(count, 17))
        count++;
    CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "no result either");
    CHECK(!readable(), "nothing to wake for");
    CHECK(peer_receive(&peer) == WIRE_RING, "ring");
    expect_submission(0, 400);
    CHECK(readable(), "room wakes the caller");
    CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "still no result");
    CHECK(readable(), "looking for results has not taken the wake-up");
    CHECK(submit(count++, 400), "it fits now");
    CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "still no result");
    CHECK(!readable(), "the bell was taken when it had no more to say");
    CHECK(peer_complete(&peer, 0, RECORD_OK, 400, 64), "room");
    CHECK(readable(), "a result wakes the caller");
    expect_and_release(0, 400, 64);
    while (submit(count, 17))
        count++;
    expect_submission(1, 400);
    for (int i = 0; i < 2; i++)
        CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "no result");
    CHECK(!readable(), "a caller that gave up submitting can sleep");
}

static void test_bells(void) {
    struct esm1nv_result result;

    CHECK(submit(0, 5) && peer_receive(&peer) == WIRE_RING, "ring");
    expect_submission(0, 5);
    CHECK(!ring_consumer_sleeps(&peer.submissions), "nothing more");
    CHECK(submit(1, 5) && submit(2, 5), "submit");
    CHECK(peer_receive(&peer) == PEER_BELL, "the sleeping daemon is rung");
    CHECK(peer_receive(&peer) == PEER_NOTHING, "once");
    for (uint64_t i = 0; i < 3; i++)
        CHECK(peer_complete(&peer, i, RECORD_OK, 5, 64), "room");
    CHECK(!readable(), "the caller never slept");
    for (uint64_t i = 0; i < 3; i++)
        expect_and_release(i, 5, 64);
    CHECK(peer_receive(&peer) == PEER_NOTHING, "nor did the daemon");
    CHECK(submit(3, 5), "submit");
    CHECK(esm1nv_next(session, &result, 5) == ESM1NV_AGAIN, "times out");
    CHECK(peer_complete(&peer, 3, RECORD_OK, 5, 64), "room");
    CHECK(readable(), "a timed wait leaves the bell armed");
    CHECK(esm1nv_next(session, &result, -1) == 0, "%s", esm1nv_error_text(session));
}

static void test_sequences(void) {
    uint8_t sequence[513];

    memset(sequence, 'A', sizeof sequence);
    CHECK(esm1nv_submit(session, 1, sequence, 0) == ESM1NV_ERROR_LENGTH, "empty");
    CHECK(esm1nv_submit(session, 1, sequence, 513) == ESM1NV_ERROR_LENGTH, "too long");
    CHECK(strstr(esm1nv_error_text(session), "513"), "%s", esm1nv_error_text(session));
    for (int byte = 0; byte < 256; byte++) {
        bool known = !byte || (byte < 128 && strchr(peer_model_usual.alphabet, byte));
        sequence[511] = (uint8_t)byte;
        if (!known)
            CHECK(esm1nv_submit(session, 1, sequence, 512) == ESM1NV_ERROR_LETTER, "%d", byte);
    }
    CHECK(strstr(esm1nv_error_text(session), "residue 512"), "%s", esm1nv_error_text(session));
    CHECK(esm1nv_outstanding(session) == 0, "nothing was queued");
    sequence[511] = WIRE_RESIDUE_UNKNOWN;
    CHECK(esm1nv_submit(session, 1, sequence, 512) == 0, "%s", esm1nv_error_text(session));
    CHECK(peer_receive(&peer) == WIRE_SUBMIT, "goes out");
}

static const struct {
    const char *name;
    void (*run)(void);
    const struct peer_model *model;
    enum esm1nv_pooling pooling;
    enum esm1nv_dtype dtype;
} cases[] = {
    {"records one at a time travel in messages", test_one_shot, USUAL},
    {"a second record before the first answer makes the rings, order kept", test_switch, USUAL},
    {"a held one-shot result stays while others come and go", test_held_one_shot, &peer_model_usual,
     ESM1NV_POOL_MAX, ESM1NV_F32},
    {"the longest refusal is heard where a short row was awaited", test_refused_one_shot,
     &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F16},
    {"rings hold two of the largest records and respect the daemon's limit", test_ring_sizes,
     .model = NULL},
    {"records wrap at every offset of the completion ring", test_wrap, SMALL},
    {"held views stay, keep the daemon from writing, and go back all at once", test_held_views,
     SMALL},
    {"a full submission ring: AGAIN, then a wake-up that nothing takes away", test_full_ring,
     SMALL},
    {"bells only for those who sleep", test_bells, SMALL},
    {"sequences no model takes leave the session usable", test_sequences, USUAL},
};

int main(void) {
    alarm(TEST_LIFETIME);
    for (size_t i = 0; i < sizeof letters; i++)
        letters[i] = peer_model_usual.alphabet[(i * 7 + i / 25) % 25];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_case(cases[i].name);
        if (cases[i].model)
            session = peer_session(&peer, cases[i].model, cases[i].pooling, cases[i].dtype);
        cases[i].run();
        if (cases[i].model)
            peer_end(&peer, session);
    }
    return test_done();
}
