/* SPDX-License-Identifier: Apache-2.0
 *
 * All that esm1nv and esm1nvd say to each other: protocol version 1.
 *
 * Transport: AF_UNIX SOCK_SEQPACKET. A message is one msgpack map of at most WIRE_MESSAGE_MAX
 * bytes. Its keys are small integers (keys.h), its values unsigned integers, text or bytes, never
 * nested. The one exception is a doorbell, the single byte WIRE_BELL, which is never valid msgpack.
 * Bulk data goes through the shared-memory rings (ring.h).
 *
 *   client                                  daemon
 *   HELLO                             ->
 *                                     <-    WELCOME, or REFUSED and end of file
 *   SUBMIT                            ->                     one-shot: pooled results only, at most
 *                                     <-    RESULT           WIRE_ONE_SHOT_MAX unanswered
 *   RING (+ one memfd)                ->                     at most once, from then on no SUBMIT
 *   bell                              <->   bell             a ring has data or space for a sleeper
 *   STATUS_QUERY                      ->                     instead of HELLO
 *                                     <-    STATUS
 *   STOP                              ->                     instead of HELLO; from own uid or root
 *                                     <-    STOPPING
 *
 * In every protocol version a message begins with its KIND, followed by PROTOCOL if it has one, so
 * that a daemon can tell a client of another version why it is refused.
 *
 * Results of a session come in the order of its submissions, those in messages first. A peer that
 * breaks the rules (malformed, truncated, unknown, out of order) is dropped without a word.
 */
#ifndef ESM1NV_WIRE_H
#define ESM1NV_WIRE_H

#include "ipc/keys.h"

#include <stddef.h>
#include <stdint.h>

#define WIRE_PROTOCOL 1u
#define WIRE_MESSAGE_MAX 65536u
#define WIRE_BELL 0xC1u
#define WIRE_ONE_SHOT_MAX 8u
#define WIRE_ALPHABET_BYTES 32u /* a set of 256 bytes: byte b is bit b % 8 of alphabet[b / 8] */
#define WIRE_DIGEST_CHARS 64u   /* SHA-256 in lower-case hex, no NUL on the wire */
#define WIRE_POSITIONS_MAX 4096u
#define WIRE_TEXT_MAX 1024u

/* Stands in a submitted sequence for a residue that the alphabet lacks; it gets the <unk> token. */
#define WIRE_RESIDUE_UNKNOWN 0u

enum wire_kind {
    WIRE_HELLO = 1,        /* PROTOCOL PROGRAM POOLING DTYPE [EXPECT] */
    WIRE_WELCOME = 2,      /* DIGEST PRECISION BACKEND MODEL SYNTHETIC HIDDEN POSITIONS ALPHABET
                              RING_MAX ONE_SHOT_MAX */
    WIRE_REFUSED = 3,      /* CODE TEXT RETRY */
    WIRE_SUBMIT = 4,       /* TAG SEQUENCE */
    WIRE_RESULT = 5,       /* TAG STATUS ROWS DATA */
    WIRE_RING = 6,         /* SUBMISSION_SIZE COMPLETION_SIZE, and the memfd */
    WIRE_STATUS_QUERY = 7, /* PROTOCOL */
    WIRE_STATUS = 8,       /* WIRE_STATUS_ROWS, DEVICE only where there is one */
    WIRE_STOP = 9,         /* PROTOCOL */
    WIRE_STOPPING = 10,    /* nothing */
};

enum value_type { VALUE_NUMBER = 1, VALUE_TEXT, VALUE_BYTES };

/* The keys of keys.h by their numbers, and how many there are. */
#define KEY_NUMBER(key, number, ...) key = number,
#define KEY_ONE(...) +1
enum wire_key { WIRE_SESSION_ROWS(KEY_NUMBER) WIRE_STATUS_ROWS(KEY_NUMBER) };
enum { WIRE_KEYS = WIRE_SESSION_ROWS(KEY_ONE) WIRE_STATUS_ROWS(KEY_ONE) };

enum wire_refusal {
    WIRE_REFUSED_PROTOCOL = 1, /* versions differ */
    WIRE_REFUSED_MODEL = 2,    /* another model than expected */
    WIRE_REFUSED_BUSY = 3,     /* too many clients, or more than the user's share */
    WIRE_REFUSED_LIMIT = 4,    /* a ring or request larger than allowed */
    WIRE_REFUSED_DRAINING = 5, /* the daemon is leaving */
    WIRE_REFUSED_LOAD = 6,     /* the model could not be loaded */
    WIRE_REFUSED_DENIED = 7,   /* this user may not do that */
};

/* What becomes of a sequence's residue rows. Values are wire format. */
enum pooling { POOLING_NONE = 0, POOLING_MEAN = 1, POOLING_MAX = 2, POOLING_BOS = 3 };

/* Type of the values in a row. Values are wire format. */
enum dtype { DTYPE_F32 = 0, DTYPE_F16 = 1 };

/* What became of a record. Values are wire format. */
enum record_status {
    RECORD_OK = 0,
    RECORD_NONFINITE = 1, /* a value of its rows is NaN or infinite */
    RECORD_OVERFLOW = 2,  /* a value does not fit float16 */
    RECORD_NO_BOS = 3,    /* pooling bos, but as many residues as positions: no <s> */
    RECORD_ENGINE = 4,    /* the engine failed; the record may be sent again */
};

static inline size_t dtype_size(enum dtype dtype) {
    return dtype == DTYPE_F16 ? 2 : 4;
}

#endif
