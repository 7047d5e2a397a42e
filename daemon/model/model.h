/* SPDX-License-Identifier: Apache-2.0
 *
 * A loaded model: what is const for every engine that runs it. Tensors are views into the mapped
 * model file in whatever type and strides it stores; an engine reads them once, packs them its own
 * way, and the views are dropped. Shapes are written [rows, columns] as in the state dict.
 */
#ifndef ESM1NV_MODEL_H
#define ESM1NV_MODEL_H

#include "daemon/base/error.h"
#include "ipc/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rises whenever the same weights and residues may give other bytes; part of the model digest. */
#define ARITHMETIC_REVISION 1

#define HEAD_SIZE 64

enum gelu { GELU_TANH, GELU_ERF };

struct model_config {
    uint32_t layers;
    uint32_t hidden;     /* H, a multiple of 64 */
    uint32_t ffn;        /* a multiple of hidden */
    uint32_t heads;      /* hidden / 64 */
    uint32_t positions;  /* P, 3 to WIRE_POSITIONS_MAX */
    uint32_t vocabulary; /* rows of word_embeddings, padding included */
    float epsilon;       /* of every LayerNorm */
    enum gelu gelu;
};

enum tensor_type { TENSOR_F32, TENSOR_F16, TENSOR_BF16 };

/* A tensor of rank 1 (rows = 1) or 2. data may be unaligned; strides count elements. */
struct tensor {
    const unsigned char *data;
    enum tensor_type type;
    int64_t rows, columns;
    int64_t row_stride, column_stride;
};

/* Writes one row, widened to float32 exactly, to out[0 .. columns). */
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
    int32_t id[256];                       /* token of a one-byte piece, -1 where there is none */
    uint8_t alphabet[WIRE_ALPHABET_BYTES]; /* the residue letters among them */
    int32_t residue[256];                  /* token of a submitted byte, -1: not to be submitted */
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
    uint64_t parameters;     /* elements of all tensors of the file, lm_head included */
    char weights_sha256[65]; /* of the weights member; hex */
    char weights_type[16];   /* float32, float16, bfloat16 or mixed */
    char digest[65];         /* model digest, see contract; hex */
    struct model_source *source;
};

/* Loads FILE.nemo or fabricates synthetic[:SEED]. Returns 0, or -1 with *model NULL and an error
 * that names file, member and reason (EX_CONFIG). */
int model_open(struct model **model, const char *specification, struct error *error);

/* Frees the weights; every tensor view is dead afterwards, all else stays. Idempotent. */
void model_drop_weights(struct model *model);

/* Safe on NULL. */
void model_destroy(struct model *model);

/* The tokens of one record, and where its residues lie among them. */
struct token_span {
    uint32_t tokens;        /* written to ids */
    uint32_t first_residue; /* 1 when <s> comes first, else 0 */
    uint32_t residues;      /* min(length, P) */
};

/* Residues come first: up to P - 2 get <s> and </s>, P - 1 only <s>, P or more are cut to P and get
 * neither. ids has room for P. Returns 0, or -1 when a byte is neither in the alphabet nor
 * WIRE_RESIDUE_UNKNOWN. */
int model_tokenize(const struct model *model, const uint8_t *residues, size_t length, uint16_t *ids,
                   struct token_span *span);

#endif
