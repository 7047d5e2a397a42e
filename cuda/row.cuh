/* SPDX-License-Identifier: Apache-2.0
 *
 * A row of the residual, which one warp works on. Lane l holds pairs l, l + 32, l + 64, ... of it;
 * as H is a multiple of 64, no lane holds more than another. A row that fits is held in registers;
 * a longer one is read again for each pass.
 */
#ifndef ESM1NV_CUDA_ROW_CUH
#define ESM1NV_CUDA_ROW_CUH

#include "cuda/gpu.h"
#include "cuda/kernels.h"

#define ROW_WARPS 4u /* rows that a block works on */
#define ROW_THREADS (ROW_WARPS * GPU_LANES)

/* Pairs for each lane in the two kinds of held_row, for rows of up to 768 and 2048 values. */
#define ROW_SHORT 12u
#define ROW_LONG 32u

static __device__ __forceinline__ unsigned row_lane() {
    return threadIdx.x % GPU_LANES;
}

/* The token whose row this warp works on; it may be after those in use. */
static __device__ __forceinline__ unsigned row_token() {
    return blockIdx.x * ROW_WARPS + threadIdx.x / GPU_LANES;
}

/* Up to PAIRS pairs for each lane, in registers. */
template <unsigned PAIRS> struct held_row {
    float2 pairs[PAIRS];
    const float2 *source;
    unsigned count;

    __device__ __forceinline__ held_row(const float *row, unsigned hidden)
        : source((const float2 *)row + row_lane()), count(hidden / (2 * GPU_LANES)) {
    }
    template <typename function> __device__ __forceinline__ void each(function visit) const {
#pragma unroll
        for (unsigned i = 0; i < PAIRS; i++)
            if (i < count)
                visit(i);
    }
    __device__ __forceinline__ void load() {
#pragma unroll
        for (unsigned i = 0; i < PAIRS; i++)
            if (i < count)
                pairs[i] = source[i * GPU_LANES];
    }
    __device__ __forceinline__ void keep(unsigned i, float2 pair) {
        pairs[i] = pair;
    }
    __device__ __forceinline__ float2 get(unsigned i) const {
        return pairs[i];
    }
};

/* Any number of pairs, which stay in memory. */
struct stored_row {
    const float2 *source;
    unsigned count;

    __device__ __forceinline__ stored_row(const float *row, unsigned hidden)
        : source((const float2 *)row + row_lane()), count(hidden / (2 * GPU_LANES)) {
    }
    template <typename function> __device__ __forceinline__ void each(function visit) const {
        for (unsigned i = 0; i < count; i++)
            visit(i);
    }
    __device__ __forceinline__ void load() {
    }
    __device__ __forceinline__ void keep(unsigned, float2) {
    }
    __device__ __forceinline__ float2 get(unsigned i) const {
        return source[i * GPU_LANES];
    }
};

static inline bool row_is_short(uint32_t hidden) {
    return hidden <= ROW_SHORT * 2 * GPU_LANES;
}

static inline bool row_is_long(uint32_t hidden) {
    return hidden <= ROW_LONG * 2 * GPU_LANES;
}

static __device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (unsigned distance = GPU_LANES / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, (int)distance);
    return value;
}

/* LayerNorm, applied to one pair at a time: (x - mean) scale gain + bias. */
struct row_norm {
    const float2 *gain, *bias; /* from this lane's first pair on */
    float mean, scale;

    template <typename row_type>
    __device__ __forceinline__ row_norm(const row_type &row, const struct gpu_norm &norm,
                                        unsigned hidden, float epsilon)
        : gain((const float2 *)norm.gain + row_lane()),
          bias((const float2 *)norm.bias + row_lane()) {
        float sum = 0.0f, squares = 0.0f;
        row.each([&](unsigned i) {
            float2 x = row.get(i);
            sum += x.x + x.y;
        });
        mean = warp_sum(sum) / (float)hidden;
        row.each([&](unsigned i) {
            float2 x = row.get(i);
            float left = x.x - mean, right = x.y - mean;
            squares = fmaf(left, left, fmaf(right, right, squares));
        });
        scale = rsqrtf(warp_sum(squares) / (float)hidden + epsilon);
    }
    __device__ __forceinline__ float2 apply(unsigned i, float2 x) const {
        float2 g = gain[i * GPU_LANES], b = bias[i * GPU_LANES];
        return make_float2(fmaf((x.x - mean) * scale, g.x, b.x),
                           fmaf((x.y - mean) * scale, g.y, b.y));
    }
};

#endif
