/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures the whole path, esm1nv on real proteins over a daemon with the CPU backend in bf16
 * (where the path weighs most), against the encoder alone in this process on the same sequences,
 * batched as the scheduler batches those of one client.
 */
#include "daemon/cpu/cpu_features.h"
#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <err.h>
#include <stdio.h>

#define ROUNDS 3
#define RESIDUES 12000 /* at least */

/* The part of the engine's rate that each way should keep; 0: no bar. */
static const struct way {
    const char *name, *format, *pooling;
    double bar;
} ways[] = {
    {"filter, raw, mean", "raw", "mean", 0.97},
    {"filter, raw, rows", "raw", "none", 0.97},
    {"filter, tsv, mean", "tsv", "mean", 0.95},
    {"filter, tsv, rows", "tsv", "none", 0},
};
#define WAYS (sizeof ways / sizeof *ways)

/* The encoder and the work that it does alone. */
struct alone {
    struct model *model;
    struct encoder *encoder;
    struct work work;
};

static void alone_make(struct alone *alone, const struct bench_sequences *sequences) {
    enum instruction_set set;
    struct error error;
    if (features_choose(&set, &error) < 0 || model_open(&alone->model, "synthetic:1", &error) < 0 ||
        encoder_create(&alone->encoder, alone->model, features_kernels(set, PRECISION_BF16),
                       usable_cores(), BATCH_TOKENS, &error) < 0)
        errx(1, "%s", error.text);
    for (unsigned i = 0; i < sequences->count; i++) {
        struct token_span span;
        if (model_tokenize(alone->model, (const uint8_t *)sequences->residues[i],
                           sequences->lengths[i], alone->work.ids + alone->work.tokens, &span) < 0)
            errx(1, "a protein has a letter that the model does not know");
        work_add(&alone->work, &span, POOLING_NONE, alone->model->config.hidden, BATCH_TOKENS);
    }
}

static double alone_run(struct alone *alone) {
    double start = bench_seconds();
    work_run(alone->encoder, &alone->work);
    return bench_seconds() - start;
}

/* Writes the sequences that both sides work on to a file. */
static const char *proteins_write(const struct bench_sequences *sequences) {
    static char path[128];
    snprintf(path, sizeof path, "%s/proteins.fasta", bench_folder());
    FILE *file = fopen(path, "we");
    if (!file)
        err(1, "%s", path);
    for (unsigned i = 0; i < sequences->count; i++)
        fprintf(file, ">%u\n%s\n", i, sequences->residues[i]);
    if (fclose(file) != 0)
        err(1, "%s", path);
    return path;
}

static double filter_run(const struct bench_daemon *daemon, const struct way *way,
                         const char *proteins) {
    double start = bench_seconds();
    bench_await(bench_filter_start(daemon, way->format, way->pooling, proteins, -1), "esm1nv");
    return bench_seconds() - start;
}

int main(void) {
    double filters[WAYS][ROUNDS], engines[WAYS][ROUNDS];
    struct bench_sequences sequences;
    struct bench_daemon daemon;
    static struct alone alone;
    bench_proteins_read(&sequences, RESIDUES);
    const char *proteins = proteins_write(&sequences);
    double residues = (double)sequences.total;
    alone_make(&alone, &sequences);
    bench_daemon_start(&daemon, "cpu", "bf16");
    alone_run(&alone); /* warm */
    double before = alone_run(&alone);
    for (unsigned r = 0; r < ROUNDS; r++)
        for (unsigned w = 0; w < WAYS; w += 2) { /* the engine before and after each two ways */
            filters[w][r] = residues / filter_run(&daemon, &ways[w], proteins);
            filters[w + 1][r] = residues / filter_run(&daemon, &ways[w + 1], proteins);
            double after = alone_run(&alone);
            engines[w][r] = engines[w + 1][r] = residues / ((before + after) / 2);
            before = after;
        }
    if (bench_daemon_number(&daemon, "residues") != sequences.total * WAYS * ROUNDS)
        errx(1, "not all residues that were sent were served");
    bench_daemon_stop(&daemon);
    for (unsigned w = 0; w < WAYS; w++) {
        const char *wish = ways[w].bar > 0 ? "ratio >=" : NULL;
        bench_figure_print(
            &(struct bench_figure){ways[w].name, "residues/s", "engine alone", wish, ways[w].bar},
            filters[w], engines[w], ROUNDS);
    }
    encoder_destroy(alone.encoder);
    work_free(&alone.work);
    model_destroy(alone.model);
    return 0;
}
