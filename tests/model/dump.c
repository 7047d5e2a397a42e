/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens the models named on stdin, one a line, and prints a line of JSON for each: the error, or
 * what was loaded, with the SHA-256 of every tensor as contiguous little-endian float32. One
 * process for all, so that thousands of bad files are tried in a moment.
 */
#include "daemon/model/model.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++)
        printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    putchar('"');
}

static void print_tensor(const char *name, const struct tensor *tensor) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length;
    float *row = calloc((size_t)tensor->columns + 1, sizeof *row);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (int64_t i = 0; i < tensor->rows; i++) {
        tensor_read_row(tensor, i, row);
        EVP_DigestUpdate(context, row, (size_t)tensor->columns * sizeof *row);
    }
    EVP_DigestFinal_ex(context, digest, &length);
    EVP_MD_CTX_free(context);
    free(row);
    printf(", \"%s\": \"", name);
    for (unsigned i = 0; i < length; i++)
        printf("%02x", digest[i]);
    putchar('"');
}

static void print_layer(const struct layer_weights *layer, uint32_t index) {
    const struct {
        const char *name;
        const struct tensor *tensor;
    } parts[] = {{"input_layernorm.weight", &layer->input_norm_gain},
                 {"input_layernorm.bias", &layer->input_norm_bias},
                 {"self_attention.query_key_value.weight", &layer->qkv_weight},
                 {"self_attention.query_key_value.bias", &layer->qkv_bias},
                 {"self_attention.dense.weight", &layer->dense_weight},
                 {"self_attention.dense.bias", &layer->dense_bias},
                 {"post_attention_layernorm.weight", &layer->post_norm_gain},
                 {"post_attention_layernorm.bias", &layer->post_norm_bias},
                 {"mlp.dense_h_to_4h.weight", &layer->fc1_weight},
                 {"mlp.dense_h_to_4h.bias", &layer->fc1_bias},
                 {"mlp.dense_4h_to_h.weight", &layer->fc2_weight},
                 {"mlp.dense_4h_to_h.bias", &layer->fc2_bias}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[128];
        snprintf(name, sizeof name, "language_model.encoder.layers.%" PRIu32 ".%s", index,
                 parts[i].name);
        print_tensor(name, parts[i].tensor);
    }
}

static void print_weights(const struct model *model) {
    printf("\"tensors\": {\"\": \"\"");
    print_tensor("language_model.embedding.word_embeddings.weight", &model->word_embeddings);
    print_tensor("language_model.embedding.position_embeddings.weight",
                 &model->position_embeddings);
    for (uint32_t i = 0; i < model->config.layers; i++)
        print_layer(&model->layers[i], i);
    print_tensor("language_model.encoder.final_layernorm.weight", &model->final_norm_gain);
    print_tensor("language_model.encoder.final_layernorm.bias", &model->final_norm_bias);
    printf("}");
}

static void print_tokenizer(const struct tokenizer *tokenizer) {
    printf("\"pieces\": %" PRIu32 ", \"specials\": [%u, %u, %u, %u, %u], \"ids\": [",
           tokenizer->pieces, tokenizer->unknown, tokenizer->bos, tokenizer->eos, tokenizer->pad,
           tokenizer->mask);
    for (int i = 0; i < 256; i++)
        printf("%s%" PRId32, i ? ", " : "", tokenizer->id[i]);
    printf("], \"alphabet\": [");
    for (int i = 0; i < 256; i++)
        printf("%s%d", i ? ", " : "", tokenizer->alphabet[i / 8] >> i % 8 & 1);
    printf("]");
}

static void print_model(struct model *model) {
    const struct model_config *config = &model->config;
    printf("{\"name\": ");
    print_text(model->name);
    printf(", \"synthetic\": %d, \"layers\": %" PRIu32 ", \"hidden\": %" PRIu32
           ", \"ffn\": %" PRIu32 ", \"heads\": %" PRIu32 ", \"positions\": %" PRIu32
           ", \"vocabulary\": %" PRIu32
           ", \"epsilon\": %.9g, \"gelu\": \"%s\", \"parameters\": %" PRIu64
           ", \"type\": \"%s\", \"weights\": \"%s\", \"digest\": \"%s\", ",
           model->synthetic, config->layers, config->hidden, config->ffn, config->heads,
           config->positions, config->vocabulary, (double)config->epsilon,
           config->gelu == GELU_TANH ? "tanh" : "erf", model->parameters, model->weights_type,
           model->weights_sha256, model->digest);
    print_tokenizer(&model->tokenizer);
    printf(", ");
    print_weights(model);
    model_drop_weights(model);
    model_drop_weights(model); /* idempotent */
    printf("}\n");
}

int main(void) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        struct model *model;
        struct error error = {0};
        if (model_open(&model, line, &error) == 0) {
            print_model(model);
        } else {
            printf("{\"status\": %d, \"error\": ", error.status);
            print_text(error.text);
            printf("}\n");
        }
        model_destroy(model);
    }
    return 0;
}
