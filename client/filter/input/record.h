/* SPDX-License-Identifier: Apache-2.0
 *
 * One input record: its id, and its sequence cleaned for the model. The reader feeds it bytes as
 * they come. However long the sequence is, no more of it is kept than will be embedded.
 */
#ifndef ESM1NV_FILTER_RECORD_H
#define ESM1NV_FILTER_RECORD_H

#include "client/filter/input/utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum id_rule { ID_FIRST, ID_FULL };
enum invalid_rule { INVALID_ERROR, INVALID_UNK, INVALID_DROP };
enum long_rule { LONG_TRUNCATE, LONG_ERROR, LONG_WINDOW };

#define RECORD_ID_MAX (1u << 20) /* bytes of an id that are kept */
#define RECORD_FAILURE_MAX 160

/* What stands in a sequence that tells of another format. */
enum record_hint {
    RECORD_DASH = 1,
    RECORD_LOWER = 2, /* case of the letters that are kept */
    RECORD_UPPER = 4,
    RECORD_TAB = 8, /* between letters, as is the blank */
    RECORD_BLANK = 16,
    RECORD_COMMA = 32,
};

/* The same for all records of a run. */
struct record_rules {
    enum id_rule id;
    enum invalid_rule invalid;
    enum long_rule too_long;
    uint32_t positions;
    uint32_t residues_max; /* most residues that are kept; more than positions with LONG_WINDOW */
    bool keep_header;
    uint8_t letter[256]; /* what a byte is: see record.c */
    uint8_t alphabet[32];
};

struct record {
    uint64_t ordinal; /* from 1 over all files */
    const char *file; /* where the record begins */
    uint64_t line;

    char *id; /* valid UTF-8 without a NUL at its end; may hold any character but line ends */
    size_t id_size;
    size_t header_size; /* with keep_header: the size of the header, which the id begins */
    bool id_repaired;   /* some of its bytes were not UTF-8 and were replaced */

    uint8_t *residues; /* as submitted: letters, or 0 for a letter that the alphabet lacks */
    uint32_t residue_count;
    uint64_t length;   /* letters after cleaning, before truncation */
    uint32_t *unknown; /* the code points behind the zeros of residues, in order */
    uint32_t unknown_count;
    bool has_unknown; /* some letter is unknown, perhaps beyond what is kept */
    bool has_dropped;
    bool truncated;
    uint8_t hints; /* enum record_hint, together */
    uint8_t look;  /* enum look: what its file looks like, if that shows here first */
    char failure[RECORD_FAILURE_MAX]; /* why there are no rows; empty: the record is good */

    size_t id_capacity;
    uint32_t residue_capacity, unknown_capacity;
    struct {
        bool id_ended;
        bool star; /* a `*` was read; it is dropped if no letter follows */
        uint8_t partial[UTF8_MAX];
        uint8_t partial_size;
        uint64_t bad_position;      /* of the first letter outside the alphabet; 0: none */
        uint32_t bad_letter;        /* code point, or RECORD_BAD_BYTE + byte */
        uint64_t boundary_position; /* of the first letter that belongs between records; 0: none */
        bool boundary_is_mark;
        uint8_t hint; /* a blank that counts when another letter comes */
    } reading;
};

#define RECORD_BAD_BYTE 0x80000000u
#define RECORD_NULL ((struct record){0})

/* Sets what follows from the model. The caller has set the other rules. */
void record_rules_set(struct record_rules *rules, const uint8_t alphabet[32], uint32_t positions);

/* Begins a record, reusing the memory of the one before it. */
void record_begin(struct record *record, uint64_t ordinal, const char *file, uint64_t line);
/* Adds more of its header, without the line end. */
void record_add_id(struct record *record, const struct record_rules *rules, const char *bytes,
                   size_t size);
/* Adds more of its sequence, without line ends. */
void record_add_sequence(struct record *record, const struct record_rules *rules, const char *bytes,
                         size_t size);
/* A line of the sequence has ended, so a code point that is not complete will not be. */
void record_end_line(struct record *record, const struct record_rules *rules);
/* Forgets the sequence, or the id, that was added so far. */
void record_drop_sequence(struct record *record);
void record_drop_id(struct record *record);
/* The record is complete: decides its id, truncation and failure. */
void record_end(struct record *record, const struct record_rules *rules);
void record_fail(struct record *record, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline bool record_failed(const struct record *record) {
    return record->failure[0] != 0;
}

/* How many bytes of input it keeps. */
size_t record_size(const struct record *record);
/* The record is done: frees its memory if it is more than most records need. */
void record_trim(struct record *record);
void record_finish(struct record *record);

#endif
