/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of a generation's batches: one slot for each that may be in flight, with room for the
 * largest, made once.
 */
#ifndef ESM1NV_SLOTS_H
#define ESM1NV_SLOTS_H

#include "daemon/engine/engine.h"
#include "daemon/serve/sched.h"

#include <stdbool.h>
#include <stdint.h>

struct slot {
    struct engine_batch batch;
    struct sched_record **records;
    struct engine_item *items;
    uint16_t *ids;
    bool in_flight;
};

/* Null value: {0}. */
struct slots {
    struct slot *list;
    unsigned count;
    unsigned capacity;  /* records in a batch */
    unsigned in_flight; /* batches; 0 once they are abandoned */
    uint32_t tokens;    /* of the batches in flight */
};

/* Makes `count` slots for batches of at most `tokens`. Returns 0 or -ENOMEM; then too
 * slots_finish() is due. */
int slots_init(struct slots *slots, unsigned count, uint32_t tokens);

/* NULL when all are in flight. */
struct slot *slots_find_free(const struct slots *slots);

/* None may be in an engine's hands. Safe on a null value. */
void slots_finish(struct slots *slots);

#endif
