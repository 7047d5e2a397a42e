/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of formats, one row each: the name, which is also that of the struct in its own file,
 * output_NAME. The first is the default.
 */
#include "client/filter/output/output.h"

#define FORMATS(ROW) ROW(tsv) ROW(jsonl) ROW(npy) ROW(raw) ROW(msgpack) ROW(h5)

#define DECLARE(name) extern const struct output_format output_##name;
#define ADDRESS(name) &output_##name,
#define NAME(name) #name,
FORMATS(DECLARE)
const struct output_format *const output_formats[] = {FORMATS(ADDRESS) NULL};
const char *const output_format_names[] = {FORMATS(NAME) NULL};
