/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the encoder share: its state, and the plan for the batch under way. Buffers
 * named [n][H] hold rows of elements unless they say float.
 */
#ifndef ESM1NV_CPU_FORWARD_H
#define ESM1NV_CPU_FORWARD_H

#include "daemon/cpu/encoder.h"
#include "daemon/cpu/pack.h"
#include "daemon/cpu/team.h"

#include <stdatomic.h>

/* Rows of a tile: its activations and a panel fit the L2 cache together. */
#define TILE_ROWS 120
/* With fewer rows than this per thread, threads share out columns instead of tiles. */
#define FEW_ROWS 96

/* What one member of the team writes. */
struct member_space {
    unsigned char *norm, *hidden; /* [TILE_ROWS][H] */
    void *scratch;                /* of attention */
    float *row, *pooled;          /* [H] float */
};

/* A run of rows that leaves the encoder: residues of one item, or one pooled row. */
struct output_unit {
    uint32_t item, first, rows;
};

struct encoder {
    const struct kernels *kernels;
    struct packed_model model;
    struct team *team;
    unsigned threads;
    uint32_t max_tokens;
    uint32_t column_tokens; /* most tokens of a batch that is shared out by columns */
    void *memory;           /* all buffers below */
    float *residual;        /* [max_tokens][H] float */
    unsigned char *qkv;     /* [3 H / 64][max_tokens + 16][64]: per head q, k, v */
    unsigned char *context; /* [max_tokens][H] */
    unsigned char *norm;    /* [column_tokens][H] */
    unsigned char *hidden;  /* [column_tokens][ffn] */
    struct member_space *members;
    uint32_t *order;  /* items, longest first */
    uint32_t *starts; /* [positions + 1]: where items of a length begin in order */
    struct output_unit *units;
    atomic_uint *failures; /* per item: bits 1 << enum record_status */
    double phases[PHASES];

    /* The batch under way. */
    struct engine_batch *batch;
    uint32_t tile_rows, tiles;   /* 0 tiles: by columns */
    uint32_t chunk_rows, chunks; /* of rows, beside columns */
    uint32_t unit_count;
};

/* A member's view of the clock: each phase ends where the next begins. */
struct phase_clock {
    double *seconds; /* NULL for all but the first member */
    double last;
};

/* seconds: [PHASES], or NULL to measure nothing. */
struct phase_clock phase_clock_start(double *seconds);
void phase_end(struct phase_clock *clock, enum phase phase);

/* Where token `token` of a q, k or v (index among 3 H / 64) lies. */
static inline unsigned char *qkv_at(const struct encoder *e, uint32_t index, uint32_t token) {
    size_t row = (size_t)index * (e->max_tokens + 16) + token;
    return e->qkv + row * HEAD_SIZE * e->model.element_bytes;
}

/* All layers of the batch, up to the residual: by tiles of rows, or by columns of few rows. */
void forward_rows(struct encoder *encoder, unsigned member, struct phase_clock *clock);
void forward_columns(struct encoder *encoder, unsigned member, struct phase_clock *clock);

/* Plans the output of the batch. */
void output_plan(struct encoder *encoder);

/* The final LayerNorm and pooling, for units as they are free; the failures found. */
void output_run(struct encoder *encoder, unsigned member);

/* The items' statuses, once all members are done. */
void output_statuses(struct encoder *encoder);

#endif
