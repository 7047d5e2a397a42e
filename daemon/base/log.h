/* SPDX-License-Identifier: Apache-2.0
 *
 * One line per event to stderr, with the `<N>` priority prefixes that journald reads when stderr
 * is its stream. Never called with sequences or other contents of records.
 */
#ifndef ESM1NV_LOG_H
#define ESM1NV_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Leaves out lines above this level from now on. Looks at $JOURNAL_STREAM, which journald sets. */
void log_init(enum log_level level);

/* The names of the levels, in the order of enum log_level; NULL at the end. */
extern const char *const log_level_names[];

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
