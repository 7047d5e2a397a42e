/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors in words: the line that a failure carries, what ends a session, and the names of codes and
 * record statuses.
 */
#include "client/library/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int failure_set(struct failure *failure, int code, const char *format, ...) {
    va_list arguments;
    failure->code = code;
    va_start(arguments, format);
    vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    return code;
}

int failure_refused(struct failure *failure, const struct message *message) {
    char text[ERROR_TEXT_MAX - 64];
    int code = message->value[WIRE_RETRY].number ? ESM1NV_ERROR_BUSY : ESM1NV_ERROR_REFUSED;
    uint64_t reason = message->value[WIRE_CODE].number;
    if (reason == WIRE_REFUSED_MODEL || reason == WIRE_REFUSED_LOAD)
        code = ESM1NV_ERROR_MODEL;
    message_copy_text(message, WIRE_TEXT, text, sizeof text);
    return failure_set(failure, code, "the daemon refuses: %s", text);
}

int session_garbage(esm1nv_session *session) {
    session->dead = true;
    return failure_set(&session->error, ESM1NV_ERROR_PROTOCOL,
                       "the daemon at %s sent what it should not; is it another version?",
                       session->socket);
}

int session_system(esm1nv_session *session, const char *what, int error) {
    session->dead = true;
    return failure_set(&session->error,
                       error == -ENOMEM ? ESM1NV_ERROR_MEMORY : ESM1NV_ERROR_SYSTEM, "%s: %s", what,
                       strerror(-error));
}

int session_ended(esm1nv_session *session) {
    session->dead = true;
    session->error = session->farewell;
    return session->error.code;
}

const char *esm1nv_error_name(int code) {
    switch (code) {
    case ESM1NV_OK:
        return "success";
    case ESM1NV_AGAIN:
        return "nothing now, try again";
    case ESM1NV_END:
        return "everything is answered";
    case ESM1NV_ERROR_ARGUMENT:
        return "invalid argument";
    case ESM1NV_ERROR_LENGTH:
        return "sequence empty or too long";
    case ESM1NV_ERROR_LETTER:
        return "letter outside the model's alphabet";
    case ESM1NV_ERROR_MEMORY:
        return "out of memory";
    case ESM1NV_ERROR_CONNECT:
        return "no daemon answers";
    case ESM1NV_ERROR_BUSY:
        return "the daemon is busy";
    case ESM1NV_ERROR_REFUSED:
        return "the daemon refuses";
    case ESM1NV_ERROR_MODEL:
        return "not the expected model";
    case ESM1NV_ERROR_LOST:
        return "the daemon went away";
    case ESM1NV_ERROR_PROTOCOL:
        return "the daemon broke the protocol";
    case ESM1NV_ERROR_SYSTEM:
        return "a system call failed";
    default:
        return "unknown error";
    }
}

const char *esm1nv_status_text(enum esm1nv_status status) {
    switch (status) {
    case ESM1NV_RECORD_OK:
        return "ok";
    case ESM1NV_RECORD_NONFINITE:
        return "a value of its embedding is not finite";
    case ESM1NV_RECORD_OVERFLOW:
        return "a value of its embedding does not fit float16";
    case ESM1NV_RECORD_NO_BOS:
        return "too long to have a start token";
    case ESM1NV_RECORD_ENGINE:
        return "the engine failed";
    default:
        return "unknown status";
    }
}

const char *esm1nv_version(void) {
    return ESM1NV_VERSION;
}
