/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels an encoder is made of, as a table per instruction set and precision. Memory is seen
 * as dwords: a dword is one float, or two bf16 that are neighbours along the inner dimension K of a
 * product. All tables compute the same bits.
 */
#ifndef ESM1NV_CPU_KERNELS_H
#define ESM1NV_CPU_KERNELS_H

#include "daemon/engine/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PANEL_COLUMNS 64 /* columns of a weight panel; also the size of a head */

/* What becomes of a panel product. "element" is the precision's type, float or bf16. */
enum epilogue {
    EPILOGUE_STORE,     /* out (element) = bias + product */
    EPILOGUE_GELU_TANH, /* out (element) = gelu(bias + product) */
    EPILOGUE_GELU_ERF,
    EPILOGUE_RESIDUAL, /* out (float) = out + (bias + product) */
};

/* rows x K activations times a packed panel of K x 64 weights (pack.h). */
struct panel {
    const void *a;     /* row-major elements */
    size_t a_stride;   /* dwords from row to row */
    const void *b;     /* packed panel */
    size_t depth;      /* dwords along K */
    const float *bias; /* 64 values each sum starts from, or NULL for zeros */
    const void *next;  /* the panel needed after this one, fetched into L2 meanwhile, or NULL */
    void *out;
    size_t out_stride; /* values from row to row */
    uint32_t rows;
    enum epilogue epilogue;
};

/* One head of one sequence: softmax(q k / 8) v. q, k and v are [tokens][64] elements. Up to 15 rows
 * of k behind the last are read, and what they hold does not matter. */
struct attention {
    const void *q, *k, *v;
    uint32_t tokens;
    void *out;         /* elements */
    size_t out_stride; /* elements from row to row */
    void *scratch;     /* attention_scratch_bytes(), aligned to 64 */
};

struct norm {
    const float *gain, *bias; /* [width] */
    uint32_t width;           /* a multiple of 64 */
    float epsilon;
};

struct kernels {
    const char *instructions;
    enum precision precision;
    unsigned sub_columns; /* a panel is stored as 64 / sub_columns pieces [K][sub_columns] */
    void (*panel)(const struct panel *panel);
    void (*attention)(const struct attention *attention);
    /* LayerNorm of rows [width] floats to rows of elements. */
    void (*norm)(const struct norm *norm, const float *x, uint32_t rows, void *out);
    /* LayerNorm of one row to floats; false when one of them is not finite. Never reads out. */
    bool (*norm_output)(const struct norm *norm, const float *x, float *out);
};

/* Score rows of up to 6 queries, the keys turned, the values paired. */
#define ATTENTION_ROWS 6
static inline size_t attention_score_stride(uint32_t tokens) {
    return ((size_t)tokens + 63) / 64 * 64 + 32; /* not a power of 2 */
}

static inline size_t attention_scratch_bytes(uint32_t tokens) {
    size_t padded = ((size_t)tokens + 63) / 64 * 64;
    return 4 * (ATTENTION_ROWS * attention_score_stride(tokens) + 2 * padded * PANEL_COLUMNS);
}

/* Tables per precision, f32 then bf16. "plain" calls the C library for each fused multiply-add. */
extern const struct kernels kernels_generic_plain[2], kernels_generic[2], kernels_avx2[2],
    kernels_avx512[2], kernels_avx512bf16[2];

/* Whether this CPU's bf16 dot product is two fused multiply-adds, the high pair first. */
bool avx512bf16_agrees(void);

#endif
