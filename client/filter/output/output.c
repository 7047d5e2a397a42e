/* SPDX-License-Identifier: Apache-2.0
 *
 * What all formats share: opening, the checks of where a format may go, the index beside the
 * output, and pieces of text.
 */
#include "client/filter/output/output.h"

#include "client/filter/output/number.h"
#include "client/filter/report.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

const struct output_format *const output_formats[] = {
    &output_tsv, &output_jsonl, &output_npy, &output_raw, &output_msgpack, &output_h5, NULL};
const char *const output_format_names[] = {"tsv", "jsonl", "npy", "raw", "msgpack", "h5", NULL};

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

int output_begin(struct output *output, uint32_t hidden) {
    output->hidden = hidden;
    int result = output->has_index ? index_begin(&output->index) : 0;
    if (result == 0 && output->format->begin)
        result = output->format->begin(output);
    return result;
}

int output_write(struct output *output, const struct record *record,
                 const struct esm1nv_result *result) {
    bool failed = record_failed(record);
    uint32_t rows = failed ? 0 : result->row_count;
    int status = 0;
    if (!failed)
        status = output->format->rows(output, record, result);
    else if (output->format->failed)
        status = output->format->failed(output, record);
    if (status == 0 && output->has_index)
        status = index_write(&output->index, record, rows, output->rows);
    output->rows += rows;
    return status;
}

int output_flush(struct output *output) {
    int result = target_flush(&output->target);
    return result < 0 ? result : target_flush(&output->index);
}

int output_commit(struct output *output) {
    int result = output->format->end ? output->format->end(output) : 0;
    if (result == 0)
        result = output_flush(output);
    if (result == 0)
        result = target_commit(&output->target);
    if (result == 0 && output->has_index)
        result = target_commit(&output->index);
    return result;
}

void output_finish(struct output *output) {
    if (output->format && output->format->finish)
        output->format->finish(output);
    target_finish(&output->target);
    target_finish(&output->index);
}

#define CHUNK 4096u

/* The code point at text, and its bytes. Texts here are valid UTF-8. */
static size_t next_letter(const char *text, size_t size, uint32_t *letter) {
    int length = utf8_decode(text, size, letter);
    return length > 0 ? (size_t)length : 1;
}

static bool is_control(uint32_t letter) {
    return letter < ' ' || (letter >= 0x7F && letter < 0xA0);
}

int text_field(struct target *target, const char *text, size_t size) {
    while (size) {
        char *room;
        int result = target_room(target, CHUNK, &room);
        if (result < 0)
            return result;
        size_t used = 0;
        while (size && used < CHUNK - UTF8_MAX) {
            uint32_t letter;
            size_t length = next_letter(text, size, &letter);
            if (is_control(letter))
                room[used++] = ' ';
            else
                used = (size_t)((char *)mempcpy(room + used, text, length) - room);
            text += length;
            size -= length;
        }
        target_used(target, used);
    }
    return 0;
}

int text_json(struct target *target, const char *text, size_t size) {
    int result = target_write(target, "\"", 1);
    while (size && result == 0) {
        char *room;
        result = target_room(target, CHUNK, &room);
        size_t used = 0;
        while (result == 0 && size && used < CHUNK - 8) {
            uint32_t letter;
            size_t length = next_letter(text, size, &letter);
            if (is_control(letter)) {
                used += (size_t)sprintf(room + used, "\\u%04x", (unsigned)letter);
            } else {
                if (letter == '"' || letter == '\\')
                    room[used++] = '\\';
                used = (size_t)((char *)mempcpy(room + used, text, length) - room);
            }
            text += length;
            size -= length;
        }
        target_used(target, used);
    }
    return result < 0 ? result : target_write(target, "\"", 1);
}

int text_values(struct target *target, const float *values, uint32_t count, char separator) {
    enum { BLOCK = 128 };
    for (uint32_t done = 0; done < count;) {
        char *room;
        int result = target_room(target, BLOCK * (NUMBER_MAX + 1), &room);
        if (result < 0)
            return result;
        uint32_t end = count - done < BLOCK ? count : done + BLOCK;
        char *text = room;
        for (; done < end; done++) {
            if (done)
                *text++ = separator;
            text = number_write(text, values[done]);
        }
        target_used(target, (size_t)(text - room));
    }
    return 0;
}

int text_format(struct target *target, const char *format, ...) {
    char *room;
    int result = target_room(target, CHUNK, &room);
    if (result < 0)
        return result;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(room, CHUNK, format, arguments);
    va_end(arguments);
    target_used(target, (size_t)size);
    return 0;
}
