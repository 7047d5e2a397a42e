/* SPDX-License-Identifier: Apache-2.0
 *
 * Records out of the input's bytes, FASTA or one a line, told apart file by file.
 */
#ifndef ESM1NV_FILTER_READER_H
#define ESM1NV_FILTER_READER_H

#include "client/filter/input/input.h"
#include "client/filter/input/look.h"
#include "client/filter/input/record.h"

enum input_kind { KIND_AUTO, KIND_FASTA, KIND_LINES };

enum reader_result {
    READER_RECORD = 1, /* the record is complete */
    READER_WAIT = 2,   /* input_read() first, then again with the same record */
    READER_END = 3,    /* no more records */
};

enum reader_state {
    READER_BEFORE,   /* only blanks so far */
    READER_BLANKS,   /* lines: the blank lines before the first letter, which are records */
    READER_LINE,     /* lines: in a line, or before one */
    READER_HEADER,   /* FASTA: in a header line */
    READER_SEQUENCE, /* FASTA: in the lines below it */
};

struct reader {
    struct input *input;
    const struct record_rules *rules;
    enum input_kind kind;
    uint64_t ordinal; /* of the last record */

    enum reader_state state;
    uint64_t line;       /* that the next byte belongs to */
    bool line_start;     /* no byte of that line was seen */
    bool after_return;   /* a LF now would belong to the CR before it */
    bool tab;            /* BEFORE: in the current line; LINE: the id is complete */
    bool begun;          /* LINE: the record of this line was begun */
    bool comment;        /* HEADER, SEQUENCE: a line of the record began with ';' or '#' */
    uint64_t blank_line; /* BLANKS: the next one to be told */
    enum look look;      /* what the file was found to look like */
};

void reader_init(struct reader *reader, struct input *input, const struct record_rules *rules,
                 enum input_kind kind);

/* Fills the record, in several calls when it must wait. Returns an enum reader_result, or a
 * negative exit status after reporting. */
int reader_next(struct reader *reader, struct record *record);

#endif
