/* SPDX-License-Identifier: Apache-2.0
 *
 * --long window: a sequence longer than the model's positions P is embedded in windows of P - 2
 * residues that begin every (P - 2) / 2 residues, and a last one that ends at its end. The row of
 * a residue is that of the window in which it stands farthest from the nearer end, of the earlier
 * one on a tie. A sequence that is not longer is one window.
 */
#ifndef ESM1NV_FILTER_WINDOW_H
#define ESM1NV_FILTER_WINDOW_H

#include "client/esm1nv.h"

#include <stdbool.h>

struct windows {
    uint32_t length; /* of the sequence, in residues */
    uint32_t size;   /* of each window */
    uint32_t step;
    uint32_t count;
};

struct windows windows_of(uint32_t length, uint32_t positions);
/* The first residue of a window. */
uint32_t window_start(const struct windows *windows, uint32_t number);
/* The first of the residues that take their rows from this window; they reach to those of the
 * next. */
uint32_t window_rows_start(const struct windows *windows, uint32_t number);

/* Rows put together out of windows, all of them or pooled, for one record after the other. */
struct stitch {
    enum esm1nv_pooling pooling;
    enum esm1nv_dtype dtype; /* of the result; a window's rows are f32 when they are pooled here */
    uint32_t hidden;

    uint32_t taken; /* windows so far */
    enum esm1nv_status status;
    char *rows;
    size_t capacity;
};

/* The most residues whose rows can be kept together. */
uint32_t stitch_residues_max(enum esm1nv_pooling pooling, enum esm1nv_dtype dtype, uint32_t hidden);
/* Adds the next window's residue rows. */
void stitch_add(struct stitch *stitch, const struct windows *windows,
                const struct esm1nv_result *result);
/* After the last window: the record's result, as one call would have brought it. Its rows live
 * until the next stitch_add(). */
struct esm1nv_result stitch_end(struct stitch *stitch, const struct windows *windows);
void stitch_finish(struct stitch *stitch);

#endif
