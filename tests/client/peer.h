/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's side of a session, driven by a test one step at a time: it speaks the protocol, or
 * breaks it where a test wants that. Nothing here waits; bells and messages are looked for.
 */
#ifndef ESM1NV_TESTS_PEER_H
#define ESM1NV_TESTS_PEER_H

#include "client/esm1nv.h"
#include "ipc/message.h"
#include "ipc/ring.h"
#include "ipc/wire.h"

/* What a WELCOME tells. */
struct peer_model {
    const char *digest;
    const char *name;
    uint64_t hidden;
    uint64_t positions;
    uint64_t ring_max;
    uint64_t one_shot_max;
    const char *alphabet; /* its letters */
    bool lets_unknown;    /* wrongly puts byte 0 into the alphabet */
};
extern const struct peer_model peer_model_usual;
/* With 16 columns, so that a row of float32 is one alignment unit, and rings as small as can be. */
extern const struct peer_model peer_model_small;

/* Null value: {.fd = -1}. */
struct peer {
    int fd;
    struct ring_map map;
    struct ring_consumer submissions;
    struct ring_producer completions;
    struct message message; /* the last one received, views of buffer */
    char buffer[WIRE_MESSAGE_MAX];
};

enum {
    PEER_NOTHING = -1, /* no message waits */
    PEER_EOF = -2,
    PEER_BELL = -3,
    PEER_GARBAGE = -4,
};

/* Makes a connected pair and returns the client's end. */
int peer_open(struct peer *peer);
void peer_close(struct peer *peer);

/* A session welcomed by this peer, its HELLO received; the program ends where there is none. */
esm1nv_session *peer_session(struct peer *peer, const struct peer_model *model,
                             enum esm1nv_pooling pooling, enum esm1nv_dtype dtype);

void peer_end(struct peer *peer, esm1nv_session *session);

void peer_send(struct peer *peer, const void *data, size_t size);
void peer_send_welcome(struct peer *peer, const struct peer_model *model);
void peer_send_refused(struct peer *peer, enum wire_refusal code, const char *text, bool retry);
void peer_send_result(struct peer *peer, uint64_t tag, enum record_status status, uint32_t rows,
                      const void *data, size_t size);

/* Receives what is next in the socket: an enum wire_kind, or one of the above. A RING's memfd is
 * attached. */
int peer_receive(struct peer *peer);

/* Takes the next submission; false when there is none. sequence has room for
 * WIRE_POSITIONS_MAX. */
bool peer_take(struct peer *peer, uint64_t *tag, char *sequence, uint32_t *length);

/* Publishes a completion filled with the pattern (a failed one keeps the room), and rings if that
 * is due. False when there is no room. */
bool peer_complete(struct peer *peer, uint64_t tag, enum record_status status, uint32_t rows,
                   uint32_t row_bytes);

/* The pattern of 32-bit words that stands for embeddings, and whether a result holds exactly it. */
uint32_t peer_value(uint64_t tag, uint32_t row, uint32_t column);
void peer_fill(void *data, uint64_t tag, uint32_t rows, uint32_t row_bytes);
bool peer_pattern_holds(const struct esm1nv_result *result, uint32_t row_bytes);

#endif
