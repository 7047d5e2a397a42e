/* SPDX-License-Identifier: Apache-2.0
 *
 * Converts the weights row by row. A weight that is not finite stays so, and the records that it
 * affects fail. If a finite weight does not fit the type, the model is refused, because it would
 * become infinite and all records would fail.
 */
#include "cuda/weights.h"
#include "ipc/base/half.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

/* Aligns every part to 256 bytes, which vector loads and tensor cores handle best. */
static size_t weight_section(size_t *end, size_t bytes) {
    size_t start = *end;
    *end = (start + bytes + 255) / 256 * 256;
    return start;
}

static void layer_places(struct weight_places *p, size_t hidden, size_t ffn) {
    size_t end = 0, real = sizeof(float), half = 2;
    p->input_gain = weight_section(&end, hidden * real);
    p->input_bias = weight_section(&end, hidden * real);
    p->qkv = weight_section(&end, 3 * hidden * hidden * half);
    p->qkv_bias = weight_section(&end, 3 * hidden * half);
    p->dense = weight_section(&end, hidden * hidden * half);
    p->dense_bias = weight_section(&end, hidden * real);
    p->post_gain = weight_section(&end, hidden * real);
    p->post_bias = weight_section(&end, hidden * real);
    p->fc1 = weight_section(&end, ffn * hidden * half);
    p->fc1_bias = weight_section(&end, ffn * half);
    p->fc2 = weight_section(&end, hidden * ffn * half);
    p->fc2_bias = weight_section(&end, hidden * real);
    p->layer_bytes = end;
}

static struct weight_places places_make(const struct model_config *config) {
    struct weight_places p;
    size_t end = 0, row = config->hidden * sizeof(float);
    layer_places(&p, config->hidden, config->ffn);
    p.words = weight_section(&end, config->vocabulary * row);
    p.positions = weight_section(&end, config->positions * row);
    p.final_gain = weight_section(&end, row);
    p.final_bias = weight_section(&end, row);
    p.layers = weight_section(&end, config->layers * p.layer_bytes);
    p.bytes = end;
    return p;
}

/* The state of a conversion. */
struct conversion {
    enum gpu_type type;
    float *row;     /* [the longest row] */
    char fault[96]; /* text about the first weight that does not fit, or empty */
};

static void floats_write(const struct tensor *tensor, unsigned char *out) {
    for (int64_t row = 0; row < tensor->rows; row++)
        tensor_read_row(tensor, row, (float *)(void *)out + row * tensor->columns);
}

static uint16_t half_from_float(enum gpu_type type, float value) {
    return type == GPU_BF16 ? bf16_from_float(value) : f16_from_float(value);
}

static bool half_is_finite(enum gpu_type type, uint16_t bits) {
    uint16_t exponent = type == GPU_BF16 ? 0x7f80 : 0x7c00;
    return (bits & exponent) != exponent;
}

static void halves_write(struct conversion *run, const struct tensor *tensor, const char *name,
                         uint32_t layer, unsigned char *out) {
    uint16_t *at = (uint16_t *)(void *)out;
    for (int64_t row = 0; row < tensor->rows; row++) {
        tensor_read_row(tensor, row, run->row);
        for (int64_t i = 0; i < tensor->columns; i++, at++) {
            *at = half_from_float(run->type, run->row[i]);
            if (!half_is_finite(run->type, *at) && float_is_finite(run->row[i]) && !run->fault[0])
                snprintf(run->fault, sizeof run->fault, "layer %u, %s: a weight of %g", layer, name,
                         (double)run->row[i]);
        }
    }
}

static void layer_write(struct conversion *run, const struct weight_places *p,
                        const struct layer_weights *w, uint32_t layer, unsigned char *out) {
    floats_write(&w->input_norm_gain, out + p->input_gain);
    floats_write(&w->input_norm_bias, out + p->input_bias);
    halves_write(run, &w->qkv_weight, "query_key_value.weight", layer, out + p->qkv);
    halves_write(run, &w->qkv_bias, "query_key_value.bias", layer, out + p->qkv_bias);
    halves_write(run, &w->dense_weight, "dense.weight", layer, out + p->dense);
    floats_write(&w->dense_bias, out + p->dense_bias);
    floats_write(&w->post_norm_gain, out + p->post_gain);
    floats_write(&w->post_norm_bias, out + p->post_bias);
    halves_write(run, &w->fc1_weight, "dense_h_to_4h.weight", layer, out + p->fc1);
    halves_write(run, &w->fc1_bias, "dense_h_to_4h.bias", layer, out + p->fc1_bias);
    halves_write(run, &w->fc2_weight, "dense_4h_to_h.weight", layer, out + p->fc2);
    floats_write(&w->fc2_bias, out + p->fc2_bias);
}

static void block_write(struct conversion *run, const struct weights *weights,
                        const struct model *model) {
    const struct weight_places *p = &weights->places;
    floats_write(&model->word_embeddings, weights->block + p->words);
    floats_write(&model->position_embeddings, weights->block + p->positions);
    floats_write(&model->final_norm_gain, weights->block + p->final_gain);
    floats_write(&model->final_norm_bias, weights->block + p->final_bias);
    for (uint32_t i = 0; i < model->config.layers; i++)
        layer_write(run, p, &model->layers[i], i, weights->block + p->layers + i * p->layer_bytes);
}

int weights_init(struct weights *weights, const struct model *model, enum gpu_type type,
                 struct error *error) {
    const struct model_config *config = &model->config;
    size_t widest = config->ffn > 3 * config->hidden ? config->ffn : 3 * config->hidden;
    struct conversion run = {.type = type, .row = malloc(widest * sizeof(float))};
    weights->places = places_make(config);
    weights->block = aligned_alloc(256, weights->places.bytes);
    if (run.row && weights->block) {
        memset(weights->block, 0, weights->places.bytes);
        block_write(&run, weights, model);
    }
    free(run.row);
    if (run.row && weights->block && !run.fault[0])
        return 0;
    if (!run.fault[0])
        error_set(error, EX_SOFTWARE, "out of memory for the weights of %s (%zu MB)", model->name,
                  weights->places.bytes >> 20);
    else
        error_set(error, EX_CONFIG, "%s: %s does not fit %s; use %s--backend cpu", model->name,
                  run.fault, type == GPU_F16 ? "float16" : "bfloat16",
                  type == GPU_F16 ? "--precision bf16 (compute capability 8.0 or later) or " : "");
    weights_finish(weights);
    return -1;
}

void weights_finish(struct weights *weights) {
    free(weights->block);
    *weights = (struct weights){0};
}
