/* SPDX-License-Identifier: Apache-2.0
 *
 * Queues the forward pass, kernels and matrix products, on the compute stream. Nothing here depends
 * on what a batch holds, because the plan in device memory says how much of the bucket is in use.
 * So a pass is captured once and replayed.
 */
#include "cuda/call.h"
#include "cuda/device.h"

struct pass {
    const struct device *device;
    unsigned bucket;
    struct gpu_shape shape;
    struct gpu_plan plan;
};

static const unsigned char *layer_at(const struct device *d, uint32_t layer) {
    const struct weight_places *p = &d->weights->places;
    return d->device_weights + p->layers + layer * p->layer_bytes;
}

static struct gpu_norm norm_at(const unsigned char *start, size_t gain, size_t bias) {
    return (struct gpu_norm){(const void *)(start + gain), (const void *)(start + bias)};
}

static struct gpu_norm input_norm(const struct device *d, uint32_t layer) {
    const struct weight_places *p = &d->weights->places;
    return norm_at(layer_at(d, layer), p->input_gain, p->input_bias);
}

void forward_operands(const struct device *d, uint32_t layer, struct operands operands[PRODUCTS]) {
    const struct weight_places *p = &d->weights->places;
    const unsigned char *w = layer_at(d, layer);
    operands[PRODUCT_QKV] = (struct operands){w + p->qkv, w + p->qkv_bias, d->normed, d->wide};
    operands[PRODUCT_DENSE] =
        (struct operands){w + p->dense, w + p->dense_bias, d->normed, d->residual};
    operands[PRODUCT_FC1] = (struct operands){w + p->fc1, w + p->fc1_bias, d->normed, d->wide};
    operands[PRODUCT_FC2] = (struct operands){w + p->fc2, w + p->fc2_bias, d->wide, d->residual};
}

/* Queues bias and activation of a product that the library did not fuse them into. */
static int epilogue_queue(const struct pass *pass, enum product product,
                          const struct operands *operands, struct error *error) {
    const struct device *d = pass->device;
    const struct gemm_product *described = &d->gemm.products[product];
    enum activation form = product != PRODUCT_FC1             ? ACTIVATION_NONE
                           : d->sizes->model.gelu == GELU_ERF ? ACTIVATION_ERF
                                                              : ACTIVATION_TANH;
    if (described->residual)
        return CUDA(gpu_bias_residual, &pass->shape, &pass->plan, operands->output, operands->bias,
                    d->compute);
    return CUDA(gpu_bias, &pass->shape, &pass->plan, operands->output, operands->bias,
                described->rows, form, d->compute);
}

static int product_queue(const struct pass *pass, enum product product,
                         const struct operands *operands, struct error *error) {
    const struct device *d = pass->device;
    const struct product_choice *choice = &d->choices->products[product];
    if (product_run(&d->gemm, product, pass->bucket, choice, operands, d->compute, error) < 0)
        return -1;
    return choice->fused ? 0 : epilogue_queue(pass, product, operands, error);
}

static int layer_queue(const struct pass *pass, uint32_t layer, struct error *error) {
    const struct device *d = pass->device;
    const struct weight_places *p = &d->weights->places;
    struct operands operands[PRODUCTS];
    forward_operands(d, layer, operands);
    if (product_queue(pass, PRODUCT_QKV, &operands[PRODUCT_QKV], error) < 0 ||
        CUDA(gpu_attention, &pass->shape, &pass->plan, d->wide, d->normed, d->compute) < 0 ||
        product_queue(pass, PRODUCT_DENSE, &operands[PRODUCT_DENSE], error) < 0 ||
        CUDA(gpu_layernorm, &pass->shape, &pass->plan, d->residual,
             norm_at(layer_at(d, layer), p->post_gain, p->post_bias), d->normed, d->compute) < 0 ||
        product_queue(pass, PRODUCT_FC1, &operands[PRODUCT_FC1], error) < 0 ||
        product_queue(pass, PRODUCT_FC2, &operands[PRODUCT_FC2], error) < 0)
        return -1;
    if (layer + 1 == d->sizes->model.layers)
        return 0;
    return CUDA(gpu_layernorm, &pass->shape, &pass->plan, d->residual, input_norm(d, layer + 1),
                d->normed, d->compute);
}

int forward_queue(const struct device *d, const struct buffer_set *set, unsigned bucket,
                  struct error *error) {
    const struct weight_places *p = &d->weights->places;
    const struct pass pass = {.device = d,
                              .bucket = bucket,
                              .shape = sizes_shape(d->sizes, bucket),
                              .plan = plan_at(set->device_plan, &d->sizes->plans[bucket])};
    if (CUDA(gpu_embed, &pass.shape, &pass.plan, (const void *)(d->device_weights + p->words),
             (const void *)(d->device_weights + p->positions), input_norm(d, 0), d->residual,
             d->normed, d->compute) < 0)
        return -1;
    for (uint32_t layer = 0; layer < d->sizes->model.layers; layer++)
        if (layer_queue(&pass, layer, error) < 0)
            return -1;
    return CUDA(gpu_output, &pass.shape, &pass.plan, d->residual,
                norm_at(d->device_weights, p->final_gain, p->final_bias), d->wide,
                set->device_output, (void *)set->device_output, d->compute);
}
