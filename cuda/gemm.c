/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes descriptors and layouts for cuBLASLt, and runs its products. The library's matrices are
 * column-major: our row-major output [T][N] is its matrix N x T, the product of the transposed
 * weight [N][K] and of the input, K x T. Its bias has one value for each row, which is a column of
 * ours.
 */
#include "cuda/gemm.h"
#include "cuda/call.h"

#include <string.h>

static cudaDataType_t gemm_half_type(const struct gemm *gemm) {
    return gemm->sizes->type == GPU_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

static cudaDataType_t output_type(const struct gemm *gemm, const struct gemm_product *product) {
    return product->residual ? CUDA_R_32F : gemm_half_type(gemm);
}

/* The library's GELU is the tanh form. For the erf form, our own kernel follows the product. */
static void products_describe(struct gemm *gemm) {
    const struct model_config *model = &gemm->sizes->model;
    const cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    const cublasLtEpilogue_t gelu =
        model->gelu == GELU_TANH ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    const uint32_t hidden = model->hidden, ffn = model->ffn;
    const struct gemm_product products[PRODUCTS] = {
        [PRODUCT_QKV] = {.rows = 3 * hidden, .depth = hidden, .fused = bias},
        [PRODUCT_DENSE] = {.rows = hidden, .depth = hidden, .residual = true, .fused = bias},
        [PRODUCT_FC1] = {.rows = ffn, .depth = hidden, .fused = gelu},
        [PRODUCT_FC2] = {.rows = hidden, .depth = ffn, .residual = true, .fused = bias}};
    memcpy(gemm->products, products, sizeof products);
}

static int product_init(struct gemm *gemm, struct gemm_product *product, struct error *error) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cudaDataType_t half = gemm_half_type(gemm), output = output_type(gemm, product);
    if (LT(cublasLtMatmulDescCreate, &product->description, CUBLAS_COMPUTE_32F, CUDA_R_32F) < 0 ||
        LT(cublasLtMatmulDescSetAttribute, product->description, CUBLASLT_MATMUL_DESC_TRANSA,
           &transposed, sizeof transposed) < 0 ||
        LT(cublasLtMatmulDescSetAttribute, product->description,
           CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &output, sizeof output) < 0 ||
        LT(cublasLtMatrixLayoutCreate, &product->weight, half, product->depth, product->rows,
           product->depth) < 0)
        return -1;
    for (unsigned i = 0; i < gemm->sizes->all_buckets; i++) {
        uint32_t tokens = gemm->sizes->tokens[i];
        if (LT(cublasLtMatrixLayoutCreate, &product->inputs[i], half, product->depth, tokens,
               product->depth) < 0 ||
            LT(cublasLtMatrixLayoutCreate, &product->outputs[i], output, product->rows, tokens,
               product->rows) < 0)
            return -1;
    }
    return 0;
}

int gemm_init(struct gemm *gemm, const struct sizes *sizes, void *workspace, struct error *error) {
    *gemm = (struct gemm){.sizes = sizes, .workspace = workspace};
    products_describe(gemm);
    if (LT(cublasLtCreate, &gemm->handle) < 0)
        return -1;
    for (int i = 0; i < PRODUCTS; i++)
        if (product_init(gemm, &gemm->products[i], error) < 0)
            return -1;
    return 0;
}

static void layout_destroy(cublasLtMatrixLayout_t layout) {
    if (layout)
        cublasLtMatrixLayoutDestroy(layout);
}

void gemm_finish(struct gemm *gemm) {
    for (int i = 0; i < PRODUCTS; i++) {
        struct gemm_product *product = &gemm->products[i];
        if (product->description)
            cublasLtMatmulDescDestroy(product->description);
        layout_destroy(product->weight);
        for (unsigned bucket = 0; bucket < BUCKETS_MAX; bucket++) {
            layout_destroy(product->inputs[bucket]);
            layout_destroy(product->outputs[bucket]);
        }
    }
    if (gemm->handle)
        cublasLtDestroy(gemm->handle);
    *gemm = (struct gemm){0};
}

static cublasStatus_t epilogue_set(const struct gemm_product *product, bool fused,
                                   const void *bias) {
    cublasLtEpilogue_t epilogue = fused ? product->fused : CUBLASLT_EPILOGUE_DEFAULT;
    cublasStatus_t status = cublasLtMatmulDescSetAttribute(
        product->description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (status == CUBLAS_STATUS_SUCCESS && fused)
        status = cublasLtMatmulDescSetAttribute(
            product->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    return status;
}

int product_run(const struct gemm *gemm, enum product number, unsigned bucket,
                const struct product_choice *choice, const struct operands *operands,
                cudaStream_t stream, struct error *error) {
    const struct gemm_product *product = &gemm->products[number];
    const float one = 1, beta = product->residual ? 1 : 0;
    if (LT(epilogue_set, product, choice->fused, operands->bias) < 0)
        return -1;
    return LT(cublasLtMatmul, gemm->handle, product->description, &one, operands->weight,
              product->weight, operands->input, product->inputs[bucket], &beta, operands->output,
              product->outputs[bucket], operands->output, product->outputs[bucket],
              &choice->algorithm, gemm->workspace, gemm->sizes->workspace, stream);
}

bool gemm_choice_works(const struct gemm *gemm, enum product number,
                       const struct product_choice *choice) {
    const struct gemm_product *product = &gemm->products[number];
    const void *bias = gemm->workspace; /* stands for a bias, with the same alignment */
    if (epilogue_set(product, choice->fused, bias) != CUBLAS_STATUS_SUCCESS)
        return false;
    for (unsigned i = 0; i < gemm->sizes->all_buckets; i++) {
        cublasLtMatmulHeuristicResult_t result;
        if (cublasLtMatmulAlgoCheck(gemm->handle, product->description, product->weight,
                                    product->inputs[i], product->outputs[i], product->outputs[i],
                                    &choice->algorithm, &result) != CUBLAS_STATUS_SUCCESS ||
            result.workspaceSize > gemm->sizes->workspace)
            return false;
    }
    return true;
}

static bool is_split(const cublasLtMatmulAlgo_t *algorithm) {
    int32_t parts = 1;
    size_t written;
    cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts,
                                         sizeof parts, &written);
    return parts > 1;
}

/* Asks the library's heuristic for proposals for the largest bucket, without split-K. */
static int heuristic_ask(const struct gemm *gemm, const struct gemm_product *product,
                         cublasLtMatmulHeuristicResult_t *results, int most) {
    const unsigned last = gemm->sizes->all_buckets - 1;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t preference;
    int count = 0;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS)
        return 0;
    if (cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &gemm->sizes->workspace,
            sizeof gemm->sizes->workspace) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                             &reductions,
                                             sizeof reductions) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulAlgoGetHeuristic(gemm->handle, product->description, product->weight,
                                       product->inputs[last], product->outputs[last],
                                       product->outputs[last], preference, most, results,
                                       &count) != CUBLAS_STATUS_SUCCESS)
        count = 0;
    cublasLtMatmulPreferenceDestroy(preference);
    return count;
}

#define PROPOSALS_MAX 16

int gemm_candidates(const struct gemm *gemm, enum product number, bool fused, const void *bias,
                    struct product_choice *choices, int most) {
    cublasLtMatmulHeuristicResult_t results[PROPOSALS_MAX];
    const struct gemm_product *product = &gemm->products[number];
    int count = 0;
    if (epilogue_set(product, fused, bias) != CUBLAS_STATUS_SUCCESS)
        return 0;
    int proposals = heuristic_ask(gemm, product, results, PROPOSALS_MAX);
    for (int i = 0; i < proposals && count < most; i++) {
        struct product_choice *choice = &choices[count];
        *choice = (struct product_choice){fused, results[i].algo};
        if (results[i].state == CUBLAS_STATUS_SUCCESS && !is_split(&choice->algorithm) &&
            gemm_choice_works(gemm, number, choice))
            count++;
    }
    return count;
}
