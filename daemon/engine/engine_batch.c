/* SPDX-License-Identifier: Apache-2.0
 *
 * What every engine does with the items of a batch: it checks that the submitter kept the rules of
 * engine.h, marks items as failed, and orders them so that threads share the work evenly.
 */
#include "daemon/engine/engine.h"

#include <stdio.h>
#include <string.h>

/* `left` is how many tokens the batch has from the item's first one on. */
static const char *item_fault(const struct engine_item *item, uint32_t positions, uint32_t left) {
    if (item->tokens == 0 || item->tokens > positions)
        return "a sequence is empty or longer than the model's positions";
    if (item->tokens > left)
        return "a sequence lies outside its batch";
    if (item->residues == 0 || item->residues > item->tokens ||
        item->first_residue > item->tokens - item->residues)
        return "residues lie outside their sequence";
    return NULL;
}

const char *engine_batch_fault(const struct engine_batch *batch, const struct model_config *config,
                               uint32_t max_tokens) {
    if (batch->tokens > max_tokens || batch->count > batch->tokens)
        return "the batch is larger than the engine was opened for";
    for (uint32_t i = 0; i < batch->tokens; i++)
        if (batch->ids[i] >= config->vocabulary)
            return "a token is not in the vocabulary";
    uint32_t end = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        if (batch->items[i].first_token != end)
            return "sequences do not lie end to end";
        const char *fault = item_fault(&batch->items[i], config->positions, batch->tokens - end);
        if (fault)
            return fault;
        end += batch->items[i].tokens;
    }
    return end == batch->tokens ? NULL : "sequences do not fill their batch";
}

void engine_items_fail(struct engine_batch *batch, uint32_t first, uint32_t count,
                       const char *why) {
    snprintf(batch->failure, sizeof batch->failure, "%s", why);
    for (uint32_t i = first; i < first + count; i++)
        batch->items[i].status = RECORD_ENGINE;
}

/* A counting sort by length. */
void engine_items_order(const struct engine_item *items, uint32_t count, uint32_t longest,
                        uint32_t *starts, uint32_t *order) {
    uint32_t at = 0;
    memset(starts, 0, (longest + (size_t)1) * sizeof *starts);
    for (uint32_t i = 0; i < count; i++)
        starts[items[i].tokens]++;
    for (uint32_t length = longest; length > 0; length--) {
        uint32_t same = starts[length];
        starts[length] = at;
        at += same;
    }
    for (uint32_t i = 0; i < count; i++)
        order[starts[items[i].tokens]++] = i;
}
