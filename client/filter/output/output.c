/* SPDX-License-Identifier: Apache-2.0
 *
 * What all formats share: opening, the checks of where a format may go, and the index beside the
 * output.
 */
#include "client/filter/output/output.h"

#include "client/filter/output/index.h"
#include "client/filter/report.h"

#include <fcntl.h>
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

static int same_file(const struct output *output) {
    report("--output %s and --index %s are the same file", output->target.name, output->index.name);
    return -EX_USAGE;
}

int output_open(struct output *output, const char *path, const char *index) {
    output->has_index = index;
    int result = target_find(&output->target, path);
    if (result == 0 && index)
        result = target_find(&output->index, index);
    if (result == 0 && output->target.path && output->index.path &&
        strcmp(output->target.path, output->index.path) == 0)
        result = same_file(output);
    if (result == 0)
        result = target_open(&output->target);
    if (result == 0)
        result = check_target(output, !path);
    return result == 0 && index ? target_open(&output->index) : result;
}

int output_begin(struct output *output, uint32_t hidden) {
    output->hidden = hidden;
    int result = target_begin(&output->target);
    if (result == 0)
        result = target_begin(&output->index);
    if (result == 0 && output->has_index)
        result = index_begin(&output->index);
    if (result == 0 && output->format->begin)
        result = output->format->begin(output);
    return result;
}

int output_write(struct output *output, const struct record *record,
                 const struct esm1nv_result *answer) {
    bool failed = record_failed(record);
    uint32_t rows = failed ? 0 : answer->row_count;
    int result = 0;
    if (!failed)
        result = output->format->rows(output, record, answer);
    else if (output->format->failed)
        result = output->format->failed(output, record);
    if (result == 0 && output->has_index)
        result = index_write(&output->index, record, rows, output->rows);
    output->rows += rows;
    return result;
}

int output_flush(struct output *output) {
    int result = target_flush(&output->target);
    return result < 0 ? result : target_flush(&output->index);
}

static int close_files(struct output *output) {
    int result = output->format->end ? output->format->end(output) : 0;
    if (result == 0)
        result = target_close(&output->target);
    return result == 0 && output->has_index ? target_close(&output->index) : result;
}

/* Names are given when both files are known to be whole. If one file cannot have its name, the
 * other still gets its own, unless another run has taken over. */
int output_commit(struct output *output) {
    int result = close_files(output);
    if (result < 0)
        return result;
    result = target_rename(&output->target);
    if (result == -EX_CANTCREAT)
        return result;
    int index = target_rename(&output->index);
    return result < 0 ? result : index;
}

void output_finish(struct output *output) {
    if (output->format && output->format->finish)
        output->format->finish(output);
    free(output->state);
    output->state = NULL;
    target_finish(&output->target);
    target_finish(&output->index);
}
