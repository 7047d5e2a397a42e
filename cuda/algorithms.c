/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures cuBLASLt's candidates for each product, once, in the largest bucket that suits the card,
 * because most of the time is spent there. The library's first proposal stays unless another is
 * clearly better, so that noise seldom changes the choice from one start to the next, and with it
 * the last bits of results.
 */
#include "cuda/call.h"
#include "cuda/gemm.h"

#include <sysexits.h>

#define CANDIDATES 8
#define RUNS 3
#define CLEARLY_BETTER 0.95F

struct stopwatch {
    cudaEvent_t start, end;
};

/* Returns the least time of one run, in milliseconds, or -1 when the candidate cannot be run. */
static float candidate_time(const struct gemm *gemm, enum product product,
                            const struct product_choice *choice, const struct operands *operands,
                            const struct stopwatch *watch, cudaStream_t stream,
                            struct error *error) {
    const unsigned last = gemm->sizes->all_buckets - 1;
    float least = -1;
    for (int run = 0; run <= RUNS; run++) { /* the first one loads the kernel */
        float time;
        if (CUDA(cudaEventRecord, watch->start, stream) < 0 ||
            product_run(gemm, product, last, choice, operands, stream, error) < 0 ||
            CUDA(cudaEventRecord, watch->end, stream) < 0 ||
            CUDA(cudaEventSynchronize, watch->end) < 0 ||
            CUDA(cudaEventElapsedTime, &time, watch->start, watch->end) < 0)
            return -1;
        if (run == 1 || (run > 1 && time < least))
            least = time;
    }
    return least;
}

static bool candidates_measure(struct product_choice *best, const struct gemm *gemm,
                               enum product product, bool fused, const struct operands *operands,
                               const struct stopwatch *watch, cudaStream_t stream,
                               struct error *error) {
    struct product_choice candidates[CANDIDATES];
    float least = -1;
    int count = gemm_candidates(gemm, product, fused, operands->bias, candidates, CANDIDATES);
    for (int i = 0; i < count; i++) {
        float time = candidate_time(gemm, product, &candidates[i], operands, watch, stream, error);
        if (time < 0 || (least >= 0 && time >= CLEARLY_BETTER * least))
            continue;
        least = time;
        *best = candidates[i];
    }
    return least >= 0;
}

static int product_measure(struct product_choice *best, const struct gemm *gemm,
                           enum product product, const struct operands *operands,
                           const struct stopwatch *watch, cudaStream_t stream,
                           struct error *error) {
    static const char *const names[PRODUCTS] = {"query_key_value", "dense", "dense_h_to_4h",
                                                "dense_4h_to_h"};
    error->text[0] = '\0';
    bool fusable = gemm->products[product].fused != CUBLASLT_EPILOGUE_DEFAULT;
    if (fusable && candidates_measure(best, gemm, product, true, operands, watch, stream, error))
        return 0;
    if (candidates_measure(best, gemm, product, false, operands, watch, stream, error))
        return 0;
    if (error->text[0]) /* there are candidates, but none of them could be run */
        return error_prefix(error, "%s", names[product]);
    return error_set(error, EX_CONFIG, "cuBLASLt has no algorithm for %s (%u x %u)", names[product],
                     gemm->products[product].rows, gemm->products[product].depth);
}

int choices_measure(struct choices *choices, const struct gemm *gemm,
                    const struct operands operands[PRODUCTS], cudaStream_t stream,
                    struct error *error) {
    struct stopwatch watch = {0};
    int result = 0;
    if (CUDA(cudaEventCreateWithFlags, &watch.start, cudaEventBlockingSync) < 0 ||
        CUDA(cudaEventCreateWithFlags, &watch.end, cudaEventBlockingSync) < 0)
        result = -1;
    for (int i = 0; i < PRODUCTS && result == 0; i++)
        result = product_measure(&choices->products[i], gemm, (enum product)i, &operands[i], &watch,
                                 stream, error);
    if (watch.start)
        cudaEventDestroy(watch.start);
    if (watch.end)
        cudaEventDestroy(watch.end);
    choices->made = result == 0;
    return result;
}
