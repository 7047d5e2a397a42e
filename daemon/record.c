/* SPDX-License-Identifier: Apache-2.0
 *
 * Records: copy first, check the copy, keep only tokens.
 */
#include "daemon/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int record_create(struct record **result, const struct model *model, uint64_t tag,
                  const uint8_t *residues, size_t length) {
    uint8_t copy[WIRE_POSITIONS_MAX];
    uint16_t ids[WIRE_POSITIONS_MAX];
    struct token_span span;
    struct record *record;

    *result = NULL;
    if (length == 0 || length > model->config.positions)
        return -EPROTO;
    memcpy(copy, residues, length);
    if (model_tokenize(model, copy, length, ids, &span) < 0)
        return -EPROTO;
    record = malloc(sizeof *record + span.tokens * sizeof *ids);
    if (!record)
        return -ENOMEM;
    *record = (struct record){
        .sched = {.tokens = span.tokens, .residues = span.residues}, .tag = tag, .span = span};
    memcpy(record->ids, ids, span.tokens * sizeof *ids);
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
    if (!record->slot)
        free(record->data);
    free(record);
}
