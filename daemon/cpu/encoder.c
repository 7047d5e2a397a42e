/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes and unmakes the encoder, plans how the team shares it out, and runs it.
 * All memory is taken here, once.
 */
#include "daemon/cpu/forward.h"
#include "daemon/cpu/arithmetic.h"

#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

struct phase_clock phase_clock_start(struct encoder *encoder, unsigned member) {
    return (struct phase_clock){member == 0 ? encoder->phases : NULL, now()};
}

void phase_end(struct phase_clock *clock, enum phase phase) {
    if (!clock->seconds)
        return;
    double time = now();
    clock->seconds[phase] += time - clock->last;
    clock->last = time;
}

/* Hands out pieces of one block of memory; with base NULL it only counts. */
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
    e->order = carve(c, e->max_tokens * sizeof(*e->order));
    e->starts = carve(c, ((size_t)positions + 1) * sizeof(*e->starts));
    e->units = carve(c, e->max_tokens * sizeof(*e->units));
    e->failures = carve(c, e->max_tokens * sizeof(*e->failures));
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
    e->members = calloc(e->threads, sizeof(*e->members));
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
    struct encoder *e = calloc(1, sizeof(*e));
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

const double *encoder_phases(const struct encoder *e) {
    return e->phases;
}

static uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

/* Longest sequences first, so that attention ends evenly; a counting sort by length. */
static void items_order(struct encoder *e) {
    uint32_t longest = e->model.config.positions, at = 0;
    memset(e->starts, 0, (longest + 1) * sizeof(*e->starts));
    for (uint32_t i = 0; i < e->batch->count; i++)
        e->starts[e->batch->items[i].tokens]++;
    for (uint32_t length = longest; length > 0; length--) {
        uint32_t count = e->starts[length];
        e->starts[length] = at;
        at += count;
    }
    for (uint32_t i = 0; i < e->batch->count; i++)
        e->order[e->starts[e->batch->items[i].tokens]++] = i;
}

static void plan(struct encoder *e) {
    uint32_t tokens = e->batch->tokens;
    e->tiles = 0;
    if (e->threads > 1 && tokens < e->column_tokens) {
        /* At least two units of work per member in the narrowest product. */
        uint32_t chunks = divide_up(2 * e->threads, e->model.panels);
        e->chunk_rows = divide_up(divide_up(tokens, chunks), 6) * 6;
        e->chunks = divide_up(tokens, e->chunk_rows);
    } else {
        uint32_t tiles = divide_up(divide_up(tokens, TILE_ROWS), e->threads) * e->threads;
        e->tile_rows = divide_up(tokens, tiles);
        e->tiles = divide_up(tokens, e->tile_rows);
    }
    items_order(e);
    output_plan(e);
}

static void encode(void *user, unsigned member) {
    struct encoder *e = user;
    unsigned mode = _mm_getcsr();
    struct phase_clock clock = phase_clock_start(e, member);
    arithmetic_flush_denormals();
    if (e->tiles)
        forward_rows(e, member, &clock);
    else
        forward_columns(e, member, &clock);
    output_run(e, member);
    phase_end(&clock, PHASE_OUTPUT);
    _mm_setcsr(mode);
}

void encoder_run(struct encoder *e, struct engine_batch *batch) {
    double start = now();
    const char *fault = engine_batch_fault(batch, &e->model.config, e->max_tokens);
    batch->failure[0] = '\0';
    if (fault) {
        engine_batch_fail(batch, fault);
    } else if (batch->tokens > 0) {
        e->batch = batch;
        plan(e);
        team_run(e->team, encode, e);
        output_statuses(e);
    }
    batch->seconds = now() - start;
}
