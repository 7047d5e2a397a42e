/* SPDX-License-Identifier: Apache-2.0
 *
 * TSV without a header: id and values, or with --pool none id, position, residue and values.
 */
#include "client/filter/output/output.h"
#include "client/filter/output/text.h"

#include <inttypes.h>

/* The residue as it stands in the input; *unknown counts the letters the model does not know. */
static size_t residue_text(const struct record *record, uint32_t position, uint32_t *unknown,
                           char text[UTF8_MAX]) {
    uint32_t letter = record->residues[position];
    if (letter == 0)
        letter = record->unknown[(*unknown)++];
    return utf8_encode(letter, text);
}

static int tsv_values(struct output *output, const struct esm1nv_result *answer, uint32_t row) {
    struct target *target = &output->target;
    const float *values = (const float *)answer->rows + (size_t)row * output->hidden;
    int result = target_write(target, "\t", 1);
    if (result == 0)
        result = text_values(target, values, output->hidden, '\t');
    return result < 0 ? result : target_write(target, "\n", 1);
}

static int tsv_position(struct output *output, const struct record *record, uint32_t position,
                        uint32_t *unknown) {
    char residue[UTF8_MAX];
    size_t size = residue_text(record, position, unknown, residue);
    int result = text_format(&output->target, "\t%" PRIu32 "\t", position + 1);
    return result < 0 ? result : text_field(&output->target, residue, size);
}

static int tsv_rows(struct output *output, const struct record *record,
                    const struct esm1nv_result *answer) {
    uint32_t unknown = 0;
    int result = 0;
    for (uint32_t row = 0; row < answer->row_count && result == 0; row++) {
        result = text_field(&output->target, record->id, record->id_size);
        if (result == 0 && output->pooling == ESM1NV_POOL_NONE)
            result = tsv_position(output, record, row, &unknown);
        if (result == 0)
            result = tsv_values(output, answer, row);
    }
    return result;
}

static uint64_t tsv_bytes(const struct record *record, uint64_t rows) {
    return rows * (record->id_size + 1);
}

const struct output_format output_tsv = {
    .name = "tsv", .bytes_beside = tsv_bytes, .rows = tsv_rows};
