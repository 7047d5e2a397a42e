/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends a batch. First comes the final LayerNorm, with a warp for each row; it writes rows that are
 * not to be pooled into the output, and the others into a scratch area. Then a thread for each
 * column pools those, token after token, so that a mean depends on its sequence alone.
 */
#include "cuda/kernels.h"
#include "cuda/row.cuh"
#include "ipc/wire.h"

#include <float.h>

#define POOL_THREADS 128u
#define OUTPUT_UNIT 64u /* bytes; of plan_item.output */

/* What is wrong with a value of an item, as bits of the item's flags. */
static __device__ __forceinline__ uint32_t value_faults(float value, bool half) {
    float size = fabsf(value);
    if (!(size <= FLT_MAX))
        return GPU_NOT_FINITE;
    return half && size >= 65520.0f ? GPU_OVERFLOW : 0; /* what rounds to infinity */
}

/* Adds the faults that the lanes of a warp have found to the flags of an item. */
static __device__ __forceinline__ void warp_flag(uint32_t *flags, uint32_t faults) {
    bool not_finite = __any_sync(0xffffffffu, faults & GPU_NOT_FINITE);
    bool overflow = __any_sync(0xffffffffu, faults & GPU_OVERFLOW);
    if (row_lane() == 0 && (not_finite || overflow))
        atomicOr(flags, (not_finite ? GPU_NOT_FINITE : 0) | (overflow ? GPU_OVERFLOW : 0));
}

static __device__ __forceinline__ bool item_is_averaged(const struct plan_item &item) {
    return item.pooling == POOLING_MEAN || item.pooling == POOLING_MAX;
}

/* Which row of its item's output a token is, or GPU_NO_ITEM. */
static __device__ __forceinline__ uint32_t output_row(const struct plan_item &item,
                                                      uint32_t token) {
    if (item.pooling == POOLING_BOS)
        return token == item.first_token ? 0 : GPU_NO_ITEM;
    uint32_t row = token - item.first_row; /* wraps around for a token before the first row */
    return row < item.residues ? row : GPU_NO_ITEM;
}

template <typename row_type>
__global__ void __launch_bounds__(ROW_THREADS)
    output_kernel(struct gpu_plan plan, const float *residual, struct gpu_norm affine,
                  unsigned hidden, float epsilon, float *scratch, unsigned char *output,
                  uint32_t *flags) {
    unsigned token = row_token();
    uint32_t owner = token < plan.counts->tokens ? plan.owners[token] : GPU_NO_ITEM;
    if (owner == GPU_NO_ITEM)
        return;
    const struct plan_item item = plan.items[owner];
    uint32_t index = output_row(item, token);
    if (index == GPU_NO_ITEM)
        return;
    row_type row(residual + (size_t)token * hidden, hidden);
    row.load();
    struct row_norm norm(row, affine, hidden, epsilon);
    bool averaged = item_is_averaged(item), half = !averaged && item.dtype == DTYPE_F16;
    void *rows = averaged ? (void *)scratch : output + (size_t)item.output * OUTPUT_UNIT;
    size_t first = (size_t)(averaged ? token : index) * (hidden / 2) + row_lane();
    uint32_t faults = 0;
    row.each([&](unsigned i) {
        float2 x = norm.apply(i, row.get(i));
        faults |= value_faults(x.x, half) | value_faults(x.y, half);
        if (half)
            ((__half2 *)rows)[first + i * GPU_LANES] = __floats2half2_rn(x.x, x.y);
        else
            ((float2 *)rows)[first + i * GPU_LANES] = x;
    });
    warp_flag(flags + owner, faults);
}

/* Pools one column of an item's rows in the scratch area. `rows` is the column's first value. */
static __device__ __forceinline__ float column_pool(const float *rows, uint32_t count,
                                                    unsigned hidden, bool mean) {
    float pooled = rows[0];
#pragma unroll 8
    for (uint32_t i = 1; i < count; i++) {
        float value = rows[(size_t)i * hidden];
        pooled = mean ? pooled + value : fmaxf(pooled, value);
    }
    return mean ? pooled / (float)count : pooled;
}

__global__ void __launch_bounds__(POOL_THREADS)
    pool_kernel(struct gpu_plan plan, const float *scratch, unsigned hidden, unsigned char *output,
                uint32_t *flags) {
    unsigned column = blockIdx.y * POOL_THREADS + threadIdx.x;
    if (blockIdx.x >= plan.counts->items || column >= hidden) /* a warp as a whole */
        return;
    const struct plan_item item = plan.items[blockIdx.x];
    if (!item_is_averaged(item))
        return;
    float pooled = column_pool(scratch + (size_t)item.first_row * hidden + column, item.residues,
                               hidden, item.pooling == POOLING_MEAN);
    void *place = output + (size_t)item.output * OUTPUT_UNIT;
    bool half = item.dtype == DTYPE_F16;
    if (half)
        ((__half *)place)[column] = __float2half_rn(pooled);
    else
        ((float *)place)[column] = pooled;
    warp_flag(flags + blockIdx.x, value_faults(pooled, half));
}

cudaError_t gpu_output(const struct gpu_shape *shape, const struct gpu_plan *plan,
                       const float *residual, struct gpu_norm norm, float *scratch,
                       unsigned char *output, uint32_t *flags, cudaStream_t stream) {
    cudaError_t error = cudaMemsetAsync(flags, 0, sizeof *flags * shape->sequences, stream);
    if (error != cudaSuccess)
        return error;
    auto kernel = row_is_short(shape->hidden)  ? output_kernel<held_row<ROW_SHORT>>
                  : row_is_long(shape->hidden) ? output_kernel<held_row<ROW_LONG>>
                                               : output_kernel<stored_row>;
    LAUNCH(kernel, shape->tokens / ROW_WARPS, ROW_THREADS, 0, stream, *plan, residual, norm,
           shape->hidden, shape->epsilon, scratch, output, flags);
    error = cudaGetLastError();
    if (error != cudaSuccess)
        return error;
    dim3 grid(shape->sequences, (shape->hidden + POOL_THREADS - 1) / POOL_THREADS);
    LAUNCH(pool_kernel, grid, POOL_THREADS, 0, stream, *plan, scratch, shape->hidden, output,
           flags);
    return cudaGetLastError();
}
