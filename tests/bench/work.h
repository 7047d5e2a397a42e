/* SPDX-License-Identifier: Apache-2.0
 *
 * What is measured on the CPU engine, and what it is measured by: workloads of sequences, and the
 * peak of the cores at the moment.
 */
#ifndef ESM1NV_BENCH_WORK_H
#define ESM1NV_BENCH_WORK_H

#include "daemon/cpu/encoder.h"
#include "tests/bench/peak.h"

#include <time.h>

#define BATCH_TOKENS 2048
#define THREADS_MAX 256

/* A workload: `sequences` of tokens, lengths spread evenly over shortest .. longest; and the part
 * of the peak that one thread and all together should reach, 0: no bar. */
struct workload {
    const char *name;
    uint32_t sequences, shortest, longest;
    double one, all;
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

void work_make(struct work *work, const struct workload *load, const struct model_config *config);
void work_free(struct work *work);

/* Runs all batches; exits when one fails. */
void work_run(struct encoder *encoder, struct work *work);

/* Operations for a sequence of this many tokens: those of the products, attention's included. */
double sequence_operations(const struct model_config *config, double tokens);

/* Operations per second: the fastest burst of each core, all cores at once, added up. One thread is
 * timed by its CPU time, several by the wall clock. */
double work_peak(peak_burst run, unsigned threads);

/* Seconds. */
double work_clock(clockid_t clock);

#endif
