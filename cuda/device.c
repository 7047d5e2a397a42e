/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a GPU, queues passes on it, and opens it again after it has failed. A pass goes through
 * three streams, one for each engine of the hardware: its plan is copied to the device, the
 * captured graph computes, and flags and rows are copied back. So the results of one pass are
 * copied while the next one computes.
 */
#include "cuda/device.h"
#include "cuda/call.h"

#include <stdatomic.h>
#include <string.h>
#include <sysexits.h>

/* How many open devices of this process use each card. A reset would destroy all of them. */
static atomic_uint claims[CARDS_MAX];

int device_use(const struct device *d, struct error *error) {
    return CUDA(cudaSetDevice, d->card.ordinal);
}

static int memory_check(const struct device *d, struct error *error) {
    size_t free_bytes, total;
    if (CUDA(cudaMemGetInfo, &free_bytes, &total) < 0)
        return -1;
    if (free_bytes < d->sizes->device_bytes)
        return error_set(error, EX_CONFIG,
                         "%llu MB of GPU memory are needed and %zu MB are free; end what fills "
                         "it, or allow smaller batches",
                         (unsigned long long)d->sizes->device_bytes >> 20, free_bytes >> 20);
    return 0;
}

static int memory_create(struct device *d, struct error *error) {
    const struct sizes *s = d->sizes;
    if (CUDA(cudaMalloc, (void **)&d->device_weights, s->weights) < 0 ||
        CUDA(cudaMalloc, (void **)&d->residual, s->residual) < 0 ||
        CUDA(cudaMalloc, &d->normed, s->normed) < 0 || CUDA(cudaMalloc, &d->wide, s->wide) < 0 ||
        CUDA(cudaMalloc, &d->workspace, s->workspace) < 0)
        return -1;
    return 0;
}

static int set_create(struct buffer_set *set, const struct sizes *s, struct error *error) {
    const unsigned flags = cudaEventBlockingSync | cudaEventDisableTiming;
    if (CUDA(cudaHostAlloc, (void **)&set->plan, s->plan, cudaHostAllocDefault) < 0 ||
        CUDA(cudaHostAlloc, (void **)&set->output, s->output, cudaHostAllocDefault) < 0 ||
        CUDA(cudaMalloc, (void **)&set->device_plan, s->plan) < 0 ||
        CUDA(cudaMalloc, (void **)&set->device_output, s->output) < 0 ||
        CUDA(cudaEventCreateWithFlags, &set->uploaded, flags) < 0 ||
        CUDA(cudaEventCreateWithFlags, &set->computed, flags) < 0 ||
        CUDA(cudaEventCreateWithFlags, &set->downloaded, flags) < 0)
        return -1;
    memset(set->plan, 0,
           s->plan); /* all of it is copied, including parts that were never written */
    return 0;
}

static int streams_create(struct device *d, struct error *error) {
    if (CUDA(cudaStreamCreateWithFlags, &d->upload, cudaStreamNonBlocking) < 0 ||
        CUDA(cudaStreamCreateWithFlags, &d->compute, cudaStreamNonBlocking) < 0 ||
        CUDA(cudaStreamCreateWithFlags, &d->download, cudaStreamNonBlocking) < 0)
        return -1;
    return 0;
}

/* Copies the weights by way of pinned memory, for which the output's is used. */
static int weights_upload(const struct device *d, struct error *error) {
    const struct buffer_set *set = &d->sets[0];
    for (size_t at = 0; at < d->sizes->weights; at += d->sizes->output) {
        size_t left = d->sizes->weights - at;
        size_t bytes = left < d->sizes->output ? left : d->sizes->output;
        memcpy(set->output, d->weights->block + at, bytes);
        if (CUDA(cudaMemcpyAsync, d->device_weights + at, set->output, bytes,
                 cudaMemcpyHostToDevice, d->compute) < 0 ||
            CUDA(cudaEventRecord, set->uploaded, d->compute) < 0 ||
            CUDA(cudaEventSynchronize, set->uploaded) < 0)
            return -1;
    }
    return 0;
}

static int choices_make(const struct device *d, struct error *error) {
    struct operands operands[PRODUCTS];
    if (d->choices->made)
        return 0;
    choices_load(d->choices, &d->gemm, d->card.name);
    if (d->choices->made)
        return 0;
    forward_operands(d, 0, operands);
    if (choices_measure(d->choices, &d->gemm, operands, d->compute, error) < 0)
        return -1;
    choices_save(d->choices, &d->gemm, d->card.name);
    return 0;
}

/* Runs a pass with an empty plan. Kernels are loaded when they are first launched, and that must
 * not happen during a capture. */
static int warm_up(const struct device *d, struct error *error) {
    const struct buffer_set *set = &d->sets[0];
    if (CUDA(cudaMemsetAsync, set->device_plan, 0, d->sizes->plan, d->compute) < 0 ||
        forward_queue(d, set, 0, error) < 0 || CUDA(cudaEventRecord, set->computed, d->compute) < 0)
        return -1;
    return CUDA(cudaEventSynchronize, set->computed);
}

static int graph_capture(const struct device *d, struct buffer_set *set, unsigned bucket,
                         struct error *error) {
    struct error ignored;
    cudaGraph_t graph = NULL;
    if (CUDA(cudaStreamBeginCapture, d->compute, cudaStreamCaptureModeThreadLocal) < 0)
        return -1;
    int queued = forward_queue(d, set, bucket, error);
    int ended = cuda_result(cudaStreamEndCapture(d->compute, &graph), "cudaStreamEndCapture",
                            queued < 0 ? &ignored : error);
    int result = queued < 0 || ended < 0
                     ? -1
                     : CUDA(cudaGraphInstantiateWithFlags, &set->graphs[bucket], graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    return result;
}

static int kernels_prepare(struct device *d, struct error *error) {
    for (unsigned bucket = 0; bucket < d->sizes->buckets; bucket++) {
        struct gpu_shape shape = sizes_shape(d->sizes, bucket);
        if (CUDA(gpu_prepare, &shape) < 0)
            return -1;
    }
    if (warm_up(d, error) < 0)
        return -1;
    for (unsigned set = 0; set < SETS; set++)
        for (unsigned bucket = 0; bucket < d->sizes->buckets; bucket++)
            if (graph_capture(d, &d->sets[set], bucket, error) < 0)
                return -1;
    return 0;
}

static int device_build(struct device *d, struct error *error) {
    if (device_use(d, error) < 0 || memory_check(d, error) < 0 || memory_create(d, error) < 0)
        return -1;
    for (unsigned set = 0; set < SETS; set++)
        if (set_create(&d->sets[set], d->sizes, error) < 0)
            return -1;
    if (streams_create(d, error) < 0 || weights_upload(d, error) < 0 ||
        planner_init(&d->planner, d->sizes, error) < 0 ||
        gemm_init(&d->gemm, d->sizes, d->workspace, error) < 0 || choices_make(d, error) < 0)
        return -1;
    return kernels_prepare(d, error);
}

int device_open(struct device *d, const struct card *card, const struct sizes *sizes,
                const struct weights *weights, struct choices *choices, struct error *error) {
    *d = (struct device){.card = *card, .sizes = sizes, .weights = weights, .choices = choices};
    atomic_fetch_add(&claims[card->ordinal], 1);
    d->claimed = true;
    if (device_build(d, error) == 0)
        return 0;
    d->failed = true;
    error_prefix(error, "GPU %d (%s)", card->ordinal, card->name);
    device_close(d);
    return -1;
}

static void set_destroy(struct buffer_set *set) {
    for (unsigned bucket = 0; bucket < BUCKETS_MAX; bucket++)
        if (set->graphs[bucket])
            cudaGraphExecDestroy(set->graphs[bucket]);
    cudaEvent_t events[] = {set->uploaded, set->computed, set->downloaded};
    for (unsigned i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i])
            cudaEventDestroy(events[i]);
    cudaFree(set->device_plan);
    cudaFree(set->device_output);
    cudaFreeHost(set->plan);
    cudaFreeHost(set->output);
}

/* Waits until nothing uses the device's memory any more. A failure that was not noticed so far
 * shows here. */
static void streams_finish(struct device *d) {
    cudaStream_t streams[] = {d->upload, d->compute, d->download};
    for (unsigned i = 0; i < sizeof streams / sizeof *streams; i++) {
        d->failed |= streams[i] && cudaStreamSynchronize(streams[i]) != cudaSuccess;
        d->failed |= streams[i] && cudaStreamDestroy(streams[i]) != cudaSuccess;
    }
}

void device_close(struct device *d) {
    struct error ignored;
    if (!d->claimed)
        return;
    if (device_use(d, &ignored) < 0)
        d->failed = true;
    streams_finish(d);
    gemm_finish(&d->gemm);
    for (unsigned set = 0; set < SETS; set++)
        set_destroy(&d->sets[set]);
    cudaFree(d->device_weights);
    cudaFree(d->residual);
    cudaFree(d->normed);
    cudaFree(d->wide);
    cudaFree(d->workspace);
    planner_finish(&d->planner);
    /* After most errors, only a reset makes the card usable and frees what could not be freed
     * above. */
    if (atomic_fetch_sub(&claims[d->card.ordinal], 1) == 1 && d->failed)
        cudaDeviceReset();
    cudaGetLastError();
    *d = (struct device){0};
}

int device_reopen(struct device *d, struct error *error) {
    const struct device old = *d;
    device_close(d);
    return device_open(d, &old.card, old.sizes, old.weights, old.choices, error);
}

static int pass_queue(struct device *d, struct buffer_set *set, size_t output_bytes,
                      struct error *error) {
    const struct plan_places *places = &d->sizes->plans[set->bucket];
    if (CUDA(cudaMemcpyAsync, set->device_plan, set->plan, places->bytes, cudaMemcpyHostToDevice,
             d->upload) < 0 ||
        CUDA(cudaEventRecord, set->uploaded, d->upload) < 0 ||
        CUDA(cudaStreamWaitEvent, d->compute, set->uploaded, 0) < 0 ||
        CUDA(cudaGraphLaunch, set->graphs[set->bucket], d->compute) < 0 ||
        CUDA(cudaEventRecord, set->computed, d->compute) < 0 ||
        CUDA(cudaStreamWaitEvent, d->download, set->computed, 0) < 0 ||
        CUDA(cudaMemcpyAsync, set->output, set->device_output, output_bytes, cudaMemcpyDeviceToHost,
             d->download) < 0 ||
        CUDA(cudaEventRecord, set->downloaded, d->download) < 0)
        return -1;
    return 0;
}

int device_submit(struct device *d, unsigned number, const struct engine_part *part,
                  struct error *error) {
    struct buffer_set *set = &d->sets[number];
    set->bucket = sizes_bucket(d->sizes, part->tokens);
    size_t bytes = plan_pack(&d->planner, d->sizes, &d->sizes->plans[set->bucket], part, set->plan);
    return pass_queue(d, set, bytes, error);
}

int device_wait(const struct device *d, unsigned set, struct error *error) {
    return CUDA(cudaEventSynchronize, d->sets[set].downloaded);
}

void device_deliver(const struct device *d, unsigned number, const struct engine_part *part) {
    const struct buffer_set *set = &d->sets[number];
    plan_deliver(d->sizes, &d->sizes->plans[set->bucket], part, set->plan, set->output);
}
