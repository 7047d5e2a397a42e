/* SPDX-License-Identifier: Apache-2.0
 *
 * The start of a session: options of several sizes, what a WELCOME must hold, and every refusal.
 */
#include "ipc/channel.h"
#include "tests/check.h"
#include "tests/client/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

TEST("a session knows what the daemon told") {
    struct peer peer;
    esm1nv_session *session = peer_session(&peer, &peer_model_usual, ESM1NV_POOL_NONE, ESM1NV_F16);
    const struct esm1nv_info *info = esm1nv_info(session);
    CHECK(strcmp(info->digest, peer_model_usual.digest) == 0, "%s", info->digest);
    CHECK(strcmp(info->model, "fixture") == 0, "%s", info->model);
    CHECK(strcmp(info->backend, "cpu") == 0, "%s", info->backend);
    CHECK(strcmp(info->precision, "bf16") == 0, "%s", info->precision);
    CHECK(info->synthetic == 1 && info->hidden == 32 && info->positions == 512, "numbers");
    for (int byte = 0; byte < 256; byte++) {
        bool letter = byte && byte < 128 && strchr(peer_model_usual.alphabet, byte);
        CHECK((info->alphabet[byte / 8] >> byte % 8 & 1) == letter, "byte %d", byte);
    }
    struct esm1nv_result result;
    CHECK(esm1nv_outstanding(session) == 0, "nothing submitted");
    CHECK(esm1nv_next(session, &result, -1) == ESM1NV_END, "nothing to wait for");
    CHECK(message_has(&peer.message, WIRE_PROGRAM), "HELLO names the program");
    esm1nv_close(session);
    CHECK(peer_receive(&peer) == PEER_EOF, "close says nothing");
    peer_close(&peer);
    esm1nv_close(NULL);
}

#define REFUSED (-1)

/* Connects with these options against a usual WELCOME; they ask for this pooling, or are refused.
 */
static void check_options(const struct esm1nv_options *options, int pooling, const char *what) {
    esm1nv_session *session;
    struct peer peer;
    int fd = peer_open(&peer);
    peer_send_welcome(&peer, &peer_model_usual);
    int result = esm1nv_connect_fd(&session, fd, options);
    CHECK(result == (pooling == REFUSED ? ESM1NV_ERROR_ARGUMENT : 0), "%s: %d", what, result);
    CHECK(result == 0 || *esm1nv_error_text(session), "%s: no text", what);
    CHECK(pooling == REFUSED || peer_receive(&peer) == WIRE_HELLO, "%s: no HELLO", what);
    CHECK(pooling == REFUSED || peer.message.value[WIRE_POOLING].number == (uint64_t)pooling,
          "%s: pooling", what);
    esm1nv_close(session);
    CHECK(peer_receive(&peer) == PEER_EOF, "%s: nothing more may be sent", what);
    peer_close(&peer);
}

TEST("options of older, newer and wrong callers") {
    struct {
        struct esm1nv_options known;
        uint64_t later;
    } grown = {ESM1NV_OPTIONS_INIT, 0};
    struct esm1nv_options options = {.size = sizeof options};

    check_options(NULL, POOLING_MEAN, "no options");
    check_options(&options, POOLING_NONE, "zeroed options");
    options = (struct esm1nv_options){.size = offsetof(struct esm1nv_options, pooling),
                                      .pooling = ESM1NV_POOL_BOS};
    check_options(&options, POOLING_MEAN, "a smaller struct");
    options = (struct esm1nv_options)ESM1NV_OPTIONS_INIT;
    options.program = "a name far longer than what a daemon puts into its log, sixty-four bytes";
    check_options(&options, POOLING_MEAN, "a long program name");
    grown.known.size = sizeof grown;
    check_options(&grown.known, POOLING_MEAN, "a larger struct, unused");
    grown.later = 1;
    check_options(&grown.known, REFUSED, "a larger struct, used");
    options = (struct esm1nv_options){0};
    check_options(&options, REFUSED, "size 0");
    options = (struct esm1nv_options)ESM1NV_OPTIONS_INIT;
    options.pooling = (enum esm1nv_pooling)4;
    check_options(&options, REFUSED, "pooling 4");
    options = (struct esm1nv_options)ESM1NV_OPTIONS_INIT;
    options.dtype = (enum esm1nv_dtype)2;
    check_options(&options, REFUSED, "dtype 2");
    options = (struct esm1nv_options)ESM1NV_OPTIONS_INIT;
    options.expect_digest = "0011X";
    check_options(&options, REFUSED, "digest not hex");
    options.expect_digest = "";
    check_options(&options, REFUSED, "empty digest");
}

static int connect_code(const struct peer_model *model, const char *expected) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    struct peer peer;
    int fd = peer_open(&peer);

    options.expect_digest = expected;
    if (model)
        peer_send_welcome(&peer, model);
    else
        peer_close(&peer);
    int code = esm1nv_connect_fd(&session, fd, &options);
    CHECK(code == 0 || *esm1nv_error_text(session), "an error without text");
    if (code < 0) {
        struct esm1nv_result result;
        CHECK(esm1nv_submit(session, 1, "MKV", 3) == code, "the session must stay failed");
        CHECK(esm1nv_next(session, &result, 0) == code, "the session must stay failed");
    }
    peer_end(&peer, session);
    return code;
}

TEST("impossible WELCOMEs") {
#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define UPPER "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
    enum { WRONG = ESM1NV_ERROR_PROTOCOL };
    static const struct {
        const char *what, *expected, *digest, *alphabet;
        uint64_t hidden, positions;
        int result;
        bool lets_unknown;
    } cases[] = {
        {"the usual one", NULL, DIGEST, "ACDEF", 32, 512, 0, false},
        {"the expected model", "0011", DIGEST, "ACDEF", 32, 512, 0, false},
        {"the expected model, whole digest", DIGEST, DIGEST, "ACDEF", 32, 512, 0, false},
        {"another model", "0012", DIGEST, "ACDEF", 32, 512, ESM1NV_ERROR_MODEL, false},
        {"byte 0 in the alphabet", NULL, DIGEST, "ACDEF", 32, 512, WRONG, true},
        {"empty alphabet", NULL, DIGEST, "", 32, 512, WRONG, false},
        {"digest not lower-case hex", NULL, UPPER, "ACDEF", 32, 512, WRONG, false},
        {"short digest", NULL, "0011", "ACDEF", 32, 512, WRONG, false},
        {"H = 0", NULL, DIGEST, "ACDEF", 0, 512, WRONG, false},
        {"H = 2^32", NULL, DIGEST, "ACDEF", UINT64_C(1) << 32, 512, WRONG, false},
        {"P too large", NULL, DIGEST, "ACDEF", 32, WIRE_POSITIONS_MAX + 1, WRONG, false},
        {"P = 0", NULL, DIGEST, "ACDEF", 32, 0, WRONG, false},
    };

    CHECK(connect_code(NULL, NULL) == ESM1NV_ERROR_LOST, "no answer");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer_model model = peer_model_usual;
        model.digest = cases[i].digest;
        model.alphabet = cases[i].alphabet;
        model.hidden = cases[i].hidden;
        model.positions = cases[i].positions;
        model.lets_unknown = cases[i].lets_unknown;
        CHECK(connect_code(&model, cases[i].expected) == cases[i].result, "%s", cases[i].what);
    }
}

TEST("refusals, also from a daemon that closes before it reads") {
    static const struct {
        enum wire_refusal code;
        bool retry;
        int expected;
    } cases[] = {
        {WIRE_REFUSED_PROTOCOL, false, ESM1NV_ERROR_REFUSED},
        {WIRE_REFUSED_MODEL, false, ESM1NV_ERROR_MODEL},
        {WIRE_REFUSED_BUSY, true, ESM1NV_ERROR_BUSY},
        {WIRE_REFUSED_LIMIT, false, ESM1NV_ERROR_REFUSED},
        {WIRE_REFUSED_DRAINING, true, ESM1NV_ERROR_BUSY},
        {WIRE_REFUSED_LOAD, false, ESM1NV_ERROR_MODEL},
        {WIRE_REFUSED_DENIED, false, ESM1NV_ERROR_DENIED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esm1nv_session *session;
        struct peer peer;
        int fd = peer_open(&peer);
        peer_send_refused(&peer, cases[i].code, "not\ttoday", cases[i].retry);
        if (i % 2)
            peer_close(&peer);
        int code = esm1nv_connect_fd(&session, fd, NULL);
        CHECK(code == cases[i].expected, "refusal %d gives %d", (int)cases[i].code, code);
        CHECK(strstr(esm1nv_error_text(session), "not?today"), "%s", esm1nv_error_text(session));
        peer_end(&peer, session);
    }
}

TEST("an answer that is no WELCOME") {
    struct peer peer;
    esm1nv_session *session;

    for (int variant = 0; variant < 4; variant++) {
        int fd = peer_open(&peer);
        if (variant == 0)
            peer_send(&peer, "HTTP/1.1 400 Bad Request", 24);
        else if (variant == 1)
            peer_send(&peer, &(uint8_t){WIRE_BELL}, 1);
        else if (variant == 2)
            peer_send_result(&peer, 1, RECORD_OK, 0, NULL, 0);
        else
            channel_send(peer.fd, "\x81\x00\x0a", 3, fd, true);
        int code = esm1nv_connect_fd(&session, fd, NULL);
        CHECK(code == ESM1NV_ERROR_PROTOCOL, "variant %d: %d", variant, code);
        peer_end(&peer, session);
    }
}

TEST("a given descriptor is owned, blocking or not") {
    struct esm1nv_options options = {.size = 0};
    esm1nv_session *session;
    struct peer peer;

    int fd = peer_open(&peer);
    CHECK(esm1nv_connect_fd(&session, fd, &options) == ESM1NV_ERROR_ARGUMENT, "size 0");
    esm1nv_close(session);
    CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF, "closed on error too");
    peer_close(&peer);
    fd = peer_open(&peer);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    peer_send_welcome(&peer, &peer_model_usual);
    CHECK(esm1nv_connect_fd(&session, fd, NULL) == 0, "%s", esm1nv_error_text(session));
    CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK), "the library waits in blocking calls");
    CHECK(esm1nv_fd(session) == fd, "the same descriptor");
    peer_end(&peer, session);
    CHECK(esm1nv_connect_fd(&session, -1, NULL) == ESM1NV_ERROR_SYSTEM, "descriptor -1");
    esm1nv_close(session);
}

TEST("every code and status has words") {
    for (int code = ESM1NV_ERROR_SYSTEM; code <= ESM1NV_END; code++)
        CHECK(strcmp(esm1nv_error_name(code), "unknown error") != 0, "code %d", code);
    for (int status = 0; status <= ESM1NV_RECORD_ENGINE; status++)
        CHECK(strcmp(esm1nv_status_text((enum esm1nv_status)status), "unknown status") != 0,
              "status %d", status);
    CHECK(strcmp(esm1nv_version(), ESM1NV_VERSION) == 0, "%s", esm1nv_version());
}

int main(void) {
    alarm(TEST_LIFETIME);
    test_run();
    return test_done();
}
