/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's weights as the device wants them, one block that is copied as it is: matrices and the
 * biases of half results in half, all else in float32. It stays in the host's memory, so that a
 * device that failed, or another one, can be given it again.
 */
#ifndef ESM1NV_CUDA_WEIGHTS_H
#define ESM1NV_CUDA_WEIGHTS_H

#include "cuda/kernels.h"
#include "daemon/model/model.h"

/* Offsets in bytes: of a layer's parts from the layer's start, of all else from the block's. */
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

/* Converts the model's tensors. -1, naming the tensor, if a value does not fit the type. */
int weights_init(struct weights *weights, const struct model *model, enum gpu_type type,
                 struct error *error);

/* Safe on what is zero. */
void weights_finish(struct weights *weights);

#endif
