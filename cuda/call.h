/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of CUDA and cuBLASLt that may fail, in a function that has a `struct error *error`:
 *
 *     if (CUDA(cudaMalloc, &memory, bytes) < 0)
 *         return -1;
 */
#ifndef ESM1NV_CUDA_CALL_H
#define ESM1NV_CUDA_CALL_H

#include "daemon/base/error.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#define CUDA(function, ...) cuda_result(function(__VA_ARGS__), #function, error)
#define LT(function, ...) lt_result(function(__VA_ARGS__), #function, error)

/* Return 0, or -1 with "function: cudaErrorName (description)". */
int cuda_result(cudaError_t code, const char *function, struct error *error);
int lt_result(cublasStatus_t code, const char *function, struct error *error);

#endif
