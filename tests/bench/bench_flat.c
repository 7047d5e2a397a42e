/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures whether a residue costs the same in works of any size. One run of 1,000,000
 * residues is looked at in pieces of 10,000, of 100,000 and as a whole, and compared with works of
 * 1,000 that are done in between. Each figure is a part of what the cores could have done, as
 * bursts around every batch show, so that neighbours who come and go in those minutes change
 * neither.
 */
#include "daemon/cpu/cpu_features.h"
#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZES_MAX 8

/* The operations that were done, and those that the peak around them would have done meanwhile. */
struct tally {
    double done, possible;
};

/* The run in pieces of one size: what each reached, and the small works done during it. */
struct pieces {
    uint64_t size, residues; /* of a piece; of the one under way */
    struct tally own, small;
    double fractions[BENCH_ROUNDS_MAX], small_fractions[BENCH_ROUNDS_MAX];
    unsigned count;
};

struct run {
    struct encoder *encoder;
    const struct model_config *config;
    peak_burst burst;
    unsigned threads;
    double peak; /* after the last batch */
    struct pieces pieces[SIZES_MAX];
    unsigned sizes;
};

static struct tally batch_run(struct run *run, struct engine_batch *batch) {
    double before = run->peak, start = bench_seconds();
    encoder_run(run->encoder, batch);
    double took = bench_seconds() - start;
    run->peak = work_peak(run->burst, run->threads);
    return (struct tally){batch_operations(run->config, batch),
                          took * (before > run->peak ? before : run->peak)};
}

static void tally_add(struct tally *sum, struct tally more) {
    sum->done += more.done;
    sum->possible += more.possible;
}

/* Ends the piece under way when it is long enough. */
static void piece_end(struct pieces *p) {
    if (p->residues < p->size || p->count == BENCH_ROUNDS_MAX)
        return;
    p->fractions[p->count] = p->own.done / p->own.possible;
    p->small_fractions[p->count++] = p->small.done / p->small.possible;
    p->own = p->small = (struct tally){0, 0};
    p->residues = 0;
}

/* A small work goes first in every piece of the smallest size, so that all pieces have one. */
static void run_all(struct run *run, struct work *large, struct work *small, uint64_t most) {
    run->peak = work_peak(run->burst, run->threads);
    for (uint64_t residues = 0, b = 0; residues < most; b++) {
        struct engine_batch *batch = &large->batches[b % large->count];
        struct tally beside = {0, 0}, own;
        if (run->pieces[0].residues == 0)
            beside = batch_run(run, &small->batches[0]);
        own = batch_run(run, batch);
        for (struct pieces *p = run->pieces; p < run->pieces + run->sizes; p++) {
            tally_add(&p->small, beside);
            tally_add(&p->own, own);
            p->residues += batch_residues(batch);
        }
        for (struct pieces *p = run->pieces; p < run->pieces + run->sizes; p++)
            piece_end(p);
        residues += batch_residues(batch);
    }
}

static void run_report(const struct run *run) {
    for (const struct pieces *p = run->pieces; p < run->pieces + run->sizes; p++) {
        char name[64];
        struct bench_figure figure = {name, "of peak", "each of 1000", "ratio >=", 0.95};
        snprintf(name, sizeof name, "bf16, %u threads, each of %llu residues", run->threads,
                 (unsigned long long)p->size);
        bench_figure_print(&figure, p->fractions, p->small_fractions, p->count);
    }
}

int main(int argc, char **argv) {
    static const struct workload mixed = {"mixed", 29, 62, 514, POOLING_NONE},
                                 few = {"few", 4, 232, 272, POOLING_NONE};
    static struct work large, small;
    static struct run run;
    uint64_t most = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    enum instruction_set set;
    struct model *model;
    struct error error;
    if (features_choose(&set, &error) < 0 || model_open(&model, "synthetic:1", &error) < 0)
        errx(1, "%s", error.text);
    run.threads = usable_cores();
    run.config = &model->config;
    run.burst = peak_for(set, PRECISION_BF16);
    if (!run.burst)
        errx(1, "the peak of this CPU is not known");
    if (run.threads > THREADS_MAX ||
        encoder_create(&run.encoder, model, features_kernels(set, PRECISION_BF16), run.threads,
                       BATCH_TOKENS, &error) < 0)
        errx(1, "%s", error.text);
    for (uint64_t size = 10000; size <= most && run.sizes < SIZES_MAX; size *= 10)
        run.pieces[run.sizes++].size = size;
    work_make(&large, &mixed, run.config, BATCH_TOKENS);
    work_make(&small, &few, run.config, BATCH_TOKENS);
    work_run(run.encoder, &large); /* warm */
    run_all(&run, &large, &small, most);
    run_report(&run);
    encoder_destroy(run.encoder);
    work_free(&large);
    work_free(&small);
    model_destroy(model);
    return 0;
}
