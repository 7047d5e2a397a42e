/* SPDX-License-Identifier: Apache-2.0
 *
 * All windows have the same size, so a residue is farthest from the nearer end of the window whose
 * middle is nearest to it. Each window therefore gives the rows of one run of residues, and two
 * runs meet halfway between the middles of their windows. Pooling uses the engine's arithmetic:
 * float32, residue after residue.
 */
#include "client/filter/window.h"

#include "client/filter/report.h"
#include "ipc/base/half.h"

#include <stdlib.h>
#include <string.h>

#define RESIDUES_MAX                                                                               \
    (UINT32_C(1) << 30)           /* so that the sum of two numbers of residues fits 32 bits */
#define ROWS_BYTES_MAX UINT32_MAX /* the most that a MessagePack value can hold */

struct windows windows_of(uint32_t length, uint32_t positions) {
    struct windows windows = {.length = length, .size = length, .step = 1, .count = 1};
    if (length <= positions)
        return windows;
    windows.size = positions - 2;
    windows.step = windows.size > 1 ? windows.size / 2 : 1;
    uint32_t rest = length - windows.size;
    windows.count = rest / windows.step + 1 + (rest % windows.step != 0);
    return windows;
}

uint32_t window_start(const struct windows *windows, uint32_t number) {
    uint32_t start = number * windows->step;
    uint32_t last = windows->length - windows->size;
    return start < last ? start : last;
}

uint32_t window_rows_start(const struct windows *windows, uint32_t number) {
    if (number == 0)
        return 0;
    if (number == windows->count)
        return windows->length;
    uint32_t starts = window_start(windows, number - 1) + window_start(windows, number);
    return (starts + windows->size - 1) / 2 + 1;
}

static size_t value_size(enum esm1nv_dtype dtype) {
    return dtype == ESM1NV_F16 ? 2 : 4;
}

uint32_t stitch_residues_max(enum esm1nv_pooling pooling, enum esm1nv_dtype dtype,
                             uint32_t hidden) {
    size_t most = ROWS_BYTES_MAX / (hidden * value_size(dtype));
    return pooling == ESM1NV_POOL_NONE && most < RESIDUES_MAX ? (uint32_t)most : RESIDUES_MAX;
}

static void stitch_begin(struct stitch *stitch, const struct windows *windows) {
    size_t size = stitch->hidden * sizeof(float);
    if (stitch->pooling == ESM1NV_POOL_NONE)
        size = (size_t)windows->length * stitch->hidden * value_size(stitch->dtype);
    stitch->status = ESM1NV_RECORD_OK;
    if (size > stitch->capacity) {
        free(stitch->rows); /* first, so that both never exist at once */
        stitch->rows = allocate(NULL, size);
        stitch->capacity = size;
    }
}

static void stitch_pool(struct stitch *stitch, const float *row, bool first) {
    float *pooled = (float *)stitch->rows;
    if (first)
        memcpy(pooled, row, stitch->hidden * sizeof *row);
    else if (stitch->pooling == ESM1NV_POOL_MEAN)
        for (uint32_t i = 0; i < stitch->hidden; i++)
            pooled[i] += row[i];
    else
        for (uint32_t i = 0; i < stitch->hidden; i++)
            pooled[i] = pooled[i] > row[i] ? pooled[i] : row[i];
}

void stitch_add(struct stitch *stitch, const struct windows *windows,
                const struct esm1nv_result *result) {
    uint32_t number = stitch->taken++;
    if (number == 0)
        stitch_begin(stitch, windows);
    if (stitch->status == ESM1NV_RECORD_OK)
        stitch->status = result->status;
    if (stitch->status != ESM1NV_RECORD_OK)
        return;
    uint32_t first = window_rows_start(windows, number);
    uint32_t end = window_rows_start(windows, number + 1);
    uint32_t skipped = first - window_start(windows, number);
    size_t row_bytes = result->bytes / result->row_count;
    const char *rows = (const char *)result->rows + skipped * row_bytes;
    if (stitch->pooling == ESM1NV_POOL_NONE)
        memcpy(stitch->rows + first * row_bytes, rows, (end - first) * row_bytes);
    else
        for (uint32_t i = first; i < end; i++)
            stitch_pool(stitch, (const float *)rows + (size_t)(i - first) * stitch->hidden, i == 0);
}

/* Brings the pooled row into its final form, in place. */
static void end_pooled(struct stitch *stitch, uint32_t length) {
    float *pooled = (float *)stitch->rows;
    for (uint32_t i = 0; i < stitch->hidden; i++) {
        if (stitch->pooling == ESM1NV_POOL_MEAN)
            pooled[i] /= (float)length;
        if (!float_is_finite(pooled[i]))
            stitch->status = ESM1NV_RECORD_NONFINITE;
    }
    for (uint32_t i = 0; i < stitch->hidden && stitch->dtype == ESM1NV_F16; i++) {
        uint16_t half = f16_from_float(pooled[i]);
        if ((half & 0x7C00) == 0x7C00 && stitch->status == ESM1NV_RECORD_OK)
            stitch->status = ESM1NV_RECORD_OVERFLOW;
        memcpy(stitch->rows + i * sizeof half, &half, sizeof half);
    }
}

struct esm1nv_result stitch_end(struct stitch *stitch, const struct windows *windows) {
    bool pooled = stitch->pooling != ESM1NV_POOL_NONE;
    if (pooled && stitch->status == ESM1NV_RECORD_OK)
        end_pooled(stitch, windows->length);
    struct esm1nv_result result = {.status = stitch->status};
    if (result.status == ESM1NV_RECORD_OK) {
        result.row_count = pooled ? 1 : windows->length;
        result.rows = stitch->rows;
        result.bytes = (size_t)result.row_count * stitch->hidden * value_size(stitch->dtype);
    }
    stitch->taken = 0;
    return result;
}

void stitch_finish(struct stitch *stitch) {
    free(stitch->rows);
    stitch->rows = NULL;
}
