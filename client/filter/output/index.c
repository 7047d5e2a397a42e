/* SPDX-License-Identifier: Apache-2.0
 *
 * The index, written as the tsv format writes its fields.
 */
#include "client/filter/output/index.h"

#include "client/filter/output/text.h"

#include <inttypes.h>

int index_begin(struct target *target) {
    static const char header[] = "id\tlength\trows\toffset\tstatus\n";
    return target_write(target, header, sizeof header - 1);
}

int index_write(struct target *target, const struct record *record, uint32_t rows,
                uint64_t offset) {
    int result = text_field(target, record->id, record->id_size);
    if (result == 0)
        result = text_format(target, "\t%" PRIu64 "\t%" PRIu32 "\t%" PRIu64 "\t", record->length,
                             rows, offset);
    if (result < 0)
        return result;
    if (record_failed(record))
        return text_format(target, "error: %s\n", record->failure);
    return text_format(target, "%s\n", record->truncated ? "truncated" : "ok");
}
