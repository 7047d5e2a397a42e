/* SPDX-License-Identifier: Apache-2.0
 *
 * This is a packed batch for the tests of the kernels: sequences of given lengths, with one result
 * each.
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

/* `lengths` count tokens, with <s> and </s>; in a sequence of one or two tokens all are
 * residues. The hidden size and the type must be in batch->shape before. All memory lasts until
 * device_end(). */
void batch_init(struct batch *batch, const uint32_t *lengths, uint32_t count);

/* Copies the plan to device memory. */
struct gpu_plan batch_upload(const struct batch *batch);

#endif
