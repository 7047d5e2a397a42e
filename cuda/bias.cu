/* SPDX-License-Identifier: Apache-2.0
 *
 * Bias and activation in place, for matrix products that the library does not fuse them into. It
 * never fuses the erf form of GELU. A thread keeps the bias of its columns for several rows.
 */
#include "cuda/kernels.h"
#include "cuda/number.cuh"

#define BIAS_THREADS 128u
#define BIAS_ROWS 8u /* of a thread; every bucket has a multiple of it */
#define PACK 8u      /* 16-bit values in the 16 bytes that a thread loads at once */

/* 0.5 x (1 + tanh(0.79788456 (x + 0.044715 x^3))), as x / (1 + 2^t) with
 * t = -2 log2(e) 0.79788456 (x + 0.044715 x^3). */
static __device__ __forceinline__ float activation_tanh(float x) {
    float t = x * fmaf(x * x, -0.10294324f, -2.30220818f);
    return x / (1.0f + gpu_exp2(t));
}

static __device__ __forceinline__ float activation_erf(float x) {
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

template <enum activation form> static __device__ __forceinline__ float activate(float x) {
    return form == ACTIVATION_TANH  ? activation_tanh(x)
           : form == ACTIVATION_ERF ? activation_erf(x)
                                    : x;
}

template <typename number> struct alignas(16) number_pack {
    typename number::pair pairs[PACK / 2];
};

template <typename number, enum activation form>
__global__ void __launch_bounds__(BIAS_THREADS)
    bias_kernel(struct gpu_plan plan, void *values, const void *bias, unsigned packs) {
    unsigned column = blockIdx.y * BIAS_THREADS + threadIdx.x;
    if (column >= packs)
        return;
    unsigned token = blockIdx.x * BIAS_ROWS, tokens = plan.counts->tokens;
    const struct number_pack<number> add = ((const struct number_pack<number> *)bias)[column];
    for (unsigned row = 0; row < BIAS_ROWS && token + row < tokens; row++) {
        auto place = (struct number_pack<number> *)values + (size_t)(token + row) * packs + column;
        struct number_pack<number> pack = *place;
#pragma unroll
        for (unsigned i = 0; i < PACK / 2; i++) {
            float2 x = number::unpack(pack.pairs[i]), b = number::unpack(add.pairs[i]);
            pack.pairs[i] =
                number::pack(make_float2(activate<form>(x.x + b.x), activate<form>(x.y + b.y)));
        }
        *place = pack;
    }
}

__global__ void __launch_bounds__(BIAS_THREADS)
    bias_residual_kernel(struct gpu_plan plan, float4 *residual, const float4 *bias,
                         unsigned columns) {
    unsigned column = blockIdx.y * BIAS_THREADS + threadIdx.x;
    if (column >= columns)
        return;
    unsigned token = blockIdx.x * BIAS_ROWS, tokens = plan.counts->tokens;
    const float4 add = bias[column];
    for (unsigned row = 0; row < BIAS_ROWS && token + row < tokens; row++) {
        float4 *place = residual + (size_t)(token + row) * columns + column;
        float4 x = *place;
        *place = make_float4(x.x + add.x, x.y + add.y, x.z + add.z, x.w + add.w);
    }
}

/* The blocks for rows of `columns` columns of 16 bytes. */
static dim3 bias_grid(const struct gpu_shape *shape, uint32_t columns) {
    return dim3(shape->tokens / BIAS_ROWS, (columns + BIAS_THREADS - 1) / BIAS_THREADS);
}

template <enum activation form>
static cudaError_t bias_launch(const struct gpu_shape *shape, const struct gpu_plan *plan,
                               void *values, const void *bias, uint32_t columns,
                               cudaStream_t stream) {
    auto kernel =
        shape->type == GPU_F16 ? bias_kernel<number_f16, form> : bias_kernel<number_bf16, form>;
    LAUNCH(kernel, bias_grid(shape, columns / PACK), BIAS_THREADS, 0, stream, *plan, values, bias,
           columns / PACK);
    return cudaGetLastError();
}

cudaError_t gpu_bias(const struct gpu_shape *shape, const struct gpu_plan *plan, void *values,
                     const void *bias, uint32_t columns, enum activation form,
                     cudaStream_t stream) {
    auto launch = form == ACTIVATION_TANH  ? bias_launch<ACTIVATION_TANH>
                  : form == ACTIVATION_ERF ? bias_launch<ACTIVATION_ERF>
                                           : bias_launch<ACTIVATION_NONE>;
    return launch(shape, plan, values, bias, columns, stream);
}

cudaError_t gpu_bias_residual(const struct gpu_shape *shape, const struct gpu_plan *plan,
                              float *residual, const float *bias, cudaStream_t stream) {
    uint32_t columns = shape->hidden / 4;
    LAUNCH(bias_residual_kernel, bias_grid(shape, columns), BIAS_THREADS, 0, stream, *plan,
           (float4 *)residual, (const float4 *)bias, columns);
    return cudaGetLastError();
}
