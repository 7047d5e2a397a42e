/* SPDX-License-Identifier: Apache-2.0
 *
 * How near the CPU engine comes to the machine: residues per second, and the fraction of what the
 * same cores do in a register-only burst of multiply-adds of the same type, taken directly before
 * and after every run. One thread is timed by its CPU time, several by the wall clock; a figure is
 * the median of the rounds.
 */
#include "daemon/cpu/cpu_features.h"
#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MAX 99
#define RUN_SECONDS 0.25 /* at least, for one timing */

static const struct workload workloads[] = {
    {"8192 tokens, 60 to 512", 29, 62, 514, 0.87, 0.83}, /* 60 to 512 residues; cut to 512 tokens */
    {"one of 300", 1, 302, 302, 0, 0.82},
    {"one of 30", 1, 32, 32, 0.85, 0.74},
    {"64 of 30", 64, 32, 32, 0.85, 0},
};
#define WORKLOADS (sizeof(workloads) / sizeof(*workloads))

struct options {
    const char *set, *precision, *model;
    unsigned threads, rounds;
};

struct figure {
    const char *workload, *precision;
    unsigned threads;
    double rate, fraction, low, high; /* residues/s; of peak: median, least, most */
    double phases[PHASES];            /* shares of the time */
};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, unsigned count) {
    qsort(values, count, sizeof(*values), ascending);
    return (values[count / 2] + values[(count - 1) / 2]) / 2;
}

/* Seconds for one pass over the work. */
static double work_time(struct encoder *encoder, struct work *work, unsigned threads) {
    clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    double start = work_clock(clock), took;
    unsigned runs = 0;
    do {
        work_run(encoder, work);
        runs++;
        took = work_clock(clock) - start;
    } while (took < RUN_SECONDS);
    return took / runs;
}

static void phases_add(struct encoder *encoder, double *before, double *sum) {
    const double *now = encoder_phases(encoder);
    for (int p = 0; p < PHASES; p++) {
        sum[p] += now[p] - before[p];
        before[p] = now[p];
    }
}

/* For the table of all benchmarks. Only the best kernels have bars, and avx2's for float32. */
static void figure_report(const struct figure *f, const struct workload *load,
                          enum instruction_set set, const double *rates, const double *peaks,
                          unsigned rounds) {
    char name[128];
    double bar = f->threads == 1 ? load->one : load->all;
    if (set == SET_AVX2)
        bar = strcmp(f->precision, "f32") != 0 ? 0 : f->threads == 1 ? 0.85 : load->all;
    snprintf(name, sizeof(name), "%s %s, %u thread%s, %s", instruction_set_name(set), f->precision,
             f->threads, f->threads == 1 ? "" : "s", load->name);
    struct bench_figure figure = {name, "residues/s", "multiply-add peak",
                                  bar > 0 && peaks ? BENCH_RATIO_AT_LEAST : BENCH_STATED, bar};
    bench_figure_print(&figure, rates, peaks, rounds);
}

/* A peak is told as the residues/s that it would give. */
static void figure_make(struct figure *figure, struct encoder *encoder, struct work *work,
                        const struct workload *load, enum instruction_set set, peak_burst burst,
                        unsigned rounds) {
    double fractions[ROUNDS_MAX], rates[ROUNDS_MAX], peaks[ROUNDS_MAX], before[PHASES], total = 0;
    memcpy(before, encoder_phases(encoder), sizeof(before));
    work_run(encoder, work); /* warm */
    phases_add(encoder, before, figure->phases);
    memset(figure->phases, 0, sizeof(figure->phases));
    for (unsigned r = 0; r < rounds; r++) {
        double first = burst ? work_peak(burst, figure->threads) : 0;
        double took = work_time(encoder, work, figure->threads);
        double last = burst ? work_peak(burst, figure->threads) : 0;
        double peak = first > last ? first : last;
        rates[r] = work->residues / took;
        fractions[r] = peak > 0 ? work->operations / took / peak : 0;
        peaks[r] = peak / work->operations * work->residues;
        phases_add(encoder, before, figure->phases);
    }
    figure_report(figure, load, set, rates, burst ? peaks : NULL, rounds);
    figure->rate = median(rates, rounds);
    figure->fraction = median(fractions, rounds);
    figure->low = fractions[0];
    figure->high = fractions[rounds - 1];
    for (int p = 0; p < PHASES; p++)
        total += figure->phases[p];
    for (int p = 0; p < PHASES; p++)
        figure->phases[p] /= total;
}

static const char *const phase_names[PHASES] = {"embed", "norm", "qkv", "attention", "dense",
                                                "fc1",   "fc2",  "out", "wait"};

static void header_print(const char *set) {
    fprintf(stderr, "%-24s %-5s %7s %10s %8s %15s |", set, "type", "threads", "residues/s",
            "of peak", "least to most");
    for (int p = 0; p < PHASES; p++)
        fprintf(stderr, " %9s", phase_names[p]);
    fprintf(stderr, "\n");
}

static void figure_print(const struct figure *f) {
    fprintf(stderr, "%-24s %-5s %7u %10.0f %8.3f %6.3f to %5.3f |", f->workload, f->precision,
            f->threads, f->rate, f->fraction, f->low, f->high);
    for (int p = 0; p < PHASES; p++)
        fprintf(stderr, " %8.1f%%", 100 * f->phases[p]);
    fprintf(stderr, "\n");
}

/* All workloads of one precision and number of threads. */
static unsigned precision_bench(struct figure *figures, const struct model *model,
                                enum instruction_set set, enum precision precision,
                                unsigned threads, unsigned rounds) {
    static struct work work;
    struct encoder *encoder;
    struct error error;
    const struct kernels *kernels = features_kernels(set, precision);
    if (encoder_create(&encoder, model, kernels, threads, BATCH_TOKENS, &error) < 0)
        errx(1, "%s", error.text);
    for (unsigned w = 0; w < WORKLOADS; w++) {
        figures[w] = (struct figure){.workload = workloads[w].name, .threads = threads};
        figures[w].precision = precision == PRECISION_BF16 ? "bf16" : "f32";
        work_make(&work, &workloads[w], &model->config);
        figure_make(&figures[w], encoder, &work, &workloads[w], set, peak_for(set, precision),
                    rounds);
        figure_print(&figures[w]);
        work_free(&work);
    }
    encoder_destroy(encoder);
    return WORKLOADS;
}

static struct options options_read(int argc, char **argv) {
    static const struct option names[] = {
        {"precision", required_argument, NULL, 'p'}, {"threads", required_argument, NULL, 't'},
        {"rounds", required_argument, NULL, 'r'},    {"set", required_argument, NULL, 's'},
        {"model", required_argument, NULL, 'm'},     {NULL, 0, NULL, 0}};
    struct options o = {.model = "synthetic:1", .rounds = 5};
    int option;
    while ((option = getopt_long(argc, argv, "p:t:r:s:m:", names, NULL)) >= 0) {
        switch (option) {
        case 'p':
            o.precision = optarg;
            break;
        case 't':
            o.threads = (unsigned)atoi(optarg);
            break;
        case 'r':
            o.rounds = (unsigned)atoi(optarg);
            break;
        case 's':
            o.set = optarg;
            break;
        case 'm':
            o.model = optarg;
            break;
        default:
            errx(64, "usage: bench_engine [--precision f32|bf16] [--threads N] [--rounds N] "
                     "[--set avx512bf16|avx512|avx2|generic] [--model MODEL]");
        }
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX || o.threads > THREADS_MAX)
        errx(64, "1 to %d rounds, at most %d threads", ROUNDS_MAX, THREADS_MAX);
    return o;
}

int main(int argc, char **argv) {
    struct options o = options_read(argc, argv);
    struct figure figures[4 * WORKLOADS];
    unsigned count = 0, cores = usable_cores();
    struct model *model;
    struct error error;
    enum instruction_set set;
    if (o.set)
        setenv("ESM1NV_CPU", o.set, 1);
    if (features_choose(&set, &error) < 0 || model_open(&model, o.model, &error) < 0)
        errx(78, "%s", error.text);
    header_print(instruction_set_name(set));
    for (enum precision p = PRECISION_F32; p <= PRECISION_BF16; p++)
        for (unsigned all = 0; all < (cores > 1 ? 2 : 1); all++) {
            unsigned number = all ? cores : 1;
            if ((o.precision && (strcmp(o.precision, "bf16") == 0) != (p == PRECISION_BF16)) ||
                (o.threads && o.threads != number))
                continue;
            count += precision_bench(figures + count, model, set, p, number, o.rounds);
        }
    model_destroy(model);
    return 0;
}
