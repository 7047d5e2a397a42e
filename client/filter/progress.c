/* SPDX-License-Identifier: Apache-2.0
 *
 * The progress line: on a terminal, one line that is overwritten; elsewhere, if --progress always
 * asks for it, a new line now and then. On a terminal it appears only when a run takes a while.
 */
#include "client/filter/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FIRST_MS 1500
#define EACH_MS 250
#define EACH_PLAIN_MS 10000
#define BAR_WIDTH 24

static bool drawn; /* a line stands on the terminal */

static int64_t progress_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void progress_start(struct progress *progress, enum progress_mode mode, uint64_t total_bytes,
                    int output) {
    progress->terminal = mode != PROGRESS_NEVER && isatty(STDERR_FILENO);
    progress->enabled =
        mode == PROGRESS_ALWAYS || (mode == PROGRESS_AUTO && progress->terminal && !isatty(output));
    if (!progress->enabled)
        return;
    progress->total_bytes = total_bytes;
    progress->started = progress_now();
    progress->due = progress->started + (mode == PROGRESS_ALWAYS ? 0 : FIRST_MS);
}

static size_t draw_bar(const struct progress *progress, uint64_t bytes, int64_t elapsed, char *text,
                       size_t capacity) {
    if (progress->total_bytes == 0)
        return 0;
    double share = (double)bytes / (double)progress->total_bytes;
    share = share > 1 ? 1 : share;
    int64_t left = share > 0 ? (int64_t)((double)elapsed * (1 - share) / share / 1000) : 0;
    char bar[BAR_WIDTH + 1];
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)(share * BAR_WIDTH));
    bar[BAR_WIDTH] = 0;
    int size = snprintf(text, capacity, "[%s] %3d %%, %" PRId64 ":%02d left, ", bar,
                        (int)(share * 100), left / 60, (int)(left % 60));
    return size > 0 ? (size_t)size : 0;
}

static void draw(const struct progress *progress, uint64_t records, uint64_t residues,
                 uint64_t bytes, int64_t elapsed) {
    char line[256] = "\r\x1B[K";
    size_t size = progress->terminal ? strlen(line) : 0;
    size += draw_bar(progress, bytes, elapsed, line + size, 120);
    uint64_t rate = elapsed > 0 ? residues * 1000 / (uint64_t)elapsed : 0;
    int more =
        snprintf(line + size, sizeof line - size,
                 "%" PRIu64 " record%s, %" PRIu64 " residues, %" PRIu64 " a second%s", records,
                 records == 1 ? "" : "s", residues, rate, progress->terminal ? "" : "\n");
    drawn = progress->terminal;
    if (write(STDERR_FILENO, line, size + (size_t)more) < 0)
        drawn = false;
}

void progress_update(struct progress *progress, uint64_t records, uint64_t residues,
                     uint64_t bytes) {
    if (!progress->enabled)
        return;
    int64_t time = progress_now();
    if (time < progress->due)
        return;
    progress->due = time + (progress->terminal ? EACH_MS : EACH_PLAIN_MS);
    draw(progress, records, residues, bytes, time - progress->started);
}

int progress_timeout(const struct progress *progress) {
    if (!progress->enabled)
        return -1;
    int64_t left = progress->due - progress_now();
    return left < 0 ? 0 : (int)left;
}

void progress_clear(void) {
    if (!drawn || write(STDERR_FILENO, "\r\x1B[K", 4) < 0)
        return;
    drawn = false;
}
