/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's side of a session, see peer.h.
 */
#include "tests/client/peer.h"

#include "ipc/channel.h"
#include "tests/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const struct peer_model peer_model_usual = {
    .digest = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    .name = "fixture",
    .hidden = 32,
    .positions = 512,
    .ring_max = 64 << 20,
    .one_shot_max = WIRE_ONE_SHOT_MAX,
    .alphabet = "ACDEFGHIKLMNPQRSTVWYXBZUO",
};

const struct peer_model peer_model_small = {
    .digest = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    .name = "small",
    .hidden = 16,
    .positions = 500,
    .ring_max = 4096 + 65536 * 2,
    .one_shot_max = WIRE_ONE_SHOT_MAX,
    .alphabet = "ACDEFGHIKLMNPQRSTVWYXBZUO",
};

int peer_open(struct peer *peer) {
    int ends[2];
    memset(peer, 0, offsetof(struct peer, buffer));
    peer->fd = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    peer->fd = ends[0];
    return ends[1];
}

void peer_close(struct peer *peer) {
    ring_detach(&peer->map);
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

void peer_send(struct peer *peer, const void *data, size_t size) {
    int ret = channel_send(peer->fd, data, size, -1, true);
    CHECK(ret == 0, "the peer cannot send: %s", strerror(-ret));
}

static void peer_send_message(struct peer *peer, struct message_writer *writer) {
    long size = message_end(writer);
    CHECK(size > 0, "the peer's message does not fit");
    peer_send(peer, writer->data, (size_t)size);
}

void peer_send_welcome(struct peer *peer, const struct peer_model *model) {
    uint8_t alphabet[WIRE_ALPHABET_BYTES] = {model->lets_unknown};
    struct message_writer writer;

    for (const char *letter = model->alphabet; *letter; letter++)
        alphabet[*letter / 8] |= (uint8_t)(1u << *letter % 8);
    message_begin(&writer, peer->buffer, sizeof peer->buffer, WIRE_WELCOME);
    message_put_text(&writer, WIRE_DIGEST, model->digest);
    message_put_text(&writer, WIRE_PRECISION, "bf16");
    message_put_text(&writer, WIRE_BACKEND, "cpu");
    message_put_text(&writer, WIRE_MODEL, model->name);
    message_put_number(&writer, WIRE_SYNTHETIC, 1);
    message_put_number(&writer, WIRE_HIDDEN, model->hidden);
    message_put_number(&writer, WIRE_POSITIONS, model->positions);
    message_put_bytes(&writer, WIRE_ALPHABET, alphabet, sizeof alphabet);
    message_put_number(&writer, WIRE_RING_MAX, model->ring_max);
    message_put_number(&writer, WIRE_ONE_SHOT_LIMIT, model->one_shot_max);
    peer_send_message(peer, &writer);
}

void peer_send_refused(struct peer *peer, enum wire_refusal code, const char *text, bool retry) {
    struct message_writer writer;
    message_begin(&writer, peer->buffer, sizeof peer->buffer, WIRE_REFUSED);
    message_put_number(&writer, WIRE_CODE, code);
    message_put_text(&writer, WIRE_TEXT, text);
    message_put_number(&writer, WIRE_RETRY, retry);
    peer_send_message(peer, &writer);
}

void peer_send_result(struct peer *peer, uint64_t tag, enum record_status status, uint32_t rows,
                      const void *data, size_t size) {
    struct message_writer writer;
    message_begin(&writer, peer->buffer, sizeof peer->buffer, WIRE_RESULT);
    message_put_number(&writer, WIRE_TAG, tag);
    message_put_number(&writer, WIRE_RECORD_STATUS, status);
    message_put_number(&writer, WIRE_ROWS, rows);
    message_put_bytes(&writer, WIRE_DATA, data, size);
    peer_send_message(peer, &writer);
}

/* Like channel_receive(), but takes a descriptor; -1 when none came. */
static ssize_t receive_with_fd(struct peer *peer, int *passed) {
    struct iovec part = {.iov_base = peer->buffer, .iov_len = sizeof peer->buffer};
    int fds[CHANNEL_FDS_MAX];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t size;

    do
        size = recvmsg(peer->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (size < 0 && (errno == EINTR || errno == ECONNRESET));
    *passed = size >= 0 && channel_descriptors(&header, fds) > 0 ? fds[0] : -1;
    return size;
}

static void attach(struct peer *peer, int memfd) {
    int ret =
        ring_attach(&peer->map, memfd, (uint32_t)peer->message.value[WIRE_SUBMISSION_SIZE].number,
                    (uint32_t)peer->message.value[WIRE_COMPLETION_SIZE].number);
    CHECK(ret == 0, "the client's ring is not as it should be: %s", strerror(-ret));
    if (ret < 0)
        return;
    ring_submission_consumer(&peer->submissions, &peer->map);
    ring_completion_producer(&peer->completions, &peer->map);
}

int peer_receive(struct peer *peer) {
    int memfd, kind = PEER_GARBAGE;
    ssize_t size = receive_with_fd(peer, &memfd);

    if (size <= 0)
        return size < 0 ? PEER_NOTHING : PEER_EOF;
    if (size == 1 && (uint8_t)peer->buffer[0] == WIRE_BELL)
        kind = PEER_BELL;
    else if (message_decode(&peer->message, peer->buffer, (size_t)size) == 0)
        kind = (int)peer->message.kind;
    CHECK((memfd >= 0) == (kind == WIRE_RING), "a descriptor only comes with RING");
    if (kind == WIRE_RING)
        attach(peer, memfd);
    if (memfd >= 0)
        close(memfd);
    return kind;
}

esm1nv_session *peer_session(struct peer *peer, const struct peer_model *model,
                             enum esm1nv_pooling pooling, enum esm1nv_dtype dtype) {
    struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
    esm1nv_session *session;
    int fd = peer_open(peer);

    options.pooling = pooling;
    options.dtype = dtype;
    peer_send_welcome(peer, model);
    if (esm1nv_connect_fd(&session, fd, &options) != 0) {
        printf("Bail out! no session: %s\n", esm1nv_error_text(session));
        exit(1);
    }
    CHECK(peer_receive(peer) == WIRE_HELLO, "HELLO comes first");
    CHECK(peer->message.value[WIRE_POOLING].number == (uint64_t)pooling, "pooling in HELLO");
    CHECK(peer->message.value[WIRE_DTYPE].number == (uint64_t)dtype, "dtype in HELLO");
    return session;
}

void peer_end(struct peer *peer, esm1nv_session *session) {
    esm1nv_close(session);
    peer_close(peer);
}

bool peer_take(struct peer *peer, uint64_t *tag, char *sequence, uint32_t *length) {
    struct ring_submission header;
    const uint8_t *body;
    uint64_t end;

    int ret = ring_take_submission(&peer->submissions, &header, &body, &end);
    CHECK(ret == 0 || ret == RING_EMPTY, "the submission ring is damaged: %s", strerror(-ret));
    if (ret != 0)
        return false;
    CHECK(header.length >= 1 && header.length <= WIRE_POSITIONS_MAX, "length %u", header.length);
    CHECK(header.reserved == 0, "reserved is %u", header.reserved);
    *tag = header.tag;
    *length = header.length;
    memcpy(sequence, body, header.length <= WIRE_POSITIONS_MAX ? header.length : 0);
    if (ring_release(&peer->submissions, end))
        channel_ring_bell(peer->fd);
    return true;
}

bool peer_complete(struct peer *peer, uint64_t tag, enum record_status status, uint32_t rows,
                   uint32_t row_bytes) {
    struct ring_completion header = {.tag = tag,
                                     .status = status,
                                     .rows = status == RECORD_OK ? rows : 0,
                                     .bytes = rows * row_bytes};
    uint64_t end;
    void *record;

    int ret = ring_reserve(&peer->completions, sizeof header, header.bytes, &record, &end);
    CHECK(ret == 0 || ret == RING_FULL, "the completion ring is damaged: %s", strerror(-ret));
    if (ret != 0)
        return false;
    memcpy(record, &header, sizeof header);
    peer_fill((char *)record + sizeof header, tag, rows, row_bytes);
    if (ring_publish(&peer->completions, end))
        channel_ring_bell(peer->fd);
    return true;
}

uint32_t peer_value(uint64_t tag, uint32_t row, uint32_t column) {
    return (uint32_t)tag * 2654435761u + row * 40503u + column * 97u;
}

void peer_fill(void *data, uint64_t tag, uint32_t rows, uint32_t row_bytes) {
    uint32_t *word = data;
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < row_bytes / sizeof *word; column++)
            *word++ = peer_value(tag, row, column);
}

bool peer_pattern_holds(const struct esm1nv_result *result, uint32_t row_bytes) {
    const uint32_t *word = result->rows;
    if (result->bytes != (size_t)result->row_count * row_bytes || (uintptr_t)word % 64)
        return false;
    for (uint32_t row = 0; row < result->row_count; row++)
        for (uint32_t column = 0; column < row_bytes / sizeof *word; column++)
            if (*word++ != peer_value(result->tag, row, column))
                return false;
    return true;
}
