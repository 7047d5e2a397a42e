/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's weights as the kernels need them, in one block of memory that is const once packed. A
 * matrix is cut into panels of 64 outputs x H inputs, which all have the same size. The panels of a
 * layer lie in the order in which they are used: qkv | dense | fc1 block 0 | fc2 block 0 | fc1
 * block 1 | ..., where block j of fc1 makes H of the ffn hidden values and block j of fc2 takes
 * them. A panel consists of 64 / sub_columns pieces [dwords along K][sub_columns].
 */
#ifndef ESM1NV_CPU_PACK_H
#define ESM1NV_CPU_PACK_H

#include "daemon/cpu/kernels.h"
#include "daemon/cpu/team.h"
#include "daemon/model/model.h"

struct packed_layer {
    unsigned char *panels; /* written only when packing */
    const float *qkv_bias, *dense_bias, *fc1_bias, *fc2_bias;
    struct norm input_norm, post_norm;
};

struct packed_model {
    struct model_config config;
    uint32_t panels; /* H / 64, for H outputs */
    uint32_t blocks; /* ffn / H */
    size_t panel_bytes;
    size_t row_dwords; /* dwords of H elements */
    size_t element_bytes;
    const float *word_embeddings, *position_embeddings; /* [vocabulary][H], [P][H] */
    struct packed_layer *layers;
    struct norm final_norm;
    void *memory;
    size_t bytes;
};

/* Packs with all members of the team. Returns 0, or -1 (EX_SOFTWARE). */
int packed_model_init(struct packed_model *packed, const struct model *model,
                      const struct kernels *kernels, struct team *team, struct error *error);

/* Safe on a null value. */
void packed_model_finish(struct packed_model *packed);

/* The panel that computes outputs 64 column to 64 column + 63 of a matrix of a layer. */
static inline void *panel_qkv(const struct packed_model *m, uint32_t layer, uint32_t column) {
    return m->layers[layer].panels + column * m->panel_bytes;
}

static inline void *panel_dense(const struct packed_model *m, uint32_t layer, uint32_t column) {
    return panel_qkv(m, layer, 3 * m->panels + column);
}

static inline void *panel_fc1(const struct packed_model *m, uint32_t layer, uint32_t block,
                              uint32_t column) {
    return panel_qkv(m, layer, (4 + 2 * block) * m->panels + column);
}

static inline void *panel_fc2(const struct packed_model *m, uint32_t layer, uint32_t block,
                              uint32_t column) {
    return panel_qkv(m, layer, (5 + 2 * block) * m->panels + column);
}

/* Allocates memory aligned to 2 MiB, and asks for huge pages. The caller frees it with free().
 * Returns NULL when there is none. */
void *big_alloc(size_t bytes);

#endif
