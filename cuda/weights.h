/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's weights as devices need them, in one block that is copied to them as it is. Matrices,
 * and biases that are added to half results, are half; everything else is float32. The block stays
 * in the host's memory, so that it can be copied to a device again after a failure.
 */
#ifndef ESM1NV_CUDA_WEIGHTS_H
#define ESM1NV_CUDA_WEIGHTS_H

#include "cuda/kernels.h"
#include "daemon/model/model.h"

/* Offsets in bytes: those of a layer's parts count from the start of the layer, all others from the
 * start of the block. */
struct weight_places {
    size_t words, positions, final_gain, final_bias;
    size_t layers, layer_bytes;
    size_t input_gain, input_bias, post_gain, post_bias;
    size_t qkv, qkv_bias, dense, dense_bias, fc1, fc1_bias, fc2, fc2_bias;
    size_t bytes; /* of the block */
};

struct weights {
    struct weight_places places;
    unsigned char *block;
};

/* Converts the model's tensors. Returns 0, or -1: EX_CONFIG when a value does not fit the type,
 * with the name of the tensor, or EX_SOFTWARE when memory runs out. */
int weights_init(struct weights *weights, const struct model *model, enum gpu_type type,
                 struct error *error);

/* Safe on a null value. */
void weights_finish(struct weights *weights);

#endif
