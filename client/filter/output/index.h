/* SPDX-License-Identifier: Apache-2.0
 *
 * --index: a TSV with a line for every input record, for finding its rows in raw and npy. Functions
 * return 0, or a negative exit status after reporting.
 */
#ifndef ESM1NV_FILTER_INDEX_H
#define ESM1NV_FILTER_INDEX_H

#include "client/filter/input/record.h"
#include "client/filter/output/target.h"

/* The line with the names of the columns. */
int index_begin(struct target *target);
/* A record's line. offset: how many rows were written before its own. */
int index_write(struct target *target, const struct record *record, uint32_t rows, uint64_t offset);

#endif
