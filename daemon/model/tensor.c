/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the values of a tensor, whatever type and strides it is stored in. It has a file of its own
 * because engines that are plugins link it, and nothing else of this folder.
 */
#include "daemon/model/model.h"
#include "ipc/base/half.h"

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
        out[i] = tensor->type == TENSOR_F16 ? float_from_f16(bits) : float_from_bf16(bits);
    }
}
