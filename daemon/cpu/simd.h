/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels in terms of vectors of sixteen floats. Each instruction set's file includes this one
 * once, after its vector_*.h, which says how many vectors wide a block of sums is, and after
 * defining KERNELS_TABLE and KERNELS_NAME. Everything is inlined with constant shapes, so that sums
 * stay in registers. generic.c defines what is computed, and in what order.
 *
 * A file whose instruction set has bf16 dot products defines v16_dot(sum, pairs, pairs). Elsewhere
 * pairs are widened, and the products of the high halves are added before those of the low ones.
 */
#include "daemon/cpu/arithmetic.h"
#include "daemon/cpu/kernels.h"

/* Sanitizers check every access, and unrolled code then takes minutes to compile. Without unrolling
 * it computes the same. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ROLLED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROLLED
#endif

#ifdef ROLLED
#define INLINE static __attribute__((noinline))
#define UNROLL(n)
#else
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL(n) _Pragma("unroll")
#else
#define UNROLL_TEXT(text) _Pragma(#text)
#define UNROLL(n) UNROLL_TEXT(GCC unroll n)
#endif
#endif

#define BLOCK_ROWS ATTENTION_ROWS
#define BLOCK_COLUMNS (16 * BLOCK_VECTORS)
#define BLOCKS_WIDE (PANEL_COLUMNS / BLOCK_COLUMNS)

INLINE v16 v16_exp2(v16 x) {
    v16 n = v16_round(x), f = v16_sub(x, n);
    v16 p = v16_fma(v16_set(EXP2_C5), f, v16_set(EXP2_C4));
    p = v16_fma(p, f, v16_set(EXP2_C3));
    p = v16_fma(p, f, v16_set(EXP2_C2));
    p = v16_fma(p, f, v16_set(EXP2_C1));
    p = v16_fma(p, f, v16_set(1.0f));
    return v16_scale(p, n);
}

INLINE v16 v16_gelu_tanh(v16 x) {
    v16 slope = v16_fma(v16_mul(x, x), v16_set(GELU_TANH_B), v16_set(GELU_TANH_A));
    v16 t = v16_max(v16_set(EXP2_LOW), v16_mul(x, slope));
    t = v16_min(v16_set(EXP2_HIGH), t);
    return v16_div(x, v16_add(v16_set(1.0f), v16_exp2(t)));
}

INLINE v16 v16_gelu_erf(v16 x) {
    v16 one = v16_set(1.0f), magnitude = v16_abs(x);
    v16 t = v16_div(one, v16_fma(magnitude, v16_set(GELU_ERF_P), one));
    v16 q = v16_fma(v16_set(GELU_ERF_Q8), t, v16_set(GELU_ERF_Q7));
    q = v16_fma(q, t, v16_set(GELU_ERF_Q6));
    q = v16_fma(q, t, v16_set(GELU_ERF_Q5));
    q = v16_fma(q, t, v16_set(GELU_ERF_Q4));
    q = v16_fma(q, t, v16_set(GELU_ERF_Q3));
    q = v16_fma(q, t, v16_set(GELU_ERF_Q2));
    q = v16_fma(q, t, v16_set(GELU_ERF_Q1));
    v16 power = v16_mul(v16_mul(x, x), v16_set(GELU_ERF_E));
    v16 tail = v16_mul(v16_mul(q, t), v16_exp2(v16_max(v16_set(EXP2_LOW), power)));
    return v16_fma(v16_negate(magnitude), tail, v16_max(v16_set(0.0f), x));
}

INLINE void element_store(bool bf16, void *out, size_t index, v16 x) {
    if (bf16)
        v16_store_bf16((uint16_t *)out + index, x);
    else
        v16_store((float *)out + index, x);
}

/* Memory to prefetch into L2, evenly over the time of a product: every eight steps, pace /
 * AHEAD_LINE cache lines become due. If they were fetched faster, other loads would wait for them.
 */
#define AHEAD_LINE 1024
struct ahead {
    const char *at, *end;
    size_t pace, due;
};

INLINE void ahead_fetch(struct ahead *ahead) {
    ahead->due += ahead->pace;
    for (; ahead->due >= AHEAD_LINE && ahead->at < ahead->end; ahead->due -= AHEAD_LINE) {
        _mm_prefetch(ahead->at, _MM_HINT_T1);
        ahead->at += 64;
    }
}

INLINE void step_f32(v16 sums[][BLOCK_VECTORS], const uint32_t *a, size_t a_stride,
                     const uint32_t *b, const int rows, const int vectors) {
    v16 weights[BLOCK_VECTORS];
    UNROLL(4)
    for (int v = 0; v < vectors; v++)
        weights[v] = v16_load(b + 16 * v);
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        v16 x = v16_broadcast(a + (size_t)r * a_stride);
        UNROLL(4)
        for (int v = 0; v < vectors; v++)
            sums[r][v] = v16_fma(x, weights[v], sums[r][v]);
    }
}

#ifdef v16_dot
INLINE void step_bf16(v16 sums[][BLOCK_VECTORS], const uint32_t *a, size_t a_stride,
                      const uint32_t *b, const int rows, const int vectors) {
    v16 weights[BLOCK_VECTORS];
    UNROLL(4)
    for (int v = 0; v < vectors; v++)
        weights[v] = v16_load(b + 16 * v);
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        v16 x = v16_broadcast(a + (size_t)r * a_stride);
        UNROLL(4)
        for (int v = 0; v < vectors; v++)
            sums[r][v] = v16_dot(sums[r][v], x, weights[v]);
    }
}
#else
INLINE void half_step(v16 sums[][BLOCK_VECTORS], const uint32_t *a, size_t a_stride,
                      const uint32_t *b, const int rows, const int vectors, const bool high) {
    v16 weights[BLOCK_VECTORS];
    UNROLL(4)
    for (int v = 0; v < vectors; v++)
        weights[v] = high ? v16_load_high(b + 16 * v) : v16_load_low(b + 16 * v);
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        const uint32_t *pair = a + (size_t)r * a_stride;
        v16 x = high ? v16_broadcast_high(pair) : v16_broadcast_low(pair);
        UNROLL(4)
        for (int v = 0; v < vectors; v++)
            sums[r][v] = v16_fma(x, weights[v], sums[r][v]);
    }
}

/* The barrier makes the compiler load the dwords again for the low halves: kept from the high ones,
 * they would push sums out of registers. */
INLINE void step_bf16(v16 sums[][BLOCK_VECTORS], const uint32_t *a, size_t a_stride,
                      const uint32_t *b, const int rows, const int vectors) {
    half_step(sums, a, a_stride, b, rows, vectors, true);
    __asm__ volatile("" ::: "memory");
    half_step(sums, a, a_stride, b, rows, vectors, false);
}
#endif

INLINE void step(bool bf16, v16 sums[][BLOCK_VECTORS], const uint32_t *a, size_t a_stride,
                 const uint32_t *b, const int rows, const int vectors) {
    if (bf16)
        step_bf16(sums, a, a_stride, b, rows, vectors);
    else
        step_f32(sums, a, a_stride, b, rows, vectors);
}

/* sums[r] += a[r][k] * b[k], for k from 0 to depth - 1. b has b_step dwords from k to k + 1. */
INLINE void multiply(bool bf16, v16 sums[][BLOCK_VECTORS], const uint32_t *a, size_t a_stride,
                     const uint32_t *b, size_t b_step, size_t depth, const int rows,
                     const int vectors, struct ahead *ahead) {
    size_t k = 0;
    for (; k + 8 <= depth; k += 8) {
        ahead_fetch(ahead);
        UNROLL(4)
        for (int i = 0; i < 8; i++, a++, b += b_step)
            step(bf16, sums, a, a_stride, b, rows, vectors);
    }
    for (; k < depth; k++, a++, b += b_step)
        step(bf16, sums, a, a_stride, b, rows, vectors);
}

/* Applies GELU to sums that were stored in memory, because a loop is much less code: unrolled over
 * the registers, it would be most of the program. */
INLINE void gelu_store(bool bf16, const struct panel *p, v16 sums[][BLOCK_VECTORS], size_t at,
                       const int rows) {
    float buffer[BLOCK_ROWS * BLOCK_COLUMNS] __attribute__((aligned(64)));
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < BLOCK_VECTORS; v++)
            v16_store(buffer + r * BLOCK_COLUMNS + 16 * v, sums[r][v]);
    }
    for (size_t r = 0; r < (size_t)rows; r++)
        for (size_t c = 0; c < BLOCK_COLUMNS; c += 16) {
            v16 x = v16_load(buffer + r * BLOCK_COLUMNS + c);
            v16 y = p->epilogue == EPILOGUE_GELU_ERF ? v16_gelu_erf(x) : v16_gelu_tanh(x);
            element_store(bf16, p->out, at + r * p->out_stride + c, y);
        }
}

INLINE void panel_store(bool bf16, const struct panel *p, v16 sums[][BLOCK_VECTORS], size_t at,
                        const int rows) {
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < BLOCK_VECTORS; v++)
            element_store(bf16, p->out, at + (size_t)r * p->out_stride + 16 * (size_t)v,
                          sums[r][v]);
    }
}

INLINE void panel_add(const struct panel *p, v16 sums[][BLOCK_VECTORS], size_t at, const int rows) {
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < BLOCK_VECTORS; v++) {
            float *out = (float *)p->out + at + (size_t)r * p->out_stride + 16 * v;
            v16_store(out, v16_add(v16_load(out), sums[r][v]));
        }
    }
}

/* Rows of the residual are too far apart for the hardware to prefetch them. */
INLINE void residual_fetch(const struct panel *p, size_t at, const int rows) {
    for (size_t r = 0; r < (size_t)rows; r++)
        for (size_t c = 0; c < BLOCK_COLUMNS; c += 16)
            _mm_prefetch((const char *)((float *)p->out + at + r * p->out_stride + c), _MM_HINT_T0);
}

/* Computes rows x BLOCK_COLUMNS outputs of a panel product, from `row` and `column` on. */
INLINE void panel_block(bool bf16, const struct panel *p, size_t row, size_t column,
                        struct ahead *ahead, const int rows) {
    v16 sums[BLOCK_ROWS][BLOCK_VECTORS];
    const uint32_t *a = (const uint32_t *)p->a + row * p->a_stride;
    const uint32_t *b = (const uint32_t *)p->b + column * p->depth;
    size_t at = row * p->out_stride + column;
    if (p->epilogue == EPILOGUE_RESIDUAL)
        residual_fetch(p, at, rows);
    UNROLL(4)
    for (int v = 0; v < BLOCK_VECTORS; v++) {
        v16 start = p->bias ? v16_load(p->bias + column + 16 * (size_t)v) : v16_set(0.0f);
        UNROLL(6)
        for (int r = 0; r < rows; r++)
            sums[r][v] = start;
    }
    multiply(bf16, sums, a, p->a_stride, b, BLOCK_COLUMNS, p->depth, rows, BLOCK_VECTORS, ahead);
    if (p->epilogue == EPILOGUE_STORE)
        panel_store(bf16, p, sums, at, rows);
    else if (p->epilogue == EPILOGUE_RESIDUAL)
        panel_add(p, sums, at, rows);
    else
        gelu_store(bf16, p, sums, at, rows);
}

/* Calls block(arguments, count), with count, which is 1 to 6, as a constant. */
#define WITH_ROWS(count, block, ...)                                                               \
    switch (count) {                                                                               \
        ROWS_CASE(1, block, __VA_ARGS__)                                                           \
        ROWS_CASE(2, block, __VA_ARGS__)                                                           \
        ROWS_CASE(3, block, __VA_ARGS__)                                                           \
        ROWS_CASE(4, block, __VA_ARGS__)                                                           \
        ROWS_CASE(5, block, __VA_ARGS__)                                                           \
    default:                                                                                       \
        block(__VA_ARGS__, 6);                                                                     \
    }
#define ROWS_CASE(n, block, ...)                                                                   \
    case n:                                                                                        \
        block(__VA_ARGS__, n);                                                                     \
        break;

/* The size of the next of `blocks` nearly equal shares of the rows left: 30 rows become 6 6 6 6 6,
 * and 32 become 6 6 5 5 5 5. */
INLINE uint32_t next_rows(uint32_t left, uint32_t blocks) {
    return (left + blocks - 1) / blocks;
}

INLINE void panel(bool bf16, const struct panel *p) {
    uint32_t blocks = (p->rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    size_t bytes = p->depth * PANEL_COLUMNS * 4, steps = p->depth / 8 * blocks * BLOCKS_WIDE;
    struct ahead ahead = {p->next, p->next, 0, 0};
    if (p->next && steps) {
        ahead.end = ahead.at + bytes;
        ahead.pace = (bytes / 64 * AHEAD_LINE + steps - 1) / steps;
    }
    for (uint32_t row = 0; row < p->rows; blocks--) {
        uint32_t rows = next_rows(p->rows - row, blocks);
        for (size_t column = 0; column < PANEL_COLUMNS; column += BLOCK_COLUMNS) {
            WITH_ROWS(rows, panel_block, bf16, p, row, column, &ahead)
        }
        row += rows;
    }
}

/* Transposes the keys into panels [depth][BLOCK_COLUMNS]. Keys after the last, up to a multiple of
 * 16, may be anything. */
INLINE void keys_turn(const uint32_t *k, uint32_t tokens, size_t depth, uint32_t *turned) {
    for (size_t key = 0; key < tokens; key += 16) {
        uint32_t *to = turned + key / BLOCK_COLUMNS * BLOCK_COLUMNS * depth + key % BLOCK_COLUMNS;
        for (size_t d = 0; d < depth; d += 16)
            v16_turn(k + key * depth + d, depth, to + d * BLOCK_COLUMNS, BLOCK_COLUMNS);
    }
}

INLINE void values_pair(const uint16_t *v, uint32_t tokens, uint32_t *pairs) {
    static const uint16_t nothing[HEAD_SIZE];
    for (size_t key = 0; key < tokens; key += 2) {
        const uint16_t *low = v + key * HEAD_SIZE;
        const uint16_t *high = key + 1 < tokens ? low + HEAD_SIZE : nothing;
        for (size_t c = 0; c < HEAD_SIZE; c += 16)
            v16_store(pairs + key / 2 * HEAD_SIZE + c, v16_pair(low + c, high + c));
    }
}

/* Computes the scores of some queries with 16 * vectors keys. */
INLINE void score_block(bool bf16, const uint32_t *q, const uint32_t *keys, float *scores,
                        size_t stride, const int vectors, const int rows) {
    v16 sums[BLOCK_ROWS][BLOCK_VECTORS];
    struct ahead nothing = {NULL, NULL, 0, 0};
    size_t depth = bf16 ? HEAD_SIZE / 2 : HEAD_SIZE;
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < vectors; v++)
            sums[r][v] = v16_set(0.0f);
    }
    multiply(bf16, sums, q, depth, keys, BLOCK_COLUMNS, depth, rows, vectors, &nothing);
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < vectors; v++)
            v16_store(scores + (size_t)r * stride + 16 * v, sums[r][v]);
    }
}

INLINE void score_rows(bool bf16, const uint32_t *q, const uint32_t *keys, uint32_t tokens,
                       float *scores, size_t stride, const int rows) {
    size_t depth = bf16 ? HEAD_SIZE / 2 : HEAD_SIZE;
    for (uint32_t key = 0; key < tokens; key += BLOCK_COLUMNS, keys += BLOCK_COLUMNS * depth) {
        uint32_t vectors = (tokens - key + 15) / 16;
        if (BLOCK_VECTORS == 1 || vectors >= BLOCK_VECTORS)
            score_block(bf16, q, keys, scores + key, stride, BLOCK_VECTORS, rows);
#if BLOCK_VECTORS > 1
        else if (vectors == 3)
            score_block(bf16, q, keys, scores + key, stride, 3, rows);
        else if (vectors == 2)
            score_block(bf16, q, keys, scores + key, stride, 2, rows);
        else
            score_block(bf16, q, keys, scores + key, stride, 1, rows);
#endif
    }
}

INLINE float score_largest(const float *scores, uint32_t tokens) {
    uint32_t whole = tokens / 16 * 16;
    v16 largest = v16_set(-INFINITY);
    for (uint32_t i = 0; i < whole; i += 16)
        largest = v16_max(largest, v16_load(scores + i));
    if (whole < tokens)
        largest = v16_max(largest, v16_select(v16_below(tokens - whole), v16_load(scores + whole),
                                              v16_set(-INFINITY)));
    return v16_largest(largest);
}

/* Replaces scores by weights and returns the inverse of their sum. The weights after the last
 * token, up to a whole vector, become zero. */
INLINE float softmax(bool bf16, float *scores, uint32_t tokens, float largest) {
    v16 scale = v16_set(SOFTMAX_SCALE), top = v16_set(largest);
    v16 partial = v16_set(0.0f);
    for (uint32_t i = 0; i < tokens; i += 16) {
        v16 x = v16_mul(v16_sub(v16_load(scores + i), top), scale);
        v16 p = v16_exp2(v16_max(v16_set(EXP2_LOW), x));
        if (tokens - i < 16)
            p = v16_select(v16_below(tokens - i), p, v16_set(0.0f));
        partial = v16_add(partial, p);
        element_store(bf16, scores, i, p);
    }
    return 1.0f / v16_sum(partial);
}

/* Computes the sums of weighted values, for some queries and BLOCK_COLUMNS columns of the head. */
INLINE void value_block(bool bf16, const struct attention *t, size_t row, size_t column,
                        const float *weights, size_t stride, const uint32_t *values,
                        const float *inverse, const int rows) {
    v16 sums[BLOCK_ROWS][BLOCK_VECTORS];
    struct ahead nothing = {NULL, NULL, 0, 0};
    size_t depth = bf16 ? (t->tokens + 1) / 2 : t->tokens;
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < BLOCK_VECTORS; v++)
            sums[r][v] = v16_set(0.0f);
    }
    multiply(bf16, sums, (const uint32_t *)weights, stride, values + column, HEAD_SIZE, depth, rows,
             BLOCK_VECTORS, &nothing);
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        UNROLL(4)
        for (int v = 0; v < BLOCK_VECTORS; v++)
            element_store(bf16, t->out, (row + (size_t)r) * t->out_stride + column + 16 * (size_t)v,
                          v16_mul(sums[r][v], v16_set(inverse[r])));
    }
}

INLINE void attention_block(bool bf16, const struct attention *t, size_t row, float *scores,
                            const uint32_t *keys, const uint32_t *values, const int rows) {
    size_t stride = attention_score_stride(t->tokens), depth = bf16 ? HEAD_SIZE / 2 : HEAD_SIZE;
    float largest[BLOCK_ROWS], inverse[BLOCK_ROWS];
    score_rows(bf16, (const uint32_t *)t->q + row * depth, keys, t->tokens, scores, stride, rows);
    for (size_t r = 0; r < (size_t)rows; r++)
        largest[r] = score_largest(scores + r * stride, t->tokens);
    for (size_t r = 0; r < (size_t)rows; r++)
        inverse[r] = softmax(bf16, scores + r * stride, t->tokens, largest[r]);
    for (size_t column = 0; column < HEAD_SIZE; column += BLOCK_COLUMNS)
        value_block(bf16, t, row, column, scores, stride, values, inverse, rows);
}

INLINE void attention(bool bf16, const struct attention *t) {
    uint32_t blocks = (t->tokens + BLOCK_ROWS - 1) / BLOCK_ROWS;
    size_t depth = bf16 ? HEAD_SIZE / 2 : HEAD_SIZE;
    float *scores = t->scratch;
    uint32_t *keys = (uint32_t *)(scores + BLOCK_ROWS * attention_score_stride(t->tokens));
    uint32_t *pairs = keys + depth * ((t->tokens + 63) / 64 * 64);
    const uint32_t *values = bf16 ? pairs : t->v;
    keys_turn(t->k, t->tokens, depth, keys);
    if (bf16)
        values_pair(t->v, t->tokens, pairs);
    for (uint32_t row = 0; row < t->tokens; blocks--) {
        uint32_t rows = next_rows(t->tokens - row, blocks);
        WITH_ROWS(rows, attention_block, bf16, t, row, scores, keys, values)
        row += rows;
    }
}

INLINE void row_moments(const struct norm *norm, const float *x, float *mean, float *inverse) {
    v16 sums = v16_set(0.0f), squares = v16_set(0.0f);
    for (uint32_t i = 0; i < norm->width; i += 16)
        sums = v16_add(sums, v16_load(x + i));
    *mean = v16_sum(sums) / (float)norm->width;
    for (uint32_t i = 0; i < norm->width; i += 16) {
        v16 centred = v16_sub(v16_load(x + i), v16_set(*mean));
        squares = v16_fma(centred, centred, squares);
    }
    float variance = v16_sum(squares) / (float)norm->width;
    *inverse = 1.0f / sqrtf(variance + norm->epsilon);
}

INLINE v16 norm_values(const struct norm *norm, const float *x, uint32_t i, float mean,
                       float inverse) {
    v16 centred = v16_sub(v16_load(x + i), v16_set(mean));
    return v16_fma(v16_mul(centred, v16_set(inverse)), v16_load(norm->gain + i),
                   v16_load(norm->bias + i));
}

INLINE void norm_rows(bool bf16, const struct norm *norm, const float *x, uint32_t rows,
                      void *out) {
    for (size_t row = 0; row < rows; row++, x += norm->width) {
        float mean, inverse;
        row_moments(norm, x, &mean, &inverse);
        for (uint32_t i = 0; i < norm->width; i += 16)
            element_store(bf16, out, row * norm->width + i, norm_values(norm, x, i, mean, inverse));
    }
}

/* A value that is not finite gives NaN when it is multiplied by zero, and a sum with NaN stays NaN.
 */
static bool norm_output(const struct norm *norm, const float *x, float *out) {
    float mean, inverse;
    v16 zero = v16_set(0.0f), check = zero;
    row_moments(norm, x, &mean, &inverse);
    for (uint32_t i = 0; i < norm->width; i += 16) {
        v16 value = norm_values(norm, x, i, mean, inverse);
        check = v16_fma(value, zero, check);
        v16_store(out + i, value);
    }
    return v16_sum(check) == 0.0f;
}

KERNELS_DEFINE(KERNELS_TABLE, KERNELS_NAME, BLOCK_COLUMNS);
