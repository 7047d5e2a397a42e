/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention for sm_70 and sm_75, with WMMA fragments of float16. The layout of a fragment in
 * registers is not specified, so scores go through shared memory, where lanes 2r and 2r + 1 work on
 * row r of their warp's 16 queries. The sums stay in fragments. To scale their rows, each lane must
 * know in which rows its elements are; it learns that once, by loading a matrix of row numbers.
 * While one tile of keys and values is used, the next waits in registers. Queries go through the
 * shared memory of the weights.
 */
#include "cuda/attention.cuh"

using namespace nvcuda;

#define WMMA_BLOCKS 2u             /* on a multiprocessor */
#define PART 16u                   /* rows, columns and depth of a fragment */
#define PARTS (HEAD / PART)        /* of a row of a head, and of the keys of a tile */
#define HALF_STRIDE (HEAD + CHUNK) /* of rows in shared memory, to spread them over banks */
#define FLOAT_STRIDE (TILE_KEYS + 4u)
#define TILE_HALVES (64u * HALF_STRIDE)
#define TILE_FLOATS (64u * FLOAT_STRIDE)
/* Chunks of a tile of keys, of 16 bytes, that each thread copies. */
#define FETCHES (TILE_KEYS * HEAD_CHUNKS / ATTENTION_THREADS)

using query_part = wmma::fragment<wmma::matrix_a, PART, PART, PART, __half, wmma::row_major>;
using key_part = wmma::fragment<wmma::matrix_b, PART, PART, PART, __half, wmma::col_major>;
using value_part = wmma::fragment<wmma::matrix_b, PART, PART, PART, __half, wmma::row_major>;
using sum_part = wmma::fragment<wmma::accumulator, PART, PART, PART, float>;

/* A tile on its way to shared memory. */
struct tile_fetched {
    uint4 keys[FETCHES], values[FETCHES];
};

/* The part of the shared memory that only one warp uses. */
struct warp_space {
    float *scores;   /* [WARP_QUERIES][FLOAT_STRIDE] */
    __half *weights; /* [WARP_QUERIES][HALF_STRIDE] */
    float *scale;    /* [WARP_QUERIES] */
};

/* One warp's 16 queries. top and weight are those of row r in lanes 2r and 2r + 1. */
struct warp_queries {
    query_part q[PARTS];
    sum_part sums[PARTS];
    uint8_t rows[sum_part::num_elements]; /* the row of each element of a fragment of sums */
    float top, weight;
};

/* 16 bytes of a row of qkv, from `column` of a head on, or zeros after the end of the sequence. */
static __device__ __forceinline__ uint4 chunk_fetch(const __half *qkv, unsigned hidden,
                                                    const struct attention_unit &unit, unsigned row,
                                                    unsigned column) {
    if (row >= unit.tokens)
        return make_uint4(0, 0, 0, 0);
    size_t token = (size_t)unit.first_token + row;
    return *(const uint4 *)(qkv + token * (3 * hidden) + unit.head * HEAD_QKV + column);
}

static __device__ __forceinline__ void tile_fetch(struct tile_fetched &tile, const __half *qkv,
                                                  unsigned hidden,
                                                  const struct attention_unit &unit,
                                                  unsigned first_key) {
    unsigned row = first_key + threadIdx.x / HEAD_CHUNKS;
    unsigned column = HEAD + threadIdx.x % HEAD_CHUNKS * CHUNK;
#pragma unroll
    for (unsigned i = 0; i < FETCHES; i++, row += ATTENTION_THREADS / HEAD_CHUNKS) {
        tile.keys[i] = chunk_fetch(qkv, hidden, unit, row, column);
        tile.values[i] = chunk_fetch(qkv, hidden, unit, row, column + HEAD);
    }
}

static __device__ __forceinline__ void tile_store(const struct tile_fetched &tile, __half *keys,
                                                  __half *values) {
    unsigned place = threadIdx.x / HEAD_CHUNKS * HALF_STRIDE + threadIdx.x % HEAD_CHUNKS * CHUNK;
#pragma unroll
    for (unsigned i = 0; i < FETCHES; i++) {
        *(uint4 *)(keys + place) = tile.keys[i];
        *(uint4 *)(values + place) = tile.values[i];
        place += ATTENTION_THREADS / HEAD_CHUNKS * HALF_STRIDE;
    }
}

/* Finds out in which row of a fragment of sums each element of this lane is. */
static __device__ __forceinline__ void rows_learn(struct warp_queries &w,
                                                  const struct warp_space &space) {
    for (unsigned i = attention_lane(); i < PART * PART; i += GPU_LANES)
        space.scores[i / PART * FLOAT_STRIDE + i % PART] = (float)(i / PART);
    __syncwarp();
    sum_part numbers;
    wmma::load_matrix_sync(numbers, space.scores, FLOAT_STRIDE, wmma::mem_row_major);
#pragma unroll
    for (int i = 0; i < numbers.num_elements; i++)
        w.rows[i] = (uint8_t)numbers.x[i];
    __syncwarp();
}

static __device__ __forceinline__ void queries_start(struct warp_queries &w,
                                                     const struct warp_space &space,
                                                     const __half *qkv, unsigned hidden,
                                                     const struct attention_unit &unit) {
    for (unsigned i = attention_lane(); i < WARP_QUERIES * HEAD_CHUNKS; i += GPU_LANES) {
        unsigned row = i / HEAD_CHUNKS, column = i % HEAD_CHUNKS * CHUNK;
        *(uint4 *)(space.weights + row * HALF_STRIDE + column) =
            chunk_fetch(qkv, hidden, unit, unit.query + row, column);
    }
    __syncwarp();
#pragma unroll
    for (unsigned part = 0; part < PARTS; part++) {
        wmma::load_matrix_sync(w.q[part], space.weights + part * PART, HALF_STRIDE);
        wmma::fill_fragment(w.sums[part], 0.0f);
    }
    w.top = -INFINITY;
    w.weight = 0.0f;
    __syncwarp();
}

/* scores = q k, written to shared memory. */
static __device__ __forceinline__ void
tile_scores(const struct warp_queries &w, const struct warp_space &space, const __half *keys) {
#pragma unroll
    for (unsigned group = 0; group < PARTS; group++) {
        sum_part scores;
        wmma::fill_fragment(scores, 0.0f);
#pragma unroll
        for (unsigned part = 0; part < PARTS; part++) {
            key_part k;
            wmma::load_matrix_sync(k, keys + group * PART * HALF_STRIDE + part * PART, HALF_STRIDE);
            wmma::mma_sync(scores, w.q[part], k, scores);
        }
        wmma::store_matrix_sync(space.scores + group * PART, scores, FLOAT_STRIDE,
                                wmma::mem_row_major);
    }
    __syncwarp();
}

/* Makes weights, 2^(score - top), of the scores, and zeros for keys that do not exist (`left` do).
 * Leaves in shared memory the factor that scales the sums so far. The two lanes of a row take pairs
 * of columns in turn. */
static __device__ __forceinline__ void tile_weights(struct warp_queries &w,
                                                    const struct warp_space &space, unsigned left) {
    unsigned row = attention_lane() / 2, first = attention_lane() % 2 * 2;
    const float *scores = space.scores + row * FLOAT_STRIDE;
    float top = -INFINITY;
    for (unsigned i = first; i < TILE_KEYS; i += 4) {
        float2 x = *(const float2 *)(scores + i);
        top = fmaxf(top, fmaxf(i < left ? x.x : -INFINITY, i + 1 < left ? x.y : -INFINITY));
    }
    top = fmaxf(w.top, SCORE_SCALE * fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1)));
    float shrink = gpu_exp2(w.top - top), weight = 0.0f;
    for (unsigned i = first; i < TILE_KEYS; i += 4) {
        float2 x = *(const float2 *)(scores + i);
        x.x = i < left ? gpu_exp2(fmaf(x.x, SCORE_SCALE, -top)) : 0.0f;
        x.y = i + 1 < left ? gpu_exp2(fmaf(x.y, SCORE_SCALE, -top)) : 0.0f;
        *(__half2 *)(space.weights + row * HALF_STRIDE + i) = __floats2half2_rn(x.x, x.y);
        weight += x.x + x.y;
    }
    weight += __shfl_xor_sync(0xffffffffu, weight, 1);
    w.weight = fmaf(w.weight, shrink, weight);
    w.top = top;
    if (first == 0)
        space.scale[row] = shrink;
    __syncwarp();
}

static __device__ __forceinline__ void sums_scale(struct warp_queries &w,
                                                  const struct warp_space &space) {
#pragma unroll
    for (int i = 0; i < sum_part::num_elements; i++) {
        float scale = space.scale[w.rows[i]];
#pragma unroll
        for (unsigned part = 0; part < PARTS; part++)
            w.sums[part].x[i] *= scale;
    }
}

/* Scales the sums, then adds weights v. */
static __device__ __forceinline__ void
tile_sums(struct warp_queries &w, const struct warp_space &space, const __half *values) {
    sums_scale(w, space);
#pragma unroll
    for (unsigned group = 0; group < PARTS; group++) {
        query_part weights;
        wmma::load_matrix_sync(weights, space.weights + group * PART, HALF_STRIDE);
#pragma unroll
        for (unsigned part = 0; part < PARTS; part++) {
            value_part v;
            wmma::load_matrix_sync(v, values + group * PART * HALF_STRIDE + part * PART,
                                   HALF_STRIDE);
            wmma::mma_sync(w.sums[part], weights, v, w.sums[part]);
        }
    }
    __syncwarp();
}

static __device__ __forceinline__ void queries_finish(struct warp_queries &w,
                                                      const struct warp_space &space,
                                                      __half *context, unsigned hidden,
                                                      const struct attention_unit &unit) {
    if (attention_lane() % 2 == 0)
        space.scale[attention_lane() / 2] = 1.0f / w.weight;
    __syncwarp();
    sums_scale(w, space);
#pragma unroll
    for (unsigned part = 0; part < PARTS; part++)
        wmma::store_matrix_sync(space.scores + part * PART, w.sums[part], FLOAT_STRIDE,
                                wmma::mem_row_major);
    __syncwarp();
    for (unsigned i = attention_lane(); i < WARP_QUERIES * HEAD / 2; i += GPU_LANES) {
        unsigned row = i / (HEAD / 2), column = i % (HEAD / 2) * 2;
        if (unit.query + row >= unit.tokens)
            break;
        float2 x = *(const float2 *)(space.scores + row * FLOAT_STRIDE + column);
        size_t token = (size_t)unit.first_token + unit.query + row;
        *(__half2 *)(context + token * hidden + unit.head * HEAD + column) =
            __floats2half2_rn(x.x, x.y);
    }
    __syncwarp();
}

__global__ void __launch_bounds__(ATTENTION_THREADS, WMMA_BLOCKS)
    attention_wmma_kernel(struct gpu_plan plan, unsigned heads, const __half *qkv,
                          __half *context) {
    SHARED_ARRAY(__half, keys, TILE_HALVES);
    SHARED_ARRAY(__half, values, TILE_HALVES);
    SHARED_ARRAY(__half, weights, TILE_HALVES);
    SHARED_ARRAY(float, scores, TILE_FLOATS);
    SHARED_ARRAY(float, scale, GPU_TILE_QUERIES);
    unsigned first_row = threadIdx.x / GPU_LANES * WARP_QUERIES;
    const struct warp_space space = {scores + first_row * FLOAT_STRIDE,
                                     weights + first_row * HALF_STRIDE, scale + first_row};
    unsigned units = plan.counts->tiles * heads, hidden = heads * HEAD;
    struct warp_queries w;
    rows_learn(w, space);
    for (unsigned index = blockIdx.x; index < units; index += gridDim.x) {
        const struct attention_unit unit = attention_unit_take(plan, heads, index);
        bool has_queries = unit.query < unit.tokens;
        struct tile_fetched tile;
        tile_fetch(tile, qkv, hidden, unit, 0);
        queries_start(w, space, qkv, hidden, unit);
        for (unsigned first = 0; first < unit.tokens; first += TILE_KEYS) {
            __syncthreads(); /* no warp still uses the tile before */
            tile_store(tile, keys, values);
            __syncthreads();
            tile_fetch(tile, qkv, hidden, unit, first + TILE_KEYS);
            if (!has_queries)
                continue;
            tile_scores(w, space, keys);
            tile_weights(w, space, unit.tokens - first);
            tile_sums(w, space, values);
        }
        if (has_queries)
            queries_finish(w, space, context, hidden, unit);
    }
}

cudaError_t attention_wmma(const struct gpu_shape *shape, const struct gpu_plan *plan,
                           const void *qkv, void *context, cudaStream_t stream) {
    LAUNCH(attention_wmma_kernel, attention_blocks(shape, WMMA_BLOCKS), ATTENTION_THREADS, 0,
           stream, *plan, shape->heads, (const __half *)qkv, (__half *)context);
    return cudaGetLastError();
}

cudaError_t attention_wmma_prepare(void) {
    return cudaFuncSetAttribute((const void *)attention_wmma_kernel,
                                cudaFuncAttributePreferredSharedMemoryCarveout,
                                cudaSharedmemCarveoutMaxShared);
}
