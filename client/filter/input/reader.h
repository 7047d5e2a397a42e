/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes records of the input's bytes. Each file is FASTA or has one record per line; the reader
 * tells which.
 */
#ifndef ESM1NV_FILTER_READER_H
#define ESM1NV_FILTER_READER_H

#include "client/filter/input/input.h"
#include "client/filter/input/look.h"
#include "client/filter/input/record.h"

enum input_kind { KIND_AUTO, KIND_FASTA, KIND_LINES };

enum reader_result {
    READER_RECORD = 1, /* the record is complete */
    READER_WAIT = 2,   /* call input_read(), then try again with the same record */
    READER_END = 3,    /* no more records */
};

enum reader_state {
    READER_BEFORE,   /* only blanks so far */
    READER_BLANKS,   /* lines: at the blank lines before the first letter, which are records */
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
    uint64_t line;       /* number of the line that the next byte belongs to */
    bool line_start;     /* no byte of that line was seen yet */
    bool after_return;   /* the last byte was a CR, so a LF now would belong to it */
    bool tab;            /* BEFORE: the current line has a tab; LINE: the id is complete */
    bool begun;          /* a record was begun and is not complete yet */
    bool comment;        /* SEQUENCE: a line of the record began with ';' or '#' */
    uint64_t blank_line; /* BLANKS: the next blank line that becomes a record */
    enum look look;      /* what the file was found to look like */
};

void reader_init(struct reader *reader, struct input *input, const struct record_rules *rules,
                 enum input_kind kind);

/* Fills the record, in several calls if it must wait for input. Returns an enum reader_result, or a
 * negative exit status after reporting. */
int reader_next(struct reader *reader, struct record *record);

#endif
