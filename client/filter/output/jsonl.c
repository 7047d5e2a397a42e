/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON, an object a line for every record, also for those that failed.
 */
#include "client/filter/output/output.h"
#include "client/filter/output/text.h"

#include <inttypes.h>
#include <string.h>

static int write_id(struct output *output, const struct record *record) {
    int status = target_write(&output->target, "{\"id\":", 6);
    return status < 0 ? status : text_json(&output->target, record->id, record->id_size);
}

static int write_row(struct output *output, const struct esm1nv_result *result, uint32_t row) {
    struct target *target = &output->target;
    const float *values = (const float *)result->rows + (size_t)row * output->hidden;
    int status = target_write(target, row ? ",[" : "[", row ? 2 : 1);
    if (status == 0)
        status = text_values(target, values, output->hidden, ',');
    return status < 0 ? status : target_write(target, "]", 1);
}

static int jsonl_rows(struct output *output, const struct record *record,
                      const struct esm1nv_result *result) {
    struct target *target = &output->target;
    bool list = output->pooling == ESM1NV_POOL_NONE;
    int status = write_id(output, record);
    if (status == 0)
        status =
            text_format(target, ",\"length\":%" PRIu64 ",\"rows\":%" PRIu32 ",\"embedding\":%s",
                        record->length, result->row_count, list ? "[" : "");
    for (uint32_t row = 0; row < result->row_count && status == 0; row++)
        status = write_row(output, result, row);
    if (status == 0)
        status = text_format(target, "%s%s}\n", list ? "]" : "",
                             record->truncated ? ",\"truncated\":true" : "");
    return status;
}

static int jsonl_failed(struct output *output, const struct record *record) {
    int status = write_id(output, record);
    if (status == 0)
        status = target_write(&output->target, ",\"error\":", 9);
    if (status == 0)
        status = text_json(&output->target, record->failure, strlen(record->failure));
    return status < 0 ? status : target_write(&output->target, "}\n", 2);
}

const struct output_format output_jsonl = {
    .name = "jsonl", .rows = jsonl_rows, .failed = jsonl_failed};
