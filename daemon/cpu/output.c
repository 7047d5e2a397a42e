/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends a batch: final LayerNorm, pooling and conversion, into the rows that the submitter named. A
 * client may share that memory, so it is only ever written; what is checked and summed is the
 * encoder's own memory. One member sums a mean, token after token, so that the result never depends
 * on the number of threads.
 */
#include "daemon/cpu/arithmetic.h"
#include "daemon/cpu/forward.h"

/* Rows of residues in a unit, so that several members can share a long sequence. */
#define OUTPUT_ROWS 32

void output_plan(struct encoder *e) {
    e->unit_count = 0;
    for (uint32_t i = 0; i < e->batch->count; i++) {
        const struct engine_item *item = &e->batch->items[i];
        bool pooled = item->pooling != POOLING_NONE;
        uint32_t step = pooled ? item->residues : OUTPUT_ROWS;
        bool lost = item->pooling == POOLING_BOS && item->first_residue == 0;
        atomic_store_explicit(&e->failures[i], lost ? 1u << RECORD_NO_BOS : 0,
                              memory_order_relaxed);
        for (uint32_t first = 0; first < item->residues && !lost; first += step) {
            uint32_t left = item->residues - first;
            e->units[e->unit_count++] = (struct output_unit){i, first, left < step ? left : step};
        }
    }
}

/* Writes one row, which is finite, as values of the item's type. Returns failure bits. */
static unsigned row_write(const struct engine_item *item, uint32_t hidden, uint32_t index,
                          const float *row) {
    unsigned failures = 0;
    if (item->dtype == DTYPE_F32) {
        memcpy((float *)item->rows + (size_t)index * hidden, row, sizeof(float) * hidden);
        return 0;
    }
    uint16_t *out = (uint16_t *)item->rows + (size_t)index * hidden;
    for (uint32_t i = 0; i < hidden; i++) {
        uint16_t value = f16_from_float(row[i]);
        failures |= (value & 0x7c00u) == 0x7c00u;
        out[i] = value;
    }
    return failures ? 1u << RECORD_OVERFLOW : 0;
}

/* Computes the final row of a residue of an item, or of <s> if residue is -1. Returns whether it is
 * finite. */
static bool row_final(const struct encoder *e, const struct engine_item *item, int64_t residue,
                      float *out) {
    int64_t token = (int64_t)item->first_token + item->first_residue + residue;
    const float *x = e->residual + (size_t)token * e->model.config.hidden;
    return e->kernels->norm_output(&e->model.final_norm, x, out);
}

static unsigned rows_output(const struct encoder *e, const struct engine_item *item,
                            const struct output_unit *unit, float *row) {
    uint32_t hidden = e->model.config.hidden;
    unsigned failures = 0;
    for (uint32_t r = unit->first; r < unit->first + unit->rows; r++) {
        bool direct = item->dtype == DTYPE_F32;
        float *out = direct ? (float *)item->rows + (size_t)r * hidden : row;
        if (!row_final(e, item, r, out))
            failures |= 1u << RECORD_NONFINITE;
        else if (!direct)
            failures |= row_write(item, hidden, r, row);
    }
    return failures;
}

static void row_pool(enum pooling pooling, float *pooled, const float *row, uint32_t hidden) {
    if (pooling == POOLING_MEAN)
        for (uint32_t i = 0; i < hidden; i++)
            pooled[i] = pooled[i] + row[i];
    else
        for (uint32_t i = 0; i < hidden; i++)
            pooled[i] = float_max(pooled[i], row[i]);
}

static unsigned pooled_output(const struct encoder *e, const struct engine_item *item,
                              struct member_space *space) {
    uint32_t hidden = e->model.config.hidden;
    bool bos = item->pooling == POOLING_BOS,
         finite = row_final(e, item, bos ? -1 : 0, space->pooled);
    for (uint32_t r = 1; r < item->residues && !bos; r++) {
        finite &= row_final(e, item, r, space->row);
        row_pool(item->pooling, space->pooled, space->row, hidden);
    }
    for (uint32_t i = 0; i < hidden; i++) {
        if (item->pooling == POOLING_MEAN)
            space->pooled[i] = space->pooled[i] / (float)item->residues;
        finite &= float_is_finite(space->pooled[i]);
    }
    return finite ? row_write(item, hidden, 0, space->pooled) : 1u << RECORD_NONFINITE;
}

void output_run(struct encoder *e, unsigned member) {
    struct member_space *space = &e->members[member];
    uint32_t u;
    while ((u = team_take(e->team)) < e->unit_count) {
        const struct output_unit *unit = &e->units[u];
        const struct engine_item *item = &e->batch->items[unit->item];
        unsigned failures = item->pooling == POOLING_NONE ? rows_output(e, item, unit, space->row)
                                                          : pooled_output(e, item, space);
        atomic_fetch_or_explicit(&e->failures[unit->item], failures, memory_order_relaxed);
    }
}

void output_statuses(struct encoder *e) {
    for (uint32_t i = 0; i < e->batch->count; i++) {
        unsigned failures = atomic_load_explicit(&e->failures[i], memory_order_relaxed);
        enum record_status status = RECORD_OK;
        if (failures & 1u << RECORD_NO_BOS)
            status = RECORD_NO_BOS;
        else if (failures & 1u << RECORD_NONFINITE)
            status = RECORD_NONFINITE;
        else if (failures & 1u << RECORD_OVERFLOW)
            status = RECORD_OVERFLOW;
        e->batch->items[i].status = status;
    }
}
