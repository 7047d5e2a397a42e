/* SPDX-License-Identifier: Apache-2.0
 *
 * The four matrix products of a layer with cuBLASLt: output = input weight^T. Bias, GELU and the
 * addition to the residual are fused where the library can do that; where it cannot, a kernel of
 * ours follows. A product uses one algorithm in all buckets, without split-K, so that a row is
 * summed in the same order whatever batch it is in.
 */
#ifndef ESM1NV_CUDA_GEMM_H
#define ESM1NV_CUDA_GEMM_H

#include "cuda/sizes.h"

#include <cublasLt.h>
#include <stdbool.h>

enum product { PRODUCT_QKV, PRODUCT_DENSE, PRODUCT_FC1, PRODUCT_FC2, PRODUCTS };

/* How a product is run. It may be kept in a file, for the same card and version of the library. */
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
    bool residual;            /* output is float and added to; else it is half and overwritten */
    cublasLtEpilogue_t fused; /* CUBLASLT_EPILOGUE_DEFAULT when nothing can be fused */
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t weight, inputs[BUCKETS_MAX], outputs[BUCKETS_MAX];
};

struct gemm {
    const struct sizes *sizes;
    cublasLtHandle_t handle;
    struct gemm_product products[PRODUCTS];
    void *workspace;
};

/* Pointers to device memory. */
struct operands {
    const void *weight, *bias, *input;
    void *output;
};

int gemm_init(struct gemm *gemm, const struct sizes *sizes, void *workspace, struct error *error);
/* Safe on a null value and on a half-made one. */
void gemm_finish(struct gemm *gemm);

/* Queues the product, with bias and activation only if the choice is fused. */
int product_run(const struct gemm *gemm, enum product product, unsigned bucket,
                const struct product_choice *choice, const struct operands *operands,
                cudaStream_t stream, struct error *error);

/* Whether the choice works in every bucket. */
bool gemm_choice_works(const struct gemm *gemm, enum product product,
                       const struct product_choice *choice);

/* Finds at most `most` candidates for a product, the most promising first. Returns their number,
 * which may be 0. */
int gemm_candidates(const struct gemm *gemm, enum product product, bool fused, const void *bias,
                    struct product_choice *choices, int most);

/* Makes choices by measuring, with the operands of layer 0. */
int choices_measure(struct choices *choices, const struct gemm *gemm,
                    const struct operands operands[PRODUCTS], cudaStream_t stream,
                    struct error *error);

/* Reads choices that an earlier start kept for such a card. Leaves *choices alone when there are
 * none that work. */
void choices_load(struct choices *choices, const struct gemm *gemm, const char *card);
/* Keeps choices in a file, if that is possible. */
void choices_save(const struct choices *choices, const struct gemm *gemm, const char *card);

#endif
