/* SPDX-License-Identifier: Apache-2.0
 *
 * Host emulation: CUDA's C++ dialect for g++ and clang++. Qualifiers vanish, built-in variables and
 * device functions are calls into the emulation: those that need the scheduler are defined in
 * block.c, the rest is arithmetic. What a warp or block does together takes the place it was called
 * from (file and line) as a hidden last argument, to compare and to report.
 */
#ifndef EMULATION_CUDA_RUNTIME_H
#define EMULATION_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"
#include "emulation_seam.h"

#include <cmath>
#include <cstdint>
#include <cstring>

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

template <typename T> cudaError_t cudaHostAlloc(T **pointer, size_t bytes, unsigned int flags) {
    return cudaHostAlloc(reinterpret_cast<void **>(pointer), bytes, flags);
}

template <typename R, typename... P>
cudaError_t cudaFuncSetAttribute(R (*function)(P...), enum cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(function), attribute, value);
}

using std::isfinite;

/* --- Together -------------------------------------------------------------------------------- */

#define EMULATION_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATION_HERE) {
    emulation_block_barrier("__syncthreads", file, line);
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATION_HERE) {
    emulation_warp_barrier(mask, file, line);
}

inline int __any_sync(unsigned mask, int predicate, EMULATION_HERE) {
    return emulation_warp_ballot("__any_sync", mask, predicate != 0, file, line) != 0;
}

/* What that lane gave; what lies outside the mask is undefined, here all ones (a NaN). */
template <typename T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, EMULATION_HERE) {
    static_assert(sizeof(T) <= 8, "a shuffle moves 32 or 64 bits");
    uint64_t moved = 0;
    std::memcpy(&moved, &value, sizeof value);
    moved =
        emulation_warp_shuffle("__shfl_xor_sync", mask, moved, emulation_lane() ^ bits, file, line);
    std::memcpy(&value, &moved, sizeof value);
    return value;
}

/* --- Alone ----------------------------------------------------------------------------------- */

/* Relaxed, as on the device. */
template <typename T> inline T atomicOr(T *p, T value) {
    return __atomic_fetch_or(p, value, __ATOMIC_RELAXED);
}

inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}

#endif
