/* SPDX-License-Identifier: Apache-2.0
 *
 * --long window: a sequence that is longer than the model's P positions is embedded in windows of
 * P - 2 residues. They begin every (P - 2) / 2 residues, and the last one ends with the sequence.
 * Each residue takes its row from the window in which it is farthest from the nearer end, and from
 * the earlier window if two are equal. A sequence that is not longer than P is one window.
 */
#ifndef ESM1NV_FILTER_WINDOW_H
#define ESM1NV_FILTER_WINDOW_H

#include "client/esm1nv.h"

#include <stdbool.h>

struct windows {
    uint32_t length; /* of the sequence, in residues */
    uint32_t size;   /* of each window */
    uint32_t step;   /* between the beginnings of windows */
    uint32_t count;
};

struct windows windows_of(uint32_t length, uint32_t positions);
/* The number of the first residue of a window, from 0. */
uint32_t window_start(const struct windows *windows, uint32_t number);
/* The first of the residues that take their rows from this window; the last of them comes before
 * the first of the next window's. */
uint32_t window_rows_start(const struct windows *windows, uint32_t number);

/* Puts rows together out of windows, either all rows or one pooled row, for one record after the
 * other. */
struct stitch {
    enum esm1nv_pooling pooling;
    enum esm1nv_dtype dtype; /* of the result; rows that are pooled here come as f32 */
    uint32_t hidden;

    uint32_t taken; /* how many windows of the record were added */
    enum esm1nv_status status;
    char *rows;
    size_t capacity;
};

/* The largest number of residues whose rows can be kept together. */
uint32_t stitch_residues_max(enum esm1nv_pooling pooling, enum esm1nv_dtype dtype, uint32_t hidden);
/* Adds the next window's residue rows. */
void stitch_add(struct stitch *stitch, const struct windows *windows,
                const struct esm1nv_result *result);
/* Returns the record's result after its last window, in the form of one answer of the daemon. Its
 * rows live until the next stitch_add(). */
struct esm1nv_result stitch_end(struct stitch *stitch, const struct windows *windows);
void stitch_finish(struct stitch *stitch);

#endif
