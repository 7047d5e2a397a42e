/* SPDX-License-Identifier: Apache-2.0
 *
 * Computes the SHA-256 of the weights, and the model digest. The model digest is the SHA-256 of a
 * text that lists everything that decides the bytes of an embedding. A model has exactly one such
 * text; its first line names the version of the form.
 */
#include "daemon/model/loader.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int digest_bytes(char hex[65], const void *data, size_t size, struct error *error) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (!EVP_Digest(data, size, digest, &length, EVP_sha256(), NULL) || length != 32)
        return error_set(error, EX_SOFTWARE, "libcrypto does not compute SHA-256");
    for (int i = 0; i < 32; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
    return 0;
}

static void describe_model(FILE *text, const struct model *model, const struct pieces *pieces) {
    const struct model_config *config = &model->config;
    uint32_t epsilon;
    memcpy(&epsilon, &config->epsilon, sizeof epsilon);
    fprintf(text, "esm1nv model 1\narithmetic %d\nweights %s\n", ARITHMETIC_REVISION,
            model->weights_sha256);
    fprintf(text, "layers %" PRIu32 "\nhidden %" PRIu32 "\nffn %" PRIu32 "\nheads %" PRIu32 "\n",
            config->layers, config->hidden, config->ffn, config->heads);
    fprintf(text, "positions %" PRIu32 "\nvocabulary %" PRIu32 "\nepsilon %08" PRIx32 "\ngelu %s\n",
            config->positions, config->vocabulary, epsilon,
            config->gelu == GELU_TANH ? "tanh" : "erf");
    for (uint32_t id = 0; id < pieces->count; id++) {
        const struct piece *piece = &pieces->list[id];
        fprintf(text, "piece %" PRIu32 " %d %zu ", id, (int)piece->type, piece->text.size);
        fwrite(piece->text.data, 1, piece->text.size, text);
        fputc('\n', text);
    }
}

int digest_model(struct model *model, const struct pieces *pieces, struct error *error) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return error_set(error, EX_SOFTWARE, "out of memory");
    describe_model(stream, model, pieces);
    bool failed = ferror(stream);
    if (fclose(stream) != 0 || failed) {
        free(text);
        return error_set(error, EX_SOFTWARE, "out of memory");
    }
    int result = digest_bytes(model->digest, text, size, error);
    free(text);
    return result;
}
