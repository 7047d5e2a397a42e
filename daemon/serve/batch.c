/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches, from the scheduler to the engine and back. An engine that breaks ends its sessions
 * before anything is published: what it failed on is computed anew in a session with another one.
 */
#include "daemon/serve/batch.h"
#include "daemon/base/container_of.h"
#include "daemon/base/log.h"
#include "daemon/serve/publishing.h"

#include <errno.h>
#include <string.h>

/* --- To the engine ---------------------------------------------------------------------------- */

static void batch_pack_record(struct slot *slot, struct engine_item *item,
                              const struct record *record) {
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

static void batch_pack(struct slot *slot, unsigned count) {
    slot->batch =
        (struct engine_batch){.ids = slot->ids, .items = slot->items, .count = count, .user = slot};
    for (unsigned i = 0; i < count; i++) {
        struct record *record = container_of(slot->records[i], struct record, sched);

        record->session->in_flight++;
        batch_pack_record(slot, &slot->items[i], record);
    }
}

static void batch_submit(struct service *service, struct generation *generation,
                         struct slot *slot) {
    struct slots *slots = &generation->slots;

    batch_pack(slot, sched_next_batch(&service->sched, slot->records, slots->capacity));
    slot->in_flight = true;
    slots->in_flight++;
    slots->tokens += slot->batch.tokens;
    service->batches_in_flight++;
    generation->table->submit(generation->engine, &slot->batch);
}

/* --- And back --------------------------------------------------------------------------------- */

static void batch_finish(struct generation *generation, struct slot *slot) {
    struct service *service = generation->service;
    struct slots *slots = &generation->slots;

    if (slot->batch.failure[0])
        log_error("the %s engine failed on a batch of %u records: %s", generation->info->backend,
                  slot->batch.count, slot->batch.failure);
    sched_observe(&generation->sched, slot->batch.tokens, slot->batch.seconds);
    service->total.batches++;
    for (unsigned i = 0; i < slot->batch.count; i++) {
        struct record *record = container_of(slot->records[i], struct record, sched);

        record->status = slot->items[i].status;
        record->session->in_flight--;
        publishing_finish(record);
    }
    slot->in_flight = false;
    if (slots->in_flight == 0)
        return;
    slots->in_flight--;
    slots->tokens -= slot->batch.tokens;
    service->batches_in_flight--;
}

/* What a broken engine never gives back holds up neither another engine nor the end. */
static void batches_abandon(struct service *service, struct slots *slots) {
    service->batches_in_flight -= slots->in_flight;
    slots->in_flight = 0;
    slots->tokens = 0;
}

static void engine_broke(struct generation *generation, const char *why) {
    generation->broken = why;
    log_error("the %s engine broke: %s", generation->info->backend, why);
    session_drop_all(generation->service, generation, "its engine broke");
    batches_abandon(generation->service, &generation->slots);
}

static void batches_on_completion(void *context) {
    struct generation *generation = context;
    struct engine_batch *batch;

    while ((batch = generation->table->reap(generation->engine)))
        batch_finish(generation, batch->user);

    const char *why = generation->table->broken(generation->engine);
    if (why && !generation->broken)
        engine_broke(generation, why);
    publishing_publish(generation->service);
}

void batches_feed(struct service *service) {
    struct generation *fed = NULL; /* no other one: it computes now */
    struct sched_engine *turn;

    while ((turn = sched_turn(&service->sched))) {
        struct generation *generation = container_of(turn, struct generation, sched);
        const struct slots *slots = &generation->slots;
        struct slot *slot = slots_find_free(slots);
        bool another_computes = service->batches_in_flight > slots->in_flight;

        if (!slot || another_computes || !sched_runs_ahead(turn, slots->tokens))
            break;
        batch_submit(service, generation, slot);
        fed = generation;
    }
    if (fed)
        batches_on_completion(fed); /* the loop is not told of what was done within submit() */
}

int batches_begin(struct service *service, struct generation *generation) {
    const struct loop_callbacks callbacks = {.readable = batches_on_completion};

    generation->service = service;
    if (slots_init(&generation->slots, generation->info->depth, generation->sched.budget_max) < 0)
        return -ENOMEM;
    generation->watch =
        loop_add(service->loop, generation->table->completion_fd(generation->engine), &callbacks,
                 generation);
    return generation->watch ? 0 : -ENOMEM;
}

void batches_end(struct generation *generation) {
    loop_remove(generation->watch, false);
}
