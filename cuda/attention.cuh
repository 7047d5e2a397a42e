/* SPDX-License-Identifier: Apache-2.0
 *
 * What both forms of attention share: how work is divided. A unit of work is a tile of 64 queries
 * of one head. A block takes every unit whose number is its own plus a multiple of the grid's size,
 * and each of its four warps computes 16 queries of the tile. Keys come in tiles of 64 too. The
 * softmax is computed as keys come: with each tile the largest score so far may rise, and then what
 * was summed before is scaled down.
 */
#ifndef ESM1NV_CUDA_ATTENTION_CUH
#define ESM1NV_CUDA_ATTENTION_CUH

#include "cuda/gpu.h"
#include "cuda/kernels.h"

#define ATTENTION_WARPS 4u
#define ATTENTION_THREADS (ATTENTION_WARPS * GPU_LANES)
#define WARP_QUERIES (GPU_TILE_QUERIES / ATTENTION_WARPS)
#define TILE_KEYS 64u
#define HEAD 64u                   /* values of a head */
#define HEAD_QKV (3u * HEAD)       /* of a head in a row of qkv: q, k, v */
#define CHUNK 8u                   /* 16-bit values in 16 bytes */
#define HEAD_CHUNKS (HEAD / CHUNK) /* of one row of q, k or v */

/* Scores are q k / 8. Times log2(e), they can be exponents of 2 instead of e. */
#define SCORE_SCALE 0.18033688f

/* The number of blocks: as many as can be resident at once, which is `resident` for each
 * multiprocessor, but not more than there can be units. The last tile of a sequence may be partial.
 */
unsigned attention_blocks(const struct gpu_shape *shape, unsigned resident);

/* The launchers of the two forms, which are like gpu_attention() and gpu_prepare(). */
cudaError_t attention_mma(const struct gpu_shape *shape, const struct gpu_plan *plan,
                          const void *qkv, void *context, cudaStream_t stream);
cudaError_t attention_wmma(const struct gpu_shape *shape, const struct gpu_plan *plan,
                           const void *qkv, void *context, cudaStream_t stream);
cudaError_t attention_mma_prepare(const struct gpu_shape *shape);
cudaError_t attention_wmma_prepare(void);

/* A unit of work as one warp sees it. */
struct attention_unit {
    uint32_t first_token; /* of the sequence: token 0 of queries and keys */
    uint32_t tokens;      /* of the sequence */
    uint32_t query;       /* the first query of this warp */
    uint32_t head;
};

static __device__ __forceinline__ unsigned attention_lane() {
    return threadIdx.x % GPU_LANES;
}

static __device__ __forceinline__ struct attention_unit
attention_unit_take(const struct gpu_plan &plan, unsigned heads, unsigned index) {
    const struct plan_tile tile = plan.tiles[index / heads];
    uint32_t query = tile.first_query + threadIdx.x / GPU_LANES * WARP_QUERIES;
    return {tile.first_token, tile.tokens, query, index % heads};
}

#endif
