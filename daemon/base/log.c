/* SPDX-License-Identifier: Apache-2.0
 *
 * The log. Each line is formatted first and written by one call, so that lines never mix. On a
 * terminal or in a file it begins with the program's name, in journald with the priority only.
 */
#include "daemon/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const log_level_names[] = {"error", "warning", "info", "debug", NULL};

static const struct {
    const char *label;
    int priority; /* syslog's */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"", 3},
    [LOG_LEVEL_WARNING] = {"warning: ", 4},
    [LOG_LEVEL_INFO] = {"", 6},
    [LOG_LEVEL_DEBUG] = {"debug: ", 7},
};

static enum log_level shown = LOG_LEVEL_INFO;
static bool to_journal;

/* $JOURNAL_STREAM holds device and inode of the journal's socket; those of a redirected stderr
 * differ. */
static bool stderr_is_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

void log_init(enum log_level level) {
    shown = level;
    to_journal = stderr_is_journal();
}

void log_line(enum log_level level, const char *format, ...) {
    if (level > shown)
        return;
    char line[1400];
    int used = to_journal ? snprintf(line, sizeof line, "<%d>", levels[level].priority)
                          : snprintf(line, sizeof line, "esm1nvd: %s", levels[level].label);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    strcat(line, "\n");
    if (write(STDERR_FILENO, line, strlen(line)) < 0)
        return; /* there is nowhere else to report it */
}
