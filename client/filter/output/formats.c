/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of formats. A row is the format's name; its struct is output_NAME, in the file NAME.c.
 * The first row is the default.
 */
#include "client/filter/output/output.h"

#define FORMATS(ROW) ROW(tsv) ROW(jsonl) ROW(npy) ROW(raw) ROW(msgpack) ROW(h5)

#define DECLARE(name) extern const struct output_format output_##name;
#define ADDRESS(name) &output_##name,
#define NAME(name) #name,
FORMATS(DECLARE)
const struct output_format *const output_formats[] = {FORMATS(ADDRESS) NULL};
const char *const output_format_names[] = {FORMATS(NAME) NULL};
