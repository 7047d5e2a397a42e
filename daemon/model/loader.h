/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of model_open() that turn the members of a .nemo, or a seed, into a struct model; only
 * this folder includes it. All return 0 or -1. An error names the key, piece or tensor that is
 * wrong (EX_CONFIG), or says that memory ran out (EX_SOFTWARE); model_open() puts file and member
 * before it.
 */
#ifndef ESM1NV_MODEL_LOADER_H
#define ESM1NV_MODEL_LOADER_H

#include "daemon/base/error.h"
#include "daemon/model/container.h"
#include "daemon/model/model.h"

/* Reads model_config.yaml: everything in *config but the vocabulary, and the name of the member
 * that holds the tokenizer. A value that asks for another architecture is refused with its key. */
int config_read(struct model_config *config, char tokenizer_member[256], struct bytes file,
                struct error *error);

/* The numbers are SentencePiece's. */
enum piece_type { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED };

struct piece {
    struct bytes text;
    enum piece_type type;
};

/* list[id]; there are at most as many as the 16 bits of a token can number. */
struct pieces {
    struct piece *list;
    uint32_t count;
};

/* Reads the pieces of a SentencePiece model. Their texts point into the file. */
int pieces_read(struct pieces *pieces, struct bytes file, struct error *error);
void pieces_finish(struct pieces *pieces);

/* Builds the tables that turn residues into tokens. */
int tokenizer_init(struct tokenizer *tokenizer, const struct pieces *pieces, struct error *error);

/* Points the model's tensors into the checkpoint's storages, and completes config. */
int weights_bind(struct model *model, const struct checkpoint *checkpoint, struct error *error);

/* Makes config, pieces and weights of the real shape from a seed, and sets weights_sha256 to a
 * digest of the seed. */
int synthetic_build(struct model *model, struct pieces *pieces, uint64_t seed, struct error *error);

/* SHA-256 as text. */
int digest_bytes(char hex[65], const void *data, size_t size, struct error *error);

/* Sets the model digest, which is made from weights_sha256, config and pieces. */
int digest_model(struct model *model, const struct pieces *pieces, struct error *error);

#endif
