/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a record, from the bytes that a client submitted to the charges that it gives back.
 */
#include "daemon/serve/record.h"
#include "daemon/serve/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that a sequence gets beside those of its residues: <s> and </s>. */
#define SPECIALS_MAX 2

int record_create(struct record **out, struct session *session, uint64_t tag,
                  const uint8_t *residues, size_t length) {
    const struct model *model = session->generation->model;
    *out = NULL;
    if (length == 0 || length > model->config.positions)
        return -EPROTO;
    uint8_t copy[WIRE_POSITIONS_MAX];
    memcpy(copy, residues, length);
    struct record *record = malloc(sizeof *record + (length + SPECIALS_MAX) * sizeof *record->ids);
    if (!record)
        return -ENOMEM;
    *record = (struct record){.session = session, .tag = tag};
    if (model_tokenize(model, copy, length, record->ids, &record->span) < 0) {
        record_destroy(record);
        return -EPROTO;
    }
    record->sched.tokens = record->span.tokens;
    record->sched.residues = record->span.residues;
    record->rows = session->pooling == POOLING_NONE ? record->span.residues : 1;
    record->bytes = (size_t)record->rows * model->config.hidden * dtype_size(session->dtype);
    *out = record;
    return 0;
}

void record_destroy(struct record *record) {
    if (!record)
        return;
    charge_give_back(&record->queued);
    charge_give_back(&record->memory);
    charge_give_back(&record->unanswered);
    if (!record->completion)
        free(record->data);
    free(record);
}
