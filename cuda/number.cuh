/* SPDX-License-Identifier: Apache-2.0
 *
 * The two 16-bit number types, for kernels that are compiled for both. Values are stored and moved
 * in pairs, and computed with in float32.
 */
#ifndef ESM1NV_CUDA_NUMBER_CUH
#define ESM1NV_CUDA_NUMBER_CUH

#include "cuda/gpu.h"

#include <string.h>

struct number_f16 {
    using one = __half;
    using pair = __half2;
    static __device__ __forceinline__ float2 unpack(pair values) {
        return __half22float2(values);
    }
    static __device__ __forceinline__ pair pack(float2 values) {
        return __floats2half2_rn(values.x, values.y);
    }
#if GPU_HAS_MMA
    static __device__ __forceinline__ void mma(float d[4], const uint32_t a[4],
                                               const uint32_t b[2]) {
        gpu_mma_m16n8k16_f16(d, a, b);
    }
#endif
};

struct number_bf16 {
    using one = __nv_bfloat16;
    using pair = __nv_bfloat162;
    static __device__ __forceinline__ float2 unpack(pair values) {
        return __bfloat1622float2(values);
    }
    static __device__ __forceinline__ pair pack(float2 values) {
        return __floats2bfloat162_rn(values.x, values.y);
    }
#if GPU_HAS_MMA
    static __device__ __forceinline__ void mma(float d[4], const uint32_t a[4],
                                               const uint32_t b[2]) {
        gpu_mma_m16n8k16_bf16(d, a, b);
    }
#endif
};

/* A pair as the tensor cores' registers hold it, the first value in the low half. */
template <typename pair> static __device__ __forceinline__ uint32_t pair_bits(pair values) {
    uint32_t bits;
    memcpy(&bits, &values, sizeof bits);
    return bits;
}

#endif
