/* SPDX-License-Identifier: Apache-2.0
 *
 * Products. Behind the cublasLt stand-in operands are widened to float once and packed, and the
 * result is made in blocks that stay in registers; every sum runs over k in order, so a result
 * depends on nothing but its own row and column. Tensor cores compute a lane's values of a product
 * of 16-bit matrices, widened, which the whole warp has given.
 */
#include "core.h"
#include "include/emulation_convert.h"

#include <math.h>
#include <stdlib.h>

#define ROWS 16u   /* of the result, along m: what bias and layout run along */
#define COLUMNS 6u /* along n */

static float element(const void *data, cudaDataType_t type, size_t i) {
    if (type == CUDA_R_32F)
        return ((const float *)data)[i];
    unsigned short bits = ((const unsigned short *)data)[i];
    return type == CUDA_R_16F ? emulation_half_to_float(bits) : emulation_bfloat_to_float(bits);
}

static void element_set(void *data, cudaDataType_t type, size_t i, float value) {
    if (type == CUDA_R_32F)
        ((float *)data)[i] = value;
    else
        ((unsigned short *)data)[i] = type == CUDA_R_16F ? emulation_half_from_float(value)
                                                         : emulation_bfloat_from_float(value);
}

/* Returns where element (i, j) lies. */
static size_t place(const struct gemm_matrix *matrix, size_t i, size_t j) {
    return matrix->transposed ? j + matrix->ld * i : i + matrix->ld * j;
}

/* This is the tanh form, as the library computes it. */
static float gelu(float x) {
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

/* Returns panels of `width` neighbours along the outer side, [panel][k][width], with zeros past the
 * end. */
static float *pack(const struct gemm_matrix *matrix, size_t outer, size_t k, size_t width,
                   bool outer_is_row) {
    size_t panels = (outer + width - 1) / width;
    float *packed = calloc(panels * k * width + 1, sizeof *packed);
    if (!packed)
        emulation_die("no memory for a matrix product");
    for (size_t i = 0; i < outer; i++) {
        float *to = packed + i / width * k * width + i % width;
        for (size_t j = 0; j < k; j++) {
            size_t from = outer_is_row ? place(matrix, i, j) : place(matrix, j, i);
            to[j * width] = element(matrix->data, matrix->type, from);
        }
    }
    return packed;
}

/* Adds the sums over `count` values of k to total[COLUMNS][ROWS]. */
static inline __attribute__((always_inline)) void
tile_body(const float *restrict a, const float *restrict b, size_t count, float *restrict total) {
    typedef float vector __attribute__((vector_size(32), aligned(4)));
    vector sum[COLUMNS][2] = {0};
    for (size_t k = 0; k < count; k++, a += ROWS, b += COLUMNS) {
        const vector low = *(const vector *)a, high = *(const vector *)(a + 8);
        for (unsigned j = 0; j < COLUMNS; j++) {
            sum[j][0] += low * b[j];
            sum[j][1] += high * b[j];
        }
    }
    for (unsigned j = 0; j < COLUMNS; j++) {
        *(vector *)(total + ROWS * j) += sum[j][0];
        *(vector *)(total + ROWS * j + 8) += sum[j][1];
    }
}

static void tile_plain(const float *a, const float *b, size_t count, float *total) {
    tile_body(a, b, count, total);
}

__attribute__((target("avx2"))) static void tile_avx2(const float *a, const float *b, size_t count,
                                                      float *total) {
    tile_body(a, b, count, total);
}

static void finish_tile(const struct gemm *gemm, size_t first_row, size_t first_column,
                        const float *total) {
    for (size_t j = 0; j < COLUMNS && first_column + j < gemm->n; j++)
        for (size_t i = 0; i < ROWS && first_row + i < gemm->m; i++) {
            size_t row = first_row + i, column = first_column + j;
            float value = gemm->alpha * total[ROWS * j + i];
            if (gemm->beta != 0.0f)
                value +=
                    gemm->beta * element(gemm->c.data, gemm->c.type, place(&gemm->c, row, column));
            if (gemm->bias)
                value += element(gemm->bias, gemm->bias_type, row);
            if (gemm->gelu)
                value = gelu(value);
            element_set(gemm->d.data, gemm->d.type, place(&gemm->d, row, column), value);
        }
}

void emulation_gemm(const struct gemm *gemm) {
    void (*tile)(const float *, const float *, size_t, float *) =
        __builtin_cpu_supports("avx2") ? tile_avx2 : tile_plain;
    size_t k = gemm->k;
    float *a = pack(&gemm->a, gemm->m, k, ROWS, true);
    float *b = pack(&gemm->b, gemm->n, k, COLUMNS, false);
    for (size_t column = 0; column < gemm->n; column += COLUMNS)
        for (size_t row = 0; row < gemm->m; row += ROWS) {
            float total[ROWS * COLUMNS] = {0};
            for (size_t first = 0; first < k; first += gemm->piece) {
                size_t count = k - first < gemm->piece ? k - first : gemm->piece;
                tile(a + row * k + first * ROWS, b + column * k + first * COLUMNS, count, total);
            }
            finish_tile(gemm, row, column, total);
        }
    free(a);
    free(b);
}

/* --- Tensor cores ---------------------------------------------------------------------------- */

void emulation_product_m16n8(float sums[4], const struct emulation_payload given[32], int lane) {
    int group = lane / 4, pair = lane % 4;
    for (int i = 0; i < 4; i++) {
        int row = i / 2, column = 2 * pair + i % 2;
        sums[i] = 0.0f;
        for (int k = 0; k < 16; k++)
            sums[i] += given[4 * group + k % 8 / 2].values[4 * (k / 8) + 2 * row + k % 2] *
                       given[4 * column + k % 8 / 2].values[8 + 2 * (k / 8) + k % 2];
    }
}

static float fragment_element(const struct emulation_payload given[32], int place, int offset) {
    int index = emulation_unplace(place);
    return given[index % 32].values[offset + index / 32];
}

void emulation_product_m16n16(float sums[8], const struct emulation_payload given[32], int lane) {
    for (int i = 0; i < 8; i++) {
        int place = emulation_place(lane, i);
        sums[i] = 0.0f;
        for (int k = 0; k < 16; k++)
            sums[i] += fragment_element(given, place / 16 * 16 + k, 0) *
                       fragment_element(given, 16 * k + place % 16, 8);
    }
}
