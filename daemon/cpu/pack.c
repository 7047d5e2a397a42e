/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the tensors row by row, 64 rows at a time, and writes them as panels; the members of the
 * team share the panels out. Runs with the ordinary floating-point mode, so that small float16
 * weights are widened exactly; bf16 weights are rounded as everything else is.
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
        madvise(memory, bytes, MADV_HUGEPAGE); /* a wish */
    return memory;
}

/* One packing run. */
struct packing {
    const struct model *model;
    struct packed_model *packed;
    const struct kernels *kernels;
    struct team *team;
    atomic_bool out_of_memory;
};

/* 64 rows x K floats of a weight matrix to its panel. */
static void panel_write_f32(const float *rows, size_t row_stride, uint32_t depth, unsigned columns,
                            float *panel) {
    for (unsigned first = 0; first < PANEL_COLUMNS; first += columns)
        for (uint32_t k = 0; k < depth; k++)
            for (unsigned c = 0; c < columns; c++)
                *panel++ = rows[(first + c) * row_stride + k];
}

static void panel_write_bf16(const float *rows, size_t row_stride, uint32_t depth, unsigned columns,
                             uint32_t *panel) {
    for (unsigned first = 0; first < PANEL_COLUMNS; first += columns)
        for (uint32_t k = 0; k < depth; k += 2)
            for (unsigned c = 0; c < columns; c++) {
                const float *pair = rows + (first + c) * row_stride + k;
                uint32_t low = bf16_from_float(pair[0]), high = bf16_from_float(pair[1]);
                *panel++ = low | high << 16;
            }
}

/* Rows 64 column .. of a matrix; rows longer than H become a panel for each H inputs. `first` is
 * the panel of the first inputs, later ones lie `distance` panels apart. */
static void matrix_pack(const struct packing *run, const struct tensor *tensor, uint32_t column,
                        unsigned char *first, size_t distance, float *rows) {
    const struct packed_model *packed = run->packed;
    size_t stride = (size_t)tensor->columns;
    for (uint32_t r = 0; r < PANEL_COLUMNS; r++)
        tensor_read_row(tensor, (int64_t)column * PANEL_COLUMNS + r, rows + r * stride);
    uint32_t depth = packed->config.hidden;
    for (size_t k = 0; k < stride; k += depth, first += distance * packed->panel_bytes)
        if (run->kernels->precision == PRECISION_BF16)
            panel_write_bf16(rows + k, stride, depth, run->kernels->sub_columns,
                             (uint32_t *)(void *)first);
        else
            panel_write_f32(rows + k, stride, depth, run->kernels->sub_columns,
                            (float *)(void *)first);
}

/* One 64th part of the rows of a layer's matrices, in the order qkv, dense, fc1, fc2. */
static void layer_pack(const struct packing *run, uint32_t layer, uint32_t part, float *rows) {
    const struct packed_model *m = run->packed;
    const struct layer_weights *w = &run->model->layers[layer];
    uint32_t dense = 3 * m->panels, fc1 = 4 * m->panels, fc2 = (4 + m->blocks) * m->panels;
    const struct tensor *tensor;
    size_t panel; /* within the layer */
    if (part < dense) {
        tensor = &w->qkv_weight;
        panel = part;
    } else if (part < fc1) {
        tensor = &w->dense_weight;
        panel = part;
        part -= dense;
    } else if (part < fc2) {
        tensor = &w->fc1_weight;
        part -= fc1;
        panel = (4 + 2 * (size_t)(part / m->panels)) * m->panels + part % m->panels;
    } else {
        tensor = &w->fc2_weight;
        part -= fc2;
        panel = 5 * (size_t)m->panels + part;
    }
    matrix_pack(run, tensor, part, m->layers[layer].panels + panel * m->panel_bytes,
                2 * (size_t)m->panels, rows);
}

static void pack_job(void *user, unsigned member) {
    struct packing *run = user;
    const struct packed_model *m = run->packed;
    uint32_t parts = (5 + m->blocks) * m->panels, unit;
    float *rows = malloc(sizeof(float) * PANEL_COLUMNS * m->config.ffn);
    (void)member;
    if (!rows) {
        atomic_store(&run->out_of_memory, true);
        return;
    }
    while ((unit = team_take(run->team)) < parts * m->config.layers)
        layer_pack(run, unit / parts, unit % parts, rows);
    free(rows);
}

/* Copies a tensor of floats to *at, which moves on. */
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

/* Everything that is not a panel. */
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
