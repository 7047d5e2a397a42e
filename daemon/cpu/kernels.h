/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels of the encoder, in a table for each instruction set and precision. They see memory as
 * dwords: a dword is one float, or two bf16 that are neighbours along the inner dimension K of a
 * product. All tables of a precision compute the same bits.
 */
#ifndef ESM1NV_CPU_KERNELS_H
#define ESM1NV_CPU_KERNELS_H

#include "daemon/engine/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PANEL_COLUMNS 64 /* columns of a weight panel; also the size of a head */

/* What is done with the product of a panel. An element is a float or a bf16, as the precision says.
 */
enum epilogue {
    EPILOGUE_STORE,     /* out (element) = bias + product */
    EPILOGUE_GELU_TANH, /* out (element) = gelu(bias + product) */
    EPILOGUE_GELU_ERF,
    EPILOGUE_RESIDUAL, /* out (float) = out + (bias + product) */
};

/* A product of [rows][K] activations and a packed panel of [K][64] weights (pack.h). */
struct panel {
    const void *a;     /* row-major elements */
    size_t a_stride;   /* dwords from row to row */
    const void *b;     /* packed panel */
    size_t depth;      /* dwords along K */
    const float *bias; /* [64], what the sums start from, or NULL for zeros */
    const void *next;  /* the panel that is needed next and is prefetched into L2, or NULL */
    void *out;
    size_t out_stride; /* values from row to row */
    uint32_t rows;
    enum epilogue epilogue;
};

/* One head of one sequence: softmax(q k / 8) v. q, k and v are [tokens][64] elements. Up to 15 rows
 * after the last row of k are read too; what they hold does not matter. */
struct attention {
    const void *q, *k, *v;
    uint32_t tokens;
    void *out;         /* elements */
    size_t out_stride; /* elements from row to row */
    void *scratch;     /* attention_scratch_bytes() of memory, aligned to 64 */
};

struct norm {
    const float *gain, *bias; /* [width] */
    uint32_t width;           /* a multiple of 64 */
    float epsilon;
};

struct kernels {
    const char *instructions;
    enum precision precision;
    unsigned sub_columns; /* a panel consists of 64 / sub_columns pieces [K][sub_columns] */
    void (*panel)(const struct panel *panel);
    void (*attention)(const struct attention *attention);
    /* LayerNorm of x, float [rows][width], to out, elements [rows][width]. */
    void (*norm)(const struct norm *norm, const float *x, uint32_t rows, void *out);
    /* LayerNorm of one row to out, float [width]. Returns false when one of these is not finite.
     * Does not read out, which a client may share. */
    bool (*norm_output)(const struct norm *norm, const float *x, float *out);
};

/* Defines both tables of an instruction set from the functions panel, attention, norm_rows and
 * norm_output of its file. The first three take as their first argument whether elements are bf16;
 * they are to be inlined here with that as a constant. */
#define KERNELS_DEFINE(table, name, sub_columns)                                                   \
    static void panel_f32(const struct panel *p) {                                                 \
        panel(false, p);                                                                           \
    }                                                                                              \
    static void panel_bf16(const struct panel *p) {                                                \
        panel(true, p);                                                                            \
    }                                                                                              \
    static void attention_f32(const struct attention *t) {                                         \
        attention(false, t);                                                                       \
    }                                                                                              \
    static void attention_bf16(const struct attention *t) {                                        \
        attention(true, t);                                                                        \
    }                                                                                              \
    static void norm_f32(const struct norm *norm, const float *x, uint32_t rows, void *out) {      \
        norm_rows(false, norm, x, rows, out);                                                      \
    }                                                                                              \
    static void norm_bf16(const struct norm *norm, const float *x, uint32_t rows, void *out) {     \
        norm_rows(true, norm, x, rows, out);                                                       \
    }                                                                                              \
    const struct kernels table[2] = {                                                              \
        {name, PRECISION_F32, sub_columns, panel_f32, attention_f32, norm_f32, norm_output},       \
        {name, PRECISION_BF16, sub_columns, panel_bf16, attention_bf16, norm_bf16, norm_output},   \
    }

/* Queries that are worked on together. The scratch memory holds their rows of scores, then the keys
 * as columns, then the values as pairs. */
#define ATTENTION_ROWS 6
static inline size_t attention_score_stride(uint32_t tokens) {
    return ((size_t)tokens + 63) / 64 * 64 +
           32; /* rows a power of 2 apart would meet in few sets of the cache */
}

static inline size_t attention_scratch_bytes(uint32_t tokens) {
    size_t padded = ((size_t)tokens + 63) / 64 * 64;
    return 4 * (ATTENTION_ROWS * attention_score_stride(tokens) + 2 * padded * PANEL_COLUMNS);
}

/* The tables for f32 and bf16, in this order. "plain" calls the C library for each fused
 * multiply-add. */
extern const struct kernels kernels_generic_plain[2], kernels_generic[2], kernels_avx2[2],
    kernels_avx512[2], kernels_avx512bf16[2];

/* Whether this CPU computes a bf16 dot product as two fused multiply-adds, the high pair first. */
bool avx512bf16_agrees(void);

#endif
