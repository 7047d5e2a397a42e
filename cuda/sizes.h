/* SPDX-License-Identifier: Apache-2.0
 *
 * How large everything on a device is, computed before anything is allocated. A pass runs in the
 * smallest bucket that holds its tokens. All buckets share the memory for activations.
 */
#ifndef ESM1NV_CUDA_SIZES_H
#define ESM1NV_CUDA_SIZES_H

#include "cuda/cards.h"
#include "cuda/kernels.h"
#include "daemon/model/model.h"

#define BUCKETS_MAX 6u
#define SETS 3u /* passes at a time: one is packed, one computed, one copied back */

/* Where the parts of a plan begin, in bytes after its start. The counts are at the start. */
struct plan_places {
    size_t ids, positions, owners, tiles, items, bytes;
};

struct sizes {
    struct model_config model;
    enum gpu_type type;
    uint32_t sm, multiprocessors;
    unsigned buckets;             /* in use */
    unsigned all_buckets;         /* that algorithms are chosen for; more than in use if the user
                                     wants small batches, so that results do not depend on that */
    uint32_t tokens[BUCKETS_MAX]; /* of each bucket, in rising order */
    uint32_t largest;             /* tokens of the largest bucket in use */
    struct plan_places plans[BUCKETS_MAX];
    /* Bytes on the device. Each set has a plan and an output, which begins with flags; both have
     * counterparts in pinned memory. */
    size_t weights, residual, normed, wide, workspace, plan, output;
    uint64_t device_bytes; /* of all together */
};

/* Chooses the largest bucket: the one that suits such a card, or a smaller one if that holds
 * max_tokens or if more than half of the card's free memory would be needed. The longest sequence
 * of the model always fits. */
void sizes_init(struct sizes *sizes, const struct model_config *model, enum gpu_type type,
                size_t weight_bytes, const struct card *card, uint32_t max_tokens);

/* The smallest bucket for so many tokens. */
unsigned sizes_bucket(const struct sizes *sizes, uint32_t tokens);

/* What kernels need to know about a bucket. */
struct gpu_shape sizes_shape(const struct sizes *sizes, unsigned bucket);

#endif
