/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter says to people, all of it on stderr: messages, the warnings that are counted and
 * told once at the end, and the progress line, which messages push aside.
 */
#ifndef ESM1NV_FILTER_REPORT_H
#define ESM1NV_FILTER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record;

/* One line "esm1nv: ...". Control characters become '?', since ids and names may hold any. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for a text of ours, up to 200 bytes, without the weight of formatting. */
void report_text(const char *text);

/* An error of the library's, with its text, and what to do about it. Returns the exit status. */
int report_daemon_error(int result, const char *text);

/* realloc() that cannot fail: it reports and exits with EX_SOFTWARE instead. */
void *allocate(void *old, size_t size);

enum warning {
    WARNING_TRUNCATED, /* records longer than the model's positions */
    WARNING_UNKNOWN,   /* records with letters that got the <unk> token */
    WARNING_DROPPED,   /* records with letters that were left out */
    WARNING_ID,        /* records whose id is not UTF-8 */
    WARNING_KINDS
};

struct warnings {
    bool verbose;
    uint32_t positions; /* for the texts */
    uint64_t count[WARNING_KINDS];
    uint64_t records;
    uint64_t failed;
};

/* Counts what is to be said about a record that was written or failed; says it at once when it
 * failed (the first few) or with verbose. */
void warnings_add(struct warnings *warnings, const struct record *record);
/* The counts, one line per kind that occurred. */
void warnings_tell(const struct warnings *warnings);

enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

struct progress {
    bool enabled;
    bool terminal;
    uint64_t total_bytes; /* of the input; 0 when unknown */
    int64_t started;      /* milliseconds */
    int64_t due;
};

/* output: where the rows go; if that is the terminal, PROGRESS_AUTO does not write among them. */
void progress_start(struct progress *progress, enum progress_mode mode, uint64_t total_bytes,
                    int output);
/* Draws when it is time. Cheap otherwise. */
void progress_update(struct progress *progress, uint64_t records, uint64_t residues,
                     uint64_t bytes);
/* Milliseconds until it wants to be called again, or -1. */
int progress_timeout(const struct progress *progress);
/* Takes the line off the terminal. Safe at any time, also without a line. */
void progress_clear(void);

#endif
