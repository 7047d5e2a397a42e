/* SPDX-License-Identifier: Apache-2.0
 *
 * Computes the layers in one of two ways, which give the same bits. By rows, a member takes a tile
 * of tokens through everything between two attentions (output projection, LayerNorm, feed-forward
 * layer, next LayerNorm, next q, k and v), so that a layer has two barriers. By columns, for few
 * tokens, the panels of each product are shared among the members, so that each reads only its part
 * of the weights, and once; the price is seven barriers.
 */
#include "daemon/cpu/forward.h"

struct range {
    uint32_t first, count;
};

static const unsigned char *row_at(const struct encoder *e, const void *rows, uint32_t row) {
    return (const unsigned char *)rows + (size_t)row * e->model.row_dwords * 4;
}

static float *residual_at(const struct encoder *e, uint32_t row) {
    return e->residual + (size_t)row * e->model.config.hidden;
}

static void embed(const struct encoder *e, const struct engine_item *item, uint32_t first,
                  uint32_t count) {
    uint32_t hidden = e->model.config.hidden;
    for (uint32_t i = first; i < first + count; i++) {
        uint16_t id = e->batch->ids[item->first_token + i];
        const float *word = e->model.word_embeddings + (size_t)id * hidden;
        const float *position = e->model.position_embeddings + (size_t)i * hidden;
        float *x = residual_at(e, item->first_token + i);
        for (uint32_t c = 0; c < hidden; c++)
            x[c] = word[c] + position[c];
    }
}

/* Embeds the tokens of a range of rows, which may belong to several sequences. */
static void embed_range(const struct encoder *e, struct range rows) {
    for (uint32_t i = 0; i < e->batch->count; i++) {
        const struct engine_item *item = &e->batch->items[i];
        uint32_t end = item->first_token + item->tokens, last = rows.first + rows.count;
        if (end <= rows.first || item->first_token >= last)
            continue;
        uint32_t from = item->first_token > rows.first ? item->first_token : rows.first;
        uint32_t to = end < last ? end : last;
        embed(e, item, from - item->first_token, to - from);
    }
}

static void norm_range(const struct encoder *e, const struct norm *norm, struct range rows,
                       void *out) {
    e->kernels->norm(norm, residual_at(e, rows.first), rows.count, out);
}

/* In the functions below, a column is one of 64 values, and `next` the panel to prefetch. */

/* Computes a column of q, k or v for rows whose LayerNorm is at `norm`. */
static void qkv_panel(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                      const void *norm, const void *next) {
    const struct packed_model *m = &e->model;
    e->kernels->panel(
        &(struct panel){.a = norm,
                        .a_stride = m->row_dwords,
                        .b = panel_qkv(m, layer, column),
                        .next = next,
                        .depth = m->row_dwords,
                        .bias = m->layers[layer].qkv_bias + (size_t)column * PANEL_COLUMNS,
                        .out = qkv_at(e, column, rows.first),
                        .out_stride = HEAD_SIZE,
                        .rows = rows.count,
                        .epilogue = EPILOGUE_STORE});
}

/* Adds a column of the attention's output projection to the residual. */
static void dense_panel(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                        const void *next) {
    const struct packed_model *m = &e->model;
    e->kernels->panel(
        &(struct panel){.a = row_at(e, e->context, rows.first),
                        .a_stride = m->row_dwords,
                        .b = panel_dense(m, layer, column),
                        .next = next,
                        .depth = m->row_dwords,
                        .bias = m->layers[layer].dense_bias + (size_t)column * PANEL_COLUMNS,
                        .out = residual_at(e, rows.first) + (size_t)column * PANEL_COLUMNS,
                        .out_stride = m->config.hidden,
                        .rows = rows.count,
                        .epilogue = EPILOGUE_RESIDUAL});
}

/* Computes a column of a block of hidden values. `out` is the first row of the block, out_stride is
 * in elements. */
static void fc1_panel(const struct encoder *e, uint32_t layer, uint32_t block, uint32_t column,
                      uint32_t rows, const void *norm, void *out, size_t out_stride,
                      const void *next) {
    const struct packed_model *m = &e->model;
    size_t first = (size_t)column * PANEL_COLUMNS;
    e->kernels->panel(&(struct panel){
        .a = norm,
        .a_stride = m->row_dwords,
        .b = panel_fc1(m, layer, block, column),
        .next = next,
        .depth = m->row_dwords,
        .bias = m->layers[layer].fc1_bias + (size_t)block * m->config.hidden + first,
        .out = (unsigned char *)out + first * m->element_bytes,
        .out_stride = out_stride,
        .rows = rows,
        .epilogue = m->config.gelu == GELU_ERF ? EPILOGUE_GELU_ERF : EPILOGUE_GELU_TANH});
}

/* Adds what a block contributes to a column of the residual, and for the first block the bias too.
 */
static void fc2_panel(const struct encoder *e, uint32_t layer, uint32_t block, uint32_t column,
                      struct range rows, const void *hidden, size_t hidden_stride,
                      const void *next) {
    const struct packed_model *m = &e->model;
    size_t first = (size_t)column * PANEL_COLUMNS;
    e->kernels->panel(&(struct panel){.a = hidden,
                                      .a_stride = hidden_stride,
                                      .b = panel_fc2(m, layer, block, column),
                                      .next = next,
                                      .depth = m->row_dwords,
                                      .bias = block == 0 ? m->layers[layer].fc2_bias + first : NULL,
                                      .out = residual_at(e, rows.first) + first,
                                      .out_stride = m->config.hidden,
                                      .rows = rows.count,
                                      .epilogue = EPILOGUE_RESIDUAL});
}

static void attend(const struct encoder *e, struct member_space *space, uint32_t sequence,
                   uint32_t head) {
    const struct engine_item *item = &e->batch->items[e->order[sequence]];
    uint32_t token = item->first_token;
    size_t column = (size_t)head * HEAD_SIZE * e->model.element_bytes;
    e->kernels->attention(
        &(struct attention){.q = qkv_at(e, 3 * head, token),
                            .k = qkv_at(e, 3 * head + 1, token),
                            .v = qkv_at(e, 3 * head + 2, token),
                            .tokens = item->tokens,
                            .out = e->context + (size_t)token * e->model.row_dwords * 4 + column,
                            .out_stride = e->model.config.hidden,
                            .scratch = space->scratch});
}

static void attention_all(struct encoder *e, unsigned member) {
    uint32_t heads = e->model.panels, unit;
    while ((unit = team_take(e->team)) < e->batch->count * heads)
        attend(e, &e->members[member], unit / heads, unit % heads);
    team_barrier(e->team);
}

/* Begins a layer: LayerNorm, and q, k and v. */
static void tile_begin(const struct encoder *e, uint32_t layer, struct range rows,
                       struct member_space *space) {
    norm_range(e, &e->model.layers[layer].input_norm, rows, space->norm);
    for (uint32_t p = 0; p < 3 * e->model.panels; p++)
        qkv_panel(e, layer, p, rows, space->norm, panel_qkv(&e->model, layer, p + 1));
}

/* Computes everything of a layer after its attention. */
static void tile_end(const struct encoder *e, uint32_t layer, struct range rows,
                     struct member_space *space) {
    const struct packed_model *m = &e->model;
    for (uint32_t p = 0; p < m->panels; p++)
        dense_panel(e, layer, p, rows, panel_dense(m, layer, p + 1));
    norm_range(e, &m->layers[layer].post_norm, rows, space->norm);
    for (uint32_t block = 0; block < m->blocks; block++) {
        for (uint32_t p = 0; p < m->panels; p++)
            fc1_panel(e, layer, block, p, rows.count, space->norm, space->hidden, m->config.hidden,
                      panel_fc1(m, layer, block, p + 1));
        bool last = layer + 1 == m->config.layers && block + 1 == m->blocks;
        for (uint32_t p = 0; p < m->panels; p++)
            fc2_panel(e, layer, block, p, rows, space->hidden, m->row_dwords,
                      last && p + 1 == m->panels ? NULL : panel_fc2(m, layer, block, p + 1));
    }
}

/* Tile or chunk `index` of the batch, each of `rows` rows but the last. */
static struct range range_at(const struct encoder *e, uint32_t index, uint32_t rows) {
    uint32_t first = index * rows, left = e->batch->tokens - first;
    return (struct range){first, left < rows ? left : rows};
}

void forward_rows(struct encoder *e, unsigned member) {
    struct member_space *space = &e->members[member];
    uint32_t layers = e->model.config.layers, tile;
    while ((tile = team_take(e->team)) < e->tiles) {
        struct range rows = range_at(e, tile, e->tile_rows);
        embed_range(e, rows);
        tile_begin(e, 0, rows, space);
    }
    for (uint32_t layer = 0; layer < layers; layer++) {
        team_barrier(e->team);
        attention_all(e, member);
        while ((tile = team_take(e->team)) < e->tiles) {
            struct range rows = range_at(e, tile, e->tile_rows);
            tile_end(e, layer, rows, space);
            if (layer + 1 < layers)
                tile_begin(e, layer + 1, rows, space);
        }
    }
    team_barrier(e->team);
}

/* A member's share of `count` rows. */
static struct range share(const struct encoder *e, uint32_t count, unsigned member) {
    uint32_t first = (uint32_t)((uint64_t)count * member / e->threads);
    uint32_t last = (uint32_t)((uint64_t)count * (member + 1) / e->threads);
    return (struct range){first, last - first};
}

static void columns_norm(const struct encoder *e, const struct norm *norm, unsigned member) {
    struct range rows = share(e, e->batch->tokens, member);
    norm_range(e, norm, rows, e->norm + (size_t)rows.first * e->model.row_dwords * 4);
    team_barrier(e->team);
}

static void qkv_unit(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                     const void *next) {
    qkv_panel(e, layer, column, rows, row_at(e, e->norm, rows.first), next);
}

/* Where a row's hidden values of a block begin. */
static unsigned char *hidden_at(const struct encoder *e, uint32_t row, uint32_t block) {
    size_t at = (size_t)row * e->model.config.ffn + (size_t)block * e->model.config.hidden;
    return e->hidden + at * e->model.element_bytes;
}

static void fc1_unit(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                     const void *next) {
    uint32_t block = column / e->model.panels;
    fc1_panel(e, layer, block, column % e->model.panels, rows.count, row_at(e, e->norm, rows.first),
              hidden_at(e, rows.first, block), e->model.config.ffn, next);
}

/* Goes through all blocks, because they must be added to the residual in order. */
static void fc2_unit(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                     const void *next) {
    const struct packed_model *m = &e->model;
    for (uint32_t block = 0; block < m->blocks; block++)
        fc2_panel(e, layer, block, column, rows, hidden_at(e, rows.first, block),
                  m->row_dwords * m->blocks,
                  block + 1 < m->blocks ? panel_fc2(m, layer, block + 1, column) : next);
}

static void *fc1_first(const struct packed_model *m, uint32_t layer, uint32_t column) {
    return panel_fc1(m, layer, column / m->panels, column % m->panels);
}

static void *fc2_first(const struct packed_model *m, uint32_t layer, uint32_t column) {
    return panel_fc2(m, layer, 0, column);
}

/* A product of a layer. Its unit u is column u / chunks for the rows of chunk u % chunks. */
struct product {
    uint32_t columns; /* in units of H / 64, or 0 for as many units as there are blocks */
    /* Returns the panel that a column begins with. */
    void *(*panel)(const struct packed_model *m, uint32_t layer, uint32_t column);
    void (*run)(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                const void *next);
};

static const struct product products[] = {{3, panel_qkv, qkv_unit},
                                          {1, panel_dense, dense_panel},
                                          {0, fc1_first, fc1_unit},
                                          {1, fc2_first, fc2_unit}};
enum { QKV, DENSE, FC1, FC2 };

/* Returns the panel that a unit begins with, or NULL when there is no such unit. */
static const void *unit_panel(const struct encoder *e, const struct product *product,
                              uint32_t layer, uint32_t unit) {
    uint32_t columns = (product->columns ? product->columns : e->model.blocks) * e->model.panels;
    if (unit >= columns * e->chunks || layer == e->model.config.layers)
        return NULL;
    return product->panel(&e->model, layer, unit / e->chunks);
}

/* A member begins with the unit of its own number, so that the panel of that unit can be prefetched
 * before the barrier. The other units go to whichever member is free, so that a slow core does
 * fewer. A member takes each of them one unit ahead, so that it knows which panel to prefetch. */
static void columns_share(const struct encoder *e, const struct product *product, uint32_t layer,
                          unsigned member) {
    const struct product *after = product == &products[FC2] ? &products[QKV] : product + 1;
    uint32_t unit = member;
    const void *panel = unit_panel(e, product, layer, unit);
    while (panel) {
        uint32_t then = e->threads + team_take(e->team);
        const void *next = unit_panel(e, product, layer, then), *ahead = next;
        if (!next)
            ahead = unit_panel(e, after, layer + (after == &products[QKV]), member);
        product->run(e, layer, unit / e->chunks, range_at(e, unit % e->chunks, e->chunk_rows),
                     ahead);
        unit = then;
        panel = next;
    }
    team_barrier(e->team);
}

void forward_columns(struct encoder *e, unsigned member) {
    const struct packed_model *m = &e->model;
    embed_range(e, share(e, e->batch->tokens, member));
    for (uint32_t layer = 0; layer < m->config.layers; layer++) {
        columns_norm(e, &m->layers[layer].input_norm, member);
        columns_share(e, &products[QKV], layer, member);
        attention_all(e, member);
        columns_share(e, &products[DENSE], layer, member);
        columns_norm(e, &m->layers[layer].post_norm, member);
        columns_share(e, &products[FC1], layer, member);
        columns_share(e, &products[FC2], layer, member);
    }
}
