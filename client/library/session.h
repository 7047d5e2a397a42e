/* SPDX-License-Identifier: Apache-2.0
 *
 * What the library's files share: the session behind client/esm1nv.h, the functions that record
 * errors, and those that find a daemon's socket.
 */
#ifndef ESM1NV_SESSION_H
#define ESM1NV_SESSION_H

#include "client/esm1nv.h"
#include "ipc/base/fifo.h"
#include "ipc/message.h"
#include "ipc/ring.h"
#include "ipc/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOCKET_PATH_MAX 108 /* sizeof sun_path */
#define ERROR_TEXT_MAX 512
#define NOTICE_MAX 1280 /* bytes; only SUBMIT, RESULT and STATUS messages may be larger */

/* An error as the caller gets it: a code of enum esm1nv_condition and a line for people. */
struct failure {
    int code; /* ESM1NV_OK: nothing failed */
    char text[ERROR_TEXT_MAX];
};

/* A submitted sequence whose result was not taken yet. */
struct awaited {
    uint64_t tag;
    uint32_t length;
};

/* Null value: {0}. */
struct awaited_queue {
    struct fifo items; /* the numbers from `first` up to, but not including, `last` */
    uint64_t first;
    uint64_t last;
};

/* The state of the one record that may travel in messages at a time. */
enum one_shot {
    ONE_SHOT_NONE,
    ONE_SHOT_SENT,    /* it is the first outstanding record */
    ONE_SHOT_ARRIVED, /* its result has come and lies in the session */
    ONE_SHOT_HELD,    /* the caller has taken the result and not released it */
};

struct esm1nv_session {
    int fd;
    struct failure error; /* the last one; it does not change once the session is dead */
    bool dead;
    struct failure farewell; /* why the daemon left; becomes `error` after the last result */

    enum esm1nv_pooling pooling;
    enum esm1nv_dtype dtype;
    struct esm1nv_info info;
    bool unknown[256]; /* bytes that may not be submitted */
    char socket[SOCKET_PATH_MAX];
    char digest[WIRE_DIGEST_CHARS + 1];
    char model[128];
    char backend[16];
    char precision[16];
    uint64_t ring_max;     /* bytes of the largest memfd the daemon accepts */
    uint32_t one_shot_max; /* SUBMITs that may be unanswered */
    uint32_t row_bytes;

    struct awaited_queue awaited;
    struct ring_map map; /* {0} until records go through rings */
    struct ring_producer submissions;
    struct ring_consumer completions;
    bool wants_space; /* the last submit found no room */

    enum one_shot one_shot;
    struct ring_completion one_shot_header;
    char expected[WIRE_DIGEST_CHARS + 1]; /* prefix of the digest that must be served, or empty */
    uint8_t *exchange; /* a one-shot's request, then its answer, whose rows move to the start */
    size_t exchange_size;
};

/* Sets the failure and returns its code. */
__attribute__((format(printf, 3, 4))) int failure_set(struct failure *failure, int code,
                                                      const char *format, ...);

/* Turns a REFUSED message into a failure and returns its code. */
int failure_refused(struct failure *failure, const struct message *message);

/* These end the session and return the code of the reason: the daemon broke the protocol; a system
 * call failed with `error`, a negative errno; the daemon has left, and all results that it
 * completed are taken. */
int session_garbage(esm1nv_session *session);
int session_system(esm1nv_session *session, const char *what, int error);
int session_ended(esm1nv_session *session);

/* Receives one message and acts on it. Returns ESM1NV_OK, ESM1NV_AGAIN when none came in
 * `timeout` milliseconds (0: looks only, negative: waits without end), or a negative code. */
int session_hear(esm1nv_session *session, int timeout);

/* Called when a send failed: receives what the daemon said before it left, and ends the session.
 * Returns a negative code. */
int session_lost(esm1nv_session *session);

/* Connects to the named socket, or to the first of the usual ones that accepts, whose path goes to
 * `path`. Returns the descriptor, or a negative code with the failure set. */
int locate_daemon(const char *named, char path[SOCKET_PATH_MAX], struct failure *failure);

/* Waits for the answer to a first message and receives it into buffer; the message holds views of
 * that. A refusal, the end of the connection and garbage are failures. Returns 0, or a negative
 * code with the failure set. */
int receive_answer(int fd, const char *path, void *buffer, size_t capacity, enum wire_kind expected,
                   struct message *message, struct failure *failure);

#endif
