/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes weights of the real shape from a seed, so that the software can be tried without the real
 * file. An element is made from a hash of the seed and of its number: the sum of the four 16-bit
 * parts of the hash is close to a normal distribution. Only integer arithmetic, one multiplication
 * and one addition of floats are used, and these give the same result on every machine. Whoever
 * changes what is made must raise GENERATOR_REVISION.
 */
#include "daemon/model/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>

#define GENERATOR_REVISION 1

#define HIDDEN 768
#define LAYERS 6
#define POSITIONS 512
#define VOCABULARY 128
#define TENSORS_MAX (2 + 12 * LAYERS + 2 + 5)

/* The sum of four 16-bit uniforms has mean 131070 and standard deviation 37837.2. */
#define SUM_MEAN 131070
#define WEIGHT_SCALE 1.3214505e-06F /* makes the standard deviation 0.05 */
#define GAIN_SCALE 5.285802e-06F    /* makes it 0.2 */

static const char *const special_pieces[] = {"<unk>", "<s>", "</s>", "<pad>", "<mask>"};
static const enum piece_type special_types[] = {PIECE_UNKNOWN, PIECE_CONTROL, PIECE_CONTROL,
                                                PIECE_CONTROL, PIECE_USER_DEFINED};
static const char letters[] = "LASGVERTDIPKNFQYHMCWXBZUO";

/* The tensors of a checkpoint, which lie end to end, and their names. */
struct layout {
    struct checkpoint_tensor tensors[TENSORS_MAX];
    char names[TENSORS_MAX][112];
    size_t count;
    int64_t elements;
};

static const struct storage_class float32 = {"float32", 4, true, TENSOR_F32};

/* If rows is 0, adds a vector of `columns` elements. */
static void add_tensor(struct layout *layout, int64_t rows, int64_t columns, const char *name) {
    struct checkpoint_tensor *tensor = &layout->tensors[layout->count];
    char *copy = layout->names[layout->count++];
    snprintf(copy, sizeof layout->names[0], "%s", name);
    tensor->description = (struct pickle_tensor){
        .name = {(unsigned char *)copy, strlen(copy)},
        .storage = &float32,
        .offset = layout->elements,
        .rank = rows ? 2 : 1,
        .shape = {rows ? rows : columns, columns},
        .stride = {rows ? columns : 1, 1},
    };
    tensor->elements = rows ? rows * columns : columns;
    layout->elements += tensor->elements;
}

/* Adds the weight and bias of a linear map or, if rows is 0, of a LayerNorm. */
static void add_pair(struct layout *layout, int64_t rows, int64_t columns, const char *name) {
    char full[112];
    snprintf(full, sizeof full, "%s.weight", name);
    add_tensor(layout, rows, columns, full);
    snprintf(full, sizeof full, "%s.bias", name);
    add_tensor(layout, 0, rows ? rows : columns, full);
}

static void add_layer(struct layout *layout, int index) {
    static const struct {
        const char *name;
        int64_t rows, columns;
    } pairs[] = {{"input_layernorm", 0, HIDDEN},
                 {"self_attention.query_key_value", 3 * HIDDEN, HIDDEN},
                 {"self_attention.dense", HIDDEN, HIDDEN},
                 {"post_attention_layernorm", 0, HIDDEN},
                 {"mlp.dense_h_to_4h", 4 * HIDDEN, HIDDEN},
                 {"mlp.dense_4h_to_h", HIDDEN, 4 * HIDDEN}};
    char name[96];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        snprintf(name, sizeof name, "language_model.encoder.layers.%d.%s", index, pairs[i].name);
        add_pair(layout, pairs[i].rows, pairs[i].columns, name);
    }
}

static void lay_out(struct layout *layout) {
    add_tensor(layout, VOCABULARY, HIDDEN, "language_model.embedding.word_embeddings.weight");
    add_tensor(layout, POSITIONS, HIDDEN, "language_model.embedding.position_embeddings.weight");
    for (int i = 0; i < LAYERS; i++)
        add_layer(layout, i);
    add_pair(layout, 0, HIDDEN, "language_model.encoder.final_layernorm");
    add_tensor(layout, 0, VOCABULARY, "lm_head.bias");
    add_pair(layout, HIDDEN, HIDDEN, "lm_head.dense");
    add_pair(layout, 0, HIDDEN, "lm_head.layernorm");
}

/* The finalizer of splitmix64, a bijection that leaves no visible pattern of its argument. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Makes `count` elements from number `first` on: each is `center` plus a deviate times `scale`. */
static void generate(float *out, uint64_t key, int64_t first, int64_t count, float center,
                     float scale) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t hash = mix(key + (uint64_t)(first + i) * UINT64_C(0x9e3779b97f4a7c15));
        int sum =
            (int)((hash & 0xffff) + (hash >> 16 & 0xffff) + (hash >> 32 & 0xffff) + (hash >> 48));
        out[i] = center + (float)(sum - SUM_MEAN) * scale;
    }
}

static bool is_gain(struct bytes name) {
    static const char end[] = "layernorm.weight";
    const size_t length = sizeof end - 1;
    return name.size >= length && memcmp(name.data + name.size - length, end, length) == 0;
}

static void fill(struct layout *layout, float *memory, uint64_t seed) {
    for (size_t i = 0; i < layout->count; i++) {
        struct checkpoint_tensor *tensor = &layout->tensors[i];
        const bool gain = is_gain(tensor->description.name);
        float *out = memory + tensor->description.offset;
        generate(out, mix(seed), tensor->description.offset, tensor->elements, gain ? 1 : 0,
                 gain ? GAIN_SCALE : WEIGHT_SCALE);
        tensor->data = (const unsigned char *)out;
    }
}

static int allocate_weights(struct model *model, size_t size, struct error *error) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(error, EX_SOFTWARE, "no memory for %zu bytes of weights: %s", size,
                         strerror(errno));
    madvise(memory, size, MADV_HUGEPAGE); /* saves page faults; it may fail */
    model->source = memory;
    model->source_size = size;
    return 0;
}

static int make_pieces(struct pieces *pieces, struct error *error) {
    const size_t specials = sizeof special_types / sizeof *special_types;
    pieces->list = calloc(specials + sizeof letters - 1, sizeof *pieces->list);
    if (!pieces->list)
        return error_set(error, EX_SOFTWARE, "out of memory");
    for (size_t i = 0; i < specials; i++) {
        struct bytes text = {(const unsigned char *)special_pieces[i], strlen(special_pieces[i])};
        pieces->list[pieces->count++] = (struct piece){text, special_types[i]};
    }
    for (const char *letter = letters; *letter; letter++) {
        struct bytes text = {(const unsigned char *)letter, 1};
        pieces->list[pieces->count++] = (struct piece){text, PIECE_NORMAL};
    }
    return 0;
}

static int build_weights(struct model *model, struct layout *layout, uint64_t seed,
                         struct error *error) {
    lay_out(layout);
    if (allocate_weights(model, (size_t)layout->elements * sizeof(float), error) < 0)
        return -1;
    fill(layout, model->source, seed);
    struct checkpoint checkpoint = {layout->tensors, layout->count};
    checkpoint_sort(&checkpoint);
    return weights_bind(model, &checkpoint, error);
}

int synthetic_build(struct model *model, struct pieces *pieces, uint64_t seed,
                    struct error *error) {
    model->config = (struct model_config){.layers = LAYERS,
                                          .hidden = HIDDEN,
                                          .ffn = 4 * HIDDEN,
                                          .heads = HIDDEN / HEAD_SIZE,
                                          .positions = POSITIONS,
                                          .epsilon = 1e-5F,
                                          .gelu = GELU_TANH};
    if (make_pieces(pieces, error) < 0 || tokenizer_init(&model->tokenizer, pieces, error) < 0)
        return -1;
    struct layout *layout = calloc(1, sizeof *layout);
    if (!layout)
        return error_set(error, EX_SOFTWARE, "out of memory");
    int result = build_weights(model, layout, seed, error);
    free(layout);
    char text[96];
    int length = snprintf(text, sizeof text, "esm1nv synthetic weights %d, seed %" PRIu64,
                          GENERATOR_REVISION, seed);
    return result < 0 ? -1 : digest_bytes(model->weights_sha256, text, (size_t)length, error);
}
