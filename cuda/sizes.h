/* SPDX-License-Identifier: Apache-2.0
 *
 * How large everything on a device is, reckoned before anything is allocated. A pass runs as the
 * smallest bucket that holds its tokens; buckets share all activations.
 */
#ifndef ESM1NV_CUDA_SIZES_H
#define ESM1NV_CUDA_SIZES_H

#include "cuda/cards.h"
#include "cuda/kernels.h"
#include "daemon/model/model.h"

#define BUCKETS_MAX 6u
#define SETS 3u /* passes on their way at a time: one packed, one computed, one copied back */

/* Where the parts of a plan lie in memory, in bytes. The counts come first. */
struct plan_places {
    size_t ids, positions, owners, tiles, items, bytes;
};

struct sizes {
    struct model_config model;
    enum gpu_type type;
    uint32_t sm, multiprocessors;
    unsigned buckets;             /* in use */
    unsigned all_buckets;         /* that algorithms are chosen for: more, where batches are kept
                                     small, so that the choice, and results, do not depend on it */
    uint32_t tokens[BUCKETS_MAX]; /* of each bucket, growing */
    uint32_t largest;             /* the last in use */
    struct plan_places plans[BUCKETS_MAX];
    /* Bytes on the device. A plan and an output belong to each set; the output, with the flags
     * before it, is mirrored in pinned memory. */
    size_t weights, residual, normed, wide, workspace, plan, output;
    uint64_t device_bytes; /* all of it */
};

/* Chooses the largest bucket: what suits such a card, holds what is wanted (max_tokens), and leaves
 * half of the card's free memory, as long as one sequence of the model fits. */
void sizes_init(struct sizes *sizes, const struct model_config *model, enum gpu_type type,
                size_t weight_bytes, const struct card *card, uint32_t max_tokens);

/* The smallest bucket for so many tokens. */
unsigned sizes_bucket(const struct sizes *sizes, uint32_t tokens);

/* What the kernels are told of a bucket. */
struct gpu_shape sizes_shape(const struct sizes *sizes, unsigned bucket);

#endif
