/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz targets: the readers of a model's file. FUZZ_READER says which one the bytes go to. What a
 * reader gives must lie inside of the input, and what it refuses must have a status and one line
 * for people.
 */
#include "daemon/model/container.h"
#include "daemon/model/loader.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

/* A reader ends with EX_SOFTWARE when memory is wanting, which replay.c brings about. */
static void check_refusal(const struct error *error, struct bytes file) {
    REQUIRE(error->status == EX_CONFIG || error->status == EX_SOFTWARE, "status %d: %s",
            error->status, error->text);
    REQUIRE(error->text[0] && !strchr(error->text, '\n'), "not a line: %s", error->text);
    REQUIRE(!strstr(error->text, "(null)") || memmem(file.data, file.size, "(null)", 6), "%s",
            error->text);
}

static bool is_inside(struct bytes piece, struct bytes file) {
    return piece.size == 0 || (piece.data >= file.data && piece.size <= file.size &&
                               piece.data <= file.data + file.size - piece.size);
}

/* --- The pickle of a checkpoint: every tensor that it describes must be complete ---------------
 */

static void check_description(const struct pickle_tensor *tensor, struct bytes file) {
    REQUIRE(is_inside(tensor->name, file), "the name");
    REQUIRE(is_inside(tensor->key, file), "the key");
    REQUIRE(tensor->storage && tensor->storage->name && tensor->storage->item_size, "the storage");
    REQUIRE(tensor->rank >= 0 && tensor->rank <= TENSOR_RANK_MAX, "rank %d", tensor->rank);
}

static void fuzz_pickle(struct bytes file) {
    struct pickle_tensor *tensors;
    size_t count;
    struct error error = {0};
    if (pickle_read(&tensors, &count, file, &error) < 0) {
        check_refusal(&error, file);
        REQUIRE(!tensors, "a refused pickle leaves tensors");
        return;
    }
    REQUIRE(count <= file.size, "%zu tensors in %zu bytes", count, file.size);
    for (size_t i = 0; i < count; i++)
        check_description(&tensors[i], file);
    free(tensors);
}

/* --- The zip of a checkpoint, and the tensors that its pickle lays over the members: these share
 * no bytes and are found by name, and every corner of every tensor may be read --------------------
 */

static void check_member(const struct zip *zip, const struct zip_member *member,
                         struct bytes file) {
    REQUIRE(is_inside(member->name, file), "the name");
    REQUIRE(is_inside(member->content, file), "the content");
    REQUIRE(zip_find(zip, (const char *)member->name.data, member->name.size) == member,
            "found is another");
}

static bool members_overlap(struct bytes a, struct bytes b) {
    return a.size > 0 && b.size > 0 && a.data < b.data + b.size && b.data < a.data + a.size;
}

static void check_zip(struct bytes file) {
    struct zip zip;
    struct error error = {0};
    if (zip_open(&zip, file, &error) < 0) {
        check_refusal(&error, file);
        return;
    }
    REQUIRE(zip.count <= file.size, "%zu members in %zu bytes", zip.count, file.size);
    for (size_t i = 0; i < zip.count; i++)
        check_member(&zip, &zip.members[i], file);
    for (size_t i = 0; i < zip.count && zip.count < 100; i++)
        for (size_t j = 0; j < i; j++)
            REQUIRE(!members_overlap(zip.members[i].content, zip.members[j].content),
                    "members %zu and %zu share bytes", i, j);
    zip_close(&zip);
}

/* Reads one corner of a tensor: the last index in each dimension of the mask, the first in the
 * others. */
static void touch(const struct checkpoint_tensor *tensor, unsigned mask) {
    static volatile uint8_t sum;
    const struct pickle_tensor *description = &tensor->description;
    const unsigned item_size = description->storage->item_size;
    int64_t at = 0;
    for (int i = 0; i < description->rank; i++)
        if (mask >> i & 1)
            at += (description->shape[i] - 1) * description->stride[i];
    for (unsigned i = 0; i < item_size; i++)
        sum = sum ^ tensor->data[at * item_size + i];
}

static void check_tensor(const struct checkpoint_tensor *tensor, struct bytes file) {
    const struct pickle_tensor *description = &tensor->description;
    int64_t elements = 1;
    for (int i = 0; i < description->rank; i++)
        elements *= description->shape[i];
    REQUIRE(elements == tensor->elements, "%lld elements", (long long)tensor->elements);
    REQUIRE(tensor->data >= file.data && tensor->data <= file.data + file.size, "outside");
    for (unsigned mask = 0; elements > 0 && mask < 1u << description->rank; mask++)
        touch(tensor, mask);
}

static void fuzz_zip(struct bytes file) {
    struct checkpoint checkpoint;
    struct error error = {0};
    check_zip(file);
    if (checkpoint_open(&checkpoint, file, &error) < 0) {
        check_refusal(&error, file);
        return;
    }
    for (size_t i = 0; i < checkpoint.count; i++)
        check_tensor(&checkpoint.tensors[i], file);
    checkpoint_close(&checkpoint);
}

/* --- model_config.yaml: what is accepted must be one that can be computed ----------------------
 */

static void check_config(const struct model_config *config) {
    REQUIRE(config->layers > 0 && config->hidden > 0, "%u layers of %u", config->layers,
            config->hidden);
    REQUIRE(config->hidden % HEAD_SIZE == 0 && config->heads == config->hidden / HEAD_SIZE,
            "%u heads of %u", config->heads, config->hidden);
    REQUIRE(config->ffn > 0 && config->ffn % config->hidden == 0, "ffn %u", config->ffn);
    REQUIRE(config->positions >= 3 && config->positions <= WIRE_POSITIONS_MAX, "%u positions",
            config->positions);
    REQUIRE(config->epsilon > 0 && config->epsilon < 1, "epsilon %g", (double)config->epsilon);
    REQUIRE(config->gelu == GELU_TANH || config->gelu == GELU_ERF, "gelu %d", config->gelu);
}

static void fuzz_yaml(struct bytes file) {
    struct model_config config;
    char tokenizer[256];
    struct error error = {0};
    memset(tokenizer, 'x', sizeof tokenizer);
    if (config_read(&config, tokenizer, file, &error) < 0) {
        check_refusal(&error, file);
        return;
    }
    check_config(&config);
    REQUIRE(memchr(tokenizer, 0, sizeof tokenizer), "the tokenizer's name has no end");
}

/* --- The tokenizer's file: every token that it can give must be the id of a piece ---------------
 */

static void check_pieces(const struct pieces *pieces, struct bytes file) {
    REQUIRE(pieces->count > 0 && pieces->count <= file.size, "%u pieces", pieces->count);
    for (uint32_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->list[i];
        REQUIRE(piece->text.size > 0 && is_inside(piece->text, file), "piece %u", i);
        REQUIRE(piece->type >= PIECE_NORMAL && piece->type <= PIECE_USER_DEFINED, "piece %u", i);
    }
}

static void check_tokenizer(const struct tokenizer *tokenizer, const struct pieces *pieces) {
    const uint32_t count = pieces->count;
    REQUIRE(tokenizer->pieces == count, "%u pieces", tokenizer->pieces);
    REQUIRE(tokenizer->unknown < count && tokenizer->bos < count && tokenizer->eos < count &&
                tokenizer->pad < count && tokenizer->mask < count,
            "a special token is no piece");
    for (int byte = 0; byte < 256; byte++) {
        const int32_t id = tokenizer->id[byte];
        const bool residue = tokenizer->alphabet[byte / 8] >> (byte % 8) & 1;
        REQUIRE(id >= -1 && id < (int64_t)count, "byte %d has token %d", byte, id);
        REQUIRE(id >= 0 || !residue, "byte %d is a residue without a token", byte);
        REQUIRE(id < 0 || (pieces->list[id].text.size == 1 &&
                           pieces->list[id].text.data[0] == (unsigned char)byte),
                "byte %d has the token of another", byte);
    }
}

static void fuzz_sentencepiece(struct bytes file) {
    struct pieces pieces;
    struct tokenizer tokenizer;
    struct error error = {0};
    if (pieces_read(&pieces, file, &error) < 0) {
        check_refusal(&error, file);
        REQUIRE(!pieces.list, "a refused file leaves pieces");
        return;
    }
    check_pieces(&pieces, file);
    if (tokenizer_init(&tokenizer, &pieces, &error) < 0)
        check_refusal(&error, file);
    else
        check_tokenizer(&tokenizer, &pieces);
    pieces_finish(&pieces);
}

/* --- The .nemo file, a tar, plain or in gzip, through the file system as a user gives it: a model
 * that loads may be read from end to end ------------------------------------------------------- */

#define BLOCK 512
#define SIZE_MOST 65536

static char path[64]; /* of a file in memory */

static void write_file(struct bytes file) {
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("nemo", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    REQUIRE(fd >= 0 && ftruncate(fd, 0) == 0 &&
                pwrite(fd, file.data, file.size, 0) == (ssize_t)file.size,
            "no file in memory");
}

static void check_members(const struct nemo *nemo) {
    for (size_t i = 0; i < nemo->count; i++) {
        const struct nemo_member *member = &nemo->members[i];
        REQUIRE(is_inside(member->content, (struct bytes){nemo->memory, nemo->size}),
                "%s lies outside", member->name);
        for (size_t j = 0; j < i; j++)
            REQUIRE(strcmp(member->name, nemo->members[j].name) != 0, "%s is there twice",
                    member->name);
    }
}

static void check_archive(struct bytes file) {
    struct nemo nemo;
    struct bytes content;
    const char *name;
    struct error error = {0};
    if (nemo_open(&nemo, path, &error) < 0) {
        check_refusal(&error, file);
        return;
    }
    check_members(&nemo);
    if (nemo_find_weights(&nemo, &name, &content, &error) < 0)
        check_refusal(&error, file);
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

static void check_file(struct bytes file) {
    struct model *model;
    struct error error = {0};
    write_file(file);
    check_archive(file);
    if (model_open(&model, path, &error) < 0) {
        check_refusal(&error, file);
        REQUIRE(!model && strncmp(error.text, path, strlen(path)) == 0, "%s", error.text);
        return;
    }
    read_tensors(model);
    tokenize(model);
    model_destroy(model);
}

/* Bytes 148 to 155 of a header hold the sum of all its bytes; for this sum they count as blanks. */
static void repair_checksum(uint8_t *block) {
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

/* Each input is tried a second time with sound checksums in its tar headers, for without them a
 * changed header would be refused at once. */
static void fuzz_tar(struct bytes file) {
    static uint8_t sound[SIZE_MOST];
    if (file.size > SIZE_MOST)
        return;
    check_file(file);
    memcpy(sound, file.data, file.size);
    for (size_t at = 0; at + BLOCK <= file.size; at += BLOCK)
        if (memcmp(sound + at + 257, "ustar", 5) == 0)
            repair_checksum(sound + at);
    if (memcmp(sound, file.data, file.size) != 0)
        check_file((struct bytes){sound, file.size});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { TAR, ZIP, PICKLE, YAML, SENTENCEPIECE };
    static void (*const readers[])(struct bytes file) = {[TAR] = fuzz_tar,
                                                         [ZIP] = fuzz_zip,
                                                         [PICKLE] = fuzz_pickle,
                                                         [YAML] = fuzz_yaml,
                                                         [SENTENCEPIECE] = fuzz_sentencepiece};
    readers[FUZZ_READER]((struct bytes){data, size});
    return 0;
}
