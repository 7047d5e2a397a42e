/* SPDX-License-Identifier: Apache-2.0
 *
 * One GPU with a model on it: memory, streams, and, for each of its buffer sets, a captured forward
 * pass for every bucket. One thread submits passes; at the same time another may wait for them.
 */
#ifndef ESM1NV_CUDA_DEVICE_H
#define ESM1NV_CUDA_DEVICE_H

#include "cuda/gemm.h"
#include "cuda/plan.h"
#include "cuda/weights.h"

/* What one pass needs for itself until its results are delivered. The events order its steps in the
 * three streams. */
struct buffer_set {
    unsigned char *plan, *output;               /* pinned */
    unsigned char *device_plan, *device_output; /* their counterparts on the device */
    cudaEvent_t uploaded, computed, downloaded;
    cudaGraphExec_t graphs[BUCKETS_MAX];
    unsigned bucket; /* of the pass that uses the set */
};

struct device {
    struct card card;
    const struct sizes *sizes;
    const struct weights *weights;
    struct choices *choices; /* the engine's, shared by all devices and kept when one is reopened */
    bool claimed;            /* counted in `claims` (device.c) */
    bool failed;             /* there was a CUDA error, so that closing resets the card */
    unsigned char *device_weights;
    float *residual; /* float [tokens][H] */
    void *normed;    /* half [tokens][H]: rows after LayerNorm, then the context */
    void *wide;      /* half [tokens][max(3 H, ffn)]: q, k and v, then the hidden rows of the
                        feed-forward layer; at the end, float [tokens][H] */
    void *workspace;
    struct gemm gemm;
    cudaStream_t upload, compute, download;
    struct buffer_set sets[SETS];
    struct planner planner;
};

/* Initialises *device and everything on it. Makes choices that are not made yet, and keeps them in
 * a file. Returns 0, or -1 with the device closed. */
int device_open(struct device *device, const struct card *card, const struct sizes *sizes,
                const struct weights *weights, struct choices *choices, struct error *error);

/* Closes the device and opens it again, after a CUDA error. No pass may be under way. Returns as
 * device_open() does. */
int device_reopen(struct device *device, struct error *error);

/* Safe on a null value and on a half-open device. */
void device_close(struct device *device);

/* Makes the device CUDA's current one for this thread. */
int device_use(const struct device *device, struct error *error);

/* Queues a pass for a part, on a set that no pass uses. */
int device_submit(struct device *device, unsigned set, const struct engine_part *part,
                  struct error *error);

/* Sleeps until the set's pass is done. */
int device_wait(const struct device *device, unsigned set, struct error *error);

/* Gives the results of the set's pass to the items of the part. */
void device_deliver(const struct device *device, unsigned set, const struct engine_part *part);

/* Sets the operands of a layer's products. */
void forward_operands(const struct device *device, uint32_t layer,
                      struct operands operands[PRODUCTS]);

/* Queues the forward pass of a bucket, with the plan and output of a set. */
int forward_queue(const struct device *device, const struct buffer_set *set, unsigned bucket,
                  struct error *error);

#endif
