/* SPDX-License-Identifier: Apache-2.0
 *
 * The forward pass, on a team of threads: it takes a packed batch of sequences and writes their
 * rows. Weights are const; everything that changes lies in a workspace, which is allocated once for
 * the largest batch.
 */
#ifndef ESM1NV_CPU_ENCODER_H
#define ESM1NV_CPU_ENCODER_H

#include "daemon/cpu/kernels.h"

struct encoder;

/* Packs the weights and starts threads - 1 threads. Returns 0, or -1 (EX_SOFTWARE) with *encoder
 * NULL. */
int encoder_create(struct encoder **encoder, const struct model *model,
                   const struct kernels *kernels, unsigned threads, uint32_t max_batch_tokens,
                   struct error *error);

/* Runs a batch, which is not empty and has no engine_batch_fault(), and writes its rows and
 * statuses. The calling thread is a member of the team. */
void encoder_run(struct encoder *encoder, struct engine_batch *batch);

/* Bytes of packed weights. */
uint64_t encoder_weight_bytes(const struct encoder *encoder);

/* Safe on NULL. */
void encoder_destroy(struct encoder *encoder);

#endif
