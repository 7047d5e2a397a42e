/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures how near the CPU engine comes to the machine: residues per second, and the fraction
 * of what the same cores do in a burst of multiply-adds of the same type on registers alone, taken
 * directly before and after every run. One thread is timed by its CPU time, several by the wall
 * clock; a figure is the median of the rounds.
 */
#include "daemon/cpu/cpu_features.h"
#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_SECONDS 0.25 /* at least, for one timing */

/* The part of the peak that one thread and all together should reach; 0: no bar. */
static const struct {
    struct workload load;
    double one, all;
} workloads[] = {
    {{"8192 tokens, 60 to 512", 29, 62, 514, POOLING_NONE}, 0.87, 0.83}, /* cut to 512 tokens */
    {{"one of 300", 1, 302, 302, POOLING_NONE}, 0, 0.82},
    {{"one of 30", 1, 32, 32, POOLING_NONE}, 0.85, 0.74},
    {{"64 of 30", 64, 32, 32, POOLING_NONE}, 0.85, 0},
};
#define WORKLOADS (sizeof workloads / sizeof *workloads)

/* This says what is run, and how often. */
struct subject {
    const struct model *model;
    enum instruction_set set;
    enum precision precision;
    unsigned threads, rounds;
};

/* Returns the seconds that one pass over the work takes. */
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

/* The kernels of the subject, and what this thread, a member of the team, spends in them while it
 * measures. */
enum part { PART_QKV, PART_FC1, PART_RESIDUAL, PART_ATTENTION, PART_NORM, PART_OUTPUT, PARTS };
static struct kernels kernels;
static _Thread_local double *parts; /* [PARTS] seconds, or NULL */

static double part_start(void) {
    return parts ? work_clock(CLOCK_MONOTONIC) : 0;
}

static void part_end(enum part part, double start) {
    if (parts)
        parts[part] += work_clock(CLOCK_MONOTONIC) - start;
}

static void panel_measured(const struct panel *panel) {
    double start = part_start();
    kernels.panel(panel);
    part_end(panel->epilogue == EPILOGUE_STORE      ? PART_QKV
             : panel->epilogue == EPILOGUE_RESIDUAL ? PART_RESIDUAL
                                                    : PART_FC1,
             start);
}

static void attention_measured(const struct attention *attention) {
    double start = part_start();
    kernels.attention(attention);
    part_end(PART_ATTENTION, start);
}

static void norm_measured(const struct norm *norm, const float *x, uint32_t rows, void *out) {
    double start = part_start();
    kernels.norm(norm, x, rows, out);
    part_end(PART_NORM, start);
}

static bool output_measured(const struct norm *norm, const float *x, float *out) {
    double start = part_start();
    bool finite = kernels.norm_output(norm, x, out);
    part_end(PART_OUTPUT, start);
    return finite;
}

/* Runs the work once more, and tells people which parts of the encoder the time went to. */
static void parts_print(const char *name, struct encoder *encoder, struct work *work) {
    static const char *const names[PARTS] = {"qkv",       "fc1",  "dense and fc2",
                                             "attention", "norm", "out"};
    double measured[PARTS] = {0}, start = work_clock(CLOCK_MONOTONIC);
    parts = measured;
    work_run(encoder, work);
    parts = NULL;
    double total = work_clock(CLOCK_MONOTONIC) - start, rest = total;
    fprintf(stderr, "%s:", name);
    for (int p = 0; p < PARTS; rest -= measured[p++])
        fprintf(stderr, " %s %.1f%%", names[p], 100 * measured[p] / total);
    fprintf(stderr, " rest %.1f%%\n", 100 * rest / total);
}

/* Only the best kernels have bars, and avx2 has one for float32. */
static double bar_for(const struct subject *s, size_t workload) {
    double bar = s->threads == 1 ? workloads[workload].one : workloads[workload].all;
    if (s->set != SET_AVX2)
        return bar;
    return s->precision != PRECISION_F32 ? 0 : s->threads == 1 ? 0.85 : bar;
}

/* A peak is printed as the residues per second that it would give. */
static void workload_bench(const struct subject *s, struct encoder *encoder, size_t workload) {
    static struct work work;
    const struct workload *load = &workloads[workload].load;
    const peak_burst burst = peak_for(s->set, s->precision);
    double rates[BENCH_ROUNDS_MAX], peaks[BENCH_ROUNDS_MAX];
    work_make(&work, load, &s->model->config, BATCH_TOKENS);
    double residues = work_residues(&work),
           each = work_operations(&s->model->config, &work) / residues;
    work_run(encoder, &work); /* warm */
    for (unsigned r = 0; r < s->rounds; r++) {
        double first = work_peak(burst, s->threads);
        rates[r] = residues / work_time(encoder, &work, s->threads);
        double last = work_peak(burst, s->threads);
        peaks[r] = (first > last ? first : last) / each;
    }
    char name[128];
    double bar = bar_for(s, workload);
    snprintf(name, sizeof name, "%s %s, %u thread%s, %s", instruction_set_name(s->set),
             s->precision == PRECISION_BF16 ? "bf16" : "f32", s->threads,
             s->threads == 1 ? "" : "s", load->name);
    struct bench_figure figure = {name, "residues/s", "multiply-add peak",
                                  bar > 0 && burst ? "ratio >=" : NULL, bar};
    bench_figure_print(&figure, rates, burst ? peaks : NULL, s->rounds);
    parts_print(name, encoder, &work);
    work_free(&work);
}

static void subject_bench(const struct subject *s) {
    struct encoder *encoder;
    struct error error;
    kernels = *features_kernels(s->set, s->precision);
    struct kernels measured = kernels;
    measured.panel = panel_measured;
    measured.attention = attention_measured;
    measured.norm = norm_measured;
    measured.norm_output = output_measured;
    if (encoder_create(&encoder, s->model, &measured, s->threads, BATCH_TOKENS, &error) < 0)
        errx(1, "%s", error.text);
    for (size_t w = 0; w < WORKLOADS; w++)
        workload_bench(s, encoder, w);
    encoder_destroy(encoder);
}

/* $ESM1NV_CPU chooses the kernels; $BENCH_PRECISION (f32 or bf16) and $BENCH_THREADS leave out what
 * has another precision or number of threads. */
int main(void) {
    const char *precision = bench_text("BENCH_PRECISION", NULL);
    unsigned cores = usable_cores(), only = (unsigned)bench_number("BENCH_THREADS", 0);
    struct subject s = {.rounds = bench_rounds()};
    struct model *model;
    struct error error;
    if (cores > THREADS_MAX)
        errx(64, "at most %d threads", THREADS_MAX);
    if (features_choose(&s.set, &error) < 0 ||
        model_open(&model, bench_text("BENCH_MODEL", "synthetic:1"), &error) < 0)
        errx(78, "%s", error.text);
    s.model = model;
    for (s.precision = PRECISION_F32; s.precision <= PRECISION_BF16; s.precision++)
        for (unsigned all = 0; all < (cores > 1 ? 2 : 1); all++) {
            s.threads = all ? cores : 1;
            if ((!precision ||
                 (strcmp(precision, "bf16") == 0) == (s.precision == PRECISION_BF16)) &&
                (only == 0 || only == s.threads))
                subject_bench(&s);
        }
    model_destroy(model);
    return 0;
}
