/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors in words: the line that a failure carries, the failures that end a session, and the names
 * of error codes and record statuses.
 */
#include "client/library/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int failure_set(struct failure *failure, int code, const char *format, ...) {
    failure->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    return code;
}

int failure_refused(struct failure *failure, const struct message *message) {
    int code = message->value[WIRE_RETRY].number ? ESM1NV_ERROR_BUSY : ESM1NV_ERROR_REFUSED;
    uint64_t reason = message->value[WIRE_CODE].number;
    if (reason == WIRE_REFUSED_MODEL || reason == WIRE_REFUSED_LOAD)
        code = ESM1NV_ERROR_MODEL;
    else if (reason == WIRE_REFUSED_DENIED)
        code = ESM1NV_ERROR_DENIED;
    char text[ERROR_TEXT_MAX - 64];
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
    static const char *const conditions[] = {
        [ESM1NV_OK] = "success",
        [ESM1NV_AGAIN] = "nothing now, try again",
        [ESM1NV_END] = "everything is answered",
    };
    static const char *const errors[] = {
        [-ESM1NV_ERROR_ARGUMENT] = "invalid argument",
        [-ESM1NV_ERROR_LENGTH] = "sequence empty or too long",
        [-ESM1NV_ERROR_LETTER] = "letter outside the model's alphabet",
        [-ESM1NV_ERROR_MEMORY] = "out of memory",
        [-ESM1NV_ERROR_CONNECT] = "no daemon answers",
        [-ESM1NV_ERROR_BUSY] = "the daemon is busy",
        [-ESM1NV_ERROR_REFUSED] = "the daemon refuses",
        [-ESM1NV_ERROR_MODEL] = "not the expected model",
        [-ESM1NV_ERROR_LOST] = "the daemon went away",
        [-ESM1NV_ERROR_PROTOCOL] = "the daemon broke the protocol",
        [-ESM1NV_ERROR_SYSTEM] = "a system call failed",
        [-ESM1NV_ERROR_DENIED] = "not permitted",
    };
    if (code > ESM1NV_END || code < ESM1NV_ERROR_DENIED)
        return "unknown error";
    return code < 0 ? errors[-code] : conditions[code];
}

const char *esm1nv_status_text(enum esm1nv_status status) {
    static const char *const texts[] = {
        [ESM1NV_RECORD_OK] = "ok",
        [ESM1NV_RECORD_NONFINITE] = "a value of its embedding is not finite",
        [ESM1NV_RECORD_OVERFLOW] = "a value of its embedding does not fit float16",
        [ESM1NV_RECORD_NO_BOS] = "too long to have a start token",
        [ESM1NV_RECORD_ENGINE] = "the engine failed",
    };
    return (size_t)status < sizeof texts / sizeof *texts ? texts[status] : "unknown status";
}

const char *esm1nv_version(void) {
    return ESM1NV_VERSION;
}
