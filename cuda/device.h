/* SPDX-License-Identifier: Apache-2.0
 *
 * One GPU with a model on it: memory, streams, and for each of its buffer sets a captured forward
 * pass for every bucket. One thread submits passes, another may wait for them meanwhile.
 */
#ifndef ESM1NV_CUDA_DEVICE_H
#define ESM1NV_CUDA_DEVICE_H

#include "cuda/gemm.h"
#include "cuda/plan.h"
#include "cuda/weights.h"

/* What one pass on its way needs for itself. Events order its way through the streams. */
struct buffer_set {
    unsigned char *plan, *output;               /* pinned */
    unsigned char *device_plan, *device_output; /* their like on the device */
    cudaEvent_t uploaded, computed, downloaded;
    cudaGraphExec_t graphs[BUCKETS_MAX];
    unsigned bucket; /* of the pass that is on its way */
};

struct device {
    struct card card;
    const struct sizes *sizes;
    const struct weights *weights;
    struct choices *choices; /* the engine's: one for all devices, and for every reopening */
    bool claimed;
    bool failed; /* a CUDA error came; set by who saw it, and closing resets the card */
    unsigned char *device_weights;
    float *residual; /* float [tokens][H] */
    void *normed;    /* half [tokens][H]: normed rows, then the context */
    void *wide;      /* half [tokens][max(3 H, ffn)]: q, k, v; inner rows; float [tokens][H] at the
                        end */
    void *workspace;
    struct gemm gemm;
    cudaStream_t upload, compute, download;
    struct buffer_set sets[SETS];
    struct planner planner;
};

/* Zeroes *device and gives it all it needs. On -1 it is closed. Choices that are not made yet are
 * made, and kept in a file. */
int device_open(struct device *device, const struct card *card, const struct sizes *sizes,
                const struct weights *weights, struct choices *choices, struct error *error);

/* After a CUDA error, with no pass on its way: away with everything, and again from the start. */
int device_reopen(struct device *device, struct error *error);

/* Safe on what is zero or half made. */
void device_close(struct device *device);

/* CUDA's current device is a thread's own. */
int device_use(const struct device *device, struct error *error);

/* Queues a part on a set that is free. */
int device_submit(struct device *device, unsigned set, const struct engine_part *part,
                  struct error *error);

/* Sleeps until the set's pass is through. */
int device_wait(const struct device *device, unsigned set, struct error *error);

/* Hands the results of the set's pass to the part's items. */
void device_deliver(const struct device *device, unsigned set, const struct engine_part *part);

/* The operands of a layer's products; see forward.c. */
void forward_operands(const struct device *device, uint32_t layer,
                      struct operands operands[PRODUCTS]);

/* Queues the forward pass of a bucket, for the plan and output of a set. */
int forward_queue(const struct device *device, const struct buffer_set *set, unsigned bucket,
                  struct error *error);

#endif
