/* SPDX-License-Identifier: Apache-2.0
 *
 * What the library's files share: the session behind client/esm1nv.h, how errors are told, and how
 * a socket is found.
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
#define NOTICE_MAX 1280 /* bytes: more than any message but SUBMIT, RESULT and STATUS takes */

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
    struct fifo items; /* numbers `first` to before `last` */
    uint64_t first;
    uint64_t last;
};

/* The one record that may travel in messages at a time. */
enum one_shot {
    ONE_SHOT_NONE,
    ONE_SHOT_SENT,    /* the first outstanding record is this one */
    ONE_SHOT_ARRIVED, /* and its result lies in the session */
    ONE_SHOT_HELD,    /* the caller views the result */
};

struct esm1nv_session {
    int fd;
    struct failure error; /* the last one; once `dead` it stays */
    bool dead;
    struct failure farewell; /* why the daemon left; told once what it completed before is taken */

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
    struct ring_map map; /* null until records go through rings */
    struct ring_producer submissions;
    struct ring_consumer completions;
    bool wants_space; /* the last submit found no room */

    enum one_shot one_shot;
    struct ring_completion one_shot_header;
    char expected[WIRE_DIGEST_CHARS + 1]; /* prefix of the digest that was insisted on, or empty */
    uint8_t *exchange; /* a one-shot's request, then its answer, whose rows move to its start */
    size_t exchange_size;
};

/* Sets the failure and returns its code. */
__attribute__((format(printf, 3, 4))) int failure_set(struct failure *failure, int code,
                                                      const char *format, ...);

/* Turns a REFUSED message into a failure and returns its code. */
int failure_refused(struct failure *failure, const struct message *message);

/* Connects to the named socket, or to the first of the usual ones that accepts, whose path goes to
 * `path`. Returns the descriptor, or a negative code with the failure set. */
int locate_daemon(const char *named, char path[SOCKET_PATH_MAX], struct failure *failure);

/* Receives one whole message, waiting for it, into buffer, of which the message holds views. A
 * refusal, the end of the connection and garbage are failures. Returns 0 or a negative code with
 * the failure set. For the exchanges before records flow. */
int receive_answer(int fd, const char *path, void *buffer, size_t capacity, enum wire_kind expected,
                   struct message *message, struct failure *failure);

#endif
