/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the tensors 64 rows at a time and writes them as panels, which the members of the team
 * share. It runs in the ordinary floating-point mode, so that small float16 weights are widened
 * exactly. For bf16, weights are rounded like everything else.
 */
#include "daemon/cpu/pack.h"
#include "daemon/cpu/arithmetic.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sysexits.h>

#define BIG_PAGE ((size_t)2 << 20)

void *big_alloc(size_t bytes) {
    bytes = (bytes + BIG_PAGE - 1) / BIG_PAGE * BIG_PAGE;
    void *memory = aligned_alloc(BIG_PAGE, bytes);
    if (memory)
        madvise(memory, bytes, MADV_HUGEPAGE); /* only makes it faster, and may fail */
    return memory;
}

struct packing {
    const struct model *model;
    struct packed_model *packed;
    const struct kernels *kernels;
    struct team *team;
    atomic_bool out_of_memory;
};

/* Writes 64 rows of `depth` weights as the dwords of a panel. */
static void panel_write(const struct kernels *kernels, const float *rows, size_t row_stride,
                        uint32_t depth, uint32_t *panel) {
    const bool bf16 = kernels->precision == PRECISION_BF16;
    for (unsigned first = 0; first < PANEL_COLUMNS; first += kernels->sub_columns)
        for (uint32_t k = 0; k < depth; k += bf16 ? 2 : 1)
            for (unsigned c = 0; c < kernels->sub_columns; c++) {
                const float *at = rows + (first + c) * row_stride + k;
                *panel++ = bf16 ? bf16_from_float(at[0]) | (uint32_t)bf16_from_float(at[1]) << 16
                                : float_bits(at[0]);
            }
}

/* Packs 64 rows of a matrix, those of a column. Rows that are longer than H become one panel for
 * each H inputs: the first is at `panel`, and each next one two panels of H columns later. */
static void matrix_pack(const struct packing *run, const struct tensor *tensor, uint32_t column,
                        unsigned char *panel, float *rows) {
    const struct packed_model *packed = run->packed;
    size_t stride = (size_t)tensor->columns;
    for (uint32_t r = 0; r < PANEL_COLUMNS; r++)
        tensor_read_row(tensor, (int64_t)column * PANEL_COLUMNS + r, rows + r * stride);
    uint32_t depth = packed->config.hidden;
    for (size_t k = 0; k < stride; k += depth, panel += 2 * packed->panels * packed->panel_bytes)
        panel_write(run->kernels, rows + k, stride, depth, (uint32_t *)(void *)panel);
}

/* Packs column `column` of a layer's matrices, counted through qkv, dense, fc1 and fc2. */
static void column_pack(const struct packing *run, uint32_t layer, uint32_t column, float *rows) {
    const struct packed_model *m = run->packed;
    const struct layer_weights *w = &run->model->layers[layer];
    const uint32_t dense = 3 * m->panels, fc1 = dense + m->panels,
                   fc2 = fc1 + m->blocks * m->panels;
    if (column < dense) {
        matrix_pack(run, &w->qkv_weight, column, panel_qkv(m, layer, column), rows);
    } else if (column < fc1) {
        column -= dense;
        matrix_pack(run, &w->dense_weight, column, panel_dense(m, layer, column), rows);
    } else if (column < fc2) {
        column -= fc1;
        matrix_pack(run, &w->fc1_weight, column,
                    panel_fc1(m, layer, column / m->panels, column % m->panels), rows);
    } else {
        column -= fc2;
        matrix_pack(run, &w->fc2_weight, column, panel_fc2(m, layer, 0, column), rows);
    }
}

static void pack_job(void *user, unsigned member) {
    struct packing *run = user;
    const struct packed_model *m = run->packed;
    uint32_t columns = (5 + m->blocks) * m->panels, unit;
    float *rows = malloc(sizeof(float) * PANEL_COLUMNS * m->config.ffn);
    (void)member;
    if (!rows) {
        atomic_store(&run->out_of_memory, true);
        return;
    }
    while ((unit = team_take(run->team)) < columns * m->config.layers)
        column_pack(run, unit / columns, unit % columns, rows);
    free(rows);
}

/* Copies a tensor, as floats, to *at, which moves past it. */
static const float *floats_copy(float **at, const struct tensor *tensor) {
    float *start = *at;
    for (int64_t row = 0; row < tensor->rows; row++, *at += tensor->columns)
        tensor_read_row(tensor, row, *at);
    return start;
}

static struct norm norm_copy(const struct packed_model *packed, float **at,
                             const struct tensor *gain, const struct tensor *bias) {
    const float *gains = floats_copy(at, gain);
    return (struct norm){gains, floats_copy(at, bias), packed->config.hidden,
                         packed->config.epsilon};
}

/* Packs everything that is not a panel. */
static void small_tensors_copy(struct packed_model *packed, const struct model *model,
                               size_t layer_bytes, size_t float_bytes) {
    float *at = packed->memory;
    unsigned char *panels = (unsigned char *)packed->memory + float_bytes;
    packed->word_embeddings = floats_copy(&at, &model->word_embeddings);
    packed->position_embeddings = floats_copy(&at, &model->position_embeddings);
    packed->final_norm = norm_copy(packed, &at, &model->final_norm_gain, &model->final_norm_bias);
    for (uint32_t i = 0; i < packed->config.layers; i++) {
        const struct layer_weights *w = &model->layers[i];
        packed->layers[i] = (struct packed_layer){
            .panels = panels + i * layer_bytes,
            .qkv_bias = floats_copy(&at, &w->qkv_bias),
            .dense_bias = floats_copy(&at, &w->dense_bias),
            .fc1_bias = floats_copy(&at, &w->fc1_bias),
            .fc2_bias = floats_copy(&at, &w->fc2_bias),
            .input_norm = norm_copy(packed, &at, &w->input_norm_gain, &w->input_norm_bias),
            .post_norm = norm_copy(packed, &at, &w->post_norm_gain, &w->post_norm_bias)};
    }
}

int packed_model_init(struct packed_model *packed, const struct model *model,
                      const struct kernels *kernels, struct team *team, struct error *error) {
    const struct model_config *c = &model->config;
    size_t hidden = c->hidden;
    *packed = (struct packed_model){.config = *c};
    packed->element_bytes = kernels->precision == PRECISION_BF16 ? 2 : 4;
    packed->row_dwords = hidden * packed->element_bytes / 4;
    packed->panels = c->hidden / PANEL_COLUMNS;
    packed->blocks = c->ffn / c->hidden;
    packed->panel_bytes = PANEL_COLUMNS * hidden * packed->element_bytes;
    size_t layer_bytes = (4 + 2 * (size_t)packed->blocks) * packed->panels * packed->panel_bytes;
    size_t floats = hidden * (c->vocabulary + c->positions + 2) + c->layers * (9 * hidden + c->ffn);
    size_t float_bytes = (4 * floats + 63) / 64 * 64;
    packed->bytes = float_bytes + c->layers * layer_bytes;
    packed->memory = big_alloc(packed->bytes);
    packed->layers = calloc(c->layers, sizeof *packed->layers);
    struct packing run = {.model = model, .packed = packed, .kernels = kernels, .team = team};
    if (packed->memory && packed->layers) {
        small_tensors_copy(packed, model, layer_bytes, float_bytes);
        team_run(team, pack_job, &run);
    }
    if (!packed->memory || !packed->layers || atomic_load(&run.out_of_memory)) {
        error_set(error, EX_SOFTWARE, "out of memory for the weights of %s (%zu MB)", model->name,
                  packed->bytes >> 20);
        packed_model_finish(packed);
        return -1;
    }
    return 0;
}

void packed_model_finish(struct packed_model *packed) {
    free(packed->memory);
    free(packed->layers);
    *packed = (struct packed_model){0};
}
