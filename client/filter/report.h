/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages to people, on stderr. They push the progress line aside.
 */
#ifndef ESM1NV_FILTER_REPORT_H
#define ESM1NV_FILTER_REPORT_H

#include <stddef.h>

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

#endif
