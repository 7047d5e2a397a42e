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

static int write_values(struct output *output, const struct esm1nv_result *result, uint32_t row) {
    struct target *target = &output->target;
    const float *values = (const float *)result->rows + (size_t)row * output->hidden;
    int status = target_write(target, "\t", 1);
    if (status == 0)
        status = text_values(target, values, output->hidden, '\t');
    return status < 0 ? status : target_write(target, "\n", 1);
}

static int write_position(struct output *output, const struct record *record, uint32_t position,
                          uint32_t *unknown) {
    char residue[UTF8_MAX];
    size_t size = residue_text(record, position, unknown, residue);
    int status = text_format(&output->target, "\t%" PRIu32 "\t", position + 1);
    return status < 0 ? status : text_field(&output->target, residue, size);
}

static int tsv_rows(struct output *output, const struct record *record,
                    const struct esm1nv_result *result) {
    uint32_t unknown = 0;
    int status = 0;
    for (uint32_t row = 0; row < result->row_count && status == 0; row++) {
        status = text_field(&output->target, record->id, record->id_size);
        if (status == 0 && output->pooling == ESM1NV_POOL_NONE)
            status = write_position(output, record, row, &unknown);
        if (status == 0)
            status = write_values(output, result, row);
    }
    return status;
}

const struct output_format output_tsv = {.name = "tsv", .rows = tsv_rows};
