/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding of what the daemon answers; STATUS is in status.c.
 */
#include "daemon/serve/reply.h"
#include "daemon/base/log.h"
#include "ipc/channel.h"
#include "ipc/message.h"

#define RESULT_FRAME 64 /* more than the keys and heads of a RESULT take */

unsigned reply_one_shot_limit(const struct session *session) {
    size_t row = session->generation->model->config.hidden * dtype_size(session->dtype);
    bool fits = row <= WIRE_MESSAGE_MAX - RESULT_FRAME;

    return session->pooling == POOLING_NONE || !fits ? 0 : WIRE_ONE_SHOT_MAX;
}

long reply_welcome(char *buffer, const struct session *session) {
    const struct engine_info *engine = session->generation->info;
    const struct model *model = session->generation->model;
    struct message_writer writer;

    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_WELCOME);
    message_put_text(&writer, WIRE_DIGEST, model->digest);
    message_put_text(&writer, WIRE_PRECISION, engine->precision);
    message_put_text(&writer, WIRE_BACKEND, engine->backend);
    message_put_text(&writer, WIRE_MODEL, model->name);
    message_put_number(&writer, WIRE_SYNTHETIC, model->synthetic);
    message_put_number(&writer, WIRE_HIDDEN, model->config.hidden);
    message_put_number(&writer, WIRE_POSITIONS, model->config.positions);
    message_put_bytes(&writer, WIRE_ALPHABET, model->tokenizer.alphabet, WIRE_ALPHABET_BYTES);
    message_put_number(&writer, WIRE_RING_MAX, session->service->limits.ring_size);
    message_put_number(&writer, WIRE_ONE_SHOT_LIMIT, session->one_shot_limit);
    return message_end(&writer);
}

long reply_refused(char *buffer, enum wire_refusal code, bool retry, const char *text) {
    struct message_writer writer;

    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_REFUSED);
    message_put_number(&writer, WIRE_CODE, code);
    message_put_text(&writer, WIRE_TEXT, text);
    message_put_number(&writer, WIRE_RETRY, retry);
    return message_end(&writer);
}

long reply_result(char *buffer, const struct record *record) {
    bool ok = record->status == RECORD_OK;
    struct message_writer writer;

    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_RESULT);
    message_put_number(&writer, WIRE_TAG, record->tag);
    message_put_number(&writer, WIRE_RECORD_STATUS, record->status);
    message_put_number(&writer, WIRE_ROWS, ok ? record->rows : 0);
    message_put_bytes(&writer, WIRE_DATA, record->data, ok ? record->bytes : 0);
    return message_end(&writer);
}

long reply_stopping(char *buffer) {
    struct message_writer writer;

    message_begin(&writer, buffer, WIRE_MESSAGE_MAX, WIRE_STOPPING);
    return message_end(&writer);
}

void reply_refuse(int fd, enum wire_refusal code, bool retry, const char *text) {
    char buffer[WIRE_MESSAGE_MAX];
    long size = reply_refused(buffer, code, retry, text);

    if (size > 0 && channel_send(fd, buffer, (size_t)size, -1, true) != 0)
        log_debug("a refusal could not be sent: %s", text);
}
