/* SPDX-License-Identifier: Apache-2.0
 *
 * The forward pass: a packed batch of sequences in, their rows out, on a team of threads. Weights
 * are const, everything that changes lies in a workspace sized once for the largest batch.
 */
#ifndef ESM1NV_CPU_ENCODER_H
#define ESM1NV_CPU_ENCODER_H

#include "daemon/cpu/kernels.h"

/* Where the time goes; seconds are those of the team's first member. */
enum phase {
    PHASE_EMBEDDING,
    PHASE_NORM,
    PHASE_QKV,
    PHASE_ATTENTION,
    PHASE_DENSE,
    PHASE_FC1,
    PHASE_FC2,
    PHASE_OUTPUT,
    PHASE_WAIT,
    PHASES
};

struct encoder;

/* Packs the weights and starts threads - 1 threads. Returns 0, or -1 with *encoder NULL. */
int encoder_create(struct encoder **encoder, const struct model *model,
                   const struct kernels *kernels, unsigned threads, uint32_t max_batch_tokens,
                   struct error *error);

/* Runs a batch that is not empty and has no fault (engine_batch_fault()); the caller is one of the
 * threads. Writes rows and statuses. */
void encoder_run(struct encoder *encoder, struct engine_batch *batch);

/* Bytes of packed weights. */
uint64_t encoder_weight_bytes(const struct encoder *encoder);

/* Seconds per phase since the encoder was made. */
const double *encoder_phases(const struct encoder *encoder);

/* Safe on NULL. */
void encoder_destroy(struct encoder *encoder);

#endif
