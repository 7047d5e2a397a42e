/* SPDX-License-Identifier: Apache-2.0
 *
 * Embedding lookup and LayerNorm. A warp computes a row, and rows share nothing.
 */
#include "cuda/kernels.h"
#include "cuda/number.cuh"
#include "cuda/row.cuh"

template <typename number, typename row_type>
static __device__ __forceinline__ void row_normalise(const row_type &row, struct gpu_norm affine,
                                                     unsigned hidden, float epsilon, void *normed,
                                                     unsigned token) {
    auto out = (typename number::pair *)normed + (size_t)token * (hidden / 2) + row_lane();
    struct row_norm norm(row, affine, hidden, epsilon);
    row.each([&](unsigned i) { out[i * GPU_LANES] = number::pack(norm.apply(i, row.get(i))); });
}

template <typename number, typename row_type>
__global__ void __launch_bounds__(ROW_THREADS)
    embed_kernel(struct gpu_plan plan, const float *words, const float *positions,
                 struct gpu_norm norm, unsigned hidden, float epsilon, float *residual,
                 void *normed) {
    unsigned token = row_token();
    if (token >= plan.counts->tokens)
        return;
    auto word = (const float2 *)(words + (size_t)plan.ids[token] * hidden) + row_lane();
    auto position = (const float2 *)(positions + (size_t)plan.positions[token] * hidden);
    position += row_lane();
    auto out = (float2 *)(residual + (size_t)token * hidden) + row_lane();
    row_type row(residual + (size_t)token * hidden, hidden);
    row.each([&](unsigned i) {
        float2 w = word[i * GPU_LANES], p = position[i * GPU_LANES];
        float2 x = make_float2(w.x + p.x, w.y + p.y);
        out[i * GPU_LANES] = x;
        row.keep(i, x);
    });
    row_normalise<number>(row, norm, hidden, epsilon, normed, token);
}

template <typename number, typename row_type>
__global__ void __launch_bounds__(ROW_THREADS)
    layernorm_kernel(struct gpu_plan plan, const float *residual, struct gpu_norm norm,
                     unsigned hidden, float epsilon, void *normed) {
    unsigned token = row_token();
    if (token >= plan.counts->tokens)
        return;
    row_type row(residual + (size_t)token * hidden, hidden);
    row.load();
    row_normalise<number>(row, norm, hidden, epsilon, normed, token);
}

template <typename number> static auto embed_choose(uint32_t hidden) {
    return row_is_short(hidden)  ? embed_kernel<number, held_row<ROW_SHORT>>
           : row_is_long(hidden) ? embed_kernel<number, held_row<ROW_LONG>>
                                 : embed_kernel<number, stored_row>;
}

template <typename number> static auto layernorm_choose(uint32_t hidden) {
    return row_is_short(hidden)  ? layernorm_kernel<number, held_row<ROW_SHORT>>
           : row_is_long(hidden) ? layernorm_kernel<number, held_row<ROW_LONG>>
                                 : layernorm_kernel<number, stored_row>;
}

cudaError_t gpu_embed(const struct gpu_shape *shape, const struct gpu_plan *plan,
                      const float *words, const float *positions, struct gpu_norm norm,
                      float *residual, void *normed, cudaStream_t stream) {
    auto kernel = shape->type == GPU_F16 ? embed_choose<number_f16>(shape->hidden)
                                         : embed_choose<number_bf16>(shape->hidden);
    LAUNCH(kernel, shape->tokens / ROW_WARPS, ROW_THREADS, 0, stream, *plan, words, positions, norm,
           shape->hidden, shape->epsilon, residual, normed);
    return cudaGetLastError();
}

cudaError_t gpu_layernorm(const struct gpu_shape *shape, const struct gpu_plan *plan,
                          const float *residual, struct gpu_norm norm, void *normed,
                          cudaStream_t stream) {
    auto kernel = shape->type == GPU_F16 ? layernorm_choose<number_f16>(shape->hidden)
                                         : layernorm_choose<number_bf16>(shape->hidden);
    LAUNCH(kernel, shape->tokens / ROW_WARPS, ROW_THREADS, 0, stream, *plan, residual, norm,
           shape->hidden, shape->epsilon, normed);
    return cudaGetLastError();
}
