/* SPDX-License-Identifier: Apache-2.0
 *
 * Packs a part of a batch into a plan, and delivers the results of a pass. Rows are copied into
 * memory that a client may share, so it is only ever written, and the device has no access to it.
 */
#include "cuda/plan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int planner_init(struct planner *planner, const struct sizes *sizes, struct error *error) {
    planner->order = malloc(sizes->largest * sizeof *planner->order);
    planner->starts = malloc((sizes->model.positions + (size_t)1) * sizeof *planner->starts);
    if (!planner->order || !planner->starts)
        return error_set(error, EX_SOFTWARE, "out of memory");
    return 0;
}

void planner_finish(struct planner *planner) {
    free(planner->order);
    free(planner->starts);
    *planner = (struct planner){0};
}

static uint32_t tiles_write(const struct planner *planner, const struct engine_part *part,
                            struct plan_tile *tiles) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < part->count; i++) {
        const struct engine_item *item = &part->batch->items[part->first + planner->order[i]];
        for (uint32_t query = 0; query < item->tokens; query += GPU_TILE_QUERIES)
            tiles[count++] =
                (struct plan_tile){item->first_token - part->first_token, item->tokens, query};
    }
    return count;
}

/* Writes the positions of an item's tokens, and the owners of their rows. Only the rows that a
 * result needs have an owner. */
static void tokens_write(const struct engine_item *item, uint32_t index, uint32_t first_token,
                         uint16_t *positions, uint32_t *owners) {
    bool bos = item->pooling == POOLING_BOS;
    uint32_t first = bos ? 0 : item->first_residue, count = bos ? 1 : item->residues;
    for (uint32_t t = 0; t < item->tokens; t++) {
        positions[first_token + t] = (uint16_t)t;
        owners[first_token + t] = t - first < count ? index : GPU_NO_ITEM;
    }
}

static size_t item_bytes(const struct engine_item *item, uint32_t hidden) {
    size_t rows = item->pooling == POOLING_NONE ? item->residues : 1;
    return rows * hidden * dtype_size(item->dtype);
}

size_t plan_pack(struct planner *planner, const struct sizes *sizes,
                 const struct plan_places *places, const struct engine_part *part,
                 unsigned char *memory) {
    struct plan_counts *counts = (void *)memory;
    uint16_t *positions = (void *)(memory + places->positions);
    uint32_t *owners = (void *)(memory + places->owners);
    struct plan_item *items = (void *)(memory + places->items);
    size_t output = (part->count * sizeof(uint32_t) + 63) / 64; /* in units of 64 bytes */
    for (uint32_t i = 0; i < part->count; i++) {
        const struct engine_item *item = &part->batch->items[part->first + i];
        uint32_t first_token = item->first_token - part->first_token;
        items[i] = (struct plan_item){
            first_token,      first_token + item->first_residue, item->residues,
            (uint32_t)output, (uint16_t)item->pooling,           (uint16_t)item->dtype};
        tokens_write(item, i, first_token, positions, owners);
        output += item_bytes(item, sizes->model.hidden) / 64;
    }
    memcpy(memory + places->ids, part->batch->ids + part->first_token,
           part->tokens * sizeof(uint16_t));
    engine_items_order(part->batch->items + part->first, part->count, sizes->model.positions,
                       planner->starts, planner->order);
    *counts = (struct plan_counts){.tokens = part->tokens, .items = part->count};
    counts->tiles = tiles_write(planner, part, (void *)(memory + places->tiles));
    return output * 64;
}

struct gpu_plan plan_at(const unsigned char *memory, const struct plan_places *places) {
    return (struct gpu_plan){.counts = (const void *)memory,
                             .ids = (const void *)(memory + places->ids),
                             .positions = (const void *)(memory + places->positions),
                             .owners = (const void *)(memory + places->owners),
                             .tiles = (const void *)(memory + places->tiles),
                             .items = (const void *)(memory + places->items)};
}

static enum record_status item_status(const struct engine_item *item, uint32_t flags) {
    if (item->pooling == POOLING_BOS && item->first_residue == 0)
        return RECORD_NO_BOS;
    if (flags & GPU_NOT_FINITE)
        return RECORD_NONFINITE;
    return flags & GPU_OVERFLOW ? RECORD_OVERFLOW : RECORD_OK;
}

void plan_deliver(const struct sizes *sizes, const struct plan_places *places,
                  const struct engine_part *part, const unsigned char *plan,
                  const unsigned char *output) {
    const struct plan_item *planned = (const void *)(plan + places->items);
    const uint32_t *flags = (const void *)output;
    for (uint32_t i = 0; i < part->count; i++) {
        struct engine_item *item = &part->batch->items[part->first + i];
        item->status = item_status(item, flags[i]);
        if (item->status == RECORD_OK)
            memcpy(item->rows, output + (size_t)64 * planned[i].output,
                   item_bytes(item, sizes->model.hidden));
    }
}
