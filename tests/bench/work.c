/* SPDX-License-Identifier: Apache-2.0
 *
 * Workloads are made of lengths spread evenly, cut into batches as the daemon would; peaks of short
 * bursts, of which the fastest counts.
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

double sequence_operations(const struct model_config *c, double tokens) {
    double hidden = c->hidden, ffn = c->ffn;
    double products = 2 * (4 * hidden * hidden + 2 * hidden * ffn) + 4 * tokens * hidden;
    return tokens * c->layers * products;
}

void work_make(struct work *work, const struct workload *load, const struct model_config *config) {
    uint32_t at = 0;
    memset(work, 0, sizeof(*work));
    for (uint32_t i = 0; i < load->sequences; i++) {
        uint32_t spread = load->longest - load->shortest;
        uint32_t steps = load->sequences > 1 ? load->sequences - 1 : 1;
        uint32_t tokens = load->shortest + spread * ((i * 7) % load->sequences) / steps;
        tokens = tokens > config->positions ? config->positions : tokens;
        struct engine_batch *batch = &work->batches[work->count ? work->count - 1 : 0];
        if (work->count == 0 || batch->tokens + tokens > BATCH_TOKENS) {
            batch = &work->batches[work->count++];
            batch->ids = work->ids + at;
            batch->items = work->items + i;
        }
        struct engine_item *item = &batch->items[batch->count++];
        *item = (struct engine_item){.first_token = batch->tokens,
                                     .tokens = tokens,
                                     .first_residue = 1,
                                     .residues = tokens - 2,
                                     .pooling = POOLING_NONE};
        item->rows = aligned_alloc(64, (size_t)tokens * config->hidden * sizeof(float));
        if (!item->rows)
            err(1, "rows");
        for (uint32_t t = 0; t < tokens; t++)
            work->ids[at + t] = (uint16_t)(5 + (at + t) * 7 % 20);
        at += tokens;
        batch->tokens += tokens;
        work->residues += item->residues;
        work->operations += sequence_operations(config, tokens);
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
