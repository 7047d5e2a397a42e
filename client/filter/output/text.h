/* SPDX-License-Identifier: Apache-2.0
 *
 * Text for the writers: ids, reasons and numbers as the text formats and the index need them. Texts
 * are valid UTF-8. A write that fails is reported and leaves target->result negative.
 */
#ifndef ESM1NV_FILTER_TEXT_H
#define ESM1NV_FILTER_TEXT_H

#include "client/filter/output/target.h"

/* Writes an id or a residue as a TSV field: control characters become blanks. */
void text_field(struct target *target, const char *text, size_t size);
/* Writes a JSON string with its quotes. */
void text_json(struct target *target, const char *text, size_t size);
/* Writes values with the separator between them. */
void text_values(struct target *target, const float *values, uint32_t count, char separator);
/* Writes a text of at most 4,095 bytes by printf()'s rules. */
void text_format(struct target *target, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts the escape that a code point needs in a JSON string, and returns its size in bytes; 0: the
 * code point needs none. The control characters U+007F to U+009F are escaped too, although JSON
 * does not require it, because a terminal may act on them. */
#define TEXT_ESCAPE_MAX 8
size_t text_escape(char escape[TEXT_ESCAPE_MAX], uint32_t letter);

#endif
