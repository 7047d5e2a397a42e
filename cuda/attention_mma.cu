/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention for sm_80 and newer, with mma.m16n8k16. Queries, scores, weights and sums stay in
 * registers, because the layout of the scores that a product makes is the layout that the next
 * product needs for its left side. Keys and values go through shared memory; while one tile is
 * being used, the next is copied. Rows there are 8 chunks of 16 bytes, and their order depends on
 * the number of the row (a swizzle), so that the 8 rows of a matrix lie in different banks.
 *
 * Of a warp's 16 rows, lane 4 g + t holds rows g (half 0) and g + 8 (half 1), and in each group of
 * 8 columns it holds columns 2t and 2t + 1.
 */
#include "cuda/attention.cuh"
#include "cuda/number.cuh"

#define TILE_CHUNKS (TILE_KEYS * HEAD_CHUNKS)
#define MMA_BLOCKS 3u /* on a multiprocessor */
#define GROUPS 8u     /* of 8 columns, in the keys of a tile and in a head */
#define STEPS 4u      /* of 16, in the inner dimension of either product */

#if GPU_HAS_MMA

/* One warp's 16 queries. */
struct warp_queries {
    uint32_t q[STEPS][4];
    float sums[GROUPS][4]; /* weights times values */
    float top[2];          /* the largest score so far, times SCORE_SCALE */
    float weight[2];       /* the sum of weights in this lane's columns so far */
};

static __device__ __forceinline__ unsigned chunk_place(unsigned row, unsigned chunk) {
    return row * HEAD_CHUNKS + (chunk ^ row % HEAD_CHUNKS);
}

/* Starts to copy a tile of keys and values. Rows after the end of the sequence become zero. */
template <typename number>
static __device__ __forceinline__ void
tile_fetch(uint4 *keys, uint4 *values, const typename number::one *qkv, unsigned hidden,
           const struct attention_unit &unit, unsigned first_key) {
    unsigned chunk = threadIdx.x % HEAD_CHUNKS;
#pragma unroll
    for (unsigned i = 0; i < TILE_CHUNKS / ATTENTION_THREADS; i++) {
        unsigned row = threadIdx.x / HEAD_CHUNKS + i * (ATTENTION_THREADS / HEAD_CHUNKS);
        bool valid = first_key + row < unit.tokens;
        size_t token = (size_t)unit.first_token + (valid ? first_key + row : 0);
        const typename number::one *from =
            qkv + token * (3 * hidden) + unit.head * HEAD_QKV + HEAD + chunk * CHUNK;
        gpu_copy_async_16(keys + chunk_place(row, chunk), from, valid);
        gpu_copy_async_16(values + chunk_place(row, chunk), from + HEAD, valid);
    }
    gpu_copy_async_commit();
}

/* Two neighbouring values of a query, or zeros after the end of the sequence. */
template <typename number>
static __device__ __forceinline__ uint32_t query_pair(const typename number::one *qkv,
                                                      unsigned hidden,
                                                      const struct attention_unit &unit,
                                                      unsigned row, unsigned column) {
    if (unit.query + row >= unit.tokens)
        return 0;
    size_t token = (size_t)unit.first_token + unit.query + row;
    return *(const uint32_t *)(qkv + token * (3 * hidden) + unit.head * HEAD_QKV + column);
}

template <typename number>
static __device__ __forceinline__ void
queries_start(struct warp_queries &w, const typename number::one *qkv, unsigned hidden,
              const struct attention_unit &unit) {
    unsigned g = attention_lane() / 4, t = attention_lane() % 4;
#pragma unroll
    for (unsigned step = 0; step < STEPS; step++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            w.q[step][i] =
                query_pair<number>(qkv, hidden, unit, g + i % 2 * 8, step * 16 + i / 2 * 8 + 2 * t);
#pragma unroll
    for (unsigned group = 0; group < GROUPS; group++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            w.sums[group][i] = 0.0f;
    w.top[0] = w.top[1] = -INFINITY;
    w.weight[0] = w.weight[1] = 0.0f;
}

/* scores = q k. Matrix i of a load begins at key 8 (i / 2) and at value 8 (i % 2) of each key. */
template <typename number, bool partial>
static __device__ __forceinline__ void tile_scores(float scores[GROUPS][4],
                                                   const struct warp_queries &w, const uint4 *keys,
                                                   unsigned left) {
    unsigned lane = attention_lane();
    unsigned row = lane / 16 * 8 + lane % 8, chunk = lane / 8 % 2;
#pragma unroll
    for (unsigned group = 0; group < GROUPS; group += 2) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            scores[group][i] = scores[group + 1][i] = 0.0f;
        if (partial && group * 8 >= left)
            continue;
#pragma unroll
        for (unsigned step = 0; step < STEPS; step++) {
            uint32_t k[4];
            gpu_ldmatrix_x4(k, keys + chunk_place(group * 8 + row, step * 2 + chunk));
            number::mma(scores[group], w.q[step], k);
            number::mma(scores[group + 1], w.q[step], k + 2);
        }
    }
}

/* Only `left` keys of the tile exist: gives those that do not a weight of zero. */
static __device__ __forceinline__ void tile_mask(float scores[GROUPS][4], unsigned left) {
    unsigned first = attention_lane() % 4 * 2;
#pragma unroll
    for (unsigned group = 0; group < GROUPS; group++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            if (group * 8 + first + i % 2 >= left)
                scores[group][i] = -INFINITY;
}

/* Replaces scores by weights, 2^(score - top), and scales what was summed before to the new top.
 * The top may be rounded without loss, because only all weights of a row need to share it. */
static __device__ __forceinline__ void tile_weights(float scores[GROUPS][4],
                                                    struct warp_queries &w) {
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        float top = -INFINITY;
#pragma unroll
        for (unsigned group = 0; group < GROUPS; group++)
            top = fmaxf(top, fmaxf(scores[group][2 * half], scores[group][2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(w.top[half], SCORE_SCALE * fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2)));
        float shrink = gpu_exp2(w.top[half] - top);
        float weight = w.weight[half] * shrink;
        w.top[half] = top;
#pragma unroll
        for (unsigned group = 0; group < GROUPS; group++)
#pragma unroll
            for (unsigned i = 2 * half; i < 2 * half + 2; i++) {
                scores[group][i] = gpu_exp2(fmaf(scores[group][i], SCORE_SCALE, -top));
                weight += scores[group][i];
                w.sums[group][i] *= shrink;
            }
        w.weight[half] = weight;
    }
}

/* sums += weights v. Matrix i of a load, which is transposed, begins at key 8 (i % 2) and at value
 * 8 (i / 2) of each key. */
template <typename number, bool partial>
static __device__ __forceinline__ void tile_sums(struct warp_queries &w,
                                                 const float weights[GROUPS][4],
                                                 const uint4 *values, unsigned left) {
    unsigned lane = attention_lane();
    unsigned row = lane % 16, chunk = lane / 16;
#pragma unroll
    for (unsigned step = 0; step < STEPS; step++) {
        if (partial && step * 16 >= left)
            break;
        uint32_t a[4];
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            const float *from = weights[step * 2 + i / 2] + i % 2 * 2;
            a[i] = pair_bits(number::pack(make_float2(from[0], from[1])));
        }
#pragma unroll
        for (unsigned group = 0; group < GROUPS; group += 2) {
            uint32_t v[4];
            gpu_ldmatrix_x4_trans(v, values + chunk_place(step * 16 + row, group + chunk));
            number::mma(w.sums[group], a, v);
            number::mma(w.sums[group + 1], a, v + 2);
        }
    }
}

template <typename number, bool partial>
static __device__ __forceinline__ void tile_attend(struct warp_queries &w, const uint4 *keys,
                                                   const uint4 *values, unsigned left) {
    float scores[GROUPS][4];
    tile_scores<number, partial>(scores, w, keys, left);
    if (partial)
        tile_mask(scores, left);
    tile_weights(scores, w);
    tile_sums<number, partial>(w, scores, values, left);
}

template <typename number>
static __device__ __forceinline__ void
queries_finish(const struct warp_queries &w, typename number::one *context, unsigned hidden,
               const struct attention_unit &unit) {
    unsigned g = attention_lane() / 4, t = attention_lane() % 4;
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        float weight = w.weight[half];
        weight += __shfl_xor_sync(0xffffffffu, weight, 1);
        weight += __shfl_xor_sync(0xffffffffu, weight, 2);
        float share = 1.0f / weight;
        unsigned query = unit.query + g + half * 8;
        if (query >= unit.tokens)
            continue;
        auto out = (typename number::pair *)(context + (size_t)(unit.first_token + query) * hidden +
                                             unit.head * HEAD);
#pragma unroll
        for (unsigned group = 0; group < GROUPS; group++)
            out[group * 4 + t] = number::pack(
                make_float2(w.sums[group][2 * half] * share, w.sums[group][2 * half + 1] * share));
    }
}

#endif

template <typename number>
__global__ void __launch_bounds__(ATTENTION_THREADS, MMA_BLOCKS)
    attention_mma_kernel(struct gpu_plan plan, unsigned heads, const typename number::one *qkv,
                         typename number::one *context) {
#if GPU_HAS_MMA
    SHARED_ARRAY(uint4, keys, 2 * TILE_CHUNKS);
    SHARED_ARRAY(uint4, values, 2 * TILE_CHUNKS);
    unsigned units = plan.counts->tiles * heads, hidden = heads * HEAD, buffer = 0;
    for (unsigned index = blockIdx.x; index < units; index += gridDim.x) {
        const struct attention_unit unit = attention_unit_take(plan, heads, index);
        bool has_queries = unit.query < unit.tokens;
        struct warp_queries w;
        /* No warp still uses this buffer: the last tile of the unit before is in the other one. */
        tile_fetch<number>(keys + buffer, values + buffer, qkv, hidden, unit, 0);
        queries_start<number>(w, qkv, hidden, unit);
        for (unsigned first = 0; first < unit.tokens; first += TILE_KEYS) {
            gpu_copy_async_wait<0>();
            __syncthreads();
            unsigned current = buffer;
            buffer = TILE_CHUNKS - buffer;
            if (first + TILE_KEYS < unit.tokens)
                tile_fetch<number>(keys + buffer, values + buffer, qkv, hidden, unit,
                                   first + TILE_KEYS);
            unsigned left = unit.tokens - first;
            if (has_queries && left >= TILE_KEYS)
                tile_attend<number, false>(w, keys + current, values + current, left);
            else if (has_queries)
                tile_attend<number, true>(w, keys + current, values + current, left);
        }
        if (has_queries)
            queries_finish<number>(w, context, hidden, unit);
    }
#endif
}

cudaError_t attention_mma(const struct gpu_shape *shape, const struct gpu_plan *plan,
                          const void *qkv, void *context, cudaStream_t stream) {
    unsigned blocks = attention_blocks(shape, MMA_BLOCKS);
    if (shape->type == GPU_F16)
        LAUNCH(attention_mma_kernel<number_f16>, blocks, ATTENTION_THREADS, 0, stream, *plan,
               shape->heads, (const __half *)qkv, (__half *)context);
    else
        LAUNCH(attention_mma_kernel<number_bf16>, blocks, ATTENTION_THREADS, 0, stream, *plan,
               shape->heads, (const __nv_bfloat16 *)qkv, (__nv_bfloat16 *)context);
    return cudaGetLastError();
}

cudaError_t attention_mma_prepare(const struct gpu_shape *shape) {
    const void *kernel = shape->type == GPU_F16 ? (const void *)attention_mma_kernel<number_f16>
                                                : (const void *)attention_mma_kernel<number_bf16>;
    return cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                cudaSharedmemCarveoutMaxShared);
}
