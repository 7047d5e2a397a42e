/* SPDX-License-Identifier: Apache-2.0
 *
 * This holds embedding, LayerNorm, bias and activation against double precision: rows that are held
 * in registers and rows too long for that, and values of several kinds. Rows beyond those in use
 * must be left alone.
 */
#include "batch.h"
#include "numbers.h"
#include "runs.h"
#include "tests/check.h"
#include "tests/kernels/random.h"

#include <string.h>

#define EPSILON 1e-5
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint32_t lengths[] = {5, 1, 30, 29};

static float *floats_new(size_t count, uint64_t seed, float mean, float spread) {
    float *floats = host_new(count * sizeof *floats);
    for (size_t i = 0; i < count; i++)
        floats[i] = mean + spread * random_normal(&seed);
    return floats;
}

/* A batch, its plan on the device, and the values of rows so wide, those in use and all. */
struct rows {
    struct batch batch;
    struct gpu_plan plan;
    size_t used, size;
};

static struct rows rows_new(const struct run *run, uint32_t hidden, uint32_t columns) {
    struct rows rows = {.batch.shape = {.type = run->type, .sm = run->sm, .hidden = hidden}};
    batch_init(&rows.batch, lengths, COUNT(lengths));
    rows.plan = batch_upload(&rows.batch);
    rows.used = (size_t)rows.batch.tokens * columns;
    rows.size = (size_t)rows.batch.shape.tokens * columns;
    return rows;
}

struct affine {
    float *gain, *bias;
    struct gpu_norm device;
};

static struct affine affine_new(uint32_t hidden) {
    struct affine a = {floats_new(hidden, 1, 1, 0.5f), floats_new(hidden, 2, 0, 0.5f), {0}};
    a.device.gain = device_new(a.gain, hidden * sizeof *a.gain);
    a.device.bias = device_new(a.bias, hidden * sizeof *a.bias);
    return a;
}

/* `device` is what a kernel made of x; `slack` counts in units of a row's spread. */
static void normed_check(struct run *run, const struct rows *rows, const float *x,
                         const struct affine *affine, const void *device, double slack) {
    uint32_t hidden = rows->batch.shape.hidden;
    const uint16_t *normed = device_read(device);
    double *expected = host_new(hidden * sizeof *expected);
    rest_check(normed, rows->used * 2, rows->size * 2);
    run_add(run, normed, rows->used * 2);
    for (size_t i = 0; i < rows->used; i++) {
        if (i % hidden == 0)
            reference_layernorm(expected, x + i, affine->gain, affine->bias, hidden, EPSILON);
        double want = expected[i % hidden], got = number_decode(run->type, normed[i]);
        CHECK(fabs(got - want) <= number_unit(run->type) * fabs(want) + slack,
              "H %u, row %zu, column %zu: %g is not %g", hidden, i / hidden, i % hidden, got, want);
    }
}

static void row_check(struct run *run, float mean, float spread, double slack) {
    struct rows r = rows_new(run, run->size, run->size);
    struct affine affine = affine_new(run->size);
    float *x = floats_new(r.size, run->size, mean, spread);
    memset(x + r.used, 0xff, (r.size - r.used) * sizeof *x);
    void *residual = device_new(x, r.size * sizeof *x), *normed = device_new(NULL, r.size * 2);
    MUST(gpu_layernorm(&r.batch.shape, &r.plan, residual, affine.device, normed, device_stream()));
    normed_check(run, &r, x, &affine, normed, slack);
    device_end();
}

static void test_layernorm(struct run *run) {
    row_check(run, 0, 1, 2e-6);
    row_check(run, 1000, 1, 1e-3);
    row_check(run, 3, 0, 1e-3); /* nothing but epsilon */
    row_check(run, 0, 1e-4f, 2e-6);
    row_check(run, -1e10f, 1e12f, 2e-6);
}

static void test_embed(struct run *run) {
    uint32_t hidden = run->size;
    struct rows r = rows_new(run, hidden, hidden);
    struct affine affine = affine_new(hidden);
    float *words = floats_new(VOCABULARY * hidden, 3, 0, 1), *x = host_new(r.used * sizeof *x);
    float *positions = floats_new(64 * hidden, 4, 0, 1);
    for (size_t i = 0; i < r.used; i++)
        x[i] = words[r.batch.ids[i / hidden] * hidden + i % hidden] +
               positions[r.batch.positions[i / hidden] * hidden + i % hidden];
    void *residual = device_new(NULL, r.size * sizeof *x), *normed = device_new(NULL, r.size * 2);
    MUST(gpu_embed(&r.batch.shape, &r.plan, device_new(words, VOCABULARY * hidden * sizeof *words),
                   device_new(positions, 64 * hidden * sizeof *positions), affine.device, residual,
                   normed, device_stream()));
    const float *sums = device_read(residual);
    CHECK(memcmp(sums, x, r.used * sizeof *x) == 0, "H %u: wrong residual", hidden);
    rest_check(sums, r.used * sizeof *x, r.size * sizeof *x);
    normed_check(run, &r, x, &affine, normed, 2e-6);
}

/* Returns a value from all of the range that a model can have in this type, edges first. */
static double value_random(const struct run *run, uint64_t *random, size_t i) {
    static const double edges[] = {0,    -0.0, 1e-7, -1e-7, 0.5,    -0.5,  2.7,
                                   -2.7, 9,    -9,   65504, -65504, 30000, -30000};
    return number_round(run->type,
                        i < COUNT(edges) ? edges[i] : random_normal(random) * (i % 2 ? 3 : 0.1));
}

static double reference_gelu(double x, int erf_form) {
    if (erf_form)
        return 0.5 * x * erfc(-x * sqrt(0.5));
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

/* A sum without activation is rounded once; before that, GELU is within a few ulps of float32. */
static void sum_check(const struct run *run, enum activation form, double sum, double got) {
    double x = (float)sum,
           want = form == ACTIVATION_NONE ? x : reference_gelu(x, form == ACTIVATION_ERF);
    if (form == ACTIVATION_NONE)
        CHECK(got == number_round(run->type, want), "%g is not %g", got, want);
    else
        CHECK(fabs(got - want) <= number_unit(run->type) * fabs(want) * 1.01 +
                                      (run->type == GPU_F16 ? 0x1p-25 : 0) + 4e-7 * fabs(x),
              "GELU of %g is %g, not %g", x, got, want);
}

static void sums_check(struct run *run, enum activation form) {
    uint32_t columns = run->size;
    struct rows r = rows_new(run, 64, columns);
    uint16_t *values = host_new(r.size * 2), *bias = host_new(columns * 2);
    uint64_t random = columns;
    memset(values, DEVICE_PATTERN, r.size * 2);
    for (size_t i = 0; i < r.used; i++)
        values[i] = number_encode(run->type, value_random(run, &random, i));
    for (size_t i = 0; i < columns; i++)
        bias[i] = number_encode(run->type, i < 16 ? 0 : random_normal(&random));
    void *device = device_new(values, r.size * 2), *add = device_new(bias, columns * 2);
    MUST(gpu_bias(&r.batch.shape, &r.plan, device, add, columns, form, device_stream()));
    const uint16_t *out = device_read(device);
    rest_check(out, r.used * 2, r.size * 2);
    run_add(run, out, r.used * 2);
    for (size_t i = 0; i < r.used; i++)
        sum_check(run, form,
                  number_decode(run->type, values[i]) + number_decode(run->type, bias[i % columns]),
                  number_decode(run->type, out[i]));
    device_end();
}

static void test_bias(struct run *run) {
    for (enum activation form = ACTIVATION_NONE; form <= ACTIVATION_ERF; form++)
        sums_check(run, form);
}

static void test_residual(struct run *run) {
    uint32_t hidden = run->size;
    struct rows r = rows_new(run, hidden, hidden);
    float *x = floats_new(r.size, 5, 0, 100), *bias = floats_new(hidden, 6, 0, 1);
    memset(x + r.used, DEVICE_PATTERN, (r.size - r.used) * sizeof *x);
    void *residual = device_new(x, r.size * sizeof *x);
    MUST(gpu_bias_residual(&r.batch.shape, &r.plan, residual,
                           device_new(bias, hidden * sizeof *bias), device_stream()));
    const float *out = device_read(residual);
    rest_check(out, r.used * sizeof *x, r.size * sizeof *x);
    run_add(run, out, r.used * sizeof *x);
    for (size_t i = 0; i < r.used; i++)
        CHECK(out[i] == x[i] + bias[i % hidden], "H %u, %zu: %g", hidden, i, out[i]);
}

static void tests(void) {
    static const uint32_t hidden_sizes[] = {64, 128, 768, 832, 2048, 2112};
    static const uint32_t columns[] = {64, 192, 1024, 3072};
    unsigned sizes = COUNT(hidden_sizes), few = COUNT(columns) - (runs_scale() < 1);
    runs_sizes("LayerNorm", test_layernorm, hidden_sizes, sizes);
    runs_sizes("embedding", test_embed, hidden_sizes, sizes);
    runs_sizes("bias and GELU", test_bias, columns, few);
    runs_sizes("bias of the residual", test_residual, hidden_sizes, sizes);
}

int main(void) {
    return runs_main(tests);
}
