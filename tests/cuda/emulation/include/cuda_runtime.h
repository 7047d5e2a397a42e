/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: CUDA's C++ dialect for g++ and clang++. Qualifiers vanish, built-in variables and
 * device functions are calls into the emulation. What a warp or block does together takes the place
 * it was called from (file and line) as a hidden last argument, to compare and to report.
 */
#ifndef EMULATION_CUDA_RUNTIME_H
#define EMULATION_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"

#ifdef __cplusplus
#include "emulation_device.h"

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

#define threadIdx (emulation_thread_index())
#define blockIdx (emulation_block_index())
#define blockDim (emulation_block_size())
#define gridDim (emulation_grid_size())

template <typename T> cudaError_t cudaMalloc(T **pointer, size_t bytes) {
    return cudaMalloc(reinterpret_cast<void **>(pointer), bytes);
}

template <typename T> cudaError_t cudaMallocHost(T **pointer, size_t bytes) {
    return cudaMallocHost(reinterpret_cast<void **>(pointer), bytes);
}

template <typename T> cudaError_t cudaHostAlloc(T **pointer, size_t bytes, unsigned int flags) {
    return cudaHostAlloc(reinterpret_cast<void **>(pointer), bytes, flags);
}

template <typename R, typename... P>
cudaError_t cudaFuncSetAttribute(R (*function)(P...), enum cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(function), attribute, value);
}
#endif
#endif
