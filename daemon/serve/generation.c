/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading and closing of generations. Both may run in any thread: the first generation is loaded in
 * the main thread, later ones in threads of their own, so that the loop goes on serving.
 */
#include "daemon/serve/generation.h"
#include "daemon/base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* The fewest tokens of a record: <s>, a residue, </s>. */
#define RECORD_TOKENS_MIN 3

/* Checks the limits that depend on the model's size. */
static int check_limits(const struct generation_request *request, const struct limits *limits,
                        uint32_t positions, struct error *error) {
    if (request->max_batch_residues > 0 && request->max_batch_residues < positions)
        return error_set(error, EX_USAGE,
                         "--max-batch-residues: %u is less than one sequence of this model (%u)",
                         request->max_batch_residues, positions);
    if (limits->queued_per_user < positions)
        return error_set(error, EX_USAGE,
                         "--max-queued-per-user: %llu is less than one sequence of this model (%u)",
                         (unsigned long long)limits->queued_per_user, positions);
    return 0;
}

/* The size that was asked for, or the engine's own; one record always fits. */
static uint32_t largest_batch(const struct generation *generation,
                              const struct generation_request *request) {
    if (request->max_batch_residues > 0)
        return request->max_batch_residues;
    uint32_t tokens = generation->info->batch_tokens;
    uint32_t positions = generation->model->config.positions;
    return tokens > positions ? tokens : positions;
}

static int generation_make_slots(struct generation *generation, struct error *error) {
    uint32_t tokens = generation->sched.budget_max;
    unsigned depth = generation->info->depth, made = 0;
    generation->slot_records = tokens / RECORD_TOKENS_MIN + 1;
    generation->slots = calloc(depth, sizeof *generation->slots);
    generation->slot_count = generation->slots ? depth : 0;
    for (unsigned i = 0; i < generation->slot_count; i++) {
        struct slot *slot = &generation->slots[i];
        slot->records = calloc(generation->slot_records, sizeof *slot->records);
        slot->items = calloc(generation->slot_records, sizeof *slot->items);
        slot->ids = calloc(tokens, sizeof *slot->ids);
        made += slot->records && slot->items && slot->ids;
    }
    if (made == depth)
        return 0;
    return error_set(error, EX_SOFTWARE, "cannot serve: %s", strerror(ENOMEM));
}

static int generation_open_engine(struct generation *generation,
                                  const struct generation_request *request,
                                  const struct limits *limits, struct error *error) {
    uint32_t positions = generation->model->config.positions;
    struct engine_options options = {
        .precision = request->precision,
        .threads = request->threads,
        .devices = request->devices,
        .max_batch_tokens = request->max_batch_residues,
    };
    if (check_limits(request, limits, positions, error) < 0 ||
        engine_open(&generation->table, &generation->engine, request->backend, generation->model,
                    &options, generation->note, error) < 0)
        return -1;
    generation->info = generation->table->info(generation->engine);
    sched_engine_init(&generation->sched, positions, largest_batch(generation, request));
    model_drop_weights(generation->model);
    return generation_make_slots(generation, error);
}

int generation_load(struct generation **out, const struct generation_request *request,
                    const struct limits *limits, struct error *error) {
    *out = NULL;
    struct generation *generation = calloc(1, sizeof *generation);
    if (!generation)
        return error_set(error, EX_SOFTWARE, "%s: out of memory", request->model);
    if (model_open(&generation->model, request->model, error) < 0 ||
        generation_open_engine(generation, request, limits, error) < 0) {
        generation_close(generation);
        return -1;
    }
    *out = generation;
    return 0;
}

void generation_warn(const struct generation *generation) {
    if (generation->note[0])
        log_warning("%s", generation->note);
    if (generation->model->synthetic)
        log_warning("the weights of %s are fabricated: its embeddings carry no biology",
                    generation->model->name);
}

void generation_describe(const struct generation *generation, char *text, size_t capacity) {
    const struct engine_info *info = generation->info;
    snprintf(text, capacity, "%s (%s %s, %s, %u thread%s)", generation->model->name, info->backend,
             info->precision, info->instructions, info->threads, info->threads == 1 ? "" : "s");
}

static void generation_free_slots(struct generation *generation) {
    for (unsigned i = 0; i < generation->slot_count; i++) {
        free(generation->slots[i].records);
        free(generation->slots[i].items);
        free(generation->slots[i].ids);
    }
    free(generation->slots);
}

void generation_close(struct generation *generation) {
    if (!generation)
        return;
    assert(generation->sessions == 0);
    assert(generation->batches_in_flight == 0 && generation->tokens_in_flight == 0);
    if (generation->engine)
        generation->table->close(generation->engine);
    generation_free_slots(generation);
    model_destroy(generation->model);
    free(generation);
}
