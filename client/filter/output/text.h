/* SPDX-License-Identifier: Apache-2.0
 *
 * Text for the writers: ids, reasons and numbers, as the text formats and the index want them.
 * Texts are valid UTF-8. Functions that write return 0, or a negative exit status after reporting.
 */
#ifndef ESM1NV_FILTER_TEXT_H
#define ESM1NV_FILTER_TEXT_H

#include "client/filter/output/target.h"

/* An id or a reason in a TSV field: control characters become blanks. */
int text_field(struct target *target, const char *text, size_t size);
/* A JSON string with its quotes. */
int text_json(struct target *target, const char *text, size_t size);
/* Values with separator between them. */
int text_values(struct target *target, const float *values, uint32_t count, char separator);
/* A text by printf()'s rules, of at most 4,095 bytes. */
int text_format(struct target *target, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts a code point's escape in a JSON string, where it needs one, and returns its bytes. 0: it
 * stands there as it is. Control characters are escaped beyond what JSON asks for (U+007F to
 * U+009F), since a terminal may act on them. */
#define TEXT_ESCAPE_MAX 8
size_t text_escape(char escape[TEXT_ESCAPE_MAX], uint32_t letter);

#endif
