/* SPDX-License-Identifier: Apache-2.0
 *
 * This measures how near the CUDA engine comes to its GPU: residues per second for the cases of
 * bench_engine, the fraction of what the same GPU does in one large matrix product of the same
 * type, and the share of the host link that results take. Peak and link are measured directly
 * before and after each run. The exit status is 77 where there is no device.
 */
#include "tests/bench/bench.h"
#include "tests/bench/work.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16
#define MUST(call) call_check((int)(call), #call)

extern const struct engine_table esm1nv_engine;

/* The first batch of each workload is run, `flight` copies of it at a time; 0: as many as the
 * engine takes. */
static const struct {
    struct workload load;
    unsigned flight;
} workloads[] = {
    {{"8192 tokens, 60 to 512", 29, 62, 514, POOLING_NONE}, 0},
    {{"8192 tokens, 60 to 512, mean", 29, 62, 514, POOLING_MEAN}, 0},
    {{"one of 300", 1, 302, 302, POOLING_NONE}, 1},
    {{"one of 30", 1, 32, 32, POOLING_NONE}, 1},
    {{"64 of 30", 64, 32, 32, POOLING_NONE}, 1},
};

static void call_check(int result, const char *call) {
    if (result != 0)
        errx(1, "%s: %d", call, result);
}

/* --- what the device can do ------------------------------------------------------------------ */

struct device {
    cublasLtHandle_t library;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t layout;
    cublasLtMatmulHeuristicResult_t best;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    void *matrices[3], *host;
    unsigned edge;
};

static void device_prepare(struct device *device, enum precision precision, unsigned edge) {
    cudaDataType_t type = precision == PRECISION_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtMatmulPreference_t preference;
    size_t bytes = (size_t)edge * edge * 2;
    int found = 0;

    device->edge = edge;
    MUST(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking));
    MUST(cudaEventCreateWithFlags(&device->begin, cudaEventDefault));
    MUST(cudaEventCreateWithFlags(&device->end, cudaEventDefault));
    for (int i = 0; i < 3; i++) {
        MUST(cudaMalloc(&device->matrices[i], bytes));
        MUST(cudaMemsetAsync(device->matrices[i], 0, bytes, device->stream));
    }
    MUST(cudaHostAlloc(&device->host, bytes, cudaHostAllocDefault));
    MUST(cublasLtCreate(&device->library));
    MUST(cublasLtMatmulDescCreate(&device->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    MUST(cublasLtMatmulDescSetAttribute(device->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed));
    MUST(cublasLtMatrixLayoutCreate(&device->layout, type, edge, edge, edge));
    MUST(cublasLtMatmulPreferenceCreate(&preference));
    MUST(cublasLtMatmulAlgoGetHeuristic(device->library, device->product, device->layout,
                                        device->layout, device->layout, device->layout, preference,
                                        1, &device->best, &found));
    MUST(cublasLtMatmulPreferenceDestroy(preference));
    if (!found)
        errx(1, "cuBLASLt has no algorithm for %u x %u", edge, edge);
}

static void device_release(struct device *device) {
    MUST(cublasLtMatrixLayoutDestroy(device->layout));
    MUST(cublasLtMatmulDescDestroy(device->product));
    MUST(cublasLtDestroy(device->library));
    for (int i = 0; i < 3; i++)
        MUST(cudaFree(device->matrices[i]));
    MUST(cudaFreeHost(device->host));
    MUST(cudaEventDestroy(device->begin));
    MUST(cudaEventDestroy(device->end));
    MUST(cudaStreamDestroy(device->stream));
}

static double elapsed(struct device *device) {
    float milliseconds = 0;
    MUST(cudaEventSynchronize(device->end));
    MUST(cudaEventElapsedTime(&milliseconds, device->begin, device->end));
    return milliseconds > 0 ? milliseconds / 1e3 : 1e-9;
}

/* Returns the operations per second of one large product, the fastest of a few. */
static double peak_rate(struct device *device) {
    const float one = 1, zero = 0;
    double edge = device->edge, least = 1e9;
    for (int i = 0; i < 4; i++) {
        MUST(cudaEventRecord(device->begin, device->stream));
        MUST(cublasLtMatmul(device->library, device->product, &one, device->matrices[0],
                            device->layout, device->matrices[1], device->layout, &zero,
                            device->matrices[2], device->layout, device->matrices[2],
                            device->layout, &device->best.algo, NULL, 0, device->stream));
        MUST(cudaEventRecord(device->end, device->stream));
        double took = elapsed(device);
        least = took < least ? took : least;
    }
    return 2 * edge * edge * edge / least;
}

/* Returns the bytes per second from the device into pinned memory. */
static double link_rate(struct device *device) {
    size_t bytes = (size_t)device->edge * device->edge * 2;
    MUST(cudaEventRecord(device->begin, device->stream));
    MUST(cudaMemcpyAsync(device->host, device->matrices[0], bytes, cudaMemcpyDeviceToHost,
                         device->stream));
    MUST(cudaEventRecord(device->end, device->stream));
    return (double)bytes / elapsed(device);
}

/* --- what the engine does -------------------------------------------------------------------- */

static struct engine_batch *engine_wait(struct engine *engine) {
    struct engine_batch *batch;
    while (!(batch = esm1nv_engine.reap(engine))) {
        struct pollfd ready = {.fd = esm1nv_engine.completion_fd(engine), .events = POLLIN};
        if (poll(&ready, 1, 600000) == 0)
            errx(1, "the engine does not answer");
    }
    if (batch->items[0].status != RECORD_OK)
        errx(1, "a batch failed: %s", batch->failure);
    return batch;
}

/* Returns the batches per second. */
static double engine_rate(struct engine *engine, struct work *works, unsigned flight) {
    const double seconds = bench_number("BENCH_SECONDS", 0.5);
    unsigned done = 0;
    double start = bench_seconds(), took;
    for (unsigned i = 0; i < flight; i++)
        esm1nv_engine.submit(engine, &works[i].batches[0]);
    do {
        esm1nv_engine.submit(engine, engine_wait(engine));
        done++;
        took = bench_seconds() - start;
    } while (took < seconds);
    for (unsigned i = 0; i < flight; i++)
        engine_wait(engine);
    return done / took;
}

/* --- figures --------------------------------------------------------------------------------- */

/* Returns the bytes of a batch's results. */
static double batch_bytes(const struct engine_batch *batch, uint32_t hidden) {
    double rows = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        rows += batch->items[i].pooling == POOLING_NONE ? batch->items[i].residues : 1;
    return rows * hidden * sizeof(float);
}

/* Measures one workload: its operations against the peak, the bytes of its results against the
 * link, and its residues. */
static void workload_bench(struct engine *engine, struct device *device,
                           const struct model_config *config, const struct workload *load,
                           unsigned flight) {
    static struct work works[DEPTH_MAX];
    const struct engine_info *info = esm1nv_engine.info(engine);
    const unsigned rounds = bench_rounds();
    double values[3][BENCH_ROUNDS_MAX], peaks[BENCH_ROUNDS_MAX], links[BENCH_ROUNDS_MAX];
    char results[128], residues[128];
    flight = flight > 0 ? flight : info->depth < DEPTH_MAX ? info->depth : DEPTH_MAX;
    for (unsigned i = 0; i < flight; i++)
        work_make(&works[i], load, config, info->batch_tokens);
    const struct engine_batch *batch = &works[0].batches[0];
    engine_rate(engine, works, flight); /* warm */
    for (unsigned r = 0; r < rounds; r++) {
        double first = peak_rate(device);
        links[r] = link_rate(device);
        double rate = engine_rate(engine, works, flight), last = peak_rate(device);
        peaks[r] = first > last ? first : last;
        values[0][r] = rate * batch_operations(config, batch);
        values[1][r] = rate * batch_bytes(batch, config->hidden);
        values[2][r] = rate * batch_residues(batch);
    }
    snprintf(results, sizeof results, "%s, results", load->name);
    snprintf(residues, sizeof residues, "%s, residues", load->name);
    const struct bench_figure figures[] = {
        {load->name, "operations/s", "one large product", NULL, 0},
        {results, "bytes/s", "device to host", NULL, 0},
        {residues, "residues/s", NULL, NULL, 0}};
    const double *baselines[] = {peaks, links, NULL};
    for (int i = 0; i < 3; i++)
        bench_figure_print(&figures[i], values[i], baselines[i], rounds);
    for (unsigned i = 0; i < flight; i++)
        work_free(&works[i]);
}

/* $BENCH_EDGE is that of the matrices which show the peak, $BENCH_TOKENS the most of a batch. */
int main(void) {
    struct device device;
    struct engine *engine;
    struct model *model;
    struct error error;
    const char *card = bench_text("BENCH_DEVICE", NULL);
    const struct engine_options options = {
        .precision = strcmp(bench_text("BENCH_PRECISION", "f16"), "bf16") == 0 ? PRECISION_BF16
                                                                               : PRECISION_F16,
        .devices = card,
        .max_batch_tokens = (uint32_t)bench_number("BENCH_TOKENS", 8192)};
    if (esm1nv_engine.probe(&error) < 0)
        errx(77, "nothing to measure: %s", error.text);
    if (model_open(&model, bench_text("BENCH_MODEL", "synthetic:1"), &error) < 0 ||
        esm1nv_engine.open(&engine, model, &options, &error) < 0)
        errx(78, "%s", error.text);
    MUST(cudaSetDevice(card ? atoi(card) : 0));
    device_prepare(&device, options.precision, (unsigned)bench_number("BENCH_EDGE", 8192));
    const struct engine_info *info = esm1nv_engine.info(engine);
    fprintf(stderr, "%s, %s, %s, at most %llu bytes on it\n", info->device, info->instructions,
            info->precision, (unsigned long long)info->device_bytes);
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        workload_bench(engine, &device, &model->config, &workloads[i].load, workloads[i].flight);
    device_release(&device);
    esm1nv_engine.close(engine);
    model_destroy(model);
    return 0;
}
