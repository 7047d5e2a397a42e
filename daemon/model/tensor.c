/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a tensor's values, whatever type and strides it is stored in. Alone in its file, because
 * engines that are plugins take it in and nothing else of the model's code.
 */
#include "daemon/model/model.h"

#include <string.h>

/* Exact: float32 holds every float16, the subnormal ones as normal numbers. */
static float widen_f16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31;
    uint32_t mantissa = bits & 0x3ff, word;
    float value;
    if (exponent == 0) {
        value = (float)mantissa * 0x1p-24F;
        return sign ? -value : value;
    }
    word = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13;
    memcpy(&value, &word, sizeof value);
    return value;
}

static float widen_bf16(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

void tensor_read_row(const struct tensor *tensor, int64_t row, float *out) {
    if (tensor->type == TENSOR_F32) {
        const unsigned char *data = tensor->data + 4 * row * tensor->row_stride;
        if (tensor->column_stride == 1)
            memcpy(out, data, 4 * (size_t)tensor->columns);
        else
            for (int64_t i = 0; i < tensor->columns; i++)
                memcpy(&out[i], data + 4 * i * tensor->column_stride, 4);
        return;
    }
    const unsigned char *data = tensor->data + 2 * row * tensor->row_stride;
    for (int64_t i = 0; i < tensor->columns; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i * tensor->column_stride, sizeof bits);
        out[i] = tensor->type == TENSOR_F16 ? widen_f16(bits) : widen_bf16(bits);
    }
}
