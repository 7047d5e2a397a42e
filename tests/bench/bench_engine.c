/* SPDX-License-Identifier: Apache-2.0
 *
 * How near the CPU engine comes to the machine: residues per second, and the fraction of what the
 * same cores do in a register-only burst of multiply-adds of the same type, taken directly before
 * and after every run. One thread is timed by its CPU time, several by the wall clock; a figure is
 * the median of the rounds.
 */
#include "daemon/cpu/encoder.h"
#include "tests/bench/bench.h"
#include "tests/bench/peak.h"

#include <err.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_TOKENS 2048
#define ROUNDS_MAX 99
#define THREADS_MAX 256
#define RUN_SECONDS 0.25 /* at least, for one timing */
#define BURST_SECONDS 0.02

/* A workload: `sequences` of tokens, lengths spread evenly over shortest .. longest; and the part
 * of the peak that one thread and all together should reach, 0: no bar. */
struct workload {
    const char *name;
    uint32_t sequences, shortest, longest;
    double one, all;
};

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
    uint64_t flat; /* residues of the largest workload of that mode; 0: not that mode */
};

struct figure {
    const char *workload, *precision;
    unsigned threads;
    double rate, fraction, low, high; /* residues/s; of peak: median, least, most */
    double phases[PHASES];            /* shares of the time */
};

/* Sequences cut into batches as the daemon's scheduler would. */
struct work {
    uint16_t ids[16384];
    struct engine_item items[64];
    struct engine_batch batches[64];
    unsigned count;
    uint32_t residues;
    double operations;
};

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, unsigned count) {
    qsort(values, count, sizeof(*values), ascending);
    return (values[count / 2] + values[(count - 1) / 2]) / 2;
}

static double sequence_operations(const struct model_config *c, double tokens) {
    double hidden = c->hidden, ffn = c->ffn;
    double products = 2 * (4 * hidden * hidden + 2 * hidden * ffn) + 4 * tokens * hidden;
    return tokens * c->layers * products;
}

static void work_make(struct work *work, const struct workload *load,
                      const struct model_config *config) {
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

static void work_free(struct work *work) {
    for (unsigned b = 0; b < work->count; b++)
        for (uint32_t i = 0; i < work->batches[b].count; i++)
            free(work->batches[b].items[i].rows);
}

static void work_run(struct encoder *encoder, struct work *work) {
    for (unsigned b = 0; b < work->count; b++) {
        encoder_run(encoder, &work->batches[b]);
        if (work->batches[b].items[0].status != RECORD_OK)
            errx(1, "a batch failed: %s", work->batches[b].failure);
    }
}

/* Seconds for one pass over the work. */
static double work_time(struct encoder *encoder, struct work *work, unsigned threads) {
    clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    double start = seconds(clock), took;
    unsigned runs = 0;
    do {
        work_run(encoder, work);
        runs++;
        took = seconds(clock) - start;
    } while (took < RUN_SECONDS);
    return took / runs;
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
    double start = seconds(clock), operations = 0, took;
    do {
        double begin = seconds(clock);
        operations = burst->run(200000);
        double rate = operations / (seconds(clock) - begin);
        burst->rate = rate > burst->rate ? rate : burst->rate;
        took = seconds(clock) - start;
    } while (took < BURST_SECONDS);
    return NULL;
}

/* The fastest burst of each core, all cores at once, added up. */
static double peak_rate(peak_burst run, unsigned threads) {
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
        bar = f->threads == 1 && strcmp(f->precision, "f32") == 0 ? 0.85 : 0;
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
        double first = burst ? peak_rate(burst, figure->threads) : 0;
        double took = work_time(encoder, work, figure->threads);
        double last = burst ? peak_rate(burst, figure->threads) : 0;
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

/* What a residue costs, in processor time of all threads, with more and more of them. */
static void flat_bench(const struct model *model, enum instruction_set set, unsigned threads,
                       uint64_t most) {
    static const struct workload mixed = {"mixed", 29, 62, 514, 0, 0},
                                 few = {"few", 4, 232, 272, 0, 0};
    static struct work work;
    struct encoder *encoder;
    struct error error;
    double first = 0;
    if (encoder_create(&encoder, model, features_kernels(set, PRECISION_BF16), threads,
                       BATCH_TOKENS, &error) < 0)
        errx(1, "%s", error.text);
    for (uint64_t residues = 1000; residues <= most; residues *= 10) {
        char name[64];
        struct bench_figure figure = {name, "us", "1000", BENCH_STATED, 0};
        work_make(&work, residues == 1000 ? &few : &mixed, &model->config);
        work_run(encoder, &work); /* warm */
        uint64_t passes = (residues + work.residues / 2) / work.residues;
        double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
        for (uint64_t i = 0; i < passes; i++)
            work_run(encoder, &work);
        double cost = (seconds(CLOCK_PROCESS_CPUTIME_ID) - start) * 1e6;
        cost /= (double)(passes * work.residues);
        first = first > 0 ? first : cost;
        snprintf(name, sizeof(name), "bf16, %u threads, each of %llu residues", threads,
                 (unsigned long long)residues);
        bench_figure_print(&figure, &cost, &first, 1);
        work_free(&work);
    }
    encoder_destroy(encoder);
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
    static const struct option names[] = {{"precision", required_argument, NULL, 'p'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"set", required_argument, NULL, 's'},
                                          {"model", required_argument, NULL, 'm'},
                                          {"flat", required_argument, NULL, 'f'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.model = "synthetic:1", .rounds = 5};
    int option;
    while ((option = getopt_long(argc, argv, "p:t:r:s:m:f:", names, NULL)) >= 0) {
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
        case 'f':
            o.flat = strtoull(optarg, NULL, 10);
            break;
        default:
            errx(64, "usage: bench_engine [--precision f32|bf16] [--threads N] [--rounds N] "
                     "[--set avx512bf16|avx512|avx2|generic] [--model MODEL] [--flat RESIDUES]");
        }
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX || o.threads > THREADS_MAX)
        errx(64, "1 to %d rounds, at most %d threads", ROUNDS_MAX, THREADS_MAX);
    return o;
}

int main(int argc, char **argv) {
    struct options o = options_read(argc, argv);
    struct figure figures[4 * WORKLOADS];
    unsigned count = 0, cores = engine_usable_cores();
    struct model *model;
    struct error error;
    enum instruction_set set;
    if (o.set)
        setenv("ESM1NV_CPU", o.set, 1);
    if (features_choose(&set, &error) < 0 || model_open(&model, o.model, &error) < 0)
        errx(78, "%s", error.text);
    if (o.flat) {
        flat_bench(model, set, cores, o.flat);
        model_destroy(model);
        return 0;
    }
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
