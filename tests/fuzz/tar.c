/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: the .nemo file, which is a tar, plain or in gzip, through the file system as a user
 * gives it. Members must lie inside of what is mapped, and a model that loads may be read from end
 * to end. Each input is tried a second time with sound checksums in its tar headers, for without
 * them a changed header would be refused at once.
 */
#include "daemon/model/container.h"
#include "tests/fuzz/refusal.h"

#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 512
#define SIZE_MOST 65536

static char path[64]; /* of a file in memory */
static int file = -1;

static void write_file(const uint8_t *data, size_t size) {
    if (file < 0) {
        file = memfd_create("nemo", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    REQUIRE(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size,
            "no file in memory");
}

static void check_members(const struct nemo *nemo) {
    for (size_t i = 0; i < nemo->count; i++) {
        const struct nemo_member *member = &nemo->members[i];
        REQUIRE(is_inside(member->content.data, member->content.size, nemo->memory, nemo->size),
                "%s lies outside", member->name);
        for (size_t j = 0; j < i; j++)
            REQUIRE(strcmp(member->name, nemo->members[j].name) != 0, "%s is there twice",
                    member->name);
    }
}

static void check_archive(const uint8_t *data, size_t size) {
    struct nemo nemo;
    struct bytes content;
    const char *name;
    struct error error = {0};
    if (nemo_open(&nemo, path, &error) < 0) {
        check_refusal(&error, data, size);
        return;
    }
    check_members(&nemo);
    if (nemo_find_weights(&nemo, &name, &content, &error) < 0)
        check_refusal(&error, data, size);
    nemo_close(&nemo);
}

static void read_tensor(const struct tensor *tensor) {
    static float row[4096];
    REQUIRE(tensor->rows > 0 && tensor->columns > 0, "an empty tensor");
    for (int64_t i = 0; i < tensor->rows && tensor->columns <= 4096; i++)
        tensor_read_row(tensor, i, row);
}

static void read_tensors(const struct model *model) {
    read_tensor(&model->word_embeddings);
    read_tensor(&model->position_embeddings);
    for (uint32_t i = 0; i < model->config.layers; i++) {
        const struct layer_weights *layer = &model->layers[i];
        read_tensor(&layer->qkv_weight);
        read_tensor(&layer->dense_bias);
        read_tensor(&layer->fc2_weight);
    }
    read_tensor(&model->final_norm_gain);
    read_tensor(&model->final_norm_bias);
}

/* Every residue of the alphabet must become a token that has a row. */
static void tokenize(const struct model *model) {
    uint16_t ids[WIRE_POSITIONS_MAX];
    struct token_span span;
    for (int byte = 0; byte < 256; byte++) {
        const uint8_t residue = (uint8_t)byte;
        if (model_tokenize(model, &residue, 1, ids, &span) < 0)
            continue;
        REQUIRE(span.tokens == 3 && span.first_residue == 1, "%u tokens", span.tokens);
        for (uint32_t i = 0; i < span.tokens; i++)
            REQUIRE(ids[i] < model->config.vocabulary, "token %u has no row", ids[i]);
    }
}

static void check_model(const uint8_t *data, size_t size) {
    struct model *model;
    struct error error = {0};
    if (model_open(&model, path, &error) < 0) {
        check_refusal(&error, data, size);
        REQUIRE(!model && strncmp(error.text, path, strlen(path)) == 0, "%s", error.text);
        return;
    }
    read_tensors(model);
    tokenize(model);
    model_destroy(model);
}

static void check_file(const uint8_t *data, size_t size) {
    write_file(data, size);
    check_archive(data, size);
    check_model(data, size);
}

/* Bytes 148 to 155 of a header hold the sum of all its bytes; for this sum they count as blanks. */
static void repair_checksum(uint8_t *block) {
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t sound[SIZE_MOST];
    if (size > SIZE_MOST)
        return 0;
    check_file(data, size);
    memcpy(sound, data, size);
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK)
        if (memcmp(sound + at + 257, "ustar", 5) == 0)
            repair_checksum(sound + at);
    if (memcmp(sound, data, size) != 0)
        check_file(sound, size);
    return 0;
}
