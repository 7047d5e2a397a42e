/* SPDX-License-Identifier: Apache-2.0
 *
 * Creates and destroys the encoder, plans how the team shares a batch, and runs it. All memory that
 * a batch needs is allocated here, once.
 */
#include "daemon/cpu/forward.h"
#include "daemon/cpu/arithmetic.h"

#include <stdlib.h>
#include <sysexits.h>

/* Hands out pieces of one block of memory. If base is NULL, it only counts how much is needed. */
struct carver {
    unsigned char *base;
    size_t used;
};

static void *carve(struct carver *carver, size_t bytes) {
    void *piece = carver->base ? carver->base + carver->used : NULL;
    carver->used += (bytes + 63) / 64 * 64;
    return piece;
}

static void workspace_carve(struct encoder *e, struct carver *c) {
    size_t hidden = e->model.config.hidden, row = e->model.row_dwords * 4;
    uint32_t positions = e->model.config.positions;
    e->residual = carve(c, e->max_tokens * hidden * sizeof(float));
    e->qkv = carve(c, 3 * ((size_t)e->max_tokens + 16) * row);
    e->context = carve(c, e->max_tokens * row);
    e->norm = carve(c, e->column_tokens * row);
    e->hidden = carve(c, e->column_tokens * row * e->model.blocks);
    e->order = carve(c, e->max_tokens * sizeof *e->order);
    e->starts = carve(c, ((size_t)positions + 1) * sizeof *e->starts);
    e->units = carve(c, e->max_tokens * sizeof *e->units);
    e->failures = carve(c, e->max_tokens * sizeof *e->failures);
    for (unsigned i = 0; i < e->threads; i++) {
        e->members[i].norm = carve(c, TILE_ROWS * row);
        e->members[i].hidden = carve(c, TILE_ROWS * row);
        e->members[i].scratch = carve(c, attention_scratch_bytes(positions));
        e->members[i].row = carve(c, hidden * sizeof(float));
        e->members[i].pooled = carve(c, hidden * sizeof(float));
    }
}

static int workspace_create(struct encoder *e, struct error *error) {
    struct carver carver = {NULL, 0};
    uint64_t few = (uint64_t)FEW_ROWS * e->threads;
    if (e->threads > 1)
        e->column_tokens = few < e->max_tokens ? (uint32_t)few : e->max_tokens;
    e->members = calloc(e->threads, sizeof *e->members);
    if (e->members) {
        workspace_carve(e, &carver);
        e->memory = big_alloc(carver.used);
    }
    if (!e->memory)
        return error_set(error, EX_SOFTWARE, "out of memory for batches of %u tokens (%zu MB)",
                         e->max_tokens, carver.used >> 20);
    carver = (struct carver){e->memory, 0};
    workspace_carve(e, &carver);
    return 0;
}

int encoder_create(struct encoder **encoder, const struct model *model,
                   const struct kernels *kernels, unsigned threads, uint32_t max_batch_tokens,
                   struct error *error) {
    struct encoder *e = calloc(1, sizeof *e);
    *encoder = NULL;
    if (!e)
        return error_set(error, EX_SOFTWARE, "out of memory");
    e->kernels = kernels;
    e->threads = threads;
    e->max_tokens = max_batch_tokens;
    if (team_create(&e->team, threads, error) < 0 ||
        packed_model_init(&e->model, model, kernels, e->team, error) < 0 ||
        workspace_create(e, error) < 0) {
        encoder_destroy(e);
        return -1;
    }
    *encoder = e;
    return 0;
}

void encoder_destroy(struct encoder *e) {
    if (!e)
        return;
    team_destroy(e->team);
    packed_model_finish(&e->model);
    free(e->members);
    free(e->memory);
    free(e);
}

uint64_t encoder_weight_bytes(const struct encoder *e) {
    return e->model.bytes;
}

static uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

static void plan(struct encoder *e) {
    uint32_t tokens = e->batch->tokens;
    e->tiles = 0;
    if (e->threads > 1 && tokens < e->column_tokens) {
        /* Every member gets at least two units of work in the narrowest product. */
        uint32_t chunks = divide_up(2 * e->threads, e->model.panels);
        e->chunk_rows = divide_up(divide_up(tokens, chunks), 6) * 6;
        e->chunks = divide_up(tokens, e->chunk_rows);
    } else {
        uint32_t tiles = divide_up(divide_up(tokens, TILE_ROWS), e->threads) * e->threads;
        e->tile_rows = divide_up(tokens, tiles);
        e->tiles = divide_up(tokens, e->tile_rows);
    }
    engine_items_order(e->batch->items, e->batch->count, e->model.config.positions, e->starts,
                       e->order);
    output_plan(e);
}

static void encode(void *user, unsigned member) {
    struct encoder *e = user;
    unsigned mode = _mm_getcsr();
    arithmetic_flush_denormals();
    if (e->tiles)
        forward_rows(e, member);
    else
        forward_columns(e, member);
    output_run(e, member);
    _mm_setcsr(mode);
}

void encoder_run(struct encoder *e, struct engine_batch *batch) {
    e->batch = batch;
    plan(e);
    team_run(e->team, encode, e);
    output_statuses(e);
}
