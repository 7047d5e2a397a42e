/* SPDX-License-Identifier: Apache-2.0
 *
 * What the benchmarks share: a clock, figures as lines of JSON on standard output for ./dev bench,
 * and the programs that are measured. A baseline is measured in the same rounds as its figure, one
 * after the other, and what counts is the median of the rounds' ratios. A benchmark that cannot
 * measure ends with a message; figures that are not reached are no failure.
 */
#ifndef ESM1NV_BENCH_H
#define ESM1NV_BENCH_H

#include "client/esm1nv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_ROUNDS_MAX 99

/* Texts are plain ASCII without quotes. */
struct bench_figure {
    const char *name, *unit;
    const char *baseline; /* what it is compared with, or NULL */
    const char *sign;     /* ">=" or "<=", "ratio >=" for that to the baseline; NULL: no bar */
    double bar;
};

/* Prints the figure's values and baselines of each round, of which table.py makes medians;
 * baselines is NULL without any. */
void bench_figure_print(const struct bench_figure *figure, const double *values,
                        const double *baselines, unsigned rounds);

double bench_seconds(void);

/* Sorts the values; a share of 0.5 gives the median. */
double bench_quantile(double *values, unsigned count, double share);

/* Return what a variable of the environment sets, or else the default. */
const char *bench_text(const char *name, const char *otherwise);
double bench_number(const char *name, double otherwise);
/* Returns $BENCH_ROUNDS; exits when it is not from 1 to BENCH_ROUNDS_MAX. */
unsigned bench_rounds(void);

/* Returns a directory that is removed when the program ends; exits when it cannot be made. */
const char *bench_folder(void);

/* Reads the first of the proteins that come with the tests, each cut to 512 residues, until there
 * are `enough` residues. */
struct bench_sequences {
    char **residues;
    uint32_t *lengths;
    unsigned count;
    uint64_t total; /* residues */
};
void bench_proteins_read(struct bench_sequences *sequences, uint64_t enough);
/* Writes a FASTA file of `count` random sequences of one length; returns its path. */
const char *bench_fasta_write(const char *name, unsigned count, unsigned length);

struct bench_daemon {
    pid_t pid;
    char socket[128];
};

/* Starts esm1nvd with this --backend and --precision (NULL: as it likes) on synthetic weights and
 * waits until it serves, for any user. */
void bench_daemon_start(struct bench_daemon *daemon, const char *backend, const char *precision);
void bench_daemon_stop(struct bench_daemon *daemon);

/* Returns one of the numbers that esm1nv --status shows. */
uint64_t bench_daemon_number(const struct bench_daemon *daemon, const char *name);

esm1nv_session *bench_connect(const struct bench_daemon *daemon, enum esm1nv_pooling pooling);

/* Starts esm1nv on a file with this --format and --pool; output as for bench_spawn. */
pid_t bench_filter_start(const struct bench_daemon *daemon, const char *format, const char *pooling,
                         const char *input, int output);

/* Starts a program (arguments end with NULL) with these descriptors as its standard input and
 * output, -1 for /dev/null. The caller keeps its own. */
pid_t bench_spawn(int input, int output, const char *program, ...) __attribute__((sentinel));
/* Waits for a program, which must end with 0. */
void bench_await(pid_t pid, const char *name);

#endif
