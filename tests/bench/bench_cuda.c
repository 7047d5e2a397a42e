/* SPDX-License-Identifier: Apache-2.0
 *
 * How near the CUDA engine comes to its GPU: residues per second for the cases of bench_engine, the
 * fraction of what the same GPU does in one large matrix product of the same type, and the share of
 * the host link that results take. Peak and link are measured directly before and after each run.
 * A line of JSON per figure; exit 77 where there is no device.
 */
#include "daemon/engine/engine.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <err.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MAX 99
#define ITEMS_MAX 512
#define DEPTH_MAX 16
#define CHECK(call) call_check((int)(call), #call)

extern const struct engine_table esm1nv_engine;

/* Batches of `sequences` whose lengths are spread evenly over shortest .. longest tokens, cut to
 * the model's positions; `flight` of them at a time, 0 for as many as the engine takes. */
static const struct workload {
    const char *name;
    uint32_t sequences, shortest, longest;
    unsigned flight;
    enum pooling pooling;
} workloads[] = {
    {"8192 tokens, 60 to 512", 29, 62, 514, 0, POOLING_NONE},
    {"8192 tokens, 60 to 512, mean", 29, 62, 514, 0, POOLING_MEAN},
    {"one of 300", 1, 302, 302, 1, POOLING_NONE},
    {"one of 30", 1, 32, 32, 1, POOLING_NONE},
    {"64 of 30", 64, 32, 32, 1, POOLING_NONE},
};

struct options {
    const char *model, *device;
    enum precision precision;
    unsigned edge; /* of the matrices that show the peak */
    unsigned rounds;
    uint32_t tokens; /* of a batch, at most */
    double seconds;
};

/* One batch, with all that it points to. */
struct work {
    struct engine_batch batch;
    struct engine_item items[ITEMS_MAX];
    uint16_t *ids;
    uint32_t residues;
    double operations, bytes;
};

static void call_check(int code, const char *call) {
    if (code)
        errx(1, "%s: %d", call, code);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
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
    CHECK(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking));
    CHECK(cudaEventCreateWithFlags(&device->begin, cudaEventDefault));
    CHECK(cudaEventCreateWithFlags(&device->end, cudaEventDefault));
    for (int i = 0; i < 3; i++) {
        CHECK(cudaMalloc(&device->matrices[i], bytes));
        CHECK(cudaMemsetAsync(device->matrices[i], 0, bytes, device->stream));
    }
    CHECK(cudaHostAlloc(&device->host, bytes, cudaHostAllocDefault));
    CHECK(cublasLtCreate(&device->library));
    CHECK(cublasLtMatmulDescCreate(&device->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK(cublasLtMatmulDescSetAttribute(device->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                         sizeof(transposed)));
    CHECK(cublasLtMatrixLayoutCreate(&device->layout, type, edge, edge, edge));
    CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CHECK(cublasLtMatmulAlgoGetHeuristic(device->library, device->product, device->layout,
                                         device->layout, device->layout, device->layout, preference,
                                         1, &device->best, &found));
    CHECK(cublasLtMatmulPreferenceDestroy(preference));
    if (!found)
        errx(1, "cuBLASLt has no algorithm for %u x %u", edge, edge);
}

static void device_release(struct device *device) {
    CHECK(cublasLtMatrixLayoutDestroy(device->layout));
    CHECK(cublasLtMatmulDescDestroy(device->product));
    CHECK(cublasLtDestroy(device->library));
    for (int i = 0; i < 3; i++)
        CHECK(cudaFree(device->matrices[i]));
    CHECK(cudaFreeHost(device->host));
    CHECK(cudaEventDestroy(device->begin));
    CHECK(cudaEventDestroy(device->end));
    CHECK(cudaStreamDestroy(device->stream));
}

static double elapsed(struct device *device) {
    float milliseconds = 0;
    CHECK(cudaEventSynchronize(device->end));
    CHECK(cudaEventElapsedTime(&milliseconds, device->begin, device->end));
    return milliseconds > 0 ? milliseconds / 1e3 : 1e-9;
}

/* Operations per second of one large product, the fastest of a few. */
static double peak_rate(struct device *device) {
    const float one = 1, zero = 0;
    double edge = device->edge, least = 1e9;
    for (int i = 0; i < 4; i++) {
        CHECK(cudaEventRecord(device->begin, device->stream));
        CHECK(cublasLtMatmul(device->library, device->product, &one, device->matrices[0],
                             device->layout, device->matrices[1], device->layout, &zero,
                             device->matrices[2], device->layout, device->matrices[2],
                             device->layout, &device->best.algo, NULL, 0, device->stream));
        CHECK(cudaEventRecord(device->end, device->stream));
        double took = elapsed(device);
        least = took < least ? took : least;
    }
    return 2 * edge * edge * edge / least;
}

/* Bytes per second from the device into pinned memory. */
static double link_rate(struct device *device) {
    size_t bytes = (size_t)device->edge * device->edge * 2;
    CHECK(cudaEventRecord(device->begin, device->stream));
    CHECK(cudaMemcpyAsync(device->host, device->matrices[0], bytes, cudaMemcpyDeviceToHost,
                          device->stream));
    CHECK(cudaEventRecord(device->end, device->stream));
    return (double)bytes / elapsed(device);
}

/* --- what the engine does -------------------------------------------------------------------- */

static double sequence_operations(const struct model_config *c, double tokens) {
    double hidden = c->hidden, ffn = c->ffn;
    return tokens * c->layers *
           (2 * (4 * hidden * hidden + 2 * hidden * ffn) + 4 * tokens * hidden);
}

static void work_add(struct work *work, const struct model_config *config, uint32_t tokens,
                     enum pooling pooling) {
    struct engine_item *item = &work->items[work->batch.count++];
    size_t rows = pooling == POOLING_NONE ? tokens - 2 : 1, row = config->hidden * sizeof(float);
    *item = (struct engine_item){.first_token = work->batch.tokens,
                                 .tokens = tokens,
                                 .first_residue = 1,
                                 .residues = tokens - 2,
                                 .pooling = pooling};
    item->rows = aligned_alloc(64, rows * row);
    if (!item->rows)
        err(1, "rows");
    work->batch.tokens += tokens;
    work->residues += item->residues;
    work->bytes += (double)(rows * row);
    work->operations += sequence_operations(config, tokens);
}

static void work_make(struct work *work, const struct workload *load,
                      const struct model_config *config, uint32_t room) {
    memset(work, 0, sizeof(*work));
    for (uint32_t i = 0; i < load->sequences; i++) {
        uint32_t steps = load->sequences > 1 ? load->sequences - 1 : 1;
        uint32_t tokens =
            load->shortest + (load->longest - load->shortest) * ((i * 7) % load->sequences) / steps;
        tokens = tokens > config->positions ? config->positions : tokens;
        if (work->batch.tokens + tokens <= room)
            work_add(work, config, tokens, load->pooling);
    }
    work->ids = calloc(work->batch.tokens, sizeof(*work->ids));
    if (!work->ids)
        err(1, "tokens");
    for (uint32_t t = 0; t < work->batch.tokens; t++)
        work->ids[t] = (uint16_t)(5 + t * 7 % 20);
    work->batch.ids = work->ids;
    work->batch.items = work->items;
}

static void work_free(struct work *work) {
    for (uint32_t i = 0; i < work->batch.count; i++)
        free(work->items[i].rows);
    free(work->ids);
}

static struct engine_batch *engine_wait(struct engine *engine) {
    struct engine_batch *batch;
    while (!(batch = esm1nv_engine.reap(engine))) {
        struct pollfd ready = {.fd = esm1nv_engine.completion_fd(engine), .events = POLLIN};
        if (poll(&ready, 1, 60000) == 0)
            errx(1, "the engine does not answer");
    }
    if (batch->items[0].status != RECORD_OK)
        errx(1, "a batch failed: %s", batch->failure);
    return batch;
}

/* Batches per second. */
static double engine_rate(struct engine *engine, struct work *works, unsigned flight,
                          double seconds) {
    unsigned done = 0;
    double start = now(), took;
    for (unsigned i = 0; i < flight; i++)
        esm1nv_engine.submit(engine, &works[i].batch);
    do {
        esm1nv_engine.submit(engine, engine_wait(engine));
        done++;
        took = now() - start;
    } while (took < seconds);
    for (unsigned i = 0; i < flight; i++)
        engine_wait(engine);
    return done / took;
}

/* --- figures --------------------------------------------------------------------------------- */

static void figure_print(const char *name, const char *unit, const char *baseline, double *values,
                         double *baselines, unsigned rounds) {
    double ratios[ROUNDS_MAX];
    for (unsigned i = 0; i < rounds; i++)
        ratios[i] = values[i] / baselines[i];
    qsort(values, rounds, sizeof(*values), ascending);
    qsort(baselines, rounds, sizeof(*baselines), ascending);
    qsort(ratios, rounds, sizeof(*ratios), ascending);
    printf("{\"figure\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"baseline\": \"%s\", "
           "\"baseline_value\": %.6g, \"ratio\": %.4f, \"least\": %.4g, \"most\": %.4g}\n",
           name, values[rounds / 2], unit, baseline, baselines[rounds / 2], ratios[rounds / 2],
           ratios[0], ratios[rounds - 1]);
    fflush(stdout);
}

/* One workload: residues per second, then operations against the peak, bytes against the link. */
static void workload_bench(struct engine *engine, struct device *device,
                           const struct model_config *config, const struct workload *load,
                           const struct options *options) {
    static struct work works[DEPTH_MAX];
    const struct engine_info *info = esm1nv_engine.info(engine);
    unsigned flight = load->flight ? load->flight : info->depth;
    double operations[ROUNDS_MAX], peaks[ROUNDS_MAX], bytes[ROUNDS_MAX], links[ROUNDS_MAX];
    char name[128];

    flight = flight > DEPTH_MAX ? DEPTH_MAX : flight;
    for (unsigned i = 0; i < flight; i++)
        work_make(&works[i], load, config, info->batch_tokens);
    engine_rate(engine, works, flight, options->seconds); /* warm */
    for (unsigned round = 0; round < options->rounds; round++) {
        double first = peak_rate(device), link = link_rate(device);
        double rate = engine_rate(engine, works, flight, options->seconds);
        double last = peak_rate(device);
        peaks[round] = first > last ? first : last;
        links[round] = link;
        operations[round] = rate * works[0].operations;
        bytes[round] = rate * works[0].bytes;
    }
    figure_print(load->name, "operations/s", "one large product", operations, peaks,
                 options->rounds);
    snprintf(name, sizeof(name), "%s, results", load->name);
    figure_print(name, "bytes/s", "device to host", bytes, links, options->rounds);
    printf("{\"figure\": \"%s, residues\", \"value\": %.6g, \"unit\": \"residues/s\"}\n",
           load->name, operations[options->rounds / 2] / works[0].operations * works[0].residues);
    for (unsigned i = 0; i < flight; i++)
        work_free(&works[i]);
}

static struct options options_read(int argc, char **argv) {
    static const struct option names[] = {
        {"model", required_argument, NULL, 'm'},   {"device", required_argument, NULL, 'd'},
        {"bf16", no_argument, NULL, 'b'},          {"edge", required_argument, NULL, 'e'},
        {"rounds", required_argument, NULL, 'r'},  {"tokens", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
    struct options o = {.model = "synthetic:1",
                        .precision = PRECISION_F16,
                        .edge = 8192,
                        .rounds = 5,
                        .tokens = 8192,
                        .seconds = 0.5};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        if (option == 'm')
            o.model = optarg;
        else if (option == 'd')
            o.device = optarg;
        else if (option == 'b')
            o.precision = PRECISION_BF16;
        else if (option == 'e')
            o.edge = (unsigned)atoi(optarg);
        else if (option == 'r')
            o.rounds = (unsigned)atoi(optarg);
        else if (option == 't')
            o.tokens = (uint32_t)atoi(optarg);
        else if (option == 's')
            o.seconds = atof(optarg);
        else
            errx(64, "usage: bench_cuda [--model MODEL] [--device N] [--bf16] [--edge N] "
                     "[--rounds N] [--tokens N] [--seconds S]");
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX)
        errx(64, "1 to %d rounds", ROUNDS_MAX);
    return o;
}

int main(int argc, char **argv) {
    struct options o = options_read(argc, argv);
    struct engine_options options = {
        .precision = o.precision, .devices = o.device, .max_batch_tokens = o.tokens};
    struct device device;
    struct engine *engine;
    struct model *model;
    struct error error;

    if (esm1nv_engine.probe(&error) < 0)
        errx(77, "nothing to measure: %s", error.text);
    if (model_open(&model, o.model, &error) < 0 ||
        esm1nv_engine.open(&engine, model, &options, &error) < 0)
        errx(78, "%s", error.text);
    CHECK(cudaSetDevice(o.device ? atoi(o.device) : 0));
    device_prepare(&device, o.precision, o.edge);
    const struct engine_info *info = esm1nv_engine.info(engine);
    fprintf(stderr, "%s, %s, %s, at most %llu bytes on it\n", info->device, info->instructions,
            info->precision, (unsigned long long)info->device_bytes);
    for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
        workload_bench(engine, &device, &model->config, &workloads[i], &o);
    device_release(&device);
    esm1nv_engine.close(engine);
    model_destroy(model);
    return 0;
}
