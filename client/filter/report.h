/* SPDX-License-Identifier: Apache-2.0
 *
 * What the filter tells people, all of it on stderr: messages, and the progress line, which is
 * taken off the terminal before a message appears.
 */
#ifndef ESM1NV_FILTER_REPORT_H
#define ESM1NV_FILTER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes a line "esm1nv: ...". Control characters become '?', since ids and names may hold any. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for a constant text of up to 200 bytes. It needs no printf(), which would slow down a
 * small call. */
void report_text(const char *text);

/* Reports an error of the library, ESM1NV_ERROR_*, by its text and what to do about it. Returns the
 * exit status. */
int report_daemon_error(int reason, const char *text);

/* Reports that memory ran out and exits with EX_SOFTWARE. */
_Noreturn void exit_out_of_memory(void);

/* realloc() that cannot fail: it calls exit_out_of_memory() instead. */
void *allocate(void *old, size_t size);

enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

struct progress {
    bool enabled;
    bool terminal;
    uint64_t total_bytes; /* of the input; 0: unknown */
    int64_t started;      /* milliseconds of the monotonic clock */
    int64_t due;          /* when the line is drawn next */
};

/* output is the descriptor of the rows: if it is a terminal, PROGRESS_AUTO does not draw there. */
void progress_start(struct progress *progress, enum progress_mode mode, uint64_t total_bytes,
                    int output);
/* Draws the line if it is time; cheap otherwise. */
void progress_update(struct progress *progress, uint64_t records, uint64_t residues,
                     uint64_t bytes);
/* Milliseconds until progress_update() should be called again; -1: no need. */
int progress_timeout(const struct progress *progress);
/* Takes the line off the terminal, if there is one. */
void progress_clear(void);

#endif
