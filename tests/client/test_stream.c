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

static char letters[WIRE_POSITIONS_MAX];

static bool readable(const esm1nv_session *session) {
    struct pollfd poller = {.fd = esm1nv_fd(session), .events = POLLIN};
    return poll(&poller, 1, 0) == 1;
}

static bool submit(esm1nv_session *session, uint64_t tag, size_t length) {
    return esm1nv_submit(session, tag, letters, length) == 0;
}

static void expect_result(esm1nv_session *session, uint64_t tag, uint32_t rows, uint32_t row_bytes,
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

/* Takes a result and gives it back at once. */
static void expect_and_release(esm1nv_session *session, uint64_t tag, uint32_t rows,
                               uint32_t row_bytes) {
    struct esm1nv_result result = {0};
    expect_result(session, tag, rows, row_bytes, &result);
    esm1nv_release(session, &result);
}

static void send_row(struct peer *peer, uint64_t tag) {
    _Alignas(4) char row[ROW_BYTES];
    peer_fill(row, tag, 1, ROW_BYTES);
    peer_send_result(peer, tag, RECORD_OK, 1, row, sizeof row);
}

static void test_one_shot(void) {
    struct peer peer;
    struct esm1nv_result result;

    test_case("records one at a time travel in messages");
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F32);
    for (uint64_t tag = UINT64_MAX - 5; session && tag != 5; tag++) {
        size_t length = (tag & 255) % 512 + 1;
        CHECK(submit(session, tag, length), "%s", esm1nv_error_text(session));
        CHECK(esm1nv_outstanding(session) == 1, "one outstanding");
        CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "no answer yet");
        CHECK(esm1nv_next(session, &result, 1) == ESM1NV_AGAIN, "no answer yet");
        CHECK(peer_receive(&peer) == WIRE_SUBMIT, "a message");
        CHECK(peer.message.value[WIRE_TAG].number == tag, "tag");
        CHECK(peer.message.value[WIRE_SEQUENCE].length == length, "length");
        CHECK(memcmp(peer.message.value[WIRE_SEQUENCE].bytes, letters, length) == 0, "sequence");
        CHECK(!readable(session), "nothing to read yet");
        if (tag % 3) {
            send_row(&peer, tag);
            CHECK(readable(session), "the answer can be polled for");
            expect_and_release(session, tag, 1, ROW_BYTES);
        } else {
            peer_send_result(&peer, tag, RECORD_NONFINITE, 0, NULL, 0);
            CHECK(esm1nv_next(session, &result, -1) == 0, "%s", esm1nv_error_text(session));
            CHECK(result.status == ESM1NV_RECORD_NONFINITE && !result.rows && !result.row_count,
                  "a failed record has no rows");
            esm1nv_release(session, &result);
        }
        CHECK(esm1nv_next(session, &result, -1) == ESM1NV_END, "all answered");
    }
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_switch(void) {
    struct peer peer;
    struct esm1nv_result first, second;
    char sequence[WIRE_POSITIONS_MAX];
    uint64_t tag;
    uint32_t length;

    test_case("a second record before the first answer makes the rings, order kept");
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F32);
    if (!session)
        return;
    CHECK(submit(session, 7, 10) && submit(session, 8, 11) && submit(session, 9, 12), "submit");
    CHECK(esm1nv_outstanding(session) == 3, "three outstanding");
    CHECK(peer_receive(&peer) == WIRE_SUBMIT, "the first in a message");
    CHECK(peer_receive(&peer) == WIRE_RING, "then the ring");
    CHECK(peer.map.submission_size == 65536 && peer.map.completion_size == 1 << 20, "sizes");
    CHECK(peer_receive(&peer) == PEER_NOTHING, "no bell for one who does not sleep");
    for (uint64_t i = 8; i <= 9; i++) {
        CHECK(peer_take(&peer, &tag, sequence, &length), "record %d", (int)i);
        CHECK(tag == i && length == i + 3 && !memcmp(sequence, letters, length), "as submitted");
        CHECK(peer_complete(&peer, i, RECORD_OK, 1, ROW_BYTES), "room");
    }
    CHECK(esm1nv_next(session, &first, 0) == ESM1NV_AGAIN, "the message's answer comes first");
    CHECK(!readable(session), "and nothing wakes the caller before it");
    send_row(&peer, 7);
    expect_result(session, 7, 1, ROW_BYTES, &first);
    expect_and_release(session, 8, 1, ROW_BYTES);
    CHECK(submit(session, 10, 5), "all later ones through the ring");
    expect_result(session, 9, 1, ROW_BYTES, &second);
    esm1nv_release(session, &first); /* again: does nothing */
    CHECK(peer_pattern_holds(&second, ROW_BYTES), "the second is still held");
    CHECK(peer_take(&peer, &tag, sequence, &length) && tag == 10, "the fourth");
    CHECK(peer_receive(&peer) == PEER_NOTHING, "neither message nor bell");
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_held_one_shot(void) {
    struct peer peer;
    struct esm1nv_result held, none;

    test_case("a held one-shot result stays while others come and go");
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_MAX, ESM1NV_F32);
    if (!session)
        return;
    CHECK(submit(session, 1, 9), "submit");
    send_row(&peer, 1);
    expect_result(session, 1, 1, ROW_BYTES, &held);
    CHECK(submit(session, 2, 9), "submit");
    CHECK(peer_receive(&peer) == WIRE_SUBMIT && peer_receive(&peer) == WIRE_RING, "ring");
    peer_send(&peer, &(uint8_t){WIRE_BELL}, 1);
    CHECK(esm1nv_next(session, &none, 0) == ESM1NV_AGAIN, "a bell for nothing");
    CHECK(peer_complete(&peer, 2, RECORD_OK, 1, ROW_BYTES), "room");
    expect_and_release(session, 2, 1, ROW_BYTES);
    CHECK(peer_pattern_holds(&held, ROW_BYTES), "the view still holds");
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_refused_one_shot(void) {
    struct peer peer;
    struct esm1nv_result none;
    char text[1001] = "";

    test_case("the longest refusal is heard where a short row was awaited");
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F16);
    if (!session)
        return;
    memset(text, 'x', sizeof text - 1);
    CHECK(submit(session, 1, 9), "submit");
    peer_send_refused(&peer, WIRE_REFUSED_DRAINING, text, true);
    CHECK(esm1nv_next(session, &none, -1) == ESM1NV_ERROR_BUSY, "%s", esm1nv_error_text(session));
    esm1nv_close(session);
    peer_close(&peer);
}

/* What a session of this kind sends first, and the completion ring it makes. */
static void check_ring_choice(const struct peer_model *model, enum esm1nv_pooling pooling,
                              uint32_t completion_size) {
    struct peer peer;
    esm1nv_session *session = peer_session(&peer, model, pooling, ESM1NV_F32);
    int code = session ? esm1nv_submit(session, 1, letters, 3) : 0;
    if (completion_size) {
        CHECK(code == 0, "%s", esm1nv_error_text(session));
        CHECK(peer_receive(&peer) == WIRE_RING, "the ring comes at once");
        CHECK(peer.map.completion_size == completion_size, "H %u P %u: %u bytes",
              (unsigned)model->hidden, (unsigned)model->positions, peer.map.completion_size);
    } else {
        CHECK(code == ESM1NV_ERROR_REFUSED, "%d", code);
        CHECK(strstr(esm1nv_error_text(session), "--ring-size"), "%s", esm1nv_error_text(session));
    }
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_ring_sizes(void) {
    struct peer_model model = peer_model_usual;

    test_case("rings hold two of the largest records and respect the daemon's limit");
    model.hidden = 768;
    check_ring_choice(&model, ESM1NV_POOL_NONE, 8 << 20);
    model.positions = 4096; /* 12 MiB and a header, twice */
    check_ring_choice(&model, ESM1NV_POOL_NONE, 32 << 20);
    model.ring_max = 4096 + 65536 + (32 << 20);
    check_ring_choice(&model, ESM1NV_POOL_NONE, 32 << 20);
    model.ring_max--;
    check_ring_choice(&model, ESM1NV_POOL_NONE, 0);
    model = peer_model_usual;
    model.one_shot_max = 0;
    check_ring_choice(&model, ESM1NV_POOL_MEAN, 1 << 20);
    model.ring_max = 300000;
    check_ring_choice(&model, ESM1NV_POOL_MEAN, 1 << 17);
    model.ring_max = 4096 + 65536 * 2;
    check_ring_choice(&model, ESM1NV_POOL_MEAN, 1 << 16);
    model.ring_max = 0;
    check_ring_choice(&model, ESM1NV_POOL_MEAN, 0);
    model = peer_model_usual;
    model.hidden = 65535; /* a row of 256 KiB fits no message */
    check_ring_choice(&model, ESM1NV_POOL_BOS, 1 << 20);
}

/* A session of residue rows whose completion ring is as small as it can be, its ring attached. */
static esm1nv_session *small_session(struct peer *peer) {
    struct peer_model model = peer_model_usual;
    model.hidden = 16; /* one row is one alignment unit */
    model.positions = 500;
    model.ring_max = 4096 + 65536 * 2;
    return peer_session(peer, &model, ESM1NV_POOL_NONE, ESM1NV_F32);
}

/* Sends one record all the way round; some fail. */
static void round_trip(esm1nv_session *session, struct peer *peer, uint64_t tag, uint32_t rows) {
    bool fails = tag % 5 == 3;
    char sequence[WIRE_POSITIONS_MAX];
    uint64_t taken;
    uint32_t length;

    CHECK(submit(session, tag, rows), "%s", esm1nv_error_text(session));
    if (!peer->map.header)
        CHECK(peer_receive(peer) == WIRE_RING, "the ring");
    CHECK(peer_take(peer, &taken, sequence, &length), "record %d", (int)tag);
    CHECK(taken == tag && length == rows, "record %d", (int)tag);
    CHECK(memcmp(sequence, letters, length) == 0, "record %d", (int)tag);
    CHECK(peer_complete(peer, tag, fails ? RECORD_ENGINE : RECORD_OK, rows, 64), "room");
    expect_and_release(session, tag, fails ? 0 : rows, 64);
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
    struct peer peer;
    uint64_t tag = 0;

    test_case("records wrap at every offset of the completion ring");
    esm1nv_session *session = small_session(&peer);
    if (!session)
        return;
    round_trip(session, &peer, tag++, 1);
    /* No record is so small that one could begin at 64. */
    for (uint32_t offset = 128; offset <= 65536 && !test_state.failures; offset += 64) {
        uint32_t here;
        while ((here = peer.completions.reserved & 65535) != (offset & 65535)) {
            uint32_t units = ((offset - here) & 65535) / 64;
            uint32_t before_end = (65536 - here) / 64;
            round_trip(session, &peer, tag++, rows_toward(units < before_end ? units : before_end));
        }
        round_trip(session, &peer, tag++, 500);
    }
    CHECK(peer.completions.reserved > 1024 * 65536u / 2, "it did go round");
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_held_views(void) {
    struct esm1nv_result held[40];
    struct peer peer;
    unsigned count = 0, sent = 0;

    test_case("held views stay, keep the daemon from writing, and go back all at once");
    esm1nv_session *session = small_session(&peer);
    if (!session)
        return;
    for (unsigned i = 0; i < 40; i++)
        CHECK(submit(session, i, 100), "submit");
    CHECK(peer_receive(&peer) == WIRE_RING, "ring");
    while (sent < 40 && peer_complete(&peer, sent, RECORD_OK, 100, 64))
        sent++;
    CHECK(sent == 65536 / 6464, "%u fit", sent);
    CHECK(!ring_producer_sleeps(&peer.completions), "no room");
    for (; count < sent; count++)
        expect_result(session, count, 100, 64, &held[count]);
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
    expect_and_release(session, sent, 100, 64);
    CHECK(peer_complete(&peer, 99, RECORD_OK, 100, 64), "a release counts for all before it");
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_full_ring(void) {
    struct esm1nv_result result;
    struct peer peer;
    char sequence[WIRE_POSITIONS_MAX];
    unsigned count = 0;
    uint64_t tag;
    uint32_t length;

    test_case("a full submission ring: AGAIN, then a wake-up that nothing takes away");
    esm1nv_session *session = small_session(&peer);
    if (!session)
        return;
    while (count < 1000 && submit(session, count, 400))
        count++;
    CHECK(count == 65536 / 416, "%u fit", count);
    CHECK(esm1nv_submit(session, 0, letters, 400) == ESM1NV_AGAIN, "no room");
    CHECK(esm1nv_outstanding(session) == count, "nothing was queued");
    CHECK(submit(session, count++, 1), "a smaller one still fits");
    while (submit(session, count, 17))
        count++;
    CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "no result either");
    CHECK(!readable(session), "nothing to wake for");
    CHECK(peer_receive(&peer) == WIRE_RING, "ring");
    CHECK(peer_take(&peer, &tag, sequence, &length) && tag == 0, "the first");
    CHECK(readable(session), "room wakes the caller");
    CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "still no result");
    CHECK(readable(session), "looking for results has not taken the wake-up");
    CHECK(submit(session, count++, 400), "it fits now");
    CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "still no result");
    CHECK(!readable(session), "the bell was taken when it had no more to say");
    CHECK(peer_complete(&peer, 0, RECORD_OK, 400, 64), "room");
    CHECK(readable(session), "a result wakes the caller");
    expect_and_release(session, 0, 400, 64);
    while (submit(session, count, 17))
        count++;
    CHECK(peer_take(&peer, &tag, sequence, &length) && tag == 1, "the second");
    for (int i = 0; i < 2; i++)
        CHECK(esm1nv_next(session, &result, 0) == ESM1NV_AGAIN, "no result");
    CHECK(!readable(session), "a caller that gave up submitting can sleep");
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_bells(void) {
    struct esm1nv_result result;
    struct peer peer;
    uint64_t tag;
    uint32_t length;
    char sequence[WIRE_POSITIONS_MAX];

    test_case("bells only for those who sleep");
    esm1nv_session *session = small_session(&peer);
    if (!session)
        return;
    CHECK(submit(session, 0, 5) && peer_receive(&peer) == WIRE_RING, "ring");
    CHECK(peer_take(&peer, &tag, sequence, &length), "the first");
    CHECK(!ring_consumer_sleeps(&peer.submissions), "nothing more");
    CHECK(submit(session, 1, 5) && submit(session, 2, 5), "submit");
    CHECK(peer_receive(&peer) == PEER_BELL, "the sleeping daemon is rung");
    CHECK(peer_receive(&peer) == PEER_NOTHING, "once");
    for (uint64_t i = 0; i < 3; i++)
        CHECK(peer_complete(&peer, i, RECORD_OK, 5, 64), "room");
    CHECK(!readable(session), "the caller never slept");
    for (uint64_t i = 0; i < 3; i++)
        expect_and_release(session, i, 5, 64);
    CHECK(peer_receive(&peer) == PEER_NOTHING, "nor did the daemon");
    CHECK(submit(session, 3, 5), "submit");
    CHECK(esm1nv_next(session, &result, 5) == ESM1NV_AGAIN, "times out");
    CHECK(peer_complete(&peer, 3, RECORD_OK, 5, 64), "room");
    CHECK(readable(session), "a timed wait leaves the bell armed");
    CHECK(esm1nv_next(session, &result, -1) == 0, "%s", esm1nv_error_text(session));
    esm1nv_close(session);
    peer_close(&peer);
}

static void test_sequences(void) {
    struct peer peer;
    uint8_t sequence[513];

    test_case("sequences no model takes leave the session usable");
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_MEAN, ESM1NV_F32);
    if (!session)
        return;
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
    esm1nv_close(session);
    peer_close(&peer);
}

int main(void) {
    alarm(TEST_LIFETIME);
    for (size_t i = 0; i < sizeof letters; i++)
        letters[i] = peer_model_usual.alphabet[(i * 7 + i / 25) % 25];
    test_one_shot();
    test_switch();
    test_held_one_shot();
    test_refused_one_shot();
    test_ring_sizes();
    test_wrap();
    test_held_views();
    test_full_ring();
    test_bells();
    test_sequences();
    return test_done();
}
