/* SPDX-License-Identifier: Apache-2.0
 *
 * Records: copy first, check the copy, keep only tokens.
 */
#include "daemon/serve/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that a sequence gets beside those of its residues: <s> and </s>. */
#define SPECIALS_MAX 2

int record_create(struct record **result, const struct model *model, uint64_t tag,
                  const uint8_t *residues, size_t length) {
    *result = NULL;
    if (length == 0 || length > model->config.positions)
        return -EPROTO;

    uint8_t copy[WIRE_POSITIONS_MAX];
    memcpy(copy, residues, length);

    struct record *record = malloc(sizeof *record + (length + SPECIALS_MAX) * sizeof *record->ids);
    if (!record)
        return -ENOMEM;
    *record = (struct record){.tag = tag};
    if (model_tokenize(model, copy, length, record->ids, &record->span) < 0) {
        free(record);
        return -EPROTO;
    }
    record->sched.tokens = record->span.tokens;
    record->sched.residues = record->span.residues;
    *result = record;
    return 0;
}

int record_allocate_rows(struct record *record) {
    record->data = aligned_alloc(64, (record->bytes + 63) / 64 * 64);
    return record->data ? 0 : -ENOMEM;
}

void record_destroy(struct record *record) {
    if (!record)
        return;
    charge_give_back(&record->queued);
    charge_give_back(&record->memory);
    charge_give_back(&record->unanswered);
    if (!record->slot)
        free(record->data);
    free(record);
}
