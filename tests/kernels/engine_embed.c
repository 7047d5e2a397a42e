/* SPDX-License-Identifier: Apache-2.0
 *
 * Embeds sequences with an engine alone, for comparison with an independent reference:
 *
 *     engine_embed MODEL f32|bf16|f16 THREADS [none|mean|max|bos [f32|f16 [TOKENS]]] < LINES > ROWS
 *
 * One sequence a line in, raw rows out. $ESM1NV_CPU chooses the instruction set. Sequences are
 * packed in batches of up to TOKENS (4096). Any failure ends it with a message and status 1. The
 * engine is the CPU's, unless ENGINE_TABLE names another's table.
 */
#include "daemon/engine/engine.h"

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS 4096

#ifndef ENGINE_TABLE
#define ENGINE_TABLE cpu_engine_table
#endif
extern const struct engine_table ENGINE_TABLE;

struct run {
    struct model *model;
    struct engine *engine;
    enum pooling pooling;
    enum dtype dtype;
    uint32_t max_tokens;
    uint16_t ids[MAX_TOKENS];
    struct engine_item items[MAX_TOKENS];
    struct engine_batch batch;
};

static unsigned choice(const char *word, const char *const *words, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    errx(1, "%s: not one of the choices", word);
}

static size_t rows_bytes(const struct run *run, const struct engine_item *item) {
    size_t rows = item->pooling == POOLING_NONE ? item->residues : 1;
    return rows * run->model->config.hidden * dtype_size(run->dtype);
}

static void batch_run(struct run *run) {
    struct engine_batch *batch = &run->batch;
    struct pollfd fd = {ENGINE_TABLE.completion_fd(run->engine), POLLIN, 0};
    if (batch->count == 0)
        return;
    batch->ids = run->ids;
    batch->items = run->items;
    ENGINE_TABLE.submit(run->engine, batch);
    if (poll(&fd, 1, 600000) != 1 || ENGINE_TABLE.reap(run->engine) != batch)
        errx(1, "the engine did not answer");
    for (uint32_t i = 0; i < batch->count; i++) {
        struct engine_item *item = &run->items[i];
        if (item->status != RECORD_OK)
            errx(1, "sequence %u of a batch has status %d %s", i, (int)item->status,
                 batch->failure);
        if (fwrite(item->rows, 1, rows_bytes(run, item), stdout) != rows_bytes(run, item))
            err(1, "stdout");
        free(item->rows);
    }
    batch->tokens = batch->count = 0;
}

static void sequence_add(struct run *run, const char *sequence, size_t length) {
    static uint16_t ids[WIRE_POSITIONS_MAX];
    struct token_span span;
    if (model_tokenize(run->model, (const uint8_t *)sequence, length, ids, &span) < 0)
        errx(1, "%s: a letter is not in the alphabet", sequence);
    if (run->batch.tokens + span.tokens > run->max_tokens)
        batch_run(run);
    struct engine_item *item = &run->items[run->batch.count++];
    *item = (struct engine_item){.first_token = run->batch.tokens,
                                 .tokens = span.tokens,
                                 .first_residue = span.first_residue,
                                 .residues = span.residues,
                                 .pooling = run->pooling,
                                 .dtype = run->dtype};
    item->rows = aligned_alloc(64, (rows_bytes(run, item) + 63) / 64 * 64);
    if (!item->rows)
        err(1, "rows");
    memcpy(run->ids + run->batch.tokens, ids, span.tokens * sizeof(*ids));
    run->batch.tokens += span.tokens;
}

static void lines_embed(struct run *run) {
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while ((length = getline(&line, &size, stdin)) >= 0) {
        if (length && line[length - 1] == '\n')
            line[--length] = '\0';
        if (length)
            sequence_add(run, line, (size_t)length);
    }
    free(line);
    batch_run(run);
}

int main(int argc, char **argv) {
    static const char *const precisions[] = {"auto", "f32", "bf16", "f16"};
    static const char *const poolings[] = {"none", "mean", "max", "bos"};
    static const char *const dtypes[] = {"f32", "f16"};
    static struct run run;
    struct error error;
    if (argc < 4 || argc > 7)
        errx(1, "usage: engine_embed MODEL f32|bf16|f16 THREADS [none|mean|max|bos [f32|f16 "
                "[TOKENS]]]");
    run.max_tokens = argc > 6 ? (uint32_t)atoi(argv[6]) : MAX_TOKENS;
    if (run.max_tokens > MAX_TOKENS)
        errx(1, "%s: at most %d tokens", argv[6], MAX_TOKENS);
    struct engine_options options = {.precision = (enum precision)choice(argv[2], precisions, 4),
                                     .threads = (unsigned)atoi(argv[3]),
                                     .max_batch_tokens = run.max_tokens};
    run.pooling = argc > 4 ? (enum pooling)choice(argv[4], poolings, 4) : POOLING_NONE;
    run.dtype = argc > 5 ? (enum dtype)choice(argv[5], dtypes, 2) : DTYPE_F32;
    if (model_open(&run.model, argv[1], &error) < 0 ||
        ENGINE_TABLE.open(&run.engine, run.model, &options, &error) < 0)
        errx(1, "%s", error.text);
    model_drop_weights(run.model);
    lines_embed(&run);
    if (fflush(stdout) != 0)
        err(1, "stdout");
    ENGINE_TABLE.close(run.engine);
    model_destroy(run.model);
    return 0;
}
