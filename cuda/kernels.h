/* SPDX-License-Identifier: Apache-2.0
 *
 * The interface between the host code of the backend, which is C, and its kernels: functions that
 * queue kernels on a stream and return cudaGetLastError(). They do not allocate or wait, and may be
 * captured in a graph: all pointers are to device memory, and kernels read from the plan there how
 * much of the bucket is in use. "half" is float16 or bfloat16, as gpu_shape.type says. Matrices are
 * row-major, tightly packed and aligned to 16 bytes. H is the hidden size, a multiple of 64.
 */
#ifndef ESM1NV_CUDA_KERNELS_H
#define ESM1NV_CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum gpu_type { GPU_F16, GPU_BF16 };

enum activation { ACTIVATION_NONE, ACTIVATION_TANH, ACTIVATION_ERF }; /* the forms of GELU */

#define GPU_TILE_QUERIES 64u       /* queries of a sequence that one attention tile holds */
#define GPU_NO_ITEM UINT32_MAX     /* the owner of a token whose row no result needs */
#define GPU_NOT_FINITE UINT32_C(1) /* a bit of an item's flags */
#define GPU_OVERFLOW UINT32_C(2)   /* finite, but not in the float16 that was asked for */

struct gpu_shape {
    enum gpu_type type;
    uint32_t tokens;    /* of the bucket: rows of every matrix; a multiple of 64 */
    uint32_t sequences; /* of the bucket: the most items, and so the most flags */
    uint32_t hidden, heads, ffn;
    uint32_t sm; /* of the device: 70, 75, 80, 86, 90, ...; it decides the attention kernel */
    uint32_t multiprocessors;
    float epsilon; /* of every LayerNorm */
};

struct plan_counts {
    uint32_t tokens, items, tiles, reserved;
};

/* Up to 64 queries of one sequence, for all heads. */
struct plan_tile {
    uint32_t first_token, tokens; /* of the sequence */
    uint32_t first_query;         /* relative to first_token, a multiple of 64 */
};

/* One result. Its pooling and dtype are numbered as in wire.h. */
struct plan_item {
    uint32_t first_token; /* of the sequence */
    uint32_t first_row;   /* token of its first residue, counted in the batch */
    uint32_t residues;    /* at least 1 */
    uint32_t output;      /* offset of its rows in the output area, in units of 64 bytes */
    uint16_t pooling, dtype;
};

struct gpu_plan {
    const struct plan_counts *counts;
    const uint16_t *ids;       /* [tokens] */
    const uint16_t *positions; /* [tokens] within the sequence */
    const uint32_t *owners;    /* [tokens] index of the item whose sequence it belongs to */
    const struct plan_tile *tiles;
    const struct plan_item *items;
};

struct gpu_norm {
    const float *gain, *bias; /* [H] */
};

/* residual[t] = words[ids[t]] + positions[positions[t]]; normed[t] = LayerNorm of that. Each row is
 * done by a warp, which computes mean and variance in float32, in two passes. residual: float
 * [tokens][H]; normed: half [tokens][H]. */
cudaError_t gpu_embed(const struct gpu_shape *shape, const struct gpu_plan *plan,
                      const float *words, const float *positions, struct gpu_norm norm,
                      float *residual, void *normed, cudaStream_t stream);

/* normed = LayerNorm of residual. */
cudaError_t gpu_layernorm(const struct gpu_shape *shape, const struct gpu_plan *plan,
                          const float *residual, struct gpu_norm norm, void *normed,
                          cudaStream_t stream);

/* context[t][64 h ..] = softmax(q k / 8) v within each sequence. qkv: half [tokens][3H], per head
 * h: q at column 192 h, k at 192 h + 64, v at 192 h + 128. context: half [tokens][H]. */
cudaError_t gpu_attention(const struct gpu_shape *shape, const struct gpu_plan *plan,
                          const void *qkv, void *context, cudaStream_t stream);

/* Sets up the device for the kernels of such a shape. To be called once on each device, before any
 * capture. No kernel needs dynamic shared memory. */
cudaError_t gpu_prepare(const struct gpu_shape *shape);

/* Add a bias in place, and apply GELU, for matrix products without a fused epilogue. values: half
 * [tokens][columns], bias: half [columns]; or residual: float [tokens][H], bias: float [H]. */
cudaError_t gpu_bias(const struct gpu_shape *shape, const struct gpu_plan *plan, void *values,
                     const void *bias, uint32_t columns, enum activation form, cudaStream_t stream);
cudaError_t gpu_bias_residual(const struct gpu_shape *shape, const struct gpu_plan *plan,
                              float *residual, const float *bias, cudaStream_t stream);

/* The final LayerNorm, and the result that each item asks for. The rows of an item are written in
 * its dtype, tightly packed, to output + 64 item.output. For mean and max, rows first go to scratch
 * (float [tokens][H]), and one row is made of them; a mean is the sum in token order, divided by
 * the count. For <s>, the only row is that of first_token. Overwrites flags [items]. */
cudaError_t gpu_output(const struct gpu_shape *shape, const struct gpu_plan *plan,
                       const float *residual, struct gpu_norm norm, float *scratch,
                       unsigned char *output, uint32_t *flags, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
