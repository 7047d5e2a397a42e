/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels in portable C. They define the encoder's results; every other instruction set must
 * give the same bits. Each sum of products is one accumulator to which products are added in the
 * order of k; of a dword of two bf16, the product of the high halves is added before that of the
 * low ones. The file is compiled twice, once with fused multiply-add instructions; GENERIC_TABLE is
 * the name of the table.
 */
#include "daemon/cpu/arithmetic.h"
#include "daemon/cpu/kernels.h"

#define BLOCK_ROWS 4
#define COLUMNS 16

/* sums[r][c] += a[r][k] * b[k][c], for k from 0 to depth - 1. b has `step` dwords from k to k + 1.
 */
static void multiply_f32(float sums[BLOCK_ROWS][COLUMNS], const uint32_t *const a[BLOCK_ROWS],
                         const uint32_t *b, size_t step, size_t depth) {
    for (size_t k = 0; k < depth; k++, b += step)
        for (int r = 0; r < BLOCK_ROWS; r++) {
            float x = float_from_bits(a[r][k]);
            for (int c = 0; c < COLUMNS; c++)
                sums[r][c] = fmaf(x, float_from_bits(b[c]), sums[r][c]);
        }
}

static void multiply_bf16(float sums[BLOCK_ROWS][COLUMNS], const uint32_t *const a[BLOCK_ROWS],
                          const uint32_t *b, size_t step, size_t depth) {
    for (size_t k = 0; k < depth; k++, b += step)
        for (int r = 0; r < BLOCK_ROWS; r++) {
            float low = pair_low(a[r][k]), high = pair_high(a[r][k]);
            for (int c = 0; c < COLUMNS; c++)
                sums[r][c] = fmaf(high, pair_high(b[c]), sums[r][c]);
            for (int c = 0; c < COLUMNS; c++)
                sums[r][c] = fmaf(low, pair_low(b[c]), sums[r][c]);
        }
}

/* BLOCK_ROWS x COLUMNS sums that start from bias, or zero. Only `rows` rows of a may be read; where
 * there are fewer than BLOCK_ROWS, the last one takes the place of those missing. */
static void product(bool bf16, float sums[BLOCK_ROWS][COLUMNS], const uint32_t *a, size_t a_stride,
                    uint32_t rows, const float *bias, const uint32_t *b, size_t step,
                    size_t depth) {
    const uint32_t *lines[BLOCK_ROWS];
    for (uint32_t r = 0; r < BLOCK_ROWS; r++) {
        lines[r] = a + (r < rows ? r : rows - 1) * a_stride;
        for (int c = 0; c < COLUMNS; c++)
            sums[r][c] = bias ? bias[c] : 0.0f;
    }
    if (bf16)
        multiply_bf16(sums, lines, b, step, depth);
    else
        multiply_f32(sums, lines, b, step, depth);
}

static void element_store(bool bf16, void *out, size_t index, float value) {
    if (bf16)
        ((uint16_t *)out)[index] = bf16_from_float(value);
    else
        ((float *)out)[index] = value;
}

static void panel_finish(bool bf16, const struct panel *p, size_t index, float sum) {
    switch (p->epilogue) {
    case EPILOGUE_STORE:
        element_store(bf16, p->out, index, sum);
        break;
    case EPILOGUE_GELU_TANH:
        element_store(bf16, p->out, index, gelu_tanh(sum));
        break;
    case EPILOGUE_GELU_ERF:
        element_store(bf16, p->out, index, gelu_erf(sum));
        break;
    case EPILOGUE_RESIDUAL:
        ((float *)p->out)[index] += sum;
        break;
    }
}

static void panel(bool bf16, const struct panel *p) {
    float sums[BLOCK_ROWS][COLUMNS];
    for (uint32_t row = 0; row < p->rows; row += BLOCK_ROWS) {
        uint32_t rows = p->rows - row < BLOCK_ROWS ? p->rows - row : BLOCK_ROWS;
        const uint32_t *a = (const uint32_t *)p->a + row * p->a_stride;
        for (size_t column = 0; column < PANEL_COLUMNS; column += COLUMNS) {
            const uint32_t *b = (const uint32_t *)p->b + column * p->depth;
            product(bf16, sums, a, p->a_stride, rows, p->bias ? p->bias + column : NULL, b, COLUMNS,
                    p->depth);
            for (uint32_t r = 0; r < rows; r++)
                for (size_t c = 0; c < COLUMNS; c++)
                    panel_finish(bf16, p, (row + r) * p->out_stride + column + c, sums[r][c]);
        }
    }
}

/* Transposes the keys: turned[d][key] is dword d of a key. Keys after the last are zeros. */
static void keys_turn(const uint32_t *k, uint32_t tokens, size_t depth, size_t stride,
                      uint32_t *turned) {
    for (size_t d = 0; d < depth; d++)
        for (size_t key = 0; key < stride; key++)
            turned[d * stride + key] = key < tokens ? k[key * depth + d] : 0;
}

/* Makes a dword of the values of two neighbouring keys. Where the number of keys is odd, the last
 * one is paired with zeros. */
static void values_pair(const uint16_t *v, uint32_t tokens, uint32_t *pairs) {
    for (uint32_t key = 0; key < tokens; key += 2)
        for (size_t c = 0; c < HEAD_SIZE; c++) {
            uint32_t low = v[key * HEAD_SIZE + c];
            uint32_t high = key + 1 < tokens ? v[(key + 1) * HEAD_SIZE + c] : 0;
            pairs[key / 2 * HEAD_SIZE + c] = low | high << 16;
        }
}

/* Replaces scores by weights, 2^((s - max) log2(e) / 8), as elements. Returns the inverse of the
 * sum of the weights before they are rounded. An odd number of bf16 weights is followed by a zero,
 * which completes the last pair. */
static float softmax(bool bf16, float *scores, uint32_t tokens) {
    float partial[LANES] = {0}, max = scores[0];
    for (uint32_t i = 1; i < tokens; i++)
        max = float_max(max, scores[i]);
    for (uint32_t i = 0; i < tokens; i++) {
        float x = (scores[i] - max) * SOFTMAX_SCALE;
        float p = exp2_bounded(float_max(EXP2_LOW, x));
        partial[i % LANES] += p;
        element_store(bf16, scores, i, p);
    }
    if (bf16 && tokens % 2)
        ((uint16_t *)scores)[tokens] = 0;
    return 1.0f / lanes_sum(partial);
}

/* Computes the scores of up to BLOCK_ROWS queries, their weights, and the sums of weighted values.
 */
static void attention_rows(bool bf16, const struct attention *t, uint32_t row, uint32_t rows,
                           float *scores, const uint32_t *keys, const uint32_t *values) {
    size_t stride = attention_score_stride(t->tokens), depth = bf16 ? HEAD_SIZE / 2 : HEAD_SIZE;
    const uint32_t *q = (const uint32_t *)t->q + row * depth;
    float sums[BLOCK_ROWS][COLUMNS], inverse[BLOCK_ROWS];
    for (uint32_t key = 0; key < t->tokens; key += COLUMNS) {
        product(bf16, sums, q, depth, rows, NULL, keys + key, stride, depth);
        for (uint32_t r = 0; r < rows; r++)
            memcpy(scores + r * stride + key, sums[r], sizeof sums[r]);
    }
    for (uint32_t r = 0; r < rows; r++)
        inverse[r] = softmax(bf16, scores + r * stride, t->tokens);
    for (size_t column = 0; column < HEAD_SIZE; column += COLUMNS) {
        product(bf16, sums, (const uint32_t *)scores, stride, rows, NULL, values + column,
                HEAD_SIZE, bf16 ? (t->tokens + 1) / 2 : t->tokens);
        for (uint32_t r = 0; r < rows; r++)
            for (size_t c = 0; c < COLUMNS; c++)
                element_store(bf16, t->out, (row + r) * t->out_stride + column + c,
                              sums[r][c] * inverse[r]);
    }
}

static void attention(bool bf16, const struct attention *t) {
    size_t stride = attention_score_stride(t->tokens);
    float *scores = t->scratch;
    uint32_t *keys = (uint32_t *)(scores + ATTENTION_ROWS * stride);
    uint32_t *pairs = keys + (bf16 ? HEAD_SIZE / 2 : HEAD_SIZE) * stride;
    keys_turn(t->k, t->tokens, bf16 ? HEAD_SIZE / 2 : HEAD_SIZE, stride, keys);
    if (bf16)
        values_pair(t->v, t->tokens, pairs);
    for (uint32_t row = 0; row < t->tokens; row += BLOCK_ROWS) {
        uint32_t rows = t->tokens - row < BLOCK_ROWS ? t->tokens - row : BLOCK_ROWS;
        attention_rows(bf16, t, row, rows, scores, keys, bf16 ? pairs : (const uint32_t *)t->v);
    }
}

/* The mean of a row, and 1 / sqrt(variance + epsilon). */
static void row_moments(const struct norm *norm, const float *x, float *mean, float *inverse) {
    float sums[LANES] = {0}, squares[LANES] = {0};
    for (uint32_t i = 0; i < norm->width; i++)
        sums[i % LANES] += x[i];
    *mean = lanes_sum(sums) / (float)norm->width;
    for (uint32_t i = 0; i < norm->width; i++) {
        float centred = x[i] - *mean;
        squares[i % LANES] = fmaf(centred, centred, squares[i % LANES]);
    }
    float variance = lanes_sum(squares) / (float)norm->width;
    *inverse = 1.0f / sqrtf(variance + norm->epsilon);
}

static float norm_value(const struct norm *norm, const float *x, uint32_t i, float mean,
                        float inverse) {
    return fmaf((x[i] - mean) * inverse, norm->gain[i], norm->bias[i]);
}

static void norm_rows(bool bf16, const struct norm *norm, const float *x, uint32_t rows,
                      void *out) {
    for (size_t row = 0; row < rows; row++, x += norm->width) {
        float mean, inverse;
        row_moments(norm, x, &mean, &inverse);
        for (uint32_t i = 0; i < norm->width; i++)
            element_store(bf16, out, row * norm->width + i, norm_value(norm, x, i, mean, inverse));
    }
}

static bool norm_output(const struct norm *norm, const float *x, float *out) {
    float mean, inverse;
    bool finite = true;
    row_moments(norm, x, &mean, &inverse);
    for (uint32_t i = 0; i < norm->width; i++) {
        float value = norm_value(norm, x, i, mean, inverse);
        finite &= float_is_finite(value);
        out[i] = value;
    }
    return finite;
}

KERNELS_DEFINE(GENERIC_TABLE, "generic", COLUMNS);
