/* SPDX-License-Identifier: Apache-2.0
 *
 * What is measured on an engine, and what the CPU engine is measured by: workloads of sequences,
 * and the peak of the cores at the moment.
 */
#ifndef ESM1NV_BENCH_WORK_H
#define ESM1NV_BENCH_WORK_H

#include "daemon/cpu/encoder.h"
#include "tests/bench/peak.h"

#include <time.h>

#define BATCH_TOKENS 2048
#define THREADS_MAX 256
#define ITEMS_MAX 256

/* A workload: `sequences` of tokens, lengths spread evenly over shortest .. longest and cut to the
 * model's positions. */
struct workload {
    const char *name;
    uint32_t sequences, shortest, longest;
    enum pooling pooling;
};

/* Sequences cut into batches as the daemon's scheduler would. */
struct work {
    uint16_t ids[16384];
    struct engine_item items[ITEMS_MAX];
    struct engine_batch batches[ITEMS_MAX];
    uint32_t tokens, items_used;
    unsigned count; /* of batches */
};

/* Adds the sequence whose token ids stand at ids[tokens]; a batch has at most `room` tokens. Exits
 * when the work is full. */
void work_add(struct work *work, const struct token_span *span, enum pooling pooling,
              uint32_t hidden, uint32_t room);

/* Makes the work; its batches have at most `room` tokens. */
void work_make(struct work *work, const struct workload *load, const struct model_config *config,
               uint32_t room);
void work_free(struct work *work);

/* Runs all batches; exits when one fails. */
void work_run(struct encoder *encoder, struct work *work);

/* These count what is asked for: residues, and the operations of all products, attention's
 * included. */
double batch_operations(const struct model_config *config, const struct engine_batch *batch);
uint32_t batch_residues(const struct engine_batch *batch);
double work_operations(const struct model_config *config, const struct work *work);
uint32_t work_residues(const struct work *work);

/* Returns operations per second: the fastest burst of each core, all cores at once, added up; 0
 * without a burst. One thread is timed by its CPU time, several by the wall clock. */
double work_peak(peak_burst run, unsigned threads);

/* Returns the seconds that a clock shows. */
double work_clock(clockid_t clock);

#endif
