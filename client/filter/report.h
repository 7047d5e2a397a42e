/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter says to people, all of it on stderr: messages, and the progress line, which they
 * push aside.
 */
#ifndef ESM1NV_FILTER_REPORT_H
#define ESM1NV_FILTER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line "esm1nv: ...". Control characters become '?', since ids and names may hold any. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for a text of ours, up to 200 bytes, without the weight of formatting. */
void report_text(const char *text);

/* An error of the library's, ESM1NV_ERROR_*, with its text, and what to do about it. Returns the
 * exit status. */
int report_daemon_error(int reason, const char *text);

/* Reports it and exits with EX_SOFTWARE. */
_Noreturn void exit_out_of_memory(void);

/* realloc() that cannot fail: it calls exit_out_of_memory() instead. */
void *allocate(void *old, size_t size);

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
