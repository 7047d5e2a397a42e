/* SPDX-License-Identifier: Apache-2.0
 *
 * What is reported about records: failures and other formats as they come, and counts of the rest
 * once at the end.
 */
#ifndef ESM1NV_FILTER_WARNINGS_H
#define ESM1NV_FILTER_WARNINGS_H

#include "client/filter/input/look.h"

enum warning {
    WARNING_TRUNCATED, /* records longer than the model's positions */
    WARNING_UNKNOWN,   /* records with letters that got the <unk> token */
    WARNING_DROPPED,   /* records with letters that were left out */
    WARNING_ID,        /* records whose id is not UTF-8 */
    WARNING_KINDS
};

struct warnings {
    bool verbose;
    uint32_t positions; /* of the model, for the messages */
    uint64_t count[WARNING_KINDS];
    uint64_t records;
    uint64_t failed;
    unsigned looks; /* a bit for each enum look that was told */
};

/* Counts what is to be reported about a record that was written or failed. Reports it at once if it
 * is one of the first few that failed, or with verbose. */
void warnings_add(struct warnings *warnings, const struct record *record);
/* Reports at once, but once in a run, that a file looks like another format; warnings_add() does
 * this too. */
void warnings_look(struct warnings *warnings, const struct record *record);
/* Reports the counts, one line per kind that occurred. */
void warnings_tell(const struct warnings *warnings);

#endif
