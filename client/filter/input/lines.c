/* SPDX-License-Identifier: Apache-2.0
 *
 * One record a line: SEQ, or ID<TAB>SEQ. Until a tab comes, the bytes may be either and are taken
 * as both. A line is complete with its line end, so nothing waits for the next one.
 */
#include "client/filter/input/reader.h"

#include "client/filter/report.h"

#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

static void begin_line(struct reader *reader, struct record *record) {
    reader_begin(reader, record, reader->line);
    reader->begun = true;
}

static int end_line(struct reader *reader, struct record *record) {
    if (!reader->tab)
        record_drop_id(record);
    record_end(record, reader->rules);
    reader->begun = reader->tab = false;
    return READER_RECORD;
}

static int refuse_header(const struct reader *reader) {
    report("%s:%" PRIu64 ": a line that begins with '>' among lines that are one sequence each; %s",
           input_file(reader->input)->name, reader->line,
           reader->kind == KIND_LINES ? "for FASTA use --input fasta"
                                      : "in FASTA nothing may stand before the first '>'");
    return -EX_NOINPUT;
}

/* A blank line before the first letter. After the last one the line with the letter begins, whose
 * blanks are gone; only a tab among them matters. */
static int read_blank(struct reader *reader, struct record *record) {
    if (reader->blank_line < reader->line) {
        reader_begin(reader, record, reader->blank_line++);
        record_end(record, reader->rules);
        return READER_RECORD;
    }
    begin_line(reader, record);
    reader->state = READER_LINE;
    reader->line_start = false;
    return 0;
}

static void add_bytes(struct reader *reader, struct record *record, struct span span) {
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

int lines_read(struct reader *reader, struct record *record) {
    if (reader->state == READER_BLANKS)
        return read_blank(reader, record);
    if (reader->line_start && *reader->input->data == '>')
        return refuse_header(reader);
    if (!reader->begun)
        begin_line(reader, record);
    struct span span = reader_span(reader);
    add_bytes(reader, record, span);
    return span.ended ? end_line(reader, record) : 0;
}

int lines_end(struct reader *reader, struct record *record) {
    return reader->begun ? end_line(reader, record) : 0;
}
