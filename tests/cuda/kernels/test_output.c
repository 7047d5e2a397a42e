/* SPDX-License-Identifier: Apache-2.0
 *
 * This holds the end of a batch against double precision: rows, means, maxima and <s> in both
 * types, which items are flagged, and that nothing is written but what was asked for.
 */
#include "batch.h"
#include "ipc/wire.h"
#include "numbers.h"
#include "runs.h"
#include "tests/check.h"
#include "tests/kernels/random.h"

#include <stdlib.h>
#include <string.h>

#define EPSILON 1e-5
#define UNIT 64u /* of plan_item.output, in bytes */

/* A batch, what goes into its end, and what came out. */
struct example {
    struct batch batch;
    float *x, *gain, *bias;
    uint32_t units; /* of the output */
    const unsigned char *output;
    const uint32_t *flags;
};

static size_t item_bytes(const struct plan_item *item, uint32_t hidden) {
    size_t rows = item->pooling == POOLING_NONE ? item->residues : 1;
    return rows * hidden * dtype_size((enum dtype)item->dtype);
}

/* Results lie in the output in reverse, with a unit between. */
static void example_place(struct example *e) {
    e->units = 1;
    for (uint32_t i = e->batch.count; i-- > 0;) {
        struct plan_item *item = &e->batch.items[i];
        item->output = e->units;
        e->units += (uint32_t)(item_bytes(item, e->batch.shape.hidden) + UNIT - 1) / UNIT + 1;
    }
}

/* The items have every pooling in both types, over and over. */
static void example_init(struct example *e, const struct run *run, uint32_t hidden,
                         const uint32_t *lengths, uint32_t count, float gain) {
    e->batch.shape = (struct gpu_shape){.type = run->type, .sm = run->sm, .hidden = hidden};
    batch_init(&e->batch, lengths, count);
    uint64_t random = hidden;
    size_t size = (size_t)e->batch.shape.tokens * hidden;
    e->x = host_new(size * sizeof *e->x);
    e->gain = host_new(hidden * sizeof *e->gain);
    e->bias = host_new(hidden * sizeof *e->bias);
    for (size_t i = 0; i < size; i++)
        e->x[i] = i < (size_t)e->batch.tokens * hidden ? random_normal(&random) : NAN;
    for (uint32_t i = 0; i < hidden; i++) {
        e->gain[i] = gain * (1 + 0.2f * random_normal(&random));
        e->bias[i] = random_normal(&random);
    }
    for (uint32_t i = 0; i < count; i++) {
        e->batch.items[i].pooling = (uint16_t)(i % 4);
        e->batch.items[i].dtype = (uint16_t)(i / 4 % 2);
    }
    example_place(e);
}

static void example_run(struct example *e) {
    const struct gpu_shape *shape = &e->batch.shape;
    size_t size = (size_t)shape->tokens * shape->hidden * sizeof *e->x;
    struct gpu_plan plan = batch_upload(&e->batch);
    struct gpu_norm norm = {device_new(e->gain, shape->hidden * sizeof *e->gain),
                            device_new(e->bias, shape->hidden * sizeof *e->bias)};
    void *residual = device_new(e->x, size), *scratch = device_new(NULL, size);
    void *output = device_new(NULL, (size_t)e->units * UNIT);
    void *flags = device_new(NULL, shape->sequences * sizeof *e->flags);
    MUST(gpu_output(shape, &plan, residual, norm, scratch, output, flags, device_stream()));
    e->output = device_read(output);
    e->flags = device_read(flags);
    for (uint32_t i = e->batch.count; i < shape->sequences; i++)
        CHECK(e->flags[i] == 0, "flags of item %u, which is none: %x", i, e->flags[i]);
}

static double item_value(const struct example *e, const struct plan_item *item, size_t index) {
    const unsigned char *rows = e->output + (size_t)item->output * UNIT;
    if (item->dtype == DTYPE_F32)
        return ((const float *)rows)[index];
    return number_decode(GPU_F16, ((const uint16_t *)rows)[index]);
}

/* Computes the final form of one row of an item; the row is counted from the first residue. */
static void row_expect(const struct example *e, const struct plan_item *item, int64_t row,
                       double *out) {
    uint32_t hidden = e->batch.shape.hidden;
    reference_layernorm(out, e->x + (size_t)(item->first_row + row) * hidden, e->gain, e->bias,
                        hidden, EPSILON);
}

static void item_expect(const struct example *e, const struct plan_item *item, double *out) {
    uint32_t hidden = e->batch.shape.hidden;
    if (item->pooling == POOLING_BOS) {
        row_expect(e, item, (int64_t)item->first_token - item->first_row, out);
        return;
    }
    bool apart = item->pooling == POOLING_NONE;
    double *row = malloc(hidden * sizeof *row);
    for (uint32_t r = 0; r < item->residues; r++) {
        row_expect(e, item, r, row);
        double *into = apart ? out + (size_t)r * hidden : out;
        for (uint32_t i = 0; i < hidden; i++)
            into[i] = apart || r == 0                 ? row[i]
                      : item->pooling == POOLING_MEAN ? into[i] + row[i]
                                                      : fmax(into[i], row[i]);
    }
    for (uint32_t i = 0; i < hidden && item->pooling == POOLING_MEAN; i++)
        out[i] /= item->residues;
    free(row);
}

static void item_check(const struct example *e, const struct plan_item *item, double scale) {
    uint32_t hidden = e->batch.shape.hidden;
    size_t values = item_bytes(item, hidden) / dtype_size((enum dtype)item->dtype);
    double *expected = malloc(values * sizeof *expected);
    item_expect(e, item, expected);
    for (size_t i = 0; i < values; i++) {
        double got = item_value(e, item, i), rounding = item->dtype == DTYPE_F16 ? 0x1p-11 : 0;
        CHECK(fabs(got - expected[i]) <= rounding * fabs(expected[i]) + 3e-6 * scale,
              "pooling %u, dtype %u, %u residues, row %zu, column %zu: %g is not %g", item->pooling,
              item->dtype, item->residues, i / hidden, i % hidden, got, expected[i]);
    }
    free(expected);
}

/* Between and behind the results the output must be as it was. */
static void gaps_check(const struct example *e) {
    unsigned char *wanted = calloc(e->units, UNIT);
    for (uint32_t i = 0; i < e->batch.count; i++)
        memset(wanted + (size_t)e->batch.items[i].output * UNIT, 1,
               item_bytes(&e->batch.items[i], e->batch.shape.hidden));
    for (size_t i = 0; i < (size_t)e->units * UNIT; i++)
        CHECK(wanted[i] || e->output[i] == DEVICE_PATTERN, "byte %zu of the output written", i);
    free(wanted);
}

static void test_poolings(struct run *run) {
    uint32_t lengths[] = {9, 40, 3, 1, 2, 70, 17, 30, 300};
    struct example e;
    example_init(&e, run, run->size, lengths, 9, 1);
    e.batch.items[8].pooling = POOLING_MEAN;
    example_place(&e);
    example_run(&e);
    run_add(run, e.output, (size_t)e.units * UNIT);
    for (uint32_t i = 0; i < e.batch.count; i++) {
        item_check(&e, &e.batch.items[i], 1);
        CHECK(e.flags[i] == 0, "item %u has flags %x", i, e.flags[i]);
    }
    gaps_check(&e);
}

static const uint32_t tens[8] = {10, 10, 10, 10, 10, 10, 10, 10};

/* Items that are not flagged must be as right as ever. */
static void flags_check(struct example *e, uint32_t token, const uint32_t expected[8],
                        double scale) {
    example_run(e);
    for (uint32_t i = 0; i < 8; i++) {
        CHECK(e->flags[i] == expected[i], "token %u, item %u: flags %x", token, i, e->flags[i]);
        if (!expected[i])
            item_check(e, &e->batch.items[i], scale);
    }
    device_end();
}

/* One peak makes a row's largest value about the root of H, 11, while others stay below 6: times
 * 1e4, only it leaves float16. Tokens of an item: 0 is <s>, 1 to 8 are residues, 9 is </s>. */
static void peak_check(struct run *run, uint32_t token, const uint32_t expected[8]) {
    struct example e;
    example_init(&e, run, 128, tens, 8, 1e4f);
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t k = 0; k < 128; k++)
            e.x[(i * 10 + token) * 128 + k] = k == 77;
    e.gain[77] = 1e4f;
    flags_check(&e, token, expected, 1e4);
}

static void test_overflow(struct run *run) {
    static const uint32_t in_residue[8] = {[4] = GPU_OVERFLOW, [6] = GPU_OVERFLOW},
                          in_first[8] = {[7] = GPU_OVERFLOW}, in_last[8] = {0};
    peak_check(run, 3, in_residue); /* the mean of eight fits */
    peak_check(run, 0, in_first);
    peak_check(run, 9, in_last);
}

/* The value spoils items 0 to 3, which have one pooling each; the others must not notice. */
static void spoilt_check(struct run *run, uint32_t token, float value, const uint32_t expected[8]) {
    struct example e;
    example_init(&e, run, 768, tens, 8, 1);
    for (uint32_t i = 0; i < 4; i++)
        e.x[(i * 10 + token) * 768 + 500] = value;
    flags_check(&e, token, expected, 1);
}

static void test_not_finite(struct run *run) {
    static const uint32_t in_residue[8] = {GPU_NOT_FINITE, GPU_NOT_FINITE, GPU_NOT_FINITE},
                          in_first[8] = {[3] = GPU_NOT_FINITE}, in_last[8] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        float value = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
        spoilt_check(run, 5, value, in_residue);
        spoilt_check(run, 0, value, in_first);
        spoilt_check(run, 9, value, in_last);
    }
}

/* Tokens that no result takes have no owner; what else an item owns does not matter. */
static void test_owners(struct run *run) {
    uint32_t lengths[] = {9, 40, 3, 12};
    struct example e;
    example_init(&e, run, 128, lengths, 4, 1);
    for (uint32_t i = 0; i < 4; i++) {
        const struct plan_item *item = &e.batch.items[i];
        for (uint32_t t = 0; t < lengths[i]; t++) {
            uint32_t token = item->first_token + t;
            bool residue = token - item->first_row < item->residues;
            if (item->pooling == POOLING_BOS ? t > 0 : !residue)
                e.batch.owners[token] = GPU_NO_ITEM;
        }
    }
    example_run(&e);
    for (uint32_t i = 0; i < 4; i++)
        item_check(&e, &e.batch.items[i], 1);
}

static void tests(void) {
    static const uint32_t hidden[] = {64, 192, 768, 832, 2112};
    runs_sizes("poolings", test_poolings, hidden, runs_scale() < 0.1 ? 3 : 5);
    runs_each("values beyond float16", test_overflow);
    runs_each("values that are not finite", test_not_finite);
    runs_each("tokens without an owner", test_owners);
}

int main(void) {
    return runs_main(tests);
}
