/* SPDX-License-Identifier: Apache-2.0
 *
 * Lengths are spread evenly and cut into batches as the daemon would cut them. A peak is measured
 * by short bursts, of which the fastest counts.
 */
#include "tests/bench/work.h"

#include <err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BURST_SECONDS 0.02

double work_clock(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double batch_operations(const struct model_config *config, const struct engine_batch *batch) {
    double hidden = config->hidden, ffn = config->ffn, operations = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        double tokens = batch->items[i].tokens;
        operations += tokens * config->layers *
                      (2 * (4 * hidden * hidden + 2 * hidden * ffn) + 4 * tokens * hidden);
    }
    return operations;
}

uint32_t batch_residues(const struct engine_batch *batch) {
    uint32_t residues = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        residues += batch->items[i].residues;
    return residues;
}

double work_operations(const struct model_config *config, const struct work *work) {
    double operations = 0;
    for (unsigned b = 0; b < work->count; b++)
        operations += batch_operations(config, &work->batches[b]);
    return operations;
}

uint32_t work_residues(const struct work *work) {
    uint32_t residues = 0;
    for (unsigned b = 0; b < work->count; b++)
        residues += batch_residues(&work->batches[b]);
    return residues;
}

void work_add(struct work *work, const struct token_span *span, enum pooling pooling,
              uint32_t hidden, uint32_t room) {
    struct engine_batch *batch = &work->batches[work->count > 0 ? work->count - 1 : 0];
    size_t rows = pooling == POOLING_NONE ? span->residues : 1;
    if (work->items_used == ITEMS_MAX)
        errx(1, "more than %d sequences", ITEMS_MAX);
    if (work->count == 0 || batch->tokens + span->tokens > room) {
        batch = &work->batches[work->count++];
        batch->ids = work->ids + work->tokens;
        batch->items = work->items + work->items_used;
    }
    struct engine_item *item = &work->items[work->items_used++];
    *item = (struct engine_item){.first_token = batch->tokens,
                                 .tokens = span->tokens,
                                 .first_residue = span->first_residue,
                                 .residues = span->residues,
                                 .pooling = pooling,
                                 .rows = aligned_alloc(64, rows * hidden * sizeof(float))};
    if (!item->rows)
        err(1, "rows");
    batch->count++;
    batch->tokens += span->tokens;
    work->tokens += span->tokens;
}

void work_make(struct work *work, const struct workload *load, const struct model_config *config,
               uint32_t room) {
    uint32_t spread = load->longest - load->shortest;
    uint32_t steps = load->sequences > 1 ? load->sequences - 1 : 1;
    memset(work, 0, sizeof *work);
    for (uint32_t t = 0; t < sizeof work->ids / sizeof *work->ids; t++)
        work->ids[t] = (uint16_t)(5 + t * 7 % 20);
    for (uint32_t i = 0; i < load->sequences; i++) {
        uint32_t tokens = load->shortest + spread * ((i * 7) % load->sequences) / steps;
        tokens = tokens > config->positions ? config->positions : tokens;
        struct token_span span = {.tokens = tokens, .first_residue = 1, .residues = tokens - 2};
        work_add(work, &span, load->pooling, config->hidden, room);
    }
}

void work_free(struct work *work) {
    for (unsigned b = 0; b < work->count; b++)
        for (uint32_t i = 0; i < work->batches[b].count; i++)
            free(work->batches[b].items[i].rows);
}

void work_run(struct encoder *encoder, struct work *work) {
    for (unsigned b = 0; b < work->count; b++) {
        encoder_run(encoder, &work->batches[b]);
        if (work->batches[b].items[0].status != RECORD_OK)
            errx(1, "a batch failed: %s", work->batches[b].failure);
    }
}

struct burst {
    peak_burst run;
    pthread_t thread;
    double rate;
    bool alone;
};

static void *burst_main(void *argument) {
    struct burst *burst = argument;
    clockid_t clock = burst->alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    double start = work_clock(clock), operations = 0, took;
    do {
        double begin = work_clock(clock);
        operations = burst->run(200000);
        double rate = operations / (work_clock(clock) - begin);
        burst->rate = rate > burst->rate ? rate : burst->rate;
        took = work_clock(clock) - start;
    } while (took < BURST_SECONDS);
    return NULL;
}

double work_peak(peak_burst run, unsigned threads) {
    static struct burst bursts[THREADS_MAX];
    double rate = 0;
    if (!run)
        return 0;
    for (unsigned i = 0; i < threads; i++) {
        bursts[i] = (struct burst){.run = run, .alone = threads == 1};
        if (threads > 1 && pthread_create(&bursts[i].thread, NULL, burst_main, &bursts[i]))
            errx(1, "cannot start a thread");
    }
    if (threads == 1)
        burst_main(&bursts[0]);
    for (unsigned i = 0; i < threads; i++) {
        if (threads > 1)
            pthread_join(bursts[i].thread, NULL);
        rate += bursts[i].rate;
    }
    return rate;
}
