/* SPDX-License-Identifier: Apache-2.0
 *
 * One state machine reads both kinds of input, file after file, with LF, CR LF or CR as line ends.
 * The first byte that is not blank decides what kind a file is. Until it comes only line ends are
 * counted, because in an input of lines each blank line is a record of its own.
 */
#include "client/filter/input/reader.h"

#include "client/filter/report.h"

#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

/* A run of bytes without line ends, taken from the input. */
struct span {
    const char *bytes;
    size_t size;
    bool ended; /* by a line end */
};

static void begin_file(struct reader *reader) {
    reader->state = reader->kind == KIND_LINES ? READER_LINE : READER_BEFORE;
    reader->line = 1;
    reader->line_start = true;
    reader->after_return = reader->tab = reader->begun = reader->comment = false;
    reader->look = LOOK_PLAIN;
}

void reader_init(struct reader *reader, struct input *input, const struct record_rules *rules,
                 enum input_kind kind) {
    *reader = (struct reader){.input = input, .rules = rules, .kind = kind};
    begin_file(reader);
}

static void begin_record(struct reader *reader, struct record *record, uint64_t line) {
    record_begin(record, ++reader->ordinal, input_file(reader->input)->name, line);
    reader->begun = true;
}

/* The first record of a file that looks like another format says so. */
static void set_look(struct reader *reader, struct record *record, enum look look) {
    reader->look = look;
    record->look = (uint8_t)look;
}

static int end_record(struct reader *reader, struct record *record) {
    record_end(record, reader->rules);
    reader->begun = false;
    return READER_RECORD;
}

/* True when the next byte is a '>' that begins a line. */
static bool at_header(const struct reader *reader) {
    return reader->line_start && *reader->input->data == '>';
}

/* Two calls of memchr() are much faster than a loop over bytes. They search block by block, so that
 * neither runs far past what the other finds, even where all lines end alike. */
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

/* Consumes the rest of the line, or what is there of it, and counts the line when it has ended. */
static struct span take_span(struct reader *reader) {
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

/* --- Lines ------------------------------------------------------------------------------------ */

/* Each line is one record: SEQ, or ID<TAB>SEQ. Until a tab comes, the bytes may be an id or a
 * sequence, so they are taken as both. A record is complete when its line ends; it does not wait
 * for the next line. Functions here and below take a line, or what is there of it (at least one
 * byte), and return READER_RECORD, 0 to go on, or a negative exit status. */

static int lines_end_record(struct reader *reader, struct record *record) {
    if (reader->look == LOOK_PLAIN)
        set_look(reader, record, look_of_line(record, reader->tab));
    if (!reader->tab)
        record_drop_id(record);
    reader->tab = false;
    return end_record(reader, record);
}

static int lines_refuse_header(const struct reader *reader) {
    report("%s:%" PRIu64 ": a line that begins with '>' among lines that are one sequence each; %s",
           input_file(reader->input)->name, reader->line,
           reader->kind == KIND_LINES ? "for FASTA use --input fasta"
                                      : "in FASTA nothing may stand before the first '>'");
    return -EX_NOINPUT;
}

/* Each blank line before the first letter is a record. After the last of them comes the line with
 * the letter, whose leading blanks were skipped already; reader->tab tells of a tab among them. */
static int lines_read_blank(struct reader *reader, struct record *record) {
    if (reader->blank_line < reader->line) {
        begin_record(reader, record, reader->blank_line++);
        return end_record(reader, record);
    }
    begin_record(reader, record, reader->line);
    reader->state = READER_LINE;
    reader->line_start = false;
    return 0;
}

static void lines_add(struct reader *reader, struct record *record, struct span span) {
    const char *tab = reader->tab ? NULL : memchr(span.bytes, '\t', span.size);
    if (tab) {
        size_t size = (size_t)(tab - span.bytes);
        record_add_id(record, reader->rules, span.bytes, size);
        record_drop_sequence(record);
        reader->tab = true;
        span.bytes += size;
        span.size -= size;
    } else if (!reader->tab) {
        record_add_id(record, reader->rules, span.bytes, span.size);
    }
    record_add_sequence(record, reader->rules, span.bytes, span.size);
}

static int lines_read(struct reader *reader, struct record *record) {
    if (reader->state == READER_BLANKS)
        return lines_read_blank(reader, record);
    if (at_header(reader))
        return lines_refuse_header(reader);
    if (!reader->begun)
        begin_record(reader, record, reader->line);
    struct span span = take_span(reader);
    lines_add(reader, record, span);
    return span.ended ? lines_end_record(reader, record) : 0;
}

/* --- FASTA ------------------------------------------------------------------------------------ */

/* A record is a line that begins with '>' and the lines up to the next such line. It is complete
 * when that line, or the end of the file, has come. */

static int fasta_end_record(struct reader *reader, struct record *record) {
    int result = end_record(reader, record);
    if (reader->look == LOOK_PLAIN)
        set_look(reader, record, look_of_fasta(record, reader->comment));
    reader->comment = false;
    return result;
}

static void fasta_begin(struct reader *reader, struct record *record) {
    input_consume(reader->input, 1);
    begin_record(reader, record, reader->line);
    reader->line_start = false;
    reader->state = READER_HEADER;
}

/* Reads a part of the header or of a line of the sequence. */
static void fasta_read_line(struct reader *reader, struct record *record) {
    char first = *reader->input->data;
    reader->comment |= reader->line_start && (first == ';' || first == '#');
    struct span span = take_span(reader);
    if (reader->state == READER_HEADER)
        record_add_id(record, reader->rules, span.bytes, span.size);
    else
        record_add_sequence(record, reader->rules, span.bytes, span.size);
    if (span.ended && reader->state == READER_SEQUENCE)
        record_end_line(record, reader->rules);
    if (span.ended)
        reader->state = READER_SEQUENCE;
}

static int fasta_read(struct reader *reader, struct record *record) {
    if (at_header(reader) && reader->begun)
        return fasta_end_record(reader, record);
    if (at_header(reader))
        fasta_begin(reader, record);
    else
        fasta_read_line(reader, record);
    return 0;
}

/* --- Files ------------------------------------------------------------------------------------ */

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\v' || byte == '\f';
}

/* Called when the next byte is the first letter of a file. */
static int decide_kind(struct reader *reader) {
    if (*reader->input->data == '>') {
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

/* Skips blanks and line ends, byte by byte because there are few before the first letter. */
static int read_before(struct reader *reader) {
    struct input *input = reader->input;
    for (; input->size > 0; input_consume(input, 1)) {
        char byte = *input->data;
        bool second_half = byte == '\n' && reader->after_return;
        reader->after_return = byte == '\r';
        if (byte == '\n' || byte == '\r') {
            reader->line += second_half ? 0 : 1;
            reader->tab = false;
        } else if (is_blank(byte)) {
            reader->tab |= byte == '\t';
        } else {
            return decide_kind(reader);
        }
    }
    return 0;
}

/* Takes one step: a line, or what is there of it. */
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

/* A file without any letter has no records, unless --input lines was given. */
static int end_file(struct reader *reader, struct record *record) {
    int result = 0;
    if (reader->begun)
        result = reader->state == READER_LINE ? lines_end_record(reader, record)
                                              : fasta_end_record(reader, record);
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
