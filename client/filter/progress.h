/* SPDX-License-Identifier: Apache-2.0
 *
 * The progress line on stderr.
 */
#ifndef ESM1NV_FILTER_PROGRESS_H
#define ESM1NV_FILTER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

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
