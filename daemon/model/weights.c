/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the weights of the encoder in the table of tensors: each is looked up by its name, and its
 * shape is checked against the configuration. Tensors outside the encoder, such as lm_head, may be
 * present and are counted. A tensor inside the encoder that nothing here uses means that the model
 * is of another architecture, and is refused.
 */
#include "daemon/model/loader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define EMBEDDING "language_model.embedding."
#define ENCODER "language_model.encoder."
#define WORD_EMBEDDINGS EMBEDDING "word_embeddings.weight"

struct binder {
    struct model *model;
    const struct checkpoint *checkpoint;
    const char *prefix;
    bool *used;     /* by tensor of the checkpoint */
    unsigned types; /* a bit for each enum tensor_type met */
    struct error *error;
};

/* Names begin with model. or module. when the class that was saved was wrapped in others. */
static const char *find_prefix(const struct checkpoint *checkpoint) {
    static const char *const prefixes[] = {"model.", "", "model.module.", "module."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s" WORD_EMBEDDINGS, prefixes[i]);
        if (checkpoint_find(checkpoint, name))
            return prefixes[i];
    }
    return NULL;
}

static void print_shape(char text[TENSOR_RANK_MAX * 24], const struct pickle_tensor *tensor) {
    char *at = stpcpy(text, "[");
    for (int i = 0; i < tensor->rank; i++)
        at += sprintf(at, "%s%" PRId64, i ? ", " : "", tensor->shape[i]);
    stpcpy(at, "]");
}

/* The tensor must be [rows, columns]; rows is 0 for a tensor of rank 1, and -1 for any number. */
static int check_tensor(const struct pickle_tensor *tensor, const char *name, int64_t rows,
                        int64_t columns, struct error *error) {
    char shape[TENSOR_RANK_MAX * 24], wanted[64];
    if (tensor->storage->type < 0)
        return error_set(error, EX_CONFIG,
                         "%s: is of %s; only float32, float16 and bfloat16 are understood", name,
                         tensor->storage->name);
    int rank = rows ? 2 : 1;
    if (tensor->rank == rank && tensor->shape[rank - 1] == columns &&
        (rows <= 0 || tensor->shape[0] == rows))
        return 0;
    print_shape(shape, tensor);
    if (rows > 0)
        snprintf(wanted, sizeof wanted, "[%" PRId64 ", %" PRId64 "]", rows, columns);
    else
        snprintf(wanted, sizeof wanted, "[%s%" PRId64 "]", rows ? "any, " : "", columns);
    return error_set(error, EX_CONFIG, "%s: has shape %s where the configuration asks for %s", name,
                     shape, wanted);
}

static int bind(struct binder *binder, struct tensor *tensor, int64_t rows, int64_t columns,
                const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", binder->prefix, name);
    const struct checkpoint_tensor *found = checkpoint_find(binder->checkpoint, full);
    if (!found)
        return error_set(binder->error, EX_CONFIG, "%s: the checkpoint has no such tensor", full);
    const struct pickle_tensor *description = &found->description;
    if (check_tensor(description, full, rows, columns, binder->error) < 0)
        return -1;
    const bool matrix = description->rank == 2;
    *tensor = (struct tensor){
        .data = found->data,
        .type = (enum tensor_type)description->storage->type,
        .rows = matrix ? description->shape[0] : 1,
        .columns = columns,
        .row_stride = matrix ? description->stride[0] : 0,
        .column_stride = description->stride[matrix],
    };
    binder->used[found - binder->checkpoint->tensors] = true;
    binder->types |= 1u << tensor->type;
    return 0;
}

/* Binds the weight [rows, columns] and bias [rows] of a linear map of a layer, or, if rows is 0,
 * the gain and bias [columns] of a LayerNorm. */
static int bind_pair(struct binder *binder, struct tensor *weight, struct tensor *bias,
                     uint32_t layer, const char *name, int64_t rows, int64_t columns) {
    char full[128];
    snprintf(full, sizeof full, ENCODER "layers.%" PRIu32 ".%s.weight", layer, name);
    if (bind(binder, weight, rows, columns, full) < 0)
        return -1;
    snprintf(full, sizeof full, ENCODER "layers.%" PRIu32 ".%s.bias", layer, name);
    return bind(binder, bias, 0, rows > 0 ? rows : columns, full);
}

static int bind_layer(struct binder *binder, struct layer_weights *layer, uint32_t index) {
    const int64_t hidden = binder->model->config.hidden, ffn = binder->model->config.ffn;
    if (bind_pair(binder, &layer->input_norm_gain, &layer->input_norm_bias, index,
                  "input_layernorm", 0, hidden) < 0 ||
        bind_pair(binder, &layer->qkv_weight, &layer->qkv_bias, index,
                  "self_attention.query_key_value", 3 * hidden, hidden) < 0 ||
        bind_pair(binder, &layer->dense_weight, &layer->dense_bias, index, "self_attention.dense",
                  hidden, hidden) < 0 ||
        bind_pair(binder, &layer->post_norm_gain, &layer->post_norm_bias, index,
                  "post_attention_layernorm", 0, hidden) < 0 ||
        bind_pair(binder, &layer->fc1_weight, &layer->fc1_bias, index, "mlp.dense_h_to_4h", ffn,
                  hidden) < 0)
        return -1;
    return bind_pair(binder, &layer->fc2_weight, &layer->fc2_bias, index, "mlp.dense_4h_to_h",
                     hidden, ffn);
}

/* There must be a row for every piece, and no more rows than 16-bit tokens can name. */
static int bind_words(struct binder *binder) {
    struct model *model = binder->model;
    if (bind(binder, &model->word_embeddings, -1, model->config.hidden, WORD_EMBEDDINGS) < 0)
        return -1;
    int64_t rows = model->word_embeddings.rows;
    if (rows < model->tokenizer.pieces || rows > UINT16_MAX + 1)
        return error_set(binder->error, EX_CONFIG,
                         "%s" WORD_EMBEDDINGS ": has %" PRId64 " rows, but the tokenizer %" PRIu32
                         " pieces",
                         binder->prefix, rows, model->tokenizer.pieces);
    model->config.vocabulary = (uint32_t)rows;
    return 0;
}

static int bind_all(struct binder *binder) {
    struct model *model = binder->model;
    const int64_t hidden = model->config.hidden;
    if (bind_words(binder) < 0 || bind(binder, &model->position_embeddings, model->config.positions,
                                       hidden, EMBEDDING "position_embeddings.weight") < 0)
        return -1;
    for (uint32_t i = 0; i < model->config.layers; i++)
        if (bind_layer(binder, &model->layers[i], i) < 0)
            return -1;
    if (bind(binder, &model->final_norm_gain, 0, hidden, ENCODER "final_layernorm.weight") < 0)
        return -1;
    return bind(binder, &model->final_norm_bias, 0, hidden, ENCODER "final_layernorm.bias");
}

static bool name_begins_with(struct bytes name, const char *prefix, const char *part) {
    size_t length = strlen(prefix);
    return name.size >= length + strlen(part) && memcmp(name.data, prefix, length) == 0 &&
           memcmp(name.data + length, part, strlen(part)) == 0;
}

/* Counts the parameters of the file, and refuses tensors inside the encoder that nothing uses. */
static int check_rest(const struct binder *binder) {
    for (size_t i = 0; i < binder->checkpoint->count; i++) {
        const struct checkpoint_tensor *tensor = &binder->checkpoint->tensors[i];
        struct bytes name = tensor->description.name;
        if (!tensor->description.storage->floating)
            continue;
        if (!binder->used[i] && (name_begins_with(name, binder->prefix, EMBEDDING) ||
                                 name_begins_with(name, binder->prefix, ENCODER)))
            return error_set(binder->error, EX_CONFIG,
                             "%.*s: a tensor that the configured architecture does not have",
                             (int)(name.size > 256 ? 256 : name.size), (const char *)name.data);
        binder->model->parameters += (uint64_t)tensor->elements;
    }
    return 0;
}

static void name_types(char name[16], unsigned types) {
    const char *text = types == 1u << TENSOR_F32    ? "float32"
                       : types == 1u << TENSOR_F16  ? "float16"
                       : types == 1u << TENSOR_BF16 ? "bfloat16"
                                                    : "mixed";
    stpcpy(name, text);
}

int weights_bind(struct model *model, const struct checkpoint *checkpoint, struct error *error) {
    struct binder binder = {.model = model,
                            .checkpoint = checkpoint,
                            .prefix = find_prefix(checkpoint),
                            .error = error};
    if (!binder.prefix)
        return error_set(error, EX_CONFIG, WORD_EMBEDDINGS ": the checkpoint has no such tensor");
    model->layers = calloc(model->config.layers, sizeof *model->layers);
    binder.used = calloc(checkpoint->count, sizeof *binder.used);
    int result = -1;
    if (!model->layers || !binder.used)
        error_set(error, EX_SOFTWARE, "out of memory");
    else if (bind_all(&binder) == 0)
        result = check_rest(&binder);
    name_types(model->weights_type, binder.types);
    free(binder.used);
    return result;
}
