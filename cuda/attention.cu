/* SPDX-License-Identifier: Apache-2.0
 *
 * Chooses between the two forms of attention by the device's generation, and sizes the grid.
 */
#include "cuda/attention.cuh"

static bool attention_has_mma(const struct gpu_shape *shape) {
    return shape->sm >= 80;
}

unsigned attention_blocks(const struct gpu_shape *shape, unsigned resident) {
    uint64_t tiles = shape->tokens / GPU_TILE_QUERIES + (uint64_t)shape->sequences;
    uint64_t units = tiles * shape->heads, blocks = (uint64_t)shape->multiprocessors * resident;
    return (unsigned)(units < blocks ? units : blocks);
}

cudaError_t gpu_attention(const struct gpu_shape *shape, const struct gpu_plan *plan,
                          const void *qkv, void *context, cudaStream_t stream) {
    return attention_has_mma(shape) ? attention_mma(shape, plan, qkv, context, stream)
                                    : attention_wmma(shape, plan, qkv, context, stream);
}

cudaError_t gpu_prepare(const struct gpu_shape *shape) {
    return attention_has_mma(shape) ? attention_mma_prepare(shape) : attention_wmma_prepare();
}
