/* SPDX-License-Identifier: Apache-2.0
 *
 * libesm1nv: protein embeddings from a local esm1nvd.
 *
 *     esm1nv_session *session;
 *     struct esm1nv_options options = ESM1NV_OPTIONS_INIT;
 *     if (esm1nv_connect(&session, &options) < 0) ...
 *     esm1nv_submit(session, 1, "MKTAYIAKQR", 10);
 *     struct esm1nv_result result;
 *     while (esm1nv_next(session, &result, -1) == 0) {
 *         use(result.rows, result.row_count);         row_count x info->hidden floats
 *         esm1nv_release(session, &result);
 *     }
 *     esm1nv_close(session);
 *
 * Thread-compatible: a session is used by one thread at a time, several sessions by several.
 * A sequence is the residue letters themselves: upper case, no blanks, no header. Results come in
 * the order of submission. Functions that return int return ESM1NV_OK (0), a positive condition
 * that the caller handles (ESM1NV_AGAIN, ESM1NV_END), or a negative error. ESM1NV_ERROR_LENGTH and
 * _LETTER leave the session usable; after any other, only the esm1nv_error_* functions and
 * esm1nv_close() may be called on it.
 */
#ifndef ESM1NV_H
#define ESM1NV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

typedef struct esm1nv_session esm1nv_session;

enum esm1nv_condition {
    ESM1NV_OK = 0,
    ESM1NV_AGAIN = 1, /* nothing now; esm1nv_fd() becomes readable when it is worth trying again */
    ESM1NV_END = 2,   /* every submitted sequence has been answered */

    ESM1NV_ERROR_ARGUMENT = -1, /* an option has a value that no daemon would take */
    ESM1NV_ERROR_LENGTH = -2,   /* a sequence is empty, or longer than info->positions */
    ESM1NV_ERROR_LETTER = -3,   /* a sequence has a byte outside info->alphabet */
    ESM1NV_ERROR_MEMORY = -4,
    ESM1NV_ERROR_CONNECT = -5,   /* no daemon answers at the socket */
    ESM1NV_ERROR_BUSY = -6,      /* the daemon refuses for now; try again later */
    ESM1NV_ERROR_REFUSED = -7,   /* the daemon refuses for good */
    ESM1NV_ERROR_MODEL = -8,     /* another model than expected, or one that cannot be loaded */
    ESM1NV_ERROR_LOST = -9,      /* the daemon went away; what was not answered may be sent again */
    ESM1NV_ERROR_PROTOCOL = -10, /* the daemon sent what it should not */
    ESM1NV_ERROR_SYSTEM = -11,   /* a system call failed */
    ESM1NV_ERROR_DENIED = -12,   /* the daemon does not let this user do that */
};

enum esm1nv_pooling {
    ESM1NV_POOL_NONE = 0, /* one row per residue */
    ESM1NV_POOL_MEAN = 1, /* one row: mean of the residue rows */
    ESM1NV_POOL_MAX = 2,  /* one row: largest value of each column */
    ESM1NV_POOL_BOS = 3,  /* one row: that of the start token; fails where a record has none */
};

enum esm1nv_dtype { ESM1NV_F32 = 0, ESM1NV_F16 = 1 };

struct esm1nv_options {
    size_t size;        /* sizeof(struct esm1nv_options), so that the struct can grow later */
    const char *socket; /* path; NULL: that in $ESM1NV_SOCKET or, if it is not set, the first of
                           $XDG_RUNTIME_DIR/esm1nv/socket and /run/esm1nv/socket that accepts */
    enum esm1nv_pooling pooling;
    enum esm1nv_dtype dtype;
    const char *expect_digest; /* prefix that the model's digest must have, or NULL */
    const char *program;       /* name for the daemon's log, or NULL */
};
#define ESM1NV_OPTIONS_INIT                                                                        \
    { sizeof(struct esm1nv_options), NULL, ESM1NV_POOL_MEAN, ESM1NV_F32, NULL, NULL }

/* What the daemon said about itself when it accepted the session. Owned by the session. */
struct esm1nv_info {
    const char *socket;    /* path at which the daemon answered */
    const char *digest;    /* model digest, 64 hex digits */
    const char *model;     /* name of the model */
    const char *backend;   /* cpu, cuda, null */
    const char *precision; /* f32, bf16, f16 */
    int synthetic;         /* 1: fabricated weights, the embeddings carry no biology */
    uint32_t hidden;       /* values in a row (768 for ESM-1nv) */
    uint32_t positions;    /* most residues in a sequence (512 for ESM-1nv) */
    uint8_t alphabet[32];  /* byte b is a residue letter when bit b % 8 of alphabet[b / 8] is set */
};

enum esm1nv_status {
    ESM1NV_RECORD_OK = 0,
    ESM1NV_RECORD_NONFINITE = 1, /* a value is NaN or infinite */
    ESM1NV_RECORD_OVERFLOW = 2,  /* a value does not fit float16 */
    ESM1NV_RECORD_NO_BOS = 3,    /* pooling bos, but the sequence leaves no room for <s> */
    ESM1NV_RECORD_ENGINE = 4,    /* the engine failed */
};

struct esm1nv_result {
    uint64_t tag;              /* as submitted */
    enum esm1nv_status status; /* there are rows only with ESM1NV_RECORD_OK */
    uint32_t row_count;        /* residues for ESM1NV_POOL_NONE, else 1; 0 on failure */
    const void *rows;          /* row_count x hidden values of the session's dtype, little endian,
                                  64-byte aligned; a view that lives until released */
    size_t bytes;              /* of rows */
    uint64_t internal;         /* for the library only */
};

/* Connects and agrees on pooling, dtype and model; NULL options are ESM1NV_OPTIONS_INIT. Blocks
 * until the daemon has answered, which it does when its model is loaded. The caller closes
 * *session, also after an error: then esm1nv_error_text() still works on it; with
 * ESM1NV_ERROR_MEMORY it is NULL. Errors: any but _LENGTH and _LETTER. */
int esm1nv_connect(esm1nv_session **session, const struct esm1nv_options *options);

/* The same in two steps, for callers who have something else to do until the daemon has answered:
 * the first connects and asks, the second waits. In between, *session may only be given to the
 * esm1nv_error_* functions, esm1nv_close() and esm1nv_fd(), which becomes readable when the answer
 * is there. */
int esm1nv_connect_begin(esm1nv_session **session, const struct esm1nv_options *options);
int esm1nv_connect_complete(esm1nv_session *session);

/* Does what esm1nv_connect() does, on a SOCK_SEQPACKET socket that is connected already. The
 * session owns the socket from then on, also after an error, and makes it blocking. options->socket
 * is only what messages call it. */
int esm1nv_connect_fd(esm1nv_session **session, int fd, const struct esm1nv_options *options);

/* What the daemon said, once esm1nv_connect() has returned ESM1NV_OK; it lives as long as the
 * session. */
const struct esm1nv_info *esm1nv_info(const esm1nv_session *session);

/* Queues one sequence of `length` bytes, which are copied; its result carries the tag, which may be
 * any number. Byte 0 stands for a letter that the model does not know, and gets the <unk> token and
 * a row of its own. ESM1NV_AGAIN: there is no room and nothing was queued; take results, or, if
 * there are none (esm1nv_next() with timeout 0 returns ESM1NV_AGAIN too), wait for esm1nv_fd().
 * Errors: _LENGTH, _LETTER, _MEMORY, _SYSTEM; _REFUSED when the daemon's limits leave no room for
 * the session's records; _PROTOCOL; or why the daemon left (_LOST, _BUSY, _REFUSED, _MODEL). */
int esm1nv_submit(esm1nv_session *session, uint64_t tag, const void *sequence, size_t length);

/* Takes the next result; *taken is set only with ESM1NV_OK. The timeout is in milliseconds: 0 does
 * not wait, a negative one waits without end. ESM1NV_AGAIN: the result is not there yet.
 * ESM1NV_END: nothing is outstanding. Several results may be held before they are released, but
 * while they are, the daemon has less room to work ahead. A call that waits may use up the wake-up
 * for a submit that had no room, so try that submit again afterwards. Errors: _SYSTEM, _PROTOCOL,
 * or why the daemon left (_LOST, _BUSY, _REFUSED, _MODEL), which comes after all results that it
 * completed. */
int esm1nv_next(esm1nv_session *session, struct esm1nv_result *taken, int timeout);

/* Releases the memory of this result of this session, and of all that were taken before it; their
 * rows may not be used any more. Does nothing for a result that was released already. */
void esm1nv_release(esm1nv_session *session, const struct esm1nv_result *result);

/* The number of sequences that were submitted and whose results were not taken yet. */
uint64_t esm1nv_outstanding(const esm1nv_session *session);

/* A descriptor that becomes readable after ESM1NV_AGAIN when it is worth trying again: poll it,
 * never read it. The reason may be a result or room, so repeat all calls that returned
 * ESM1NV_AGAIN. */
int esm1nv_fd(const esm1nv_session *session);

/* Ends the session. Outstanding results are lost. Safe on NULL. */
void esm1nv_close(esm1nv_session *session);

/* The last error of this session as one line for people, empty before the first. It lives until the
 * next call on the session. For NULL, the text says that memory ran out. */
const char *esm1nv_error_text(const esm1nv_session *session);

/* A few words for a code of enum esm1nv_condition, or for a record's status. The texts are
 * constant. */
const char *esm1nv_error_name(int code);
const char *esm1nv_status_text(enum esm1nv_status status);

/* Asks the daemon at the socket (as in esm1nv_options) about itself, and waits for the answer.
 * Calls visit() for each fact in order, with its name in snake_case and either a text, or NULL and
 * a number; name and text live until visit() returns. After an error `text` holds a line for
 * people, and visit() was not called. Errors: _CONNECT, _BUSY, _REFUSED, _MODEL, _LOST, _PROTOCOL,
 * _MEMORY, _SYSTEM. */
int esm1nv_status(const char *socket,
                  void (*visit)(void *context, const char *name, const char *text, uint64_t number),
                  void *context, char text[256]);

/* Asks the daemon to finish what is in flight and exit, and returns when it has. Errors and `text`
 * as for esm1nv_status(); _REFUSED when the caller is neither of the daemon's user nor root. */
int esm1nv_stop(const char *socket, char text[256]);

/* The version of the library, X.Y.Z. */
const char *esm1nv_version(void);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
