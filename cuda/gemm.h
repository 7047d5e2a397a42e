/* SPDX-License-Identifier: Apache-2.0
 *
 * The four matrix products of a layer with cuBLASLt: output = input weight^T, bias and GELU or the
 * residual's addition fused where the library can, by a kernel of ours where it cannot. One
 * algorithm serves a product in every bucket, without split-K, so that a row is summed in the same
 * order whatever batch it is in.
 */
#ifndef ESM1NV_CUDA_GEMM_H
#define ESM1NV_CUDA_GEMM_H

#include "cuda/sizes.h"

#include <cublasLt.h>
#include <stdbool.h>

enum product { PRODUCT_QKV, PRODUCT_DENSE, PRODUCT_FC1, PRODUCT_FC2, PRODUCTS };

/* How a product runs; may be kept in a file, for the same card and version of the library. */
struct product_choice {
    uint64_t fused;
    cublasLtMatmulAlgo_t algorithm;
};

struct choices {
    uint64_t made; /* 0 or 1 */
    struct product_choice products[PRODUCTS];
};

struct gemm_product {
    uint32_t rows, depth;     /* of the weight */
    bool residual;            /* output: float, added to; else half, overwritten */
    cublasLtEpilogue_t fused; /* CUBLASLT_EPILOGUE_DEFAULT: nothing to fuse */
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t weight, inputs[BUCKETS_MAX], outputs[BUCKETS_MAX];
};

struct gemm {
    const struct sizes *sizes;
    cublasLtHandle_t handle;
    struct gemm_product products[PRODUCTS];
    void *workspace;
};

/* Device memory of one product. */
struct operands {
    const void *weight, *bias, *input;
    void *output;
};

int gemm_init(struct gemm *gemm, const struct sizes *sizes, void *workspace, struct error *error);
/* Safe on what is zero or half made. */
void gemm_finish(struct gemm *gemm);

/* Queues the product alone: without the bias unless the choice is fused. */
int product_run(const struct gemm *gemm, enum product product, unsigned bucket,
                const struct product_choice *choice, const struct operands *operands,
                cudaStream_t stream, struct error *error);

/* Whether the choice is possible in every bucket. */
bool gemm_choice_works(const struct gemm *gemm, enum product product,
                       const struct product_choice *choice);

/* Candidates for a product, best guess first. Returns their number, which may be 0. */
int gemm_candidates(const struct gemm *gemm, enum product product, bool fused, const void *bias,
                    struct product_choice *choices, int most);

/* Measures which algorithms are best, with layer 0's operands. */
int choices_measure(struct choices *choices, const struct gemm *gemm,
                    const struct operands operands[PRODUCTS], cudaStream_t stream,
                    struct error *error);

/* Choices kept from an earlier start on such a card; left alone (made 0) where there are none. */
void choices_load(struct choices *choices, const struct gemm *gemm, const char *card);
void choices_save(const struct choices *choices, const struct gemm *gemm, const char *card);

#endif
