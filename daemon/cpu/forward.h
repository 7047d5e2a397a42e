/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the encoder share: its state, and the plan for the batch that is being run. A
 * buffer [n][H] holds n rows of H elements, unless it says float.
 */
#ifndef ESM1NV_CPU_FORWARD_H
#define ESM1NV_CPU_FORWARD_H

#include "daemon/cpu/encoder.h"
#include "daemon/cpu/pack.h"
#include "daemon/cpu/team.h"

#include <stdatomic.h>

/* Rows of a tile. The activations of a tile and a panel fit into the L2 cache together. */
#define TILE_ROWS 120
/* If there are fewer rows per thread than this, threads share columns instead of tiles. */
#define FEW_ROWS 96

/* Buffers that only one member of the team uses. */
struct member_space {
    unsigned char *norm, *hidden; /* [TILE_ROWS][H] */
    void *scratch;                /* of attention */
    float *row, *pooled;          /* [H] float */
};

/* A unit of output work: some rows of an item's residues, or its pooled row. */
struct output_unit {
    uint32_t item, first, rows;
};

struct encoder {
    const struct kernels *kernels;
    struct packed_model model;
    struct team *team;
    unsigned threads;
    uint32_t max_tokens;
    uint32_t column_tokens; /* batches with fewer tokens are shared by columns */
    void *memory;           /* all buffers below */
    float *residual;        /* [max_tokens][H] float */
    unsigned char *qkv;     /* [3 H / 64][max_tokens + 16][64]: per head q, k, v */
    unsigned char *context; /* [max_tokens][H] */
    unsigned char *norm;    /* [column_tokens][H] */
    unsigned char *hidden;  /* [column_tokens][ffn] */
    struct member_space *members;
    uint32_t *order;  /* indices of the items, the longest item first */
    uint32_t *starts; /* [positions + 1], scratch of engine_items_order() */
    struct output_unit *units;
    atomic_uint *failures; /* per item: bits 1 << enum record_status */

    /* The batch that is being run. */
    struct engine_batch *batch;
    uint32_t tile_rows, tiles;   /* 0 tiles: the batch is shared by columns */
    uint32_t chunk_rows, chunks; /* the rows of a unit of columns */
    uint32_t unit_count;
};

/* Where a token's row of a q, k or v lies, `index` being 3 head, + 1 for k and + 2 for v. */
static inline unsigned char *qkv_at(const struct encoder *e, uint32_t index, uint32_t token) {
    size_t row = (size_t)index * (e->max_tokens + 16) + token;
    return e->qkv + row * HEAD_SIZE * e->model.element_bytes;
}

/* Computes all layers of the batch, up to the residual, by tiles of rows or by columns (forward.c).
 */
void forward_rows(struct encoder *encoder, unsigned member);
void forward_columns(struct encoder *encoder, unsigned member);

/* Divides the output of the batch into units. */
void output_plan(struct encoder *encoder);

/* Takes units, computes their final LayerNorm and pooling, and notes failures. */
void output_run(struct encoder *encoder, unsigned member);

/* Sets the statuses of the items, after all members are done. */
void output_statuses(struct encoder *encoder);

#endif
