/* SPDX-License-Identifier: Apache-2.0
 *
 * What all formats share: opening the file, checking that the format can be written there, and
 * --index, a table with one line for every input record, by which its rows can be found in raw and
 * npy output. The index is TSV with a header line.
 */
#include "client/filter/output/output.h"

#include "client/filter/output/text.h"
#include "client/filter/report.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static bool can_patch(const struct target *target, bool standard_output) {
    struct stat status;
    if (lseek(target->fd, 0, SEEK_CUR) != 0)
        return false;
    return !standard_output || (fstat(target->fd, &status) == 0 && S_ISREG(status.st_mode) &&
                                !(fcntl(target->fd, F_GETFL) & O_APPEND));
}

static int check_target(const struct output *output, bool standard_output) {
    const char *name = output->format->name;
    if (output->format->binary && isatty(output->target.fd)) {
        report("--format %s is binary and not for a terminal; use --output FILE", name);
        return -EX_USAGE;
    }
    if (output->format->patches && !can_patch(&output->target, standard_output)) {
        report("--format %s needs --output FILE, or a regular file (not opened for append) as %s",
               name, output->target.name);
        return -EX_USAGE;
    }
    if (output->format->needs_path && !output->target.path) {
        report("--format %s needs --output FILE, a regular file", name);
        return -EX_USAGE;
    }
    return 0;
}

int output_open(struct output *output, const char *path, const char *index) {
    int result = target_open(&output->target, path);
    if (result == 0)
        result = check_target(output, !path);
    if (result < 0 || !index)
        return result;
    output->has_index = true;
    result = target_open(&output->index, index);
    if (result == 0 && output->target.path && output->index.path &&
        strcmp(output->target.path, output->index.path) == 0) {
        report("--output %s and --index %s are the same file", path, index);
        return -EX_USAGE;
    }
    return result;
}

/* offset is the number of rows that were written before the record's own. */
static void index_write(struct target *index, const struct record *record, uint32_t rows,
                        uint64_t offset) {
    text_field(index, record->id, record->id_size);
    text_format(index, "\t%" PRIu64 "\t%" PRIu32 "\t%" PRIu64 "\t", record->length, rows, offset);
    if (record_failed(record))
        text_format(index, "error: %s\n", record->failure);
    else
        text_format(index, "%s\n", record->truncated ? "truncated" : "ok");
}

int output_begin(struct output *output, uint32_t hidden) {
    output->hidden = hidden;
    if (output->has_index)
        text_format(&output->index, "id\tlength\trows\toffset\tstatus\n");
    if (output->format->begin)
        output->format->begin(output);
    return output->target.result;
}

void output_values(struct output *output, const struct record *record,
                   const struct esm1nv_result *answer) {
    (void)record;
    target_refer(&output->target, answer->rows, answer->bytes);
}

int output_write(struct output *output, const struct record *record,
                 const struct esm1nv_result *answer) {
    bool failed = record_failed(record);
    uint32_t rows = failed ? 0 : answer->row_count;
    if (!failed)
        output->format->rows(output, record, answer);
    else if (output->format->failed)
        output->format->failed(output, record);
    if (output->target.result == 0 && output->has_index)
        index_write(&output->index, record, rows, output->rows);
    output->rows += rows;
    return output->target.result < 0 ? output->target.result : output->index.result;
}

int output_flush(struct output *output) {
    int result = target_flush(&output->target);
    return result < 0 ? result : target_flush(&output->index);
}

int output_commit(struct output *output) {
    if (output->format->end)
        output->format->end(output);
    int result = output_flush(output);
    if (result == 0)
        result = target_commit(&output->target);
    if (result == 0 && output->has_index)
        result = target_commit(&output->index);
    return result;
}

void output_finish(struct output *output) {
    if (output->format && output->format->finish)
        output->format->finish(output);
    free(output->state);
    output->state = NULL;
    target_finish(&output->target);
    target_finish(&output->index);
}
