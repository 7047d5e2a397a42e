/* SPDX-License-Identifier: Apache-2.0
 *
 * TSV without a header line: the id and the values, or with --pool none the id, the position, the
 * residue and the values.
 */
#include "client/filter/output/output.h"
#include "client/filter/output/text.h"

#include <inttypes.h>

/* The position counted from 1, and the residue as it stands in the input. *unknown counts the
 * letters so far that the model does not know. */
static void tsv_residue(struct target *target, const struct record *record, uint32_t position,
                        uint32_t *unknown) {
    uint32_t letter = record->residues[position];
    if (letter == 0)
        letter = record->unknown[(*unknown)++];
    char text[UTF8_MAX];
    text_format(target, "\t%" PRIu32 "\t", position + 1);
    text_field(target, text, utf8_encode(letter, text));
}

static void tsv_rows(struct output *output, const struct record *record,
                     const struct esm1nv_result *answer) {
    struct target *target = &output->target;
    const float *values = answer->rows;
    uint32_t unknown = 0;
    for (uint32_t row = 0; row < answer->row_count && target->result == 0; row++) {
        text_field(target, record->id, record->id_size);
        if (output->pooling == ESM1NV_POOL_NONE)
            tsv_residue(target, record, row, &unknown);
        target_write(target, "\t", 1);
        text_values(target, values, output->hidden, '\t');
        target_write(target, "\n", 1);
        values += output->hidden;
    }
}

static uint64_t tsv_bytes(const struct record *record, uint64_t rows) {
    return rows * (record->id_size + 1);
}

const struct output_format output_tsv = {
    .name = "tsv", .bytes_beside = tsv_bytes, .rows = tsv_rows};
