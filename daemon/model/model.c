/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a model: reads a .nemo file member by member, or makes a synthetic one from a seed. The
 * functions called here report only what is wrong; the file and the member that it is wrong with
 * are put before that text here.
 */
#include "daemon/model/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>

static int read_config(struct model *model, const struct nemo *nemo, char tokenizer[256],
                       struct error *error) {
    static const char name[] = "model_config.yaml";
    struct bytes file;
    if (nemo_find(nemo, name, &file, error) < 0)
        return -1;
    if (config_read(&model->config, tokenizer, file, error) < 0)
        return error_prefix(error, "%s", name);
    return 0;
}

static int read_tokenizer(struct model *model, struct pieces *pieces, const struct nemo *nemo,
                          const char *name, struct error *error) {
    struct bytes file;
    if (nemo_find(nemo, name, &file, error) < 0)
        return -1;
    if (pieces_read(pieces, file, error) < 0 ||
        tokenizer_init(&model->tokenizer, pieces, error) < 0)
        return error_prefix(error, "%s", name);
    return 0;
}

static int read_weights(struct model *model, const struct nemo *nemo, struct error *error) {
    const char *name;
    struct bytes file;
    if (nemo_find_weights(nemo, &name, &file, error) < 0)
        return -1;
    struct checkpoint checkpoint;
    int result = checkpoint_open(&checkpoint, file, error);
    if (result == 0)
        result = weights_bind(model, &checkpoint, error);
    if (result == 0)
        result = digest_bytes(model->weights_sha256, file.data, file.size, error);
    checkpoint_close(&checkpoint);
    return result < 0 ? error_prefix(error, "%s", name) : 0;
}

/* The digest needs the texts of the pieces, which are mapped for as long as the file is. */
static int read_nemo(struct model *model, const struct nemo *nemo, struct error *error) {
    char tokenizer[256];
    struct pieces pieces = {0};
    int result = read_config(model, nemo, tokenizer, error);
    if (result == 0)
        result = read_tokenizer(model, &pieces, nemo, tokenizer, error);
    if (result == 0)
        result = read_weights(model, nemo, error);
    if (result == 0)
        result = digest_model(model, &pieces, error);
    pieces_finish(&pieces);
    return result;
}

static int load_file(struct model *model, const char *path, struct error *error) {
    const char *slash = strrchr(path, '/');
    snprintf(model->name, sizeof model->name, "%s", slash ? slash + 1 : path);
    struct nemo nemo;
    int result = nemo_open(&nemo, path, error);
    if (result == 0) {
        result = read_nemo(model, &nemo, error);
        /* The tensors point into the mapping, so the model takes it over. */
        model->source = nemo.memory;
        model->source_size = nemo.size;
        nemo.memory = NULL;
        nemo_close(&nemo);
    }
    return result < 0 ? error_prefix(error, "%s", path) : 0;
}

static int make_synthetic(struct model *model, const char *seed_text, struct error *error) {
    uint64_t seed = 0;
    char *end = NULL;
    if (seed_text) {
        errno = 0;
        seed = strtoull(seed_text, &end, 10);
        if (*seed_text < '0' || *seed_text > '9' || *end || errno)
            return error_set(error, EX_CONFIG,
                             "synthetic:%s: the seed is not a whole number from 0 to %" PRIu64,
                             seed_text, UINT64_MAX);
    }
    model->synthetic = true;
    snprintf(model->name, sizeof model->name, "synthetic:%" PRIu64, seed);
    struct pieces pieces = {0};
    int result = synthetic_build(model, &pieces, seed, error);
    if (result == 0)
        result = digest_model(model, &pieces, error);
    pieces_finish(&pieces);
    return result < 0 ? error_prefix(error, "%s", model->name) : 0;
}

int model_open(struct model **model, const char *specification, struct error *error) {
    static const char synthetic[] = "synthetic";
    const size_t length = sizeof synthetic - 1;
    int result;
    *model = calloc(1, sizeof **model);
    if (!*model)
        return error_set(error, EX_SOFTWARE, "%s: out of memory", specification);
    if (strcmp(specification, synthetic) == 0)
        result = make_synthetic(*model, NULL, error);
    else if (strncmp(specification, "synthetic:", length + 1) == 0)
        result = make_synthetic(*model, specification + length + 1, error);
    else
        result = load_file(*model, specification, error);
    if (result < 0) {
        model_destroy(*model);
        *model = NULL;
    }
    return result;
}

void model_drop_weights(struct model *model) {
    if (model->source)
        munmap(model->source, model->source_size);
    model->source = NULL;
}

void model_destroy(struct model *model) {
    if (!model)
        return;
    model_drop_weights(model);
    free(model->layers);
    free(model);
}
