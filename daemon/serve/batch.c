/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: one slot for each that may be in flight, with room for the largest, made once.
 */
#include "daemon/serve/batch.h"
#include "daemon/serve/generation.h"
#include "daemon/base/log.h"
#include "daemon/serve/session.h"

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
    struct slot *slots;
    unsigned depth, in_flight; /* 0 once they are abandoned */
    uint32_t tokens;           /* of the batches in flight */
    unsigned capacity;         /* records in a batch */
};

static int slot_init(struct slot *slot, uint32_t tokens, unsigned capacity) {
    slot->records = calloc(capacity, sizeof(struct sched_record *));
    slot->items = calloc(capacity, sizeof *slot->items);
    slot->ids = calloc(tokens, sizeof *slot->ids);
    return slot->records && slot->items && slot->ids ? 0 : -ENOMEM;
}

int batches_create(struct batches **result, const struct generation *generation) {
    struct batches *batches = calloc(1, sizeof *batches);
    uint32_t tokens = generation->sched.budget_max;
    unsigned depth = generation->info->depth;
    int error = -ENOMEM;

    *result = NULL;
    if (!batches)
        return -ENOMEM;
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

bool batches_feed(struct service *service) {
    struct generation *generation;
    bool fed = false;

    while ((generation = (struct generation *)sched_turn(&service->sched))) {
        struct batches *batches = generation->batches;
        struct slot *slot = free_slot(batches);
        bool another_computes = service->batches_in_flight > batches->in_flight;

        if (!slot || another_computes || !sched_runs_ahead(&generation->sched, batches->tokens))
            break;
        pack(slot, sched_next_batch(&service->sched, slot->records, batches->capacity));
        slot->in_flight = true;
        batches->in_flight++;
        batches->tokens += slot->batch.tokens;
        service->batches_in_flight++;
        generation->table->submit(generation->engine, &slot->batch);
        fed = true;
    }
    return fed;
}

static void unpack(struct service *service, struct generation *generation, struct slot *slot) {
    if (slot->batch.failure[0])
        log_error("the %s engine failed on a batch of %u records: %s", generation->info->backend,
                  slot->batch.count, slot->batch.failure);
    sched_observe(&generation->sched, slot->batch.tokens, slot->batch.seconds);
    service->total.batches++;
    for (unsigned i = 0; i < slot->batch.count; i++) {
        struct record *record = (struct record *)slot->records[i];

        record->status = slot->items[i].status;
        session_finish(record);
    }
    slot->in_flight = false;
    if (generation->batches->in_flight == 0)
        return;
    generation->batches->in_flight--;
    generation->batches->tokens -= slot->batch.tokens;
    service->batches_in_flight--;
}

void batches_abandon(struct service *service, struct generation *generation) {
    service->batches_in_flight -= generation->batches->in_flight;
    generation->batches->in_flight = 0;
    generation->batches->tokens = 0;
}

void batches_reap(struct service *service, struct generation *generation) {
    struct engine_batch *batch;

    while ((batch = generation->table->reap(generation->engine)))
        unpack(service, generation, batch->user);
}
