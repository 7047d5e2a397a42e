/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the loader, the model's side: what is made of the members of a .nemo, or of a seed.
 * Errors name the key, piece or tensor; model_open puts file and member before them.
 */
#ifndef ESM1NV_MODEL_LOADER_H
#define ESM1NV_MODEL_LOADER_H

#include "daemon/base/error.h"
#include "daemon/model/container.h"
#include "daemon/model/model.h"

/* What holds the tensors until they are dropped. */
struct model_source {
    void *memory;
    size_t size;
};

/* Reads model_config.yaml into *config, all but the vocabulary, and the name of the tokenizer's
 * member. Every value that names another architecture is refused with its key. */
int config_read(struct model_config *config, char tokenizer_member[256], struct bytes file,
                struct error *error);

/* As SentencePiece numbers them. */
enum piece_type { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED };

struct piece {
    struct bytes text;
    enum piece_type type;
};

/* Pieces by id, as many as fit the 16 bits of a token. */
struct pieces {
    struct piece *list;
    uint32_t count;
};

/* The pieces of a SentencePiece model; their texts point into the file. */
int pieces_read(struct pieces *pieces, struct bytes file, struct error *error);
void pieces_finish(struct pieces *pieces);

int tokenizer_init(struct tokenizer *tokenizer, const struct pieces *pieces, struct error *error);

/* Points the model's tensors into the checkpoint. config is complete afterwards. */
int weights_bind(struct model *model, const struct checkpoint *checkpoint, struct error *error);

/* Makes config, pieces and weights of the real shape from a seed, and their weights_sha256. */
int synthetic_build(struct model *model, struct pieces *pieces, uint64_t seed, struct error *error);

int digest_bytes(char hex[65], const void *data, size_t size, struct error *error);

/* The model digest, from weights_sha256, config and pieces. */
int digest_model(struct model *model, const struct pieces *pieces, struct error *error);

#endif
