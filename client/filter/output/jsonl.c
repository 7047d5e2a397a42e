/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON, an object a line for every record, also for those that failed.
 */
#include "client/filter/output/output.h"
#include "client/filter/output/text.h"

#include <inttypes.h>
#include <string.h>

static int jsonl_id(struct output *output, const struct record *record) {
    int result = target_write(&output->target, "{\"id\":", 6);
    return result < 0 ? result : text_json(&output->target, record->id, record->id_size);
}

static int jsonl_row(struct output *output, const struct esm1nv_result *answer, uint32_t row) {
    struct target *target = &output->target;
    const float *values = (const float *)answer->rows + (size_t)row * output->hidden;
    int result = target_write(target, row > 0 ? ",[" : "[", row > 0 ? 2 : 1);
    if (result == 0)
        result = text_values(target, values, output->hidden, ',');
    return result < 0 ? result : target_write(target, "]", 1);
}

static int jsonl_rows(struct output *output, const struct record *record,
                      const struct esm1nv_result *answer) {
    struct target *target = &output->target;
    bool list = output->pooling == ESM1NV_POOL_NONE;
    int result = jsonl_id(output, record);
    if (result == 0)
        result =
            text_format(target, ",\"length\":%" PRIu64 ",\"rows\":%" PRIu32 ",\"embedding\":%s",
                        record->length, answer->row_count, list ? "[" : "");
    for (uint32_t row = 0; row < answer->row_count && result == 0; row++)
        result = jsonl_row(output, answer, row);
    if (result == 0)
        result = text_format(target, "%s%s}\n", list ? "]" : "",
                             record->truncated ? ",\"truncated\":true" : "");
    return result;
}

static int jsonl_failed(struct output *output, const struct record *record) {
    int result = jsonl_id(output, record);
    if (result == 0)
        result = target_write(&output->target, ",\"error\":", 9);
    if (result == 0)
        result = text_json(&output->target, record->failure, strlen(record->failure));
    return result < 0 ? result : target_write(&output->target, "}\n", 2);
}

static uint64_t jsonl_bytes(const struct record *record, uint64_t rows) {
    return record->id_size + (rows > 0 ? 45 + 2 * rows : 60);
}

const struct output_format output_jsonl = {
    .name = "jsonl", .bytes_beside = jsonl_bytes, .rows = jsonl_rows, .failed = jsonl_failed};
