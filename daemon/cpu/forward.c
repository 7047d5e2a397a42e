/* SPDX-License-Identifier: Apache-2.0
 *
 * The layers. By rows: a member takes a tile of tokens through everything between two attentions
 * (output projection, LayerNorm, MLP, next LayerNorm, next q, k, v), so there are two barriers a
 * layer. By columns, for few tokens: every product is shared out panel by panel, each member reads
 * its part of the weights once, at the price of seven barriers. Both give the same bits.
 */
#include "daemon/cpu/forward.h"

/* A range of rows, and of what they are multiplied with. */
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

/* Embeds the tokens of a range, whatever sequences they belong to. */
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

/* Columns 64 column .. of q, k, v for rows whose normalised form is at `norm`. */
static void qkv_panel(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                      const void *norm, bool more) {
    const struct packed_model *m = &e->model;
    e->kernels->panel(
        &(struct panel){.a = norm,
                        .a_stride = m->row_dwords,
                        .b = panel_qkv(m, layer, column),
                        .next = more ? panel_qkv(m, layer, column + 1) : NULL,
                        .depth = m->row_dwords,
                        .bias = m->layers[layer].qkv_bias + (size_t)column * PANEL_COLUMNS,
                        .out = qkv_at(e, column, rows.first),
                        .out_stride = HEAD_SIZE,
                        .rows = rows.count,
                        .epilogue = EPILOGUE_STORE});
}

/* Adds columns 64 column .. of the attention's output projection to the residual. */
static void dense_panel(const struct encoder *e, uint32_t layer, uint32_t column, struct range rows,
                        bool more) {
    const struct packed_model *m = &e->model;
    e->kernels->panel(
        &(struct panel){.a = row_at(e, e->context, rows.first),
                        .a_stride = m->row_dwords,
                        .b = panel_dense(m, layer, column),
                        .next = more ? panel_dense(m, layer, column + 1) : NULL,
                        .depth = m->row_dwords,
                        .bias = m->layers[layer].dense_bias + (size_t)column * PANEL_COLUMNS,
                        .out = residual_at(e, rows.first) + (size_t)column * PANEL_COLUMNS,
                        .out_stride = m->config.hidden,
                        .rows = rows.count,
                        .epilogue = EPILOGUE_RESIDUAL});
}

/* Hidden values 64 column .. of a block; out points at their first row, out_stride in elements. */
static void fc1_panel(const struct encoder *e, uint32_t layer, uint32_t block, uint32_t column,
                      uint32_t rows, const void *norm, void *out, size_t out_stride, bool more) {
    const struct packed_model *m = &e->model;
    size_t first = (size_t)column * PANEL_COLUMNS;
    e->kernels->panel(&(struct panel){
        .a = norm,
        .a_stride = m->row_dwords,
        .b = panel_fc1(m, layer, block, column),
        .next = more ? panel_fc1(m, layer, block, column + 1) : NULL,
        .depth = m->row_dwords,
        .bias = m->layers[layer].fc1_bias + (size_t)block * m->config.hidden + first,
        .out = (unsigned char *)out + first * m->element_bytes,
        .out_stride = out_stride,
        .rows = rows,
        .epilogue = m->config.gelu == GELU_ERF ? EPILOGUE_GELU_ERF : EPILOGUE_GELU_TANH});
}

/* Adds a block's share of columns 64 column .. to the residual; the first block brings the bias. */
static void fc2_panel(const struct encoder *e, uint32_t layer, uint32_t block, uint32_t column,
                      struct range rows, const void *hidden, size_t hidden_stride, bool more) {
    const struct packed_model *m = &e->model;
    size_t first = (size_t)column * PANEL_COLUMNS;
    e->kernels->panel(&(struct panel){.a = hidden,
                                      .a_stride = hidden_stride,
                                      .b = panel_fc2(m, layer, block, column),
                                      .next = more ? panel_fc2(m, layer, block, column + 1) : NULL,
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

static void attention_all(struct encoder *e, unsigned member, struct phase_clock *clock) {
    uint32_t heads = e->model.panels, unit;
    while ((unit = team_take(e->team)) < e->batch->count * heads)
        attend(e, &e->members[member], unit / heads, unit % heads);
    phase_end(clock, PHASE_ATTENTION);
    team_barrier(e->team);
    phase_end(clock, PHASE_WAIT);
}

/* The LayerNorm and q, k, v that begin a layer. */
static void tile_begin(const struct encoder *e, uint32_t layer, struct range rows,
                       struct member_space *space, struct phase_clock *clock) {
    norm_range(e, &e->model.layers[layer].input_norm, rows, space->norm);
    phase_end(clock, PHASE_NORM);
    for (uint32_t p = 0; p < 3 * e->model.panels; p++)
        qkv_panel(e, layer, p, rows, space->norm, true);
    phase_end(clock, PHASE_QKV);
}

/* All of a layer behind its attention. */
static void tile_end(const struct encoder *e, uint32_t layer, struct range rows,
                     struct member_space *space, struct phase_clock *clock) {
    const struct packed_model *m = &e->model;
    for (uint32_t p = 0; p < m->panels; p++)
        dense_panel(e, layer, p, rows, true);
    phase_end(clock, PHASE_DENSE);
    norm_range(e, &m->layers[layer].post_norm, rows, space->norm);
    phase_end(clock, PHASE_NORM);
    for (uint32_t block = 0; block < m->blocks; block++) {
        for (uint32_t p = 0; p < m->panels; p++)
            fc1_panel(e, layer, block, p, rows.count, space->norm, space->hidden, m->config.hidden,
                      true);
        phase_end(clock, PHASE_FC1);
        bool last = layer + 1 == m->config.layers && block + 1 == m->blocks;
        for (uint32_t p = 0; p < m->panels; p++)
            fc2_panel(e, layer, block, p, rows, space->hidden, m->row_dwords,
                      !last || p + 1 < m->panels);
        phase_end(clock, PHASE_FC2);
    }
}

static struct range tile_range(const struct encoder *e, uint32_t tile) {
    uint32_t first = tile * e->tile_rows, left = e->batch->tokens - first;
    return (struct range){first, left < e->tile_rows ? left : e->tile_rows};
}

void forward_rows(struct encoder *e, unsigned member, struct phase_clock *clock) {
    struct member_space *space = &e->members[member];
    uint32_t layers = e->model.config.layers, tile;
    while ((tile = team_take(e->team)) < e->tiles) {
        embed_range(e, tile_range(e, tile));
        phase_end(clock, PHASE_EMBEDDING);
        tile_begin(e, 0, tile_range(e, tile), space, clock);
    }
    for (uint32_t layer = 0; layer < layers; layer++) {
        team_barrier(e->team);
        phase_end(clock, PHASE_WAIT);
        attention_all(e, member, clock);
        while ((tile = team_take(e->team)) < e->tiles) {
            tile_end(e, layer, tile_range(e, tile), space, clock);
            if (layer + 1 < layers)
                tile_begin(e, layer + 1, tile_range(e, tile), space, clock);
        }
    }
    team_barrier(e->team);
    phase_end(clock, PHASE_WAIT);
}

/* A member's share of count units. */
static struct range share(const struct encoder *e, uint32_t count, unsigned member) {
    uint32_t first = (uint32_t)((uint64_t)count * member / e->threads);
    uint32_t last = (uint32_t)((uint64_t)count * (member + 1) / e->threads);
    return (struct range){first, last - first};
}

static struct range chunk_range(const struct encoder *e, uint32_t chunk) {
    uint32_t first = chunk * e->chunk_rows, left = e->batch->tokens - first;
    return (struct range){first, left < e->chunk_rows ? left : e->chunk_rows};
}

static void barrier(const struct encoder *e, struct phase_clock *clock, enum phase done) {
    phase_end(clock, done);
    team_barrier(e->team);
    phase_end(clock, PHASE_WAIT);
}

static void columns_norm(const struct encoder *e, const struct norm *norm, unsigned member,
                         struct phase_clock *clock) {
    struct range rows = share(e, e->batch->tokens, member);
    norm_range(e, norm, rows, e->norm + (size_t)rows.first * e->model.row_dwords * 4);
    barrier(e, clock, PHASE_NORM);
}

/* Below, unit u is panel u / chunks for row chunk u % chunks; a panel is fetched ahead when it is
 * the same member's. */

static void columns_qkv(const struct encoder *e, uint32_t layer, unsigned member) {
    struct range units = share(e, 3 * e->model.panels * e->chunks, member);
    for (uint32_t u = units.first; u < units.first + units.count; u++) {
        struct range rows = chunk_range(e, u % e->chunks);
        qkv_panel(e, layer, u / e->chunks, rows, row_at(e, e->norm, rows.first),
                  u + 1 < units.first + units.count);
    }
}

static void columns_dense(const struct encoder *e, uint32_t layer, unsigned member) {
    struct range units = share(e, e->model.panels * e->chunks, member);
    for (uint32_t u = units.first; u < units.first + units.count; u++)
        dense_panel(e, layer, u / e->chunks, chunk_range(e, u % e->chunks),
                    u + 1 < units.first + units.count);
}

static void columns_fc1(const struct encoder *e, uint32_t layer, unsigned member) {
    const struct packed_model *m = &e->model;
    struct range units = share(e, m->blocks * m->panels * e->chunks, member);
    for (uint32_t u = units.first; u < units.first + units.count; u++) {
        uint32_t panel = u / e->chunks, block = panel / m->panels, column = panel % m->panels;
        struct range rows = chunk_range(e, u % e->chunks);
        size_t at = (size_t)rows.first * m->config.ffn + (size_t)block * m->config.hidden;
        fc1_panel(e, layer, block, column, rows.count, row_at(e, e->norm, rows.first),
                  e->hidden + at * m->element_bytes, m->config.ffn,
                  u + 1 < units.first + units.count && column + 1 < m->panels);
    }
}

static void columns_fc2(const struct encoder *e, uint32_t layer, unsigned member) {
    const struct packed_model *m = &e->model;
    struct range units = share(e, m->panels * e->chunks, member);
    for (uint32_t block = 0; block < m->blocks; block++)
        for (uint32_t u = units.first; u < units.first + units.count; u++) {
            struct range rows = chunk_range(e, u % e->chunks);
            size_t at = (size_t)rows.first * m->config.ffn + (size_t)block * m->config.hidden;
            fc2_panel(e, layer, block, u / e->chunks, rows, e->hidden + at * m->element_bytes,
                      m->row_dwords * m->blocks, u + 1 < units.first + units.count);
        }
}

void forward_columns(struct encoder *e, unsigned member, struct phase_clock *clock) {
    const struct packed_model *m = &e->model;
    embed_range(e, share(e, e->batch->tokens, member));
    phase_end(clock, PHASE_EMBEDDING);
    for (uint32_t layer = 0; layer < m->config.layers; layer++) {
        columns_norm(e, &m->layers[layer].input_norm, member, clock);
        columns_qkv(e, layer, member);
        barrier(e, clock, PHASE_QKV);
        attention_all(e, member, clock);
        columns_dense(e, layer, member);
        barrier(e, clock, PHASE_DENSE);
        columns_norm(e, &m->layers[layer].post_norm, member, clock);
        columns_fc1(e, layer, member);
        barrier(e, clock, PHASE_FC1);
        columns_fc2(e, layer, member);
        barrier(e, clock, PHASE_FC2);
    }
}
