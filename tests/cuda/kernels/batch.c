/* SPDX-License-Identifier: Apache-2.0
 *
 * See batch.h.
 */
#include "batch.h"
#include "device.h"

static void sequence_add(struct batch *b, uint32_t index, uint32_t tokens) {
    for (uint32_t i = 0; i < tokens; i++) {
        b->ids[b->tokens + i] = (uint16_t)((b->tokens + i * 7) % VOCABULARY);
        b->positions[b->tokens + i] = (uint16_t)i;
        b->owners[b->tokens + i] = index;
    }
    for (uint32_t query = 0; query < tokens; query += GPU_TILE_QUERIES)
        b->tiles[b->tile_count++] = (struct plan_tile){b->tokens, tokens, query};
    uint32_t special = tokens > 2;
    b->items[index] = (struct plan_item){.first_token = b->tokens,
                                         .first_row = b->tokens + special,
                                         .residues = tokens - 2 * special};
    b->tokens += tokens;
}

void batch_init(struct batch *batch, const uint32_t *lengths, uint32_t count) {
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < count; i++)
        tokens += lengths[i];
    tokens = tokens / 64 * 64 + 64;
    struct gpu_shape shape = batch->shape;
    shape.tokens = tokens;
    shape.sequences = count + 3;
    shape.multiprocessors = 2;
    shape.epsilon = 1e-5f;
    *batch = (struct batch){
        .shape = shape,
        .count = count,
        .ids = host_new(tokens * sizeof *batch->ids),
        .positions = host_new(tokens * sizeof *batch->positions),
        .owners = host_new(tokens * sizeof *batch->owners),
        .tiles = host_new((tokens / 64 + shape.sequences) * sizeof *batch->tiles),
        .items = host_new(shape.sequences * sizeof *batch->items),
    };
    for (uint32_t i = 0; i < count; i++)
        sequence_add(batch, i, lengths[i]);
}

struct gpu_plan batch_upload(const struct batch *batch) {
    struct plan_counts counts = {batch->tokens, batch->count, batch->tile_count, 0};
    uint32_t tokens = batch->shape.tokens, sequences = batch->shape.sequences;
    return (struct gpu_plan){
        .counts = device_new(&counts, sizeof counts),
        .ids = device_new(batch->ids, tokens * sizeof *batch->ids),
        .positions = device_new(batch->positions, tokens * sizeof *batch->positions),
        .owners = device_new(batch->owners, tokens * sizeof *batch->owners),
        .tiles = device_new(batch->tiles, (tokens / 64 + sequences) * sizeof *batch->tiles),
        .items = device_new(batch->items, sequences * sizeof *batch->items),
    };
}
