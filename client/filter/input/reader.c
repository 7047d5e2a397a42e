/* SPDX-License-Identifier: Apache-2.0
 *
 * The frame of both readers: files one after the other, line ends of all three kinds, and the first
 * byte that is not blank, which decides what a file is. Until then only line ends are counted,
 * because in lines each blank line is a record of its own.
 */
#include "client/filter/input/reader.h"

#include "client/filter/report.h"

#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

static void begin_file(struct reader *reader) {
    reader->state = reader->kind == KIND_LINES ? READER_LINE : READER_BEFORE;
    reader->line = 1;
    reader->line_start = true;
    reader->after_return = reader->tab = reader->begun = false;
}

void reader_init(struct reader *reader, struct input *input, const struct record_rules *rules,
                 enum input_kind kind) {
    *reader = (struct reader){.input = input, .rules = rules, .kind = kind};
    begin_file(reader);
}

void reader_begin(struct reader *reader, struct record *record, uint64_t line) {
    record_begin(record, ++reader->ordinal, input_file(reader->input)->name, line);
}

/* Two searches of the C library's, which are much faster than one by byte; in blocks, so that
 * neither runs far past the other's find where all lines end alike. */
static size_t find_line_end(const char *data, size_t size) {
    enum { BLOCK = 256 };
    for (size_t at = 0; at < size; at += BLOCK) {
        size_t length = size - at < BLOCK ? size - at : BLOCK;
        const char *feed = memchr(data + at, '\n', length);
        const char *end = memchr(data + at, '\r', feed ? (size_t)(feed - data) - at : length);
        if (end || feed)
            return (size_t)((end ? end : feed) - data);
    }
    return size;
}

struct span reader_span(struct reader *reader) {
    struct input *input = reader->input;
    size_t size = find_line_end(input->data, input->size);
    struct span span = {input->data, size, size < input->size};
    if (span.ended) {
        reader->after_return = input->data[size] == '\r';
        reader->line++;
    }
    reader->line_start = span.ended;
    input_consume(input, size + span.ended);
    return span;
}

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\v' || byte == '\f';
}

/* The first letter of a file has come; it is the next byte. */
static int decide(struct reader *reader) {
    bool fasta = *reader->input->data == '>';
    if (fasta) {
        reader->state = READER_SEQUENCE;
        reader->line_start = true;
    } else if (reader->kind == KIND_FASTA) {
        report("%s:%" PRIu64 ": text before the first '>': not FASTA; with --input lines each line "
               "is a sequence",
               input_file(reader->input)->name, reader->line);
        return -EX_NOINPUT;
    } else {
        reader->state = READER_BLANKS;
        reader->blank_line = 1;
    }
    return 0;
}

/* Skips blanks and line ends byte by byte: there are few before the first letter. */
static int read_before(struct reader *reader) {
    struct input *input = reader->input;
    for (; input->size; input_consume(input, 1)) {
        char byte = *input->data;
        bool second_half = byte == '\n' && reader->after_return;
        reader->after_return = byte == '\r';
        if (byte == '\n' || byte == '\r') {
            reader->line += second_half ? 0 : 1;
            reader->tab = false;
        } else if (is_blank(byte)) {
            reader->tab |= byte == '\t';
        } else {
            return decide(reader);
        }
    }
    return 0;
}

/* One step: a line, or what is there of it. */
static int read_state(struct reader *reader, struct record *record) {
    bool second_half = reader->after_return && *reader->input->data == '\n';
    reader->after_return = false;
    if (second_half) {
        input_consume(reader->input, 1);
        return 0;
    }
    switch (reader->state) {
    case READER_BEFORE:
        return read_before(reader);
    case READER_BLANKS:
    case READER_LINE:
        return lines_read(reader, record);
    case READER_HEADER:
    case READER_SEQUENCE:
        return fasta_read(reader, record);
    }
    return 0;
}

/* A file without any letter has no records, unless it was said to be lines. */
static int end_file(struct reader *reader, struct record *record) {
    int result = 0;
    if (reader->state == READER_LINE)
        result = lines_end(reader, record);
    else if (reader->state == READER_HEADER || reader->state == READER_SEQUENCE)
        result = fasta_end(reader, record);
    input_next_file(reader->input);
    begin_file(reader);
    return result;
}

int reader_next(struct reader *reader, struct record *record) {
    while (input_file(reader->input)) {
        int result = input_more(reader->input);
        if (result == INPUT_WAIT)
            return READER_WAIT;
        if (result == INPUT_BYTES)
            result = read_state(reader, record);
        else if (result == INPUT_FILE_END)
            result = end_file(reader, record);
        if (result != 0)
            return result;
    }
    return READER_END;
}
