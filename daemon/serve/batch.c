/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches, from the scheduler to the engine and back. An engine that breaks ends its sessions
 * before anything of its last batches is published: their clients submit those records again, to
 * another engine, and never see them as failed.
 */
#include "daemon/serve/batch.h"
#include "daemon/base/container_of.h"
#include "daemon/base/log.h"
#include "daemon/serve/publishing.h"

#include <string.h>

/* --- To the engine ---------------------------------------------------------------------------- */

/* Adds a record as item `index` of the batch. */
static void batch_pack_record(struct slot *slot, unsigned index) {
    const struct record *record = container_of(slot->records[index], struct record, sched);
    record->session->in_flight++;
    memcpy(slot->ids + slot->batch.tokens, record->ids, record->span.tokens * sizeof *record->ids);
    slot->items[index] = (struct engine_item){
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

static struct slot *find_free_slot(const struct generation *generation) {
    for (unsigned i = 0; i < generation->slot_count; i++)
        if (!generation->slots[i].in_flight)
            return &generation->slots[i];
    return NULL;
}

static void batch_submit(struct service *service, struct generation *generation,
                         struct slot *slot) {
    unsigned count = sched_next_batch(&service->sched, slot->records, generation->slot_records);
    slot->batch =
        (struct engine_batch){.ids = slot->ids, .items = slot->items, .count = count, .user = slot};
    for (unsigned i = 0; i < count; i++)
        batch_pack_record(slot, i);
    slot->in_flight = true;
    generation->batches_in_flight++;
    generation->tokens_in_flight += slot->batch.tokens;
    service->batches_in_flight++;
    generation->table->submit(generation->engine, &slot->batch);
}

/* --- And back --------------------------------------------------------------------------------- */

static void batch_finish(struct generation *generation, struct slot *slot) {
    struct service *service = generation->service;
    if (slot->batch.failure[0])
        log_error("the %s engine failed on a batch of %u records: %s", generation->info->backend,
                  slot->batch.count, slot->batch.failure);
    sched_observe(&generation->sched, slot->batch.tokens, slot->batch.seconds);
    service->total.batches++;
    for (unsigned i = 0; i < slot->batch.count; i++) {
        struct record *record = container_of(slot->records[i], struct record, sched);
        record->status = slot->items[i].status;
        record->session->in_flight--;
        publishing_end_record(record);
    }
    slot->in_flight = false;
    if (generation->batches_in_flight == 0)
        return; /* the batch was given up when the engine broke */
    generation->batches_in_flight--;
    generation->tokens_in_flight -= slot->batch.tokens;
    service->batches_in_flight--;
}

/* Gives up the batches that the engine never returns, which would hold up another engine and the
 * daemon's end. */
static void generation_break(struct generation *generation, const char *why) {
    generation->broken = why;
    log_error("the %s engine broke: %s", generation->info->backend, why);
    session_drop_all(generation->service, generation, "its engine broke");
    generation->service->batches_in_flight -= generation->batches_in_flight;
    generation->batches_in_flight = 0;
    generation->tokens_in_flight = 0;
}

void batches_on_completion(void *context) {
    struct generation *generation = context;
    struct engine_batch *batch;
    while ((batch = generation->table->reap(generation->engine)))
        batch_finish(generation, batch->user);
    const char *why = generation->table->broken(generation->engine);
    if (why && !generation->broken)
        generation_break(generation, why);
    publishing_publish_all(generation->service);
}

/* Only one engine computes at a time, because each has as many threads as there are cores. */
static bool generation_takes_more(const struct service *service,
                                  const struct generation *generation) {
    bool another_computes = service->batches_in_flight > generation->batches_in_flight;
    return !another_computes && sched_runs_ahead(&generation->sched, generation->tokens_in_flight);
}

void batches_feed(struct service *service) {
    struct generation *fed = NULL; /* there is one at most */
    struct sched_engine *turn;
    while ((turn = sched_turn(&service->sched))) {
        struct generation *generation = container_of(turn, struct generation, sched);
        struct slot *slot = find_free_slot(generation);
        if (!slot || !generation_takes_more(service, generation))
            break;
        batch_submit(service, generation, slot);
        fed = generation;
    }
    if (fed)
        batches_on_completion(fed); /* batches run within submit() do not wake the loop */
}
