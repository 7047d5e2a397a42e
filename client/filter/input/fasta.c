/* SPDX-License-Identifier: Apache-2.0
 *
 * FASTA: a record is a line that begins with '>' and the lines up to the next such line. It is
 * complete when that line, or the end of the file, has come.
 */
#include "client/filter/input/reader.h"

static int end_record(struct reader *reader, struct record *record) {
    record_end(record, reader->rules);
    reader->begun = false;
    return READER_RECORD;
}

static void read_header(struct reader *reader, struct record *record) {
    struct span span = reader_span(reader);
    record_add_id(record, reader->rules, span.bytes, span.size);
    if (span.ended)
        reader->state = READER_SEQUENCE;
}

/* True when the next byte is the '>' of a header. */
static bool at_header(struct reader *reader) {
    return reader->line_start && *reader->input->data == '>';
}

static void begin_header(struct reader *reader, struct record *record) {
    input_consume(reader->input, 1);
    reader_begin(reader, record, reader->line);
    reader->begun = true;
    reader->line_start = false;
    reader->state = READER_HEADER;
}

/* One line of a sequence, or a part of one. */
static void read_line(struct reader *reader, struct record *record) {
    struct span span = reader_span(reader);
    record_add_sequence(record, reader->rules, span.bytes, span.size);
    if (span.ended)
        record_end_line(record, reader->rules);
}

int fasta_read(struct reader *reader, struct record *record) {
    if (reader->state == READER_HEADER)
        read_header(reader, record);
    else if (!at_header(reader))
        read_line(reader, record);
    else if (reader->begun)
        return end_record(reader, record);
    else
        begin_header(reader, record);
    return 0;
}

int fasta_end(struct reader *reader, struct record *record) {
    return end_record(reader, record);
}
