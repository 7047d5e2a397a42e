/* SPDX-License-Identifier: Apache-2.0
 *
 * A loaded model, which every engine that runs it sees as const. Tensors are views into the mapped
 * model file, in whatever type and strides the file has. An engine reads them once and packs them
 * its own way; then the mapping, and with it the views, can be dropped. Shapes are written
 * [rows, columns], as in the state dict.
 */
#ifndef ESM1NV_MODEL_H
#define ESM1NV_MODEL_H

#include "daemon/base/error.h"
#include "ipc/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* To be raised by every change after which the same weights and residues may give other bytes. It
 * is part of the model digest. */
#define ARITHMETIC_REVISION 1

#define HEAD_SIZE 64

enum gelu { GELU_TANH, GELU_ERF };

struct model_config {
    uint32_t layers;
    uint32_t hidden;     /* H, a multiple of 64 */
    uint32_t ffn;        /* a multiple of hidden */
    uint32_t heads;      /* hidden / 64 */
    uint32_t positions;  /* P, 3 to WIRE_POSITIONS_MAX */
    uint32_t vocabulary; /* rows of word_embeddings, including those that only pad it */
    float epsilon;       /* of every LayerNorm */
    enum gelu gelu;      /* the form of GELU in the feed-forward layers */
};

enum tensor_type { TENSOR_F32, TENSOR_F16, TENSOR_BF16 };

/* A tensor of rank 1 (then rows is 1) or 2. data may be unaligned; strides count elements. */
struct tensor {
    const unsigned char *data;
    enum tensor_type type;
    int64_t rows, columns;
    int64_t row_stride, column_stride;
};

/* Writes one row to out[columns]; every value is widened to float32 exactly. */
void tensor_read_row(const struct tensor *tensor, int64_t row, float *out);

struct layer_weights {
    struct tensor input_norm_gain, input_norm_bias; /* [H] */
    struct tensor qkv_weight, qkv_bias;             /* [3H, H] [3H]: per head q, k, v of 64 rows */
    struct tensor dense_weight, dense_bias;         /* [H, H] [H] */
    struct tensor post_norm_gain, post_norm_bias;   /* [H] */
    struct tensor fc1_weight, fc1_bias;             /* [ffn, H] [ffn] */
    struct tensor fc2_weight, fc2_bias;             /* [H, ffn] [H] */
};

struct tokenizer {
    int32_t id[256];                       /* token of a one-byte piece, or -1 for none */
    uint8_t alphabet[WIRE_ALPHABET_BYTES]; /* a bit for each such byte that may be a residue */
    int32_t residue[256]; /* token of a byte that may be submitted, -1 for all other bytes */
    uint16_t unknown, bos, eos, pad, mask;
    uint32_t pieces;
};

struct model {
    char name[128]; /* file name without directory, or "synthetic:SEED" */
    bool synthetic;
    struct model_config config;
    struct tokenizer tokenizer;
    struct tensor word_embeddings;     /* [vocabulary, H] */
    struct tensor position_embeddings; /* [P, H] */
    struct layer_weights *layers;      /* config.layers of them */
    struct tensor final_norm_gain, final_norm_bias;
    uint64_t parameters;     /* elements of all floating-point tensors of the file, lm_head too */
    char weights_sha256[65]; /* of the weights member, in hex */
    char weights_type[16];   /* float32, float16, bfloat16 or mixed */
    char digest[65];         /* of all that decides the bytes of an embedding (digest.c), in hex */
    void *source;            /* the mapping that tensors point into, NULL once it is dropped */
    size_t source_size;
};

/* Loads FILE.nemo, or makes synthetic[:SEED]. Returns 0, or -1 with *model NULL: EX_CONFIG with an
 * error that names file, member and reason, EX_SOFTWARE when memory runs out. */
int model_open(struct model **model, const char *specification, struct error *error);

/* Unmaps the weights: no tensor may be read afterwards, and everything else stays valid. May be
 * called again. */
void model_drop_weights(struct model *model);

/* Safe on NULL. */
void model_destroy(struct model *model);

/* The tokens of one record, and where its residues lie among them. */
struct token_span {
    uint32_t tokens;        /* written to ids */
    uint32_t first_residue; /* 1 when <s> comes first, else 0 */
    uint32_t residues;      /* min(length, P) */
};

/* Writes the tokens of a record to ids, which has room for P. Residues have precedence over <s> and
 * </s>: up to P - 2 of them get both, P - 1 get only <s>, and P or more are cut to P and get
 * neither. Returns 0, or -1 when a byte is neither in the alphabet nor WIRE_RESIDUE_UNKNOWN. */
int model_tokenize(const struct model *model, const uint8_t *residues, size_t length, uint16_t *ids,
                   struct token_span *span);

#endif
