/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON Lines: one object per record, also for a record that failed.
 */
#include "client/filter/output/output.h"
#include "client/filter/output/text.h"

#include <inttypes.h>
#include <string.h>

static void jsonl_id(struct target *target, const struct record *record) {
    target_write(target, "{\"id\":", 6);
    text_json(target, record->id, record->id_size);
}

static void jsonl_rows(struct output *output, const struct record *record,
                       const struct esm1nv_result *answer) {
    struct target *target = &output->target;
    const float *values = answer->rows;
    bool list = output->pooling == ESM1NV_POOL_NONE;
    jsonl_id(target, record);
    text_format(target, ",\"length\":%" PRIu64 ",\"rows\":%" PRIu32 ",\"embedding\":%s",
                record->length, answer->row_count, list ? "[" : "");
    for (uint32_t row = 0; row < answer->row_count && target->result == 0; row++) {
        target_write(target, row > 0 ? ",[" : "[", row > 0 ? 2 : 1);
        text_values(target, values, output->hidden, ',');
        target_write(target, "]", 1);
        values += output->hidden;
    }
    text_format(target, "%s%s}\n", list ? "]" : "", record->truncated ? ",\"truncated\":true" : "");
}

static void jsonl_failed(struct output *output, const struct record *record) {
    jsonl_id(&output->target, record);
    target_write(&output->target, ",\"error\":", 9);
    text_json(&output->target, record->failure, strlen(record->failure));
    target_write(&output->target, "}\n", 2);
}

static uint64_t jsonl_bytes(const struct record *record, uint64_t rows) {
    return record->id_size + (rows > 0 ? 45 + 2 * rows : 60);
}

const struct output_format output_jsonl = {
    .name = "jsonl", .bytes_beside = jsonl_bytes, .rows = jsonl_rows, .failed = jsonl_failed};
