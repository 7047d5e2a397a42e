/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: one slot for each that may be in flight, with room for the largest, made once.
 */
#include "daemon/batch.h"
#include "daemon/log.h"
#include "daemon/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct engine_batch batch;
    struct sched_record **records;
    struct engine_item *items;
    uint16_t *ids;
    bool in_flight;
};

struct batches {
    struct service *service;
    const struct engine_table *table;
    struct engine *engine;
    struct slot *slots;
    unsigned depth, in_flight;
    uint32_t tokens;   /* of the batches in flight */
    unsigned capacity; /* records in a batch */
};

static int slot_init(struct slot *slot, uint32_t tokens, unsigned capacity) {
    slot->records = calloc(capacity, sizeof(struct sched_record *));
    slot->items = calloc(capacity, sizeof *slot->items);
    slot->ids = calloc(tokens, sizeof *slot->ids);
    return slot->records && slot->items && slot->ids ? 0 : -ENOMEM;
}

int batches_create(struct batches **result, struct service *service,
                   const struct engine_table *table, struct engine *engine, uint32_t tokens) {
    struct batches *batches = calloc(1, sizeof *batches);
    unsigned depth = table->info(engine)->depth;
    int error = -ENOMEM;

    *result = NULL;
    if (!batches)
        return -ENOMEM;
    *batches = (struct batches){.service = service, .table = table, .engine = engine};
    batches->capacity = tokens / 3 + 1; /* no record has fewer than three tokens */
    batches->slots = calloc(depth, sizeof *batches->slots);
    if (batches->slots)
        error = 0;
    while (error == 0 && batches->depth < depth)
        error = slot_init(&batches->slots[batches->depth++], tokens, batches->capacity);
    if (error < 0) {
        batches_destroy(batches);
        return error;
    }
    *result = batches;
    return 0;
}

void batches_destroy(struct batches *batches) {
    if (!batches)
        return;
    for (unsigned i = 0; i < batches->depth; i++) {
        free(batches->slots[i].records);
        free(batches->slots[i].items);
        free(batches->slots[i].ids);
    }
    free(batches->slots);
    free(batches);
}

static struct slot *free_slot(struct batches *batches) {
    for (unsigned i = 0; i < batches->depth; i++)
        if (!batches->slots[i].in_flight)
            return &batches->slots[i];
    return NULL;
}

static void pack_item(struct slot *slot, struct engine_item *item, const struct record *record) {
    memcpy(slot->ids + slot->batch.tokens, record->ids, record->span.tokens * sizeof *record->ids);
    *item = (struct engine_item){
        .first_token = slot->batch.tokens,
        .tokens = record->span.tokens,
        .first_residue = record->span.first_residue,
        .residues = record->span.residues,
        .pooling = record->session->pooling,
        .dtype = record->session->dtype,
        .rows = record->data,
        .status = RECORD_ENGINE,
    };
    slot->batch.tokens += record->span.tokens;
}

static void pack(struct slot *slot, unsigned count) {
    slot->batch =
        (struct engine_batch){.ids = slot->ids, .items = slot->items, .count = count, .user = slot};
    for (unsigned i = 0; i < count; i++) {
        struct record *record = (struct record *)slot->records[i];

        record->session->in_flight++;
        pack_item(slot, &slot->items[i], record);
    }
}

void batches_feed(struct batches *batches) {
    struct slot *slot;
    unsigned count;

    while ((slot = free_slot(batches)) &&
           sched_runs_ahead(&batches->service->sched, batches->tokens)) {
        count = sched_next_batch(&batches->service->sched, slot->records, batches->capacity);
        if (count == 0)
            return;
        pack(slot, count);
        slot->in_flight = true;
        batches->in_flight++;
        batches->tokens += slot->batch.tokens;
        batches->table->submit(batches->engine, &slot->batch);
    }
}

static void unpack(struct batches *batches, struct slot *slot) {
    struct service *service = batches->service;

    if (slot->batch.failure[0])
        log_error("the engine failed on a batch of %u records: %s", slot->batch.count,
                  slot->batch.failure);
    sched_observe(&service->sched, slot->batch.tokens, slot->batch.seconds);
    service->total.batches++;
    for (unsigned i = 0; i < slot->batch.count; i++) {
        struct record *record = (struct record *)slot->records[i];

        record->status = slot->items[i].status;
        session_finish(record);
    }
    slot->in_flight = false;
    batches->in_flight--;
    batches->tokens -= slot->batch.tokens;
}

void batches_reap(struct batches *batches) {
    struct engine_batch *batch;

    while ((batch = batches->table->reap(batches->engine)))
        unpack(batches, batch->user);
    session_publish_finished(batches->service);
}

unsigned batches_in_flight(const struct batches *batches) {
    return batches->in_flight;
}
