/* SPDX-License-Identifier: Apache-2.0
 *
 * A packed batch for the kernels' tests: sequences of given lengths, one result each.
 */
#ifndef ESM1NV_TESTS_BATCH_H
#define ESM1NV_TESTS_BATCH_H

#include "cuda/kernels.h"

#include <stdint.h>

#define VOCABULARY 30u

struct batch {
    struct gpu_shape shape;
    uint32_t count, tokens; /* in use; the shape has room for more */
    uint32_t tile_count;
    uint16_t *ids, *positions;
    uint32_t *owners;
    struct plan_tile *tiles;
    struct plan_item *items; /* without output, pooling and dtype: those are the test's */
};

/* `lengths` are tokens, <s> and </s> counted (of those with one or two, all are residues). The
 * hidden size and the type must be in batch->shape before. All of it lasts until device_end(). */
void batch_init(struct batch *batch, const uint32_t *lengths, uint32_t count);

/* The plan in device memory. */
struct gpu_plan batch_upload(const struct batch *batch);

#endif
