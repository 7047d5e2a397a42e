/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of cuBLASLt's stand-in share: descriptions of matrices and products
 * (lt_describe.cc), and what is done with them (lt.cc).
 */
#ifndef EMULATION_LT_H
#define EMULATION_LT_H

#include "include/cublasLt.h"
#include "state.h"

const int32_t TYPE_OF_D = -1;

struct emulation_matmul {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t transposed_a, transposed_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    int32_t bias_type; /* a cudaDataType_t, or TYPE_OF_D */
};

struct emulation_layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t ld;
};

struct emulation_preference {
    uint32_t reductions;
    uint64_t workspace;
};

extern registry<emulation_matmul> matmuls;
extern registry<emulation_layout> layouts;
size_t descriptions_live();

/* Like CALL: what is to fail fails, and without a device nothing works. */
#define LT_CALL()                                                                                  \
    class call call(__func__, call::DRIVER);                                                       \
    if (call.error)                                                                                \
    return world.device_count <= 0 ? CUBLAS_STATUS_NOT_INITIALIZED                                 \
                                   : static_cast<cublasStatus_t>(call.error)

#endif
